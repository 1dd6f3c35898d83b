/** Languages: one JSON file each with the same keys (a test compares them). `t` reads the one in use. */

import { createStore } from "../store.js";

/** Language code → its own name. */
export const LANGUAGES = { en: "English", zh: "中文" };

const STORAGE_KEY = "edgewise.language";
const LOCALES = { en: "en-GB", zh: "zh-CN" };

/** @type {Object<string, string>} */
let messages = {};

/** The language in use; components that follow it are drawn again when it changes. */
export const language = createStore("en");

/** @returns {string} The remembered language, or the first of the browser's that there is, or English. */
export function preferredLanguage() {
  const remembered = localStorage.getItem(STORAGE_KEY);
  if (remembered in LANGUAGES) return remembered;
  const wanted = navigator.languages.map((tag) => tag.split("-")[0]);
  return wanted.find((code) => code in LANGUAGES) ?? "en";
}

/**
 * Loads a language and switches to it.
 *
 * @param {string} code
 */
export async function loadLanguage(code) {
  const response = await fetch(new URL(`${code}.json`, import.meta.url));
  if (!response.ok) throw new Error(`language ${code}: HTTP ${response.status}`);
  messages = await response.json();
  document.documentElement.lang = LOCALES[code];
  language.set(code);
}

/** @param {string} code */
export async function chooseLanguage(code) {
  localStorage.setItem(STORAGE_KEY, code);
  await loadLanguage(code);
}

/**
 * The text of a key in the language in use, with `{name}` replaced by values. A number `n` among the values chooses
 * between `key.one` and `key.other` where the language file has them.
 *
 * @param {string} key
 * @param {Object<string, string | number>} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
  const text = messages[key] ?? messages[`${key}.${plural(values.n)}`] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return typeof value === "number" ? formatNumber(value) : (value ?? whole);
  });
}

/** @param {string} key @returns {boolean} Whether the language file has this key. */
export const hasText = (key) => key in messages;

/** @param {number | string | undefined} n */
function plural(n) {
  return typeof n === "number" && new Intl.PluralRules(locale()).select(n) === "one" ? "one" : "other";
}

const locale = () => LOCALES[language.get()];

/** @param {number} value @param {number} [digits] Digits after the point. */
export const formatNumber = (value, digits = 0) =>
  new Intl.NumberFormat(locale(), { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);

/** @param {number} value A measured figure: four significant digits. */
export const formatFigure = (value) => new Intl.NumberFormat(locale(), { maximumSignificantDigits: 4 }).format(value);

/** @param {number} fraction 0..1 @param {number} [digits] Digits after the point. */
export const formatPercent = (fraction, digits = 0) =>
  new Intl.NumberFormat(locale(), {
    style: "percent",
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(fraction);

/** @param {number} ms Milliseconds; more digits for small ones. */
export const formatMs = (ms) => `${formatNumber(ms, ms < 10 ? 1 : 0)} ms`;

/** @param {number} bytes */
export function formatBytes(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const step = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** step;
  return `${formatNumber(value, step > 0 && value < 10 ? 1 : 0)} ${units[step]}`;
}

/** @param {number} timeNs Nanoseconds since the Unix epoch. */
const date = (timeNs) => new Date(timeNs / 1e6);

/** @param {number} timeNs */
export const formatTime = (timeNs) =>
  new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(
    date(timeNs),
  );

/** @param {number} timeNs */
export const formatDay = (timeNs) =>
  new Intl.DateTimeFormat(locale(), { weekday: "long", day: "numeric", month: "long", year: "numeric" }).format(
    date(timeNs),
  );

/** @param {number} timeMs Milliseconds since the Unix epoch. Day and time, in the browser's zone. */
export const formatMoment = (timeMs) =>
  new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" }).format(timeMs);

/** @param {number} timeMs A short day, such as 30 Nov. */
export const formatShortDay = (timeMs) =>
  new Intl.DateTimeFormat(locale(), { day: "numeric", month: "short" }).format(timeMs);

/** @param {number} timeMs Hours and minutes. */
export const formatClock = (timeMs) =>
  new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(timeMs);

/** @param {number | bigint} value Any number of a table: ten significant digits, whole ones in full, grouped from 10,000. */
export const formatCell = (value) =>
  new Intl.NumberFormat(locale(), {
    useGrouping: "min2",
    ...(Number.isInteger(Number(value)) ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 10 }),
  }).format(value);

/** @param {number} seconds */
export function formatDuration(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return t("duration.seconds", { s: Math.floor(seconds) });
  if (minutes < 60) return t("duration.minutes", { m: minutes });
  if (minutes < 48 * 60) return t("duration.hours", { h: Math.floor(minutes / 60), m: minutes % 60 });
  return t("duration.days", { d: Math.floor(minutes / 1440), h: Math.floor(minutes / 60) % 24 });
}
