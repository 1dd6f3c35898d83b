/** A line as small as a word: how a figure went lately, with its newest value as text. */

import { html } from "../html.js";

const WIDTH = 72;
const HEIGHT = 20;

/**
 * @param {{values: (number | null)[], label: string, text: string}} props Oldest first; drawn from zero to the largest.
 */
export function Sparkline({ values, label, text }) {
  const known = values.filter((value) => value !== null);
  if (!known.length) return null;
  const most = Math.max(...known, Number.EPSILON) * 1.1;
  const step = WIDTH / Math.max(1, values.length - 1);
  const points = values
    .map((value, index) => (value === null ? "" : `${(index * step).toFixed(1)},${(HEIGHT - (value / most) * HEIGHT).toFixed(1)}`))
    .filter(Boolean)
    .join(" ");
  return html`
    <span class="spark">
      <span class="visually-hidden">${label}</span>
      <svg class="spark-line" viewBox=${`0 -1 ${WIDTH} ${HEIGHT + 2}`} preserveAspectRatio="none" aria-hidden="true">
        <polyline points=${points} />
      </svg>
      <span class="spark-text">${text}</span>
    </span>
  `;
}
