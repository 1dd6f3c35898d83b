/** A picture with the boxes, landmarks and labels of what was found in it. */

import { html } from "../html.js";
import { formatPercent, t } from "../i18n/index.js";

/** How many colours `css/base.css` has for boxes. */
const COLOURS = 8;

/** Up to so many boxes have their score beside the label; with more the labels would hide each other. */
const SCORED_TAGS = 6;

/**
 * @typedef {Object} Detection
 * @property {{x1: number, y1: number, x2: number, y2: number}} box Pixels of the original picture.
 * @property {string} label
 * @property {number} score
 * @property {[number, number][]} [landmarks]
 * @property {string} [name]
 * @property {number} [similarity]
 */

/** @param {Detection} found @returns {string} The name if it has one, else the label. */
export const titleOf = (found) => found.name || found.label;

/**
 * Classes that colour what was found: the same title has the same colour from picture to picture, as far as there are
 * colours that nothing else in this picture has.
 *
 * @param {Detection[]} found
 * @returns {string[]} One for each.
 */
export function coloursOf(found) {
  const taken = new Map();
  for (const title of new Set(found.map(titleOf))) {
    let colour = hashOf(title) % COLOURS;
    const used = new Set(taken.values());
    while (used.has(colour) && used.size < COLOURS) colour = (colour + 1) % COLOURS;
    taken.set(title, colour);
  }
  return found.map((one) => `colour-${taken.get(titleOf(one))}`);
}

/** @param {string} text */
function hashOf(text) {
  let hash = 7;
  for (const character of text) hash = (hash * 31 + character.codePointAt(0)) % 65521;
  return hash;
}

/**
 * @param {{src: string, alt: string, width: number, height: number, found: Detection[], active: number}} props
 *   `active` is the index of the one to bring forward; -1 for none.
 */
export function AnnotatedPicture({ src, alt, width, height, found, active }) {
  const colours = coloursOf(found);
  const described = found.map((one) => `${titleOf(one)} ${formatPercent(one.score)}`).join(", ");
  return html`
    <div class="picture" data-dimmed=${active >= 0}>
      <img src=${src} alt=${described ? `${alt}: ${described}` : alt} />
      <svg class="picture-boxes" viewBox=${`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
        ${found.map(
          (one, index) =>
            html`<${Box}
              key=${index}
              found=${one}
              colour=${colours[index]}
              active=${index === active}
              unit=${width / 160}
            />`,
        )}
      </svg>
      <div class="picture-tags" aria-hidden="true">
        ${found.map(
          (one, index) =>
            html`<${Tag}
              key=${index}
              found=${one}
              colour=${colours[index]}
              active=${index === active}
              scored=${found.length <= SCORED_TAGS}
              width=${width}
              height=${height}
            />`,
        )}
      </div>
    </div>
  `;
}

/** @param {{found: Detection, colour: string, active: boolean, unit: number}} props */
function Box({ found, colour, active, unit }) {
  const { x1, y1, x2, y2 } = found.box;
  return html`
    <g class=${`box ${colour}`} data-active=${active}>
      <rect x=${x1} y=${y1} width=${x2 - x1} height=${y2 - y1} />
      ${(found.landmarks ?? []).map(([x, y]) => html`<circle cx=${x} cy=${y} r=${unit / 2} />`)}
    </g>
  `;
}

/** @param {{found: Detection, colour: string, active: boolean, scored: boolean, width: number, height: number}} props */
function Tag({ found, colour, active, scored, width, height }) {
  const { x1, y1 } = found.box;
  const place = { left: `${clampPercent(x1 / width)}%`, top: `${clampPercent(y1 / height)}%` };
  const inside = y1 / height < 0.06 ? " tag-inside" : "";
  return html`
    <span class=${`tag ${colour}${inside}`} data-active=${active} style=${place}>
      ${titleOf(found)} ${(scored || active) && html`<span class="tag-score">${formatPercent(found.score)}</span>`}
    </span>
  `;
}

/** @param {number} fraction */
const clampPercent = (fraction) => Math.min(100, Math.max(0, fraction * 100));

/**
 * The same as words, for beside a picture that has its boxes already: each title once, with how often it is there.
 *
 * @param {{found: Detection[]}} props
 */
export function FoundSummary({ found }) {
  if (!found.length) return html`<span class="muted">${t("live.nothing")}</span>`;
  const counts = new Map();
  for (const title of found.map(titleOf)) counts.set(title, (counts.get(title) ?? 0) + 1);
  return html`${[...counts].map(
    ([title, count]) => html`<span key=${title} class="chip">${count > 1 ? `${title} × ${count}` : title}</span>`,
  )}`;
}
