/** One model: figures of its use, and its manifest as a person reads it. */

import { getModel } from "../api.js";
import { html } from "../html.js";
import { formatFigure, formatMs, formatNumber, formatPercent, t } from "../i18n/index.js";
import { useResource } from "../resource.js";
import { Loaded } from "./states.js";

/** @param {{name: string}} props */
export function ModelDetail({ name }) {
  const model = useResource((signal) => getModel(name, signal), { key: name });
  return html`<${Loaded} resource=${model}>${(value) => html`<${Sections} model=${value} />`}<//>`;
}

function Sections({ model }) {
  const { manifest } = model;
  return html`
    <p>${manifest.summary}</p>
    ${model.statistics && html`<${Use} statistics=${model.statistics} />`}
    <${Metrics} metrics=${manifest.metrics ?? []} />
    <${Variants} variants=${manifest.variants} open=${model.variant} />
    <${Origin} licence=${manifest.licence} origin=${manifest.origin} lineage=${manifest.lineage ?? []} />
    <${Tensors} inputs=${manifest.inputs} outputs=${manifest.outputs} />
  `;
}

/** @param {{title: string, children: any}} props */
const Section = ({ title, children }) =>
  html`<section class="detail">
    <h3>${title}</h3>
    ${children}
  </section>`;

/** @param {{caption: string, heads: string[], rows: any[][]}} props A table that scrolls sideways by itself. */
const Table = ({ caption, heads, rows }) => html`
  <div class="table-box" tabindex="0" role="region" aria-label=${caption}>
    <table>
      <caption class="visually-hidden">
        ${caption}
      </caption>
      <thead>
        <tr>
          ${heads.map((head) => html`<th key=${head} scope="col">${head}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row, index) =>
            html`<tr key=${index}>
              ${row.map((cell, at) => html`<td key=${at}>${cell}</td>`)}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>
`;

function Use({ statistics }) {
  const { count, failures, latency_ms: latency } = statistics;
  const figures = [
    ["models.calls", formatNumber(count)],
    ["models.failures", formatNumber(failures)],
    ...(count ? ["p50", "p95", "p99"].map((name) => [`latency.${name}`, formatMs(latency[name])]) : []),
  ];
  return html`
    <dl class="figures">
      ${figures.map(term)}
    </dl>
  `;
}

function Metrics({ metrics }) {
  if (!metrics.length) return null;
  const rows = metrics.map(({ name, value, unit, dataset, split = "", variant = "" }) => [
    name,
    figureWords(value, unit),
    [dataset, split].filter(Boolean).join(", "),
    variant,
  ]);
  const heads = ["models.metric", "models.value", "models.dataset", "models.variant"].map((key) => t(key));
  return html`<${Section} title=${t("models.metrics")}
    ><${Table} caption=${t("models.metrics")} heads=${heads} rows=${rows}
  /><//>`;
}

/** @param {number} value @param {string} unit A share of one is shown in percent. */
function figureWords(value, unit = "") {
  if (unit) return `${formatFigure(value)} ${unit}`;
  return value >= 0 && value <= 1 ? formatPercent(value, 2) : formatFigure(value);
}

function Variants({ variants, open }) {
  const rows = variants.map(({ name, runtime, precision = "fp32", artifact }) => [
    html`${name} ${name === open && html`<span class="badge" data-state="ready">${t("models.inUse")}</span>`}`,
    runtime,
    precision,
    html`<code>${artifact}</code>`,
  ]);
  const heads = ["models.variant", "models.runtime", "models.precision", "models.artifact"].map((key) => t(key));
  return html`<${Section} title=${t("models.variants")}
    ><${Table} caption=${t("models.variants")} heads=${heads} rows=${rows}
  /><//>`;
}

function Tensors({ inputs, outputs }) {
  const row =
    (kind) =>
    ({ name, datatype, shape }) => [
      t(kind),
      html`<code>${name}</code>`,
      datatype,
      html`<code>[${shape.join(", ")}]</code>`,
    ];
  const rows = [...inputs.map(row("models.input")), ...outputs.map(row("models.output"))];
  const heads = ["models.direction", "models.tensor", "models.datatype", "models.shape"].map((key) => t(key));
  return html`<${Section} title=${t("models.tensors")}
    ><${Table} caption=${t("models.tensors")} heads=${heads} rows=${rows}
  /><//>`;
}

function Origin({ licence, origin, lineage }) {
  const facts = [
    ["models.licence", licence],
    ["models.source", origin?.source],
    ["models.file", origin?.file],
    ["models.sha256", origin?.sha256],
    ["models.note", origin?.note],
    ["models.lineage", lineage.map(({ step, tool }) => `${step} (${tool})`).join(" → ")],
  ].filter(([, value]) => value);
  return html`
    <${Section} title=${t("models.origin")}>
      <dl class="facts">
        ${facts.map(term)}
      </dl>
    <//>
  `;
}

/** One row of a description list. @param {[string, any]} row Key of its name, and its value. */
const term = ([key, value]) => html`
  <div key=${key}>
    <dt>${t(key)}</dt>
    <dd>${value}</dd>
  </div>
`;
