/**
 * New journal records as they happen: one Server-Sent Events connection for the whole console, because a browser
 * opens only six connections to one HTTP/1.1 server.
 */

import { eventStreamPath } from "./api.js";
import { useEffect, useRef } from "./html.js";
import { createStore } from "./store.js";

/** @typedef {{node: string, stream: string, sequence: number, time_ns: number, kind: string, body: Object<string, any>, blobs: string[]}} JournalRecord */

/** Whether the connection stands. @type {import("./store.js").Store<"connecting" | "open" | "closed">} */
export const feedState = createStore("closed");

const listeners = new Set();
/** @type {EventSource | null} */
let source = null;

/** Opens the connection; the browser itself reconnects and resumes after the last record it saw. */
export function openFeed() {
  closeFeed();
  feedState.set("connecting");
  source = new EventSource(eventStreamPath);
  source.addEventListener("open", () => feedState.set("open"));
  source.addEventListener("error", () => feedState.set(source?.readyState === EventSource.CLOSED ? "closed" : "connecting"));
  source.addEventListener("record", (message) => {
    const record = JSON.parse(message.data);
    for (const listener of [...listeners]) listener(record);
  });
}

/** Closes the connection. */
export function closeFeed() {
  source?.close();
  source = null;
  feedState.set("closed");
}

/**
 * Calls back with every new record while the component is shown.
 *
 * @param {(record: JournalRecord) => void} onRecord
 */
export function useFeed(onRecord) {
  const latest = useRef(onRecord);
  latest.current = onRecord;
  useEffect(() => {
    const listener = (record) => latest.current(record);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
}
