/**
 * New journal records as they happen, by Server-Sent Events. A stream is followed while some component wants it, over
 * one connection for all of them: a browser opens only six to one HTTP/1.1 server.
 */

import { eventStreamPath } from "./api.js";
import { useEffect, useRef } from "./html.js";
import { createStore, useStore } from "./store.js";

/** @typedef {{node: string, stream: string, sequence: number, time_ns: number, kind: string, body: Object<string, any>, blobs: string[]}} JournalRecord */

/** One stream of the journal, and who follows it. */
class Feed {
  /** @param {string} stream */
  constructor(stream) {
    this.stream = stream;
    /** @type {import("./store.js").Store<"closed" | "connecting" | "open">} */
    this.state = createStore("closed");
    this.listeners = new Set();
    /** @type {EventSource | null} */
    this.source = null;
  }

  /**
   * @param {(record: JournalRecord) => void} listener
   * @returns {() => void} Ends it.
   */
  follow(listener) {
    this.listeners.add(listener);
    if (!this.source) this.open();
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) this.close();
    };
  }

  /** The browser itself reconnects, and resumes after the last record it saw. */
  open() {
    const source = new EventSource(eventStreamPath(this.stream));
    this.source = source;
    this.state.set("connecting");
    source.addEventListener("open", () => this.state.set("open"));
    source.addEventListener("error", () =>
      this.state.set(source.readyState === EventSource.CLOSED ? "closed" : "connecting"),
    );
    source.addEventListener("record", ({ data }) => {
      const record = JSON.parse(data);
      for (const listener of [...this.listeners]) listener(record);
    });
  }

  close() {
    this.source?.close();
    this.source = null;
    this.state.set("closed");
  }
}

/** @type {Map<string, Feed>} */
const feeds = new Map();

/** Closes all connections, when the page is left. */
export function closeFeeds() {
  for (const feed of feeds.values()) feed.close();
}

/**
 * Calls back with every new record of a stream while the component is shown.
 *
 * @param {string} stream
 * @param {(record: JournalRecord) => void} onRecord
 * @returns {"closed" | "connecting" | "open"} Whether the connection stands.
 */
export function useFeed(stream, onRecord) {
  if (!feeds.has(stream)) feeds.set(stream, new Feed(stream));
  const feed = feeds.get(stream);
  const latest = useRef(onRecord);
  latest.current = onRecord;
  useEffect(() => feed.follow((record) => latest.current(record)), [feed]);
  return useStore(feed.state);
}
