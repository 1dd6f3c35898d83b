/** Short messages about what was just done, announced to screen readers. */

import { html } from "../html.js";
import { createStore, useStore } from "../store.js";
import { Icon } from "./icon.js";

const SHOWN_MS = 6000;

/** @type {import("../store.js").Store<{id: number, text: string, bad: boolean}[]>} */
const toasts = createStore([]);
let lastId = 0;

/** @param {string} text @param {{bad?: boolean}} [options] */
export function showToast(text, { bad = false } = {}) {
  const id = ++lastId;
  toasts.set([...toasts.get(), { id, text, bad }]);
  setTimeout(() => toasts.set(toasts.get().filter((toast) => toast.id !== id)), SHOWN_MS);
}

/** @param {import("../api.js").ApiError} error */
export function showError(error) {
  showToast([error.message, error.hint].filter(Boolean).join(" — "), { bad: true });
}

/** The region they appear in. */
export function Toasts() {
  return html`
    <div class="toasts" role="status" aria-live="polite">
      ${useStore(toasts).map(
        ({ id, text, bad }) => html`
          <p key=${id} class=${bad ? "toast toast-bad" : "toast"}>
            <${Icon} name=${bad ? "warning" : "check"} />${text}
          </p>
        `,
      )}
    </div>
  `;
}
