/** Letting a node join: makes a token and shows the command that uses it, once. */

import { createJoinToken } from "../api.js";
import { html, useId, useState } from "../html.js";
import { t } from "../i18n/index.js";
import { Dialog } from "./dialog.js";
import { Submit, TextField, useSubmit } from "./form.js";
import { labelsOf } from "./labels-dialog.js";
import { SecretDialog } from "./secret.js";
import { ErrorNotice } from "./states.js";

const HOUR_S = 3600;
const LASTING = { hour: HOUR_S, day: 24 * HOUR_S, week: 7 * 24 * HOUR_S };

/** @param {{onClose: () => void}} props */
export function InviteDialog({ onClose }) {
  const ids = { name: useId(), labels: useId(), lasting: useId() };
  const [name, setName] = useState("");
  const [labels, setLabels] = useState("");
  const [lasting, setLasting] = useState("hour");
  const [made, setMade] = useState(null);
  const { busy, error, submit } = useSubmit(async () => {
    setMade(await createJoinToken({ name: name.trim(), labels: labelsOf(labels), valid_s: LASTING[lasting] }));
  });
  if (made) {
    return html`<${SecretDialog} title=${t("invite.command")} text=${t("invite.once")} secret=${commandOf(made)} onClose=${onClose} />`;
  }
  return html`
    <${Dialog} title=${t("nodes.invite")} onClose=${onClose}>
      <form onSubmit=${submit}>
        <p class="muted small invite-lead">${t("invite.explained")}</p>
        <${TextField} id=${ids.name} label=${t("invite.name")} hint=${t("invite.name.hint")} value=${name} onInput=${setName} />
        <${TextField} id=${ids.labels} label=${t("nodes.labels")} hint=${t("nodes.labels.hint")} value=${labels} onInput=${setLabels} />
        <div class="field">
          <label for=${ids.lasting}>${t("tokens.lasting")}</label>
          <select id=${ids.lasting} value=${lasting} onChange=${(event) => setLasting(event.target.value)}>
            ${Object.keys(LASTING).map((one) => html`<option key=${one} value=${one}>${t(`invite.${one}`)}</option>`)}
          </select>
        </div>
        ${error && html`<${ErrorNotice} error=${error} />`}
        <${Submit} label=${t("invite.make")} busy=${busy} disabled=${false} onClose=${onClose} />
      </form>
    <//>
  `;
}

/** @param {{text: string, port: number}} made */
function commandOf(made) {
  const parent = Object.assign(new URL(location.origin), { protocol: "https:", port: String(made.port) });
  return `edgewise join ${parent.origin} ${made.text}`;
}
