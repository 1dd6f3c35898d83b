/** System: how the machine and the node are doing, and whether the journal's books balance. */

import { getAudit, getHealth, getSystem } from "../api.js";
import { Chart } from "../components/chart.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/page.js";
import { Loaded } from "../components/states.js";
import { html } from "../html.js";
import { formatBytes, formatDuration, formatMs, formatNumber, t } from "../i18n/index.js";
import { useResource } from "../resource.js";

const SYSTEM_EVERY_MS = 3000;
const SLOW_EVERY_MS = 10_000;

/** Grid lines of a chart of bytes: powers of two, from 1 MiB to 512 GiB. */
const BYTE_STEPS = Array.from({ length: 20 }, (_, power) => 2 ** (20 + power));

export function SystemPage() {
  const system = useResource(getSystem, { everyMs: SYSTEM_EVERY_MS });
  const health = useResource(getHealth, { everyMs: SLOW_EVERY_MS });
  const audit = useResource(getAudit, { everyMs: SLOW_EVERY_MS });
  return html`
    <${Page} name="system">
      <${Loaded} resource=${health}>${(value) => html`<${Health} health=${value} />`}<//>
      <${Loaded} resource=${system}
        >${(value) => html`<${Figures} system=${value} /><${Charts} series=${value.series} />`}<//
      >
      <${Loaded} resource=${audit}
        >${(value) => html`<${Balance} balances=${value.balances} losses=${value.losses} />`}<//
      >
      <p class="links">
        <a href="/schema/openapi.json">${t("system.openapi")}</a>
        <a href="/metrics">${t("system.metrics")}</a>
      </p>
    <//>
  `;
}

/** @param {{health: {status: string, problems: {component: string, message: string, hint: string}[]}}} props */
function Health({ health }) {
  const well = health.status === "ok";
  return html`
    <div class=${well ? "notice notice-good" : "notice notice-warn"}>
      <${Icon} name=${well ? "check" : "warning"} />
      <div class="notice-text">
        <p class="notice-title">${t(`health.${health.status}`)}</p>
        ${(health.problems ?? []).map(
          ({ component, message, hint }) =>
            html`<p key=${component}><strong>${component}</strong>: ${message} ${hint}</p>`,
        )}
      </div>
    </div>
  `;
}

function Figures({ system }) {
  const { cpu, memory, pool } = system;
  const figures = [
    ["system.cpu", `${formatNumber(cpu.percent, 1)} %`, t("system.cores", { n: cpu.cores })],
    [
      "system.memory",
      memory.rss_bytes === null ? "–" : formatBytes(memory.rss_bytes),
      t("system.memory.of", { total: formatBytes(memory.total_bytes) }),
    ],
    [
      "system.queue",
      `${formatNumber(pool.queued)} / ${formatNumber(pool.capacity)}`,
      t("system.workers", { n: pool.workers }),
    ],
    ["system.uptime", formatDuration(system.uptime_s), `Edgewise ${system.version}`],
  ];
  return html`
    <dl class="tiles">
      ${figures.map(
        ([key, value, more]) =>
          html`<div key=${key} class="card tile">
            <dt>${t(key)}</dt>
            <dd>${value}</dd>
            <dd class="muted small">${more}</dd>
          </div>`,
      )}
    </dl>
  `;
}

function Charts({ series }) {
  const latency = Object.entries(series.latency_ms).map(([label, values]) => ({ label, values }));
  return html`
    <div class="charts">
      <${Chart}
        title=${t("system.cpu")}
        times=${series.time_s}
        lines=${[{ label: t("system.cpu"), values: series.cpu_percent }]}
        format=${(value) => `${formatNumber(value)} %`}
      />
      <${Chart}
        title=${t("system.memory")}
        times=${series.time_s}
        lines=${[{ label: t("system.memory"), values: series.rss_bytes }]}
        format=${formatBytes}
        steps=${BYTE_STEPS}
      />
      ${series.temperature_c.some((value) => value !== null) &&
      html`<${Chart}
        title=${t("system.temperature")}
        times=${series.time_s}
        lines=${[{ label: t("system.temperature"), values: series.temperature_c }]}
        format=${(value) => `${formatNumber(value)} °C`}
      />`}
      ${latency.length > 0 &&
      html`<${Chart}
        key=${latency.length}
        title=${t("system.latency")}
        times=${series.time_s}
        lines=${latency}
        format=${formatMs}
        named
      />`}
    </div>
  `;
}

const COLUMNS = ["stream", "consumer", "produced", "delivered", "pending", "dropped"];

/** Every record is accounted for: produced = delivered + pending + dropped. */
function Balance({ balances, losses }) {
  return html`
    <section class="card" aria-labelledby="journal">
      <h2 id="journal">${t("journal.title")}</h2>
      <p class="muted small">${t("journal.explained")}</p>
      <div class="table-box" tabindex="0" role="region" aria-labelledby="journal">
        <table>
          <thead>
            <tr>
              ${COLUMNS.map(
                (name) => html`<th key=${name} scope="col" class=${isNumber(name)}>${t(`journal.${name}`)}</th>`,
              )}
              <th scope="col">${t("journal.balance")}</th>
            </tr>
          </thead>
          <tbody>
            ${balances.map(
              (balance) => html`<${BalanceRow} key=${`${balance.stream}/${balance.consumer}`} balance=${balance} />`,
            )}
          </tbody>
        </table>
      </div>
      <p class="small">${t("journal.losses", { n: losses.length })}</p>
    </section>
  `;
}

/** @param {string} column */
const isNumber = (column) => (column === "stream" || column === "consumer" ? undefined : "number");

function BalanceRow({ balance }) {
  return html`
    <tr>
      <th scope="row">${balance.stream}</th>
      <td>${balance.consumer || t("journal.storage")}</td>
      ${COLUMNS.slice(2).map((name) => html`<td key=${name} class="number">${formatNumber(balance[name])}</td>`)}
      <td>
        <span class="badge" data-state=${balance.balanced ? "ready" : "failed"}
          >${t(balance.balanced ? "journal.balanced" : "journal.unbalanced")}</span
        >
      </td>
    </tr>
  `;
}
