/** Journal records as a person reads them: icon, tone, a sentence, and where it came from. */

import { formatNumber, hasText, t } from "../i18n/index.js";

/** @typedef {import("../feed.js").JournalRecord} JournalRecord */

const LOOKS = {
  "face.known": { icon: "known", tone: "good" },
  "face.unknown": { icon: "stranger", tone: "warm" },
  "alarm.raised": { icon: "warning", tone: "bad" },
  "decision.done": { icon: "check", tone: "good" },
  "decision.expired": { icon: "warning", tone: "warm" },
  "decision.failed": { icon: "warning", tone: "bad" },
  "zone.entered": { icon: "stranger", tone: "warm" },
  "object.loitering": { icon: "warning", tone: "warm" },
  "clip.recorded": { icon: "play", tone: "calm" },
  "clip.failed": { icon: "warning", tone: "bad" },
  "clip.lost": { icon: "warning", tone: "warm" },
  "device.command": { icon: "device", tone: "calm" },
};

const PLAIN = { icon: "events", tone: "calm" };

/** @param {string} kind @returns {{icon: string, tone: string}} */
export const lookOf = (kind) => LOOKS[kind] ?? PLAIN;

/** @param {JournalRecord} record @returns {string} One sentence; the kind itself where there are no words for it. */
export function sentenceOf({ kind, body }) {
  if (kind === "device.command") return actionWords(body);
  if (kind === "decision.done") return body.actions.map(actionWords).join(", ");
  if (kind === "decision.expired") return t("event.decision.expired", { rule: body.rule });
  if (kind === "decision.failed") return t("event.decision.failed", { rule: body.rule, reason: reasonOf(body) });
  const key = `event.${kind}`;
  return hasText(key) ? t(key, plainFacts(body)) : kind;
}

/** @param {JournalRecord} record @returns {string} Which source it was seen by, or what led to it. */
export function sourceOf({ kind, body }) {
  if (kind === "device.command") return t("event.byHand");
  if (kind.startsWith("decision.")) return t("event.rule", { rule: body.rule });
  return body.source ?? "";
}

/** @param {{device: string, command: string, arguments: Object<string, any>}} action */
function actionWords({ device, command, arguments: args }) {
  const key = `command.${command}`;
  return hasText(key) ? t(key, { device, ...plainFacts(args) }) : `${device}: ${command}`;
}

/** @param {{error?: {message: string}, actions?: {error?: {message: string}}[]}} body */
const reasonOf = ({ error, actions = [] }) => (error ?? actions.find((action) => action.error)?.error)?.message ?? "";

/** The facts that can stand in a sentence, numbers in the person's own writing. */
const plainFacts = (facts) =>
  Object.fromEntries(
    Object.entries(facts)
      .filter(([, value]) => typeof value === "string" || typeof value === "number")
      .map(([name, value]) => [
        name,
        typeof value === "number" ? formatNumber(value, Number.isInteger(value) ? 0 : 1) : value,
      ]),
  );
