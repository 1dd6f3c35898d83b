/** A modal dialog on the browser's own `<dialog>`: focus stays inside, Escape closes, focus returns afterwards. */

import { html, useEffect, useId, useRef } from "../html.js";
import { t } from "../i18n/index.js";
import { Icon } from "./icon.js";
import { showError, showToast } from "./toast.js";

/**
 * @param {{title: string, onClose: () => void, wide?: boolean, children: any}} props Shown while it is rendered.
 */
export function Dialog({ title, onClose, wide = false, children }) {
  const dialog = useRef(null);
  const titleId = useId();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.isConnected && before.focus();
  }, []);
  const onBackdrop = (event) => event.target === dialog.current && onClose();
  return html`
    <dialog
      ref=${dialog}
      class=${wide ? "dialog dialog-wide" : "dialog"}
      aria-labelledby=${titleId}
      onClose=${onClose}
      onMouseDown=${onBackdrop}
    >
      <div class="dialog-body">
        <header class="dialog-head">
          <h2 id=${titleId}>${title}</h2>
          <button
            type="button"
            class="button button-quiet button-icon"
            aria-label=${t("action.close")}
            onClick=${onClose}
          >
            <${Icon} name="close" />
          </button>
        </header>
        ${children}
      </div>
    </dialog>
  `;
}

/**
 * Asks before something is removed, which cannot be undone; removes it, and says so, or why not.
 *
 * @param {{title: string, text: string, action: string, remove: () => Promise<unknown>, removed: string, onDone: () => void, onClose: () => void}} props
 *   `removed` is said afterwards; `onDone` is called also when it did not work.
 */
export function Removal({ title, text, action, remove, removed, onDone, onClose }) {
  const confirmed = async () => {
    try {
      await remove();
      showToast(removed);
    } catch (error) {
      showError(error);
    }
    onClose();
    onDone();
  };
  return html`
    <${Dialog} title=${title} onClose=${onClose}>
      <p>${text}</p>
      <div class="dialog-actions">
        <button type="button" class="button" onClick=${onClose}>${t("action.cancel")}</button>
        <button type="button" class="button button-danger" onClick=${confirmed}>${action}</button>
      </div>
    <//>
  `;
}
