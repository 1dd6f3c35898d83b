/** The frame around all pages: brand, navigation, node state, language and theme. */

import { getHealth, getSystem } from "../api.js";
import { html, useEffect, useRef } from "../html.js";
import { chooseLanguage, language, LANGUAGES, t } from "../i18n/index.js";
import { theme, THEMES } from "../preferences.js";
import { useResource } from "../resource.js";
import { useStore } from "../store.js";
import { Icon } from "./icon.js";
import { SignedIn } from "./signed-in.js";
import { Toasts } from "./toast.js";

const HEALTH_EVERY_MS = 10_000;

/**
 * @param {{page: string, pages: string[], children: any}} props `page` is the one shown.
 */
export function Shell({ page, pages, children }) {
  const main = useRef(null);
  useFocusOnChange(page, main);
  const skip = (event) => {
    event.preventDefault();
    main.current.focus();
  };
  return html`
    <a class="skip" href="#main" onClick=${skip}>${t("shell.skip")}</a>
    <div class="shell">
      <div class="side">
        <a class="brand" href="#/try"><${Mark} /><span>Edgewise</span></a>
        ${pages.length > 0 && html`<${Navigation} page=${page} pages=${pages} />`}
        <div class="side-foot">
          ${pages.length > 0 && html`<${NodeState} /><${SignedIn} />`}
          <${LanguageButton} />
          <${ThemeButton} />
        </div>
      </div>
      <main id="main" tabindex="-1" ref=${main}>${children}</main>
    </div>
    <${Toasts} />
  `;
}

/**
 * Moves focus to the heading when another page is shown, so that a screen reader starts there.
 *
 * @param {string} page
 * @param {{current: HTMLElement | null}} main
 */
function useFocusOnChange(page, main) {
  const before = useRef(page);
  useEffect(() => {
    if (before.current === page) return;
    before.current = page;
    scrollTo(0, 0);
    main.current?.querySelector("h1")?.focus({ preventScroll: true });
  }, [page]);
}

/** @param {{page: string, pages: string[]}} props */
function Navigation({ page, pages }) {
  return html`
    <nav class="nav" aria-label=${t("shell.navigation")}>
      ${pages.map(
        (name) => html`
          <a key=${name} href=${`#/${name}`} aria-current=${name === page ? "page" : undefined}>
            <${Icon} name=${name} /><span>${t(`page.${name}`)}</span>
          </a>
        `,
      )}
    </nav>
  `;
}

/** The node's name and whether it answers. */
function NodeState() {
  const health = useResource(getHealth, { everyMs: HEALTH_EVERY_MS });
  const system = useResource(getSystem);
  const state = health.error ? "unreachable" : (health.value?.status ?? "connecting");
  return html`
    <p class="node-state" data-state=${state}>
      <span class="dot"></span>
      <span class="node-name">${system.value?.node ?? "…"}</span>
      <span class="visually-hidden">${t(`health.${state}`)}</span>
    </p>
  `;
}

function LanguageButton() {
  const codes = Object.keys(LANGUAGES);
  const next = codes[(codes.indexOf(useStore(language)) + 1) % codes.length];
  return html`
    <button type="button" class="button button-quiet" lang=${next} onClick=${() => chooseLanguage(next)}>
      <${Icon} name="language" /><span>${LANGUAGES[next]}</span>
    </button>
  `;
}

const THEME_ICONS = { auto: "auto", light: "sun", dark: "moon" };

function ThemeButton() {
  const now = useStore(theme);
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  const label = t("shell.theme", { theme: t(`theme.${now}`) });
  return html`
    <button
      type="button"
      class="button button-quiet button-icon"
      aria-label=${label}
      title=${label}
      data-theme-now=${now}
      onClick=${() => theme.set(next)}
    >
      <${Icon} name=${THEME_ICONS[now]} />
    </button>
  `;
}

/** The mark: two corners of a detection box around a pupil. */
function Mark() {
  return html`
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <path d="M6 13V6h7M26 19v7h-7" />
      <circle cx="16" cy="16" r="4.4" />
    </svg>
  `;
}
