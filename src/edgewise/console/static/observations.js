/**
 * What the pipelines find, as they find it, by Server-Sent Events over one connection for all of them. The newest few
 * of each are kept, so that boxes can be laid over the very picture they were found in.
 */

import { OBSERVATIONS_PATH } from "./api.js";
import { useEffect, useState } from "./html.js";

/** So many observations of a pipeline are kept: pictures may be shown a little later than they are told of. */
const KEPT = 90;

/**
 * @typedef {Object} Seen
 * @property {string} camera
 * @property {number} number
 * @property {number} time_ns
 * @property {number} width
 * @property {number} height
 * @property {import("./components/overlay.js").Detection[]} objects
 * @property {Object<string, any>} facts
 * @property {number | null} level_db
 * @property {Object<string, any>} values
 */

/** @type {Map<string, Seen[]>} Oldest first. */
const kept = new Map();
const listeners = new Set();
/** @type {EventSource | null} */
let source = null;

function open() {
  source = new EventSource(OBSERVATIONS_PATH);
  source.addEventListener("seen", ({ data }) => {
    const seen = JSON.parse(data);
    const list = kept.get(seen.camera) ?? [];
    if (list.length && list.at(-1).number >= seen.number) list.length = 0; // the node was started anew
    list.push(seen);
    if (list.length > KEPT) list.shift();
    kept.set(seen.camera, list);
    for (const listener of [...listeners]) listener(seen);
  });
}

/** Closes the connection, when the page is left. */
export function closeObservations() {
  source?.close();
  source = null;
}

/**
 * @param {(seen: Seen) => void} listener
 * @returns {() => void} Ends it.
 */
function follow(listener) {
  listeners.add(listener);
  if (!source) open();
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) closeObservations();
  };
}

/**
 * The newest observation of a pipeline, as it changes.
 *
 * @param {string} camera
 * @returns {Seen | undefined}
 */
export function useSeen(camera) {
  const [seen, setSeen] = useState(() => kept.get(camera)?.at(-1));
  useEffect(() => follow((one) => one.camera === camera && setSeen(one)), [camera]);
  return seen;
}

/**
 * The newest observations of a pipeline, oldest first, as they change.
 *
 * @param {string} camera
 * @returns {Seen[]}
 */
export function useHistory(camera) {
  useSeen(camera);
  return kept.get(camera) ?? [];
}

/**
 * The observation of one picture, or the last before it.
 *
 * @param {string} camera
 * @param {number} number Of the picture.
 * @returns {Seen | undefined}
 */
export const seenAt = (camera, number) => kept.get(camera)?.findLast((one) => one.number <= number);
