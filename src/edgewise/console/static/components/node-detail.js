/** One node: how it is and why, what it runs and uses, and what came from it last. */

import { getEvents, getNode } from "../api.js";
import { html } from "../html.js";
import { formatBytes, formatDay, formatDuration, formatNumber, formatTime, t } from "../i18n/index.js";
import { reasonWords, seenWords } from "../pages/nodes.js";
import { useResource } from "../resource.js";
import { lookOf, sentenceOf } from "./event-words.js";
import { Icon } from "./icon.js";
import { wordsOf } from "./labels-dialog.js";
import { Loaded } from "./states.js";

const EVERY_MS = 5000;
const EVENTS = 8;

/**
 * @param {{name: string, onLabel?: (node: import("../pages/nodes.js").NodeSummary) => void, onRemove?: (name: string) => void}} props
 *   `onLabel` and `onRemove` for those who may.
 */
export function NodeDetail({ name, onLabel, onRemove }) {
  const detail = useResource((signal) => getNode(name, signal), { everyMs: EVERY_MS });
  const events = useResource((signal) => getEvents({ stream: "events", node: name, limit: EVENTS }, signal), { everyMs: EVERY_MS });
  return html`
    <${Loaded} resource=${detail}>
      ${({ node, report, below }) => html`
        <${Reasons} node=${node} />
        <${Facts} node=${node} report=${report} below=${below} />
        ${report?.pipelines.length > 0 && html`<${Pipelines} pipelines=${report.pipelines} />`}
      `}
    <//>
    <${Loaded} resource=${events}>${(value) => html`<${Newest} events=${value.events} />`}<//>
    ${onRemove &&
    html`<div class="dialog-actions">
      <button type="button" class="button" disabled=${!detail.value} onClick=${() => onLabel(detail.value.node)}>
        <${Icon} name="edit" />${t("nodes.label")}
      </button>
      <button type="button" class="button" onClick=${() => onRemove(name)}>
        <${Icon} name="trash" />${t("nodes.remove")}
      </button>
    </div>`}
  `;
}

function Reasons({ node }) {
  if (!node.reasons.length) return null;
  const tone = node.status === "late" ? "notice notice-warn" : "notice notice-error";
  return html`
    <div class=${tone}>
      <${Icon} name="warning" />
      <div class="notice-text">
        <p class="notice-title">${t(`node.${node.status}`)}</p>
        ${node.reasons.map(
          (reason) => html`<p key=${reason.why + reason.what}>${reasonWords(reason)}. ${reason.message}</p>`,
        )}
      </div>
    </div>
  `;
}

function Facts({ node, report, below }) {
  const facts = [
    ["nodes.parent", node.parent],
    ["nodes.lastSeen", seenWords(node.age_s)],
    ["nodes.labels", wordsOf(node.labels).join(", ")],
    ["nodes.joined", node.joined_ns ? formatDay(node.joined_ns) : ""],
    ["nodes.below", below.join(", ")],
    ...(report ? reported(report) : []),
  ];
  return html`
    <dl class="facts">
      ${facts
        .filter(([, value]) => value !== "")
        .map(([key, value]) => html`<div key=${key}><dt>${t(key)}</dt><dd>${value}</dd></div>`)}
    </dl>
  `;
}

/** What of a report is told in words. */
function reported({ version, uptime_s, resources, journal, models, rules, clock_ahead_s }) {
  const bytes = (value) => (value === null ? "" : formatBytes(value));
  return [
    ["nodes.version", version],
    ["nodes.uptime", formatDuration(uptime_s)],
    ["nodes.cpu", `${formatNumber(resources.cpu * 100, 1)} %`],
    ["nodes.memory", bytes(resources.rss_bytes)],
    ["nodes.disk", bytes(resources.disk_free_bytes)],
    ["nodes.temperature", resources.temperature_c === null ? "" : `${formatNumber(resources.temperature_c)} °C`],
    ["nodes.journal", t("nodes.journal.words", { size: formatBytes(journal.bytes), dropped: journal.dropped })],
    ["nodes.onTheWay", formatNumber(journal.pending)],
    ["nodes.clock", `${formatNumber(clock_ahead_s, 1)} s`],
    ["nodes.models", models.join(", ")],
    ["nodes.rules", formatNumber(rules)],
  ];
}

function Pipelines({ pipelines }) {
  return html`
    <h3 class="section-title">${t("nodes.pipelines")}</h3>
    <ul class="node-pipelines">
      ${pipelines.map(
        ({ name, phase, rate, problem }) => html`
          <li key=${name}>
            <span class="badge" data-state=${phase}>${name}</span>
            <span>${t("nodes.rate", { rate: formatNumber(rate, 1) })}</span>
            ${problem && html`<span class="muted small">${problem}</span>`}
          </li>
        `,
      )}
    </ul>
  `;
}

/** @param {{events: import("../feed.js").JournalRecord[]}} props */
function Newest({ events }) {
  if (!events.length) return null;
  return html`
    <h3 class="section-title">${t("nodes.events")}</h3>
    <ol class="node-events">
      ${events.map(
        (record) => html`
          <li key=${record.sequence}>
            <${Icon} name=${lookOf(record.kind).icon} />
            <span>${sentenceOf(record)}</span>
            <time class="muted small">${formatDay(record.time_ns)}, ${formatTime(record.time_ns)}</time>
          </li>
        `,
      )}
    </ol>
  `;
}
