/** Nodes: the tree below this one, how each node is, and letting others join. */

import { getNodes, removeNode } from "../api.js";
import { Dialog, Removal } from "../components/dialog.js";
import { Icon } from "../components/icon.js";
import { InviteDialog } from "../components/invite-dialog.js";
import { LabelsDialog, wordsOf } from "../components/labels-dialog.js";
import { NodeDetail } from "../components/node-detail.js";
import { Page } from "../components/page.js";
import { Sparkline } from "../components/sparkline.js";
import { Empty, Loaded } from "../components/states.js";
import { html, useId, useState } from "../html.js";
import { formatBytes, formatDuration, formatNumber, t } from "../i18n/index.js";
import { useResource } from "../resource.js";
import { useMay } from "../session.js";

const EVERY_MS = 5000;
const MOST_DEEP = 5;
const STATUSES = ["ok", "late", "failing", "gone"];

/**
 * @typedef {Object} NodeSummary
 * @property {string} name
 * @property {string} parent
 * @property {boolean} child
 * @property {Object<string, string>} labels
 * @property {"ok" | "late" | "failing" | "gone"} status
 * @property {{why: string, what: string, message: string}[]} reasons
 * @property {number | null} age_s
 * @property {string} version
 * @property {number} pending
 * @property {number | null} rss_bytes
 * @property {{cpu: number[], rss_bytes: (number | null)[]}} usage
 */

export function NodesPage() {
  const admin = useMay("admin");
  const [where, setWhere] = useState("");
  const nodes = useResource((signal) => getNodes({ where }, signal), { everyMs: EVERY_MS, key: where });
  const [inviting, setInviting] = useState(false);
  const [shown, setShown] = useState("");
  const [labelled, setLabelled] = useState(null);
  const [removed, setRemoved] = useState("");
  const askLabels = (node) => {
    setShown("");
    setLabelled(node);
  };
  const endLabels = () => {
    setLabelled(null);
    nodes.reload();
  };
  const askRemove = (name) => {
    setShown("");
    setRemoved(name);
  };
  const invite = html`
    <button type="button" class="button button-primary" onClick=${() => setInviting(true)}>
      <${Icon} name="plus" />${t("nodes.invite")}
    </button>
  `;
  return html`
    <${Page} name="nodes" actions=${admin && invite}>
      <${Loaded} resource=${nodes}>
        ${(value) =>
          value.nodes.length || where
            ? html`
                <div class="nodes-head">
                  <${Counts} counts=${value.counts} />
                  <${WhereField} value=${where} onChange=${setWhere} />
                </div>
                <${Tree} root=${value.node} nodes=${value.nodes} onShow=${setShown} />
                ${value.next_after && html`<p class="muted small">${t("nodes.more", { n: value.nodes.length })}</p>`}
              `
            : html`<${Empty} icon="nodes" title=${t("nodes.none")}><p>${t("nodes.none.hint")}</p><//>`}
      <//>
      ${inviting && html`<${InviteDialog} onClose=${() => setInviting(false)} />`}
      ${shown &&
      html`<${Dialog} title=${shown} onClose=${() => setShown("")} wide>
        <${NodeDetail} name=${shown} ...${admin ? { onLabel: askLabels, onRemove: askRemove } : {}} />
      <//>`}
      ${labelled && html`<${LabelsDialog} node=${labelled} onDone=${endLabels} onClose=${endLabels} />`}
      ${removed &&
      html`<${Removal}
        title=${t("nodes.remove.title", { name: removed })}
        text=${t("nodes.remove.text")}
        action=${t("nodes.remove")}
        remove=${() => removeNode(removed)}
        removed=${t("nodes.removed", { name: removed })}
        onDone=${nodes.reload}
        onClose=${() => setRemoved("")}
      />`}
    <//>
  `;
}

/** @param {{counts: Object<string, number>}} props */
function Counts({ counts }) {
  return html`
    <ul class="chips node-counts">
      ${STATUSES.filter((status) => counts[status] > 0).map(
        (status) => html`
          <li key=${status} class="chip">
            <span class="dot" data-status=${status}></span>${t(`node.${status}`)} ${formatNumber(counts[status])}
          </li>
        `,
      )}
    </ul>
  `;
}

/** @param {{value: string, onChange: (where: string) => void}} props */
function WhereField({ value, onChange }) {
  const id = useId();
  const [typed, setTyped] = useState(value);
  const submit = (event) => {
    event.preventDefault();
    onChange(typed.trim());
  };
  return html`
    <form class="where" onSubmit=${submit}>
      <label class="visually-hidden" for=${id}>${t("nodes.where")}</label>
      <input
        id=${id}
        maxlength="1024"
        autocapitalize="none"
        autocomplete="off"
        spellcheck=${false}
        placeholder=${t("nodes.where.hint")}
        value=${typed}
        onInput=${(event) => setTyped(event.target.value)}
        onBlur=${() => onChange(typed.trim())}
      />
    </form>
  `;
}

/**
 * @param {string} root
 * @param {NodeSummary[]} nodes
 * @returns {{node: NodeSummary, depth: number}[]} Parents before their children; those whose parent is not among them
 *   stand at the left.
 */
function inOrder(root, nodes) {
  const known = new Set(nodes.map(({ name }) => name));
  const below = new Map();
  for (const node of nodes) {
    const parent = known.has(node.parent) ? node.parent : root;
    below.set(parent, [...(below.get(parent) ?? []), node]);
  }
  const walk = (name, depth) =>
    (below.get(name) ?? []).flatMap((node) => [{ node, depth }, ...walk(node.name, depth + 1)]);
  return walk(root, 0);
}

/** @param {{root: string, nodes: NodeSummary[], onShow: (name: string) => void}} props */
function Tree({ root, nodes, onShow }) {
  if (!nodes.length) return html`<p class="muted">${t("nodes.nowhere")}</p>`;
  return html`
    <ul class="nodes">
      ${inOrder(root, nodes).map(
        ({ node, depth }) => html`
          <li key=${node.name} class=${`node-depth-${Math.min(depth, MOST_DEEP)}`}>
            <${NodeRow} node=${node} onShow=${onShow} />
          </li>
        `,
      )}
    </ul>
  `;
}

/** @param {{node: NodeSummary, onShow: (name: string) => void}} props */
function NodeRow({ node, onShow }) {
  const reason = node.reasons[0];
  const labels = wordsOf(node.labels);
  return html`
    <button type="button" class="node-row" data-status=${node.status} onClick=${() => onShow(node.name)}>
      <span class="dot" data-status=${node.status}></span>
      <span class="node-words">
        <span class="node-title">${node.name}</span>
        <span class="muted small">${t(`node.${node.status}`)} · ${seenWords(node.age_s)}${reason && ` · ${reasonWords(reason)}`}</span>
        ${labels.length > 0 &&
        html`<span class="chips">
          ${labels.map((label) => html`<span key=${label} class="chip">${label}</span>`)}
        </span>`}
      </span>
      <span class="node-figure node-version">${node.version}</span>
      <span class="node-figure">
        ${node.pending > 0 ? t("nodes.pending", { n: node.pending }) : ""}
      </span>
      <span class="node-spark">
        <${Sparkline} values=${node.usage.cpu} label=${t("nodes.cpu")} text=${cpuWords(node.usage.cpu.at(-1))} />
        <${Sparkline} values=${node.usage.rss_bytes} label=${t("nodes.memory")} text=${memoryWords(node.rss_bytes)} />
      </span>
    </button>
  `;
}

/** @param {number | null} ageS */
export const seenWords = (ageS) => (ageS === null ? t("nodes.never") : t("nodes.seen", { time: formatDuration(ageS) }));

/** @param {{why: string, what: string}} reason */
export const reasonWords = ({ why, what }) => [t(`why.${why}`), what].filter(Boolean).join(": ");

const cpuWords = (cores) => (cores === undefined ? "" : `${formatNumber(cores * 100)} %`);
const memoryWords = (bytes) => (bytes === null ? "" : formatBytes(bytes));
