/** What a page shows while it has nothing to show: loading, nothing there, an error. */

import { html } from "../html.js";
import { t } from "../i18n/index.js";
import { Icon } from "./icon.js";

/** Announced to screen readers; drawn as quiet bars. */
export function Loading() {
  return html`
    <div class="loading" role="status">
      <span class="visually-hidden">${t("state.loading")}</span>
      <span class="loading-bar"></span><span class="loading-bar"></span><span class="loading-bar"></span>
    </div>
  `;
}

/**
 * @param {{icon: string, title: string, children?: any}} props `children`: what can be done about it.
 */
export function Empty({ icon, title, children }) {
  return html`
    <div class="empty">
      <span class="empty-icon"><${Icon} name=${icon} /></span>
      <h2>${title}</h2>
      ${children}
    </div>
  `;
}

/**
 * The API's own words: message, hint and code.
 *
 * @param {{error: import("../api.js").ApiError, onRetry?: () => void}} props
 */
export function ErrorNotice({ error, onRetry }) {
  const unreachable = error.code === "unreachable";
  return html`
    <div class="notice notice-error" role="alert">
      <${Icon} name="warning" />
      <div class="notice-text">
        <p class="notice-title">${unreachable ? t("error.unreachable") : error.message}</p>
        ${unreachable && html`<p>${t("error.unreachable.hint")}</p>`} ${error.hint && html`<p>${error.hint}</p>`}
        <p class="notice-code">
          <span class="visually-hidden">${t("error.code")} </span><code>${error.code ?? "error"}</code>
        </p>
      </div>
      ${onRetry && html`<button type="button" class="button" onClick=${onRetry}>${t("action.retry")}</button>`}
    </div>
  `;
}

/**
 * Draws a resource: its error, its loading state, or its value.
 *
 * @param {{resource: import("../resource.js").Resource<any>, children: (value: any) => any}} props
 */
export function Loaded({ resource, children }) {
  return html`
    ${resource.error && html`<${ErrorNotice} error=${resource.error} onRetry=${resource.reload} />`}
    ${resource.loading && html`<${Loading} />`} ${resource.value !== undefined && children(resource.value)}
  `;
}
