/** Who is signed in: their name in the frame, and behind it their password and the way out. */

import { changePassword, loginNeeded, signOut } from "../api.js";
import { html, useId, useState } from "../html.js";
import { t } from "../i18n/index.js";
import { loadSession, session } from "../session.js";
import { useStore } from "../store.js";
import { Dialog } from "./dialog.js";
import { NewPassword, useSubmit } from "./form.js";
import { Icon } from "./icon.js";
import { ErrorNotice } from "./states.js";
import { showError, showToast } from "./toast.js";

/** Nothing while the node asks nobody who they are. */
export function SignedIn() {
  const now = useStore(session);
  const [shown, setShown] = useState(false);
  if (!now?.signed_in || now.via === "loopback") return null;
  const name = now.name || t("session.token");
  return html`
    <button
      type="button"
      class="button button-quiet signed-in"
      aria-label=${t("session.of", { name })}
      title=${t("session.of", { name })}
      onClick=${() => setShown(true)}
    >
      <${Icon} name="accounts" /><span class="signed-in-name">${name}</span>
    </button>
    ${shown && html`<${Mine} now=${now} name=${name} onClose=${() => setShown(false)} />`}
  `;
}

/** @param {{now: import("../session.js").Session, name: string, onClose: () => void}} props */
function Mine({ now, name, onClose }) {
  const leave = async (everywhere) => {
    try {
      await signOut({ everywhere });
      await loadSession();
      loginNeeded.set(true);
    } catch (error) {
      showError(error);
    }
  };
  return html`
    <${Dialog} title=${name} onClose=${onClose}>
      <p class="muted">${t(`role.${now.role}.may`)}</p>
      ${now.via === "session" && html`<${Password} onDone=${onClose} />`}
      <div class="dialog-actions">
        ${now.via === "session" &&
        html`<button type="button" class="button" onClick=${() => leave(true)}>${t("session.leaveAll")}</button>`}
        <button type="button" class="button" onClick=${() => leave(false)}>
          <${Icon} name="leave" />${t("session.leave")}
        </button>
      </div>
    <//>
  `;
}

/** @param {{onDone: () => void}} props */
function Password({ onDone }) {
  const id = useId();
  const [current, setCurrent] = useState("");
  const [wanted, setWanted] = useState("");
  const { busy, error, submit } = useSubmit(async () => {
    session.set(await changePassword(current, wanted));
    showToast(t("session.password.changed"));
    onDone();
  });
  return html`
    <details class="details">
      <summary><${Icon} name="chevron" />${t("session.password")}</summary>
      <form class="details-body" onSubmit=${submit}>
        <div class="field">
          <label for=${id}>${t("session.password.current")}</label>
          <input
            id=${id}
            type="password"
            autocomplete="current-password"
            required
            maxlength="256"
            value=${current}
            onInput=${(event) => setCurrent(event.target.value)}
          />
        </div>
        <${NewPassword} label=${t("session.password.new")} value=${wanted} onInput=${setWanted} />
        ${error && html`<${ErrorNotice} error=${error} />`}
        <button type="submit" class="button button-primary" disabled=${busy} aria-busy=${busy}>
          ${t("session.password.submit")}
        </button>
      </form>
    </details>
  `;
}
