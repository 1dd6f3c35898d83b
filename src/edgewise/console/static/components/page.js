/** The frame of a page: its heading, one sentence on what it is for, and actions beside them. */

import { html, useEffect } from "../html.js";
import { t } from "../i18n/index.js";

/**
 * @param {{name: string, actions?: any, children: any}} props `name` is the page's key in the language files.
 */
export function Page({ name, actions, children }) {
  const title = t(`page.${name}`);
  useEffect(() => {
    document.title = `${title} · Edgewise`;
  }, [title]);
  return html`
    <header class="page-head">
      <div>
        <h1 tabindex="-1">${title}</h1>
        <p class="lead">${t(`page.${name}.lead`)}</p>
      </div>
      ${actions && html`<div class="page-actions">${actions}</div>`}
    </header>
    ${children}
  `;
}
