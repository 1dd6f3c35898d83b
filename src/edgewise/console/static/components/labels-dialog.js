/** Labels of a node as people write them, and the dialog that changes them. */

import { changeNode } from "../api.js";
import { html, useId, useState } from "../html.js";
import { t } from "../i18n/index.js";
import { Dialog } from "./dialog.js";
import { Submit, TextField, useSubmit } from "./form.js";
import { ErrorNotice } from "./states.js";

/** @param {{node: import("../pages/nodes.js").NodeSummary, onDone: () => void, onClose: () => void}} props */
export function LabelsDialog({ node, onDone, onClose }) {
  const id = useId();
  const [text, setText] = useState(wordsOf(node.labels).join(", "));
  const { busy, error, submit } = useSubmit(async () => {
    const gone = Object.fromEntries(Object.keys(node.labels).map((key) => [key, null]));
    await changeNode(node.name, changed(node.labels, { ...gone, ...labelsOf(text) }));
    onDone();
  });
  const hint = `${t("nodes.labels.hint")}. ${t("nodes.labels.explained")}`;
  return html`
    <${Dialog} title=${t("nodes.labels.of", { name: node.name })} onClose=${onClose}>
      <form onSubmit=${submit}>
        <${TextField} id=${id} label=${t("nodes.labels")} hint=${hint} value=${text} onInput=${setText} />
        ${error && html`<${ErrorNotice} error=${error} />`}
        <${Submit} label=${t("action.save")} busy=${busy} disabled=${false} onClose=${onClose} />
      </form>
    <//>
  `;
}

/** @param {Object<string, string>} labels @returns {string[]} `site=hall` and so on. */
export const wordsOf = (labels) => Object.entries(labels).map(([key, value]) => `${key}=${value}`);

/** @param {string} text `site=hall, role=camera` @returns {Object<string, string>} */
export const labelsOf = (text) =>
  Object.fromEntries(
    text
      .split(",")
      .map((term) => term.trim())
      .filter(Boolean)
      .map((term) => [term.split("=")[0].trim(), term.split("=").slice(1).join("=").trim()]),
  );

/** What is not the same as before: what people did not touch stays as others say it. */
const changed = (before, after) =>
  Object.fromEntries(Object.entries(after).filter(([key, value]) => value !== before[key]));
