/** What dialogs with a form share: sending it once, its error, and the buttons at its end. */

import { html, useId, useState } from "../html.js";
import { t } from "../i18n/index.js";

/** Runs an action for a form, with its busy state and its error. */
export function useSubmit(action) {
  const [state, setState] = useState({ busy: false, error: null });
  const submit = async (event) => {
    event.preventDefault();
    setState({ busy: true, error: null });
    try {
      await action();
    } catch (error) {
      setState({ busy: false, error });
    }
  };
  return { ...state, submit };
}

/** @param {{label: string, busy: boolean, disabled: boolean, onClose: () => void}} props */
export function Submit({ label, busy, disabled, onClose }) {
  return html`
    <div class="dialog-actions">
      <button type="button" class="button" onClick=${onClose}>${t("action.cancel")}</button>
      <button type="submit" class="button button-primary" disabled=${busy || disabled} aria-busy=${busy}>
        ${label}
      </button>
    </div>
  `;
}

/** @param {{id: string, label: string, hint: string, value: string, onInput: (value: string) => void}} props */
export function TextField({ id, label, hint, value, onInput }) {
  return html`
    <div class="field">
      <label for=${id}>${label}</label>
      <input
        id=${id}
        maxlength="2100"
        autocomplete="off"
        autocapitalize="none"
        spellcheck=${false}
        value=${value}
        onInput=${(event) => onInput(event.target.value)}
      />
      <p class="field-hint">${hint}</p>
    </div>
  `;
}

/**
 * A password to be chosen, with what is asked of one.
 *
 * @param {{label: string, value: string, required?: boolean, onInput: (value: string) => void}} props
 */
export function NewPassword({ label, value, required = true, onInput }) {
  const id = useId();
  return html`
    <div class="field">
      <label for=${id}>${label}</label>
      <input
        id=${id}
        type="password"
        autocomplete="new-password"
        minlength="12"
        maxlength="256"
        required=${required}
        value=${value}
        onInput=${(event) => onInput(event.target.value)}
      />
      <p class="field-hint">${t("accounts.password.hint")}</p>
    </div>
  `;
}
