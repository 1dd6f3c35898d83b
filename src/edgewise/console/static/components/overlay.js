/** What was found in a live picture, drawn over it: boxes, names, zones and lines. The picture itself stays as it is. */

import { html } from "../html.js";
import { formatNumber } from "../i18n/index.js";
import { coloursOf, titleOf } from "./picture.js";

/** @typedef {import("./picture.js").Detection & {track?: number}} Detection */

/**
 * @typedef {Object} Places Corners in shares of width and height.
 * @property {Object<string, [number, number][]>} zones
 * @property {Object<string, [number, number][]>} lines
 * @property {[number, number][][]} mask
 */

/**
 * Lies over the picture's box; the picture is as large as fits into it.
 *
 * @param {{width: number, height: number, objects: Detection[], places: Places, facts: Object<string, any>}} props
 */
export function Overlay({ width, height, objects, places, facts }) {
  if (!width || !height) return null;
  const colours = coloursOf(objects);
  const unit = width / 100;
  return html`
    <svg class="overlay" viewBox=${`0 0 ${width} ${height}`} preserveAspectRatio="xMidYMid meet" aria-hidden="true">
      ${Object.entries(places.zones).map(
        ([name, corners]) => html`
          <g key=${`zone ${name}`} class="place">
            <polygon points=${pointsOf(corners, width, height)} />
            <${Caption} at=${scaled(corners[0], width, height)} unit=${unit} text=${zoneWords(name, facts)} />
          </g>
        `,
      )}
      ${Object.entries(places.lines).map(
        ([name, ends]) => html`
          <g key=${`line ${name}`} class="place">
            <polyline points=${pointsOf(ends, width, height)} />
            <${Caption} at=${scaled(ends[0], width, height)} unit=${unit} text=${lineWords(name, facts)} />
          </g>
        `,
      )}
      ${objects.map(
        (one, index) => html`
          <g key=${one.track || `n${index}`} class=${`box ${colours[index]}`}>
            <rect
              x=${one.box.x1}
              y=${one.box.y1}
              width=${one.box.x2 - one.box.x1}
              height=${one.box.y2 - one.box.y1}
            />
            <${Name} object=${one} unit=${unit} />
          </g>
        `,
      )}
    </svg>
  `;
}

/** @param {{object: Detection, unit: number}} props A label on the box, inside it where there is no room above. */
function Name({ object, unit }) {
  const text = object.track ? `${titleOf(object)} ${object.track}` : titleOf(object);
  const size = 3.4 * unit;
  const above = object.box.y1 > 1.5 * size;
  const y = above ? object.box.y1 : object.box.y1 + 1.35 * size;
  return html`
    <rect class="overlay-chip" x=${object.box.x1} y=${y - 1.35 * size} width=${widthOf(text, size)} height=${1.35 * size} />
    <text class="overlay-name" x=${object.box.x1 + 0.35 * size} y=${y - 0.35 * size} font-size=${size}>${text}</text>
  `;
}

/** @param {{at: [number, number], unit: number, text: string}} props */
function Caption({ at, unit, text }) {
  const size = 3.2 * unit;
  return html`<text class="overlay-place" x=${at[0] + 0.4 * size} y=${Math.max(at[1] - 0.4 * size, 1.2 * size)} font-size=${size}
    >${text}</text
  >`;
}

/** About how wide a text is drawn; full-width characters take the room of two. */
const widthOf = (text, size) =>
  [...text].reduce((sum, character) => sum + (character.codePointAt(0) > 0x2e80 ? 1.05 : 0.6), 0.7) * size;

/** @param {[number, number]} corner */
const scaled = ([x, y], width, height) => [x * width, y * height];

const pointsOf = (corners, width, height) =>
  corners.map((corner) => scaled(corner, width, height).join(",")).join(" ");

/** A zone's name, and how many are in it now, where something counts them. */
function zoneWords(name, facts) {
  const labels = Object.entries(facts.count?.zones?.[name] ?? {}).filter(([, { inside }]) => inside > 0);
  const words = labels.map(([label, { inside }]) => `${label} ${formatNumber(inside)}`);
  return [name, ...words].join(" · ");
}

/** A line's name, and how often it was crossed each way. */
function lineWords(name, facts) {
  const labels = Object.entries(facts.count?.lines?.[name] ?? {});
  const words = labels.map(([label, { forward, backward }]) => `${label} ${formatNumber(forward)} / ${formatNumber(backward)}`);
  return [name, ...words].join(" · ");
}
