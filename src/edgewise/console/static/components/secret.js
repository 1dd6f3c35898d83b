/** A secret, shown once, with a button that copies it. */

import { html } from "../html.js";
import { t } from "../i18n/index.js";
import { Dialog } from "./dialog.js";
import { Icon } from "./icon.js";
import { showToast } from "./toast.js";

/** @param {{title: string, text: string, secret: string, onClose: () => void}} props */
export function SecretDialog({ title, text, secret, onClose }) {
  const copy = async () => {
    await navigator.clipboard.writeText(secret);
    showToast(t("tokens.copied"));
  };
  return html`
    <${Dialog} title=${title} onClose=${onClose}>
      <p>${text}</p>
      <pre class="secret" tabindex="0" aria-label=${title}>${secret}</pre>
      <div class="dialog-actions">
        ${navigator.clipboard &&
        html`<button type="button" class="button" onClick=${copy}><${Icon} name="copy" />${t("tokens.copy")}</button>`}
        <button type="button" class="button button-primary" onClick=${onClose}>${t("action.close")}</button>
      </div>
    <//>
  `;
}
