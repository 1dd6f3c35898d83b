/** The chart of a query's result: lines over time on uPlot, or bars. */

import { html, useMemo, useState } from "../html.js";
import { formatCell, formatClock, formatFigure, formatMoment, formatShortDay, t } from "../i18n/index.js";
import { AXIS_WIDTH_PX, around, usePlot } from "./chart.js";
import { chartOf } from "./query-values.js";

const HEIGHT_PX = 260;
const DAY_S = 86_400;

/** @param {{result: import("../api.js").QueryResult}} props Nothing when there is nothing to draw. */
export function QueryChart({ result }) {
  const chart = useMemo(() => chartOf(result), [result]);
  if (!chart) return null;
  const View = chart.kind === "lines" ? LineChart : BarChart;
  return html`<${View} key=${result} chart=${chart} />`;
}

/** @param {{chart: import("./query-values.js").Lines}} props */
function LineChart({ chart }) {
  const { what, times, lines, all } = chart;
  const [pointed, setPointed] = useState(null);
  const data = [times, ...lines.map(({ values }) => values)];
  const { box } = usePlot(HEIGHT_PX, data, (paint) => settings(paint, lines, setPointed), [chart]);
  const place = pointed ?? times.length - 1;
  return html`
    <figure class="query-chart" aria-label=${t("data.chart.of", { what })}>
      <figcaption>
        <span class="chart-title">${what}</span>
        <span class="muted small">${formatMoment(times[place] * 1000)}</span>
        ${all > lines.length && html`<span class="muted small">${t("data.chart.some", { shown: lines.length, n: all })}</span>`}
        ${lines.map(
          ({ label, values }, index) => html`
            <span key=${label} class="chart-latest"
              ><span class=${`swatch line-${index}`}></span>${label}
              <strong>${figure(pointed === null ? values.findLast((value) => value !== null) : values[place])}</strong></span
            >
          `,
        )}
      </figcaption>
      <div class="query-chart-box" ref=${box} aria-hidden="true"></div>
    </figure>
  `;
}

/** @param {number | null | undefined} value */
const figure = (value) => (value === null || value === undefined ? "–" : formatFigure(value));

/**
 * @param {{colour: (name: string) => string, axis: Object}} paint
 * @param {import("./query-values.js").Line[]} lines
 * @param {(place: number | null) => void} onPoint
 */
function settings({ colour, axis }, lines, onPoint) {
  return {
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    hooks: { setCursor: [(plot) => onPoint(plot.cursor.idx ?? null)] },
    scales: { y: { range: (_, low, high) => around(low, high) } },
    axes: [
      { ...axis, size: 30, space: 74, grid: { show: false }, values: (_, splits, __, ___, step) => splits.map(tick(step)) },
      { ...axis, size: AXIS_WIDTH_PX, space: 36, values: (_, splits) => splits.map(formatFigure) },
    ],
    series: [
      {},
      ...lines.map(({ label }, index) => ({
        label,
        stroke: colour(`--line-${index}`),
        fill: lines.length === 1 ? colour("--line-0-fill") : undefined,
        width: 2,
        points: { show: lines[index].values.length < 60, size: 5, fill: colour(`--line-${index}`) },
        spanGaps: true,
      })),
    ],
  };
}

/** @param {number} step Seconds between two ticks. */
const tick = (step) => (seconds) => {
  const midnight = new Date(seconds * 1000).getHours() === 0 && new Date(seconds * 1000).getMinutes() === 0;
  return step >= DAY_S || midnight ? formatShortDay(seconds * 1000) : formatClock(seconds * 1000);
};

/** @param {{chart: import("./query-values.js").Bars}} props */
function BarChart({ chart }) {
  const { what, bars, all } = chart;
  const largest = Math.max(...bars.map(({ value }) => Math.abs(value))) || 1;
  return html`
    <figure class="query-chart" aria-label=${t("data.chart.of", { what })}>
      <figcaption>
        <span class="chart-title">${what}</span>
        ${all > bars.length && html`<span class="muted small">${t("data.chart.some", { shown: bars.length, n: all })}</span>`}
      </figcaption>
      <ol class="query-bars">
        ${bars.map(
          ({ label, value }, index) => html`
            <li key=${index}>
              <span class="query-bar-label" title=${label}>${label}</span>
              <span class="bar-track"
                ><span
                  class=${value < 0 ? "bar-fill bar-below" : "bar-fill"}
                  style=${{ width: `${(Math.abs(value) / largest) * 100}%` }}
                ></span
              ></span>
              <span class="bar-value">${formatCell(value)}</span>
            </li>
          `,
        )}
      </ol>
    </figure>
  `;
}
