/** Journal records as a person reads them: icon, tone and a sentence by their kind. */

import { hasText, t } from "../i18n/index.js";

/** By the longest prefix of the kind that is listed. */
const LOOKS = {
  "face.known": { icon: "known", tone: "good" },
  "face.stranger": { icon: "stranger", tone: "warm" },
  face: { icon: "people", tone: "calm" },
  alarm: { icon: "alarm", tone: "bad" },
  device: { icon: "device", tone: "calm" },
  "device.lock": { icon: "locked", tone: "calm" },
  rule: { icon: "check", tone: "calm" },
  object: { icon: "try", tone: "calm" },
};

const PLAIN = { icon: "events", tone: "calm" };

/** @param {string} kind @returns {{icon: string, tone: string}} */
export function lookOf(kind) {
  const words = kind.split(".");
  for (let length = words.length; length > 0; length -= 1) {
    const look = LOOKS[words.slice(0, length).join(".")];
    if (look) return look;
  }
  return PLAIN;
}

/** @param {import("../feed.js").JournalRecord} record @returns {string} One sentence; the kind itself when there is none. */
export function sentenceOf(record) {
  const key = `event.${record.kind}`;
  return hasText(key) ? t(key, textFacts(record.body)) : record.kind;
}

/** The facts of a body that can stand in a sentence. */
const textFacts = (body) =>
  Object.fromEntries(Object.entries(body).filter(([, value]) => typeof value === "string" || typeof value === "number"));

/** @param {import("../feed.js").JournalRecord} record @returns {string} Which camera or sensor it came from. */
export const sourceOf = (record) => record.body.source ?? "";
