/** What a query gave: a chart where there is one, its rows in pages, and all of them as a file. */

import { exportQuery } from "../api.js";
import { html, useState } from "../html.js";
import { formatCell, formatMoment, formatMs, t } from "../i18n/index.js";
import { Icon } from "./icon.js";
import { QueryChart } from "./query-chart.js";
import { isNumber, isTime, momentOf } from "./query-values.js";
import { Empty } from "./states.js";
import { showError, showToast } from "./toast.js";

/** @typedef {import("../api.js").QueryResult} QueryResult */

const PAGE_ROWS = 50;
/** Longer text is shown in part until somebody asks for all of it. */
const LONG = 64;

/** @param {{sql: string, result: QueryResult}} props */
export function Result({ sql, result }) {
  const { columns, rows, truncated, elapsed_s } = result;
  const count = t("data.rows", { n: rows.length });
  return html`
    <div class="result-head">
      <h2>${t("data.result")}</h2>
      <p class="muted small" role="status">${t("data.result.took", { rows: count, time: formatMs(elapsed_s * 1000) })}</p>
      ${rows.length > 0 && html`<${Export} sql=${sql} />`}
    </div>
    ${truncated &&
    html`<div class="notice notice-warn">
      <${Icon} name="warning" />
      <p class="notice-text">${t("data.truncated", { n: rows.length })}</p>
    </div>`}
    ${rows.length === 0
      ? html`<${Empty} icon="data" title=${t("data.result.none")}><p>${t("data.result.none.hint")}</p><//>`
      : html`<${QueryChart} result=${result} /><${Rows} columns=${columns} rows=${rows} />`}
  `;
}

/** @param {{sql: string}} props Of the rows that are shown, whatever the editor holds by now. */
function Export({ sql }) {
  const [busy, setBusy] = useState("");
  const save = async (format) => {
    setBusy(format);
    try {
      const { file, name } = await exportQuery(sql, format);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(file);
      link.download = name;
      link.click();
      URL.revokeObjectURL(link.href);
      showToast(t("data.exported", { name }));
    } catch (error) {
      showError(error);
    }
    setBusy("");
  };
  return html`
    <div class="result-export" role="group" aria-label=${t("data.export")}>
      ${["csv", "parquet"].map(
        (format) => html`
          <button
            key=${format}
            type="button"
            class="button"
            disabled=${busy !== ""}
            aria-busy=${busy === format}
            onClick=${() => save(format)}
          >
            <${Icon} name="download" />${t(`data.export.${format}`)}
          </button>
        `,
      )}
    </div>
  `;
}

/** @param {{columns: QueryResult["columns"], rows: any[][]}} props */
function Rows({ columns, rows }) {
  const [first, setFirst] = useState(0);
  const shown = rows.slice(first, first + PAGE_ROWS);
  return html`
    <div class="table-box result-box" tabindex="0" role="region" aria-label=${t("data.result")}>
      <table class="result">
        <thead>
          <tr>
            ${columns.map(
              ({ name, type }, index) => html`
                <th key=${index} scope="col" class=${isNumber(type) ? "number" : undefined} title=${type}>${name}</th>
              `,
            )}
          </tr>
        </thead>
        <tbody>
          ${shown.map(
            (row, place) => html`
              <tr key=${first + place}>
                ${row.map(
                  (value, index) => html`
                    <td key=${index} class=${isNumber(columns[index].type) ? "number" : undefined}>
                      <${Cell} value=${value} type=${columns[index].type} />
                    </td>
                  `,
                )}
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
    <div class="result-foot">
      ${rows.length > PAGE_ROWS && html`<${Pages} first=${first} n=${rows.length} onFirst=${setFirst} />`}
      ${columns.some(({ type }) => isMoment(type)) && html`<p class="muted small">${t("data.result.local")}</p>`}
    </div>
  `;
}

/** @param {{first: number, n: number, onFirst: (first: number) => void}} props */
function Pages({ first, n, onFirst }) {
  const last = Math.min(first + PAGE_ROWS, n);
  return html`
    <div class="result-pages">
      <button
        type="button"
        class="button button-icon"
        aria-label=${t("data.page.before")}
        disabled=${first === 0}
        onClick=${() => onFirst(first - PAGE_ROWS)}
      >
        <span class="back"><${Icon} name="chevron" /></span>
      </button>
      <span class="small" role="status">${t("data.page", { first: first + 1, last, n })}</span>
      <button
        type="button"
        class="button button-icon"
        aria-label=${t("data.page.after")}
        disabled=${last === n}
        onClick=${() => onFirst(first + PAGE_ROWS)}
      >
        <${Icon} name="chevron" />
      </button>
    </div>
  `;
}

/** A day alone is a day in UTC, and no moment that another zone moves. @param {string} type */
const isMoment = (type) => isTime(type) && type !== "DATE";

/** @param {{value: any, type: string}} props */
function Cell({ value, type }) {
  if (value === null) return html`<span class="muted">–</span>`;
  if (typeof value === "bigint" || (typeof value === "number" && isNumber(type))) return formatCell(value);
  if (typeof value === "string" && isMoment(type)) return html`<${Moment} value=${value} />`;
  const text = typeof value === "string" ? value : JSON.stringify(value, exact);
  return text.length > LONG ? html`<${Long} text=${text} />` : text;
}

/** @param {string} _key @param {any} value JSON has no BigInt. */
const exact = (_key, value) => (typeof value === "bigint" ? String(value) : value);

/** @param {{value: string}} props */
function Moment({ value }) {
  const moment = momentOf(value);
  if (Number.isNaN(moment)) return value;
  return html`<time datetime=${value} title=${`${value.replace("T", " ").replace("Z", "")} UTC`}>${formatMoment(moment)}</time>`;
}

/** @param {{text: string}} props */
function Long({ text }) {
  const [open, setOpen] = useState(false);
  return html`
    <button
      type="button"
      class="cell-long"
      aria-expanded=${open}
      title=${t(open ? "data.cell.less" : "data.cell.all")}
      onClick=${() => setOpen(!open)}
    >
      ${open ? text : `${text.slice(0, LONG)}…`}
    </button>
  `;
}
