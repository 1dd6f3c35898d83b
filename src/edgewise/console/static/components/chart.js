/** A line chart over time on uPlot, in the colours of the theme, with its latest values as text. */

import { html, useEffect, useLayoutEffect, useMemo, useRef } from "../html.js";
import { language } from "../i18n/index.js";
import { theme } from "../preferences.js";
import { useStore } from "../store.js";
import UPlot from "../vendor/uplot.js";

const HEIGHT_PX = 168;
const SMALL_HEIGHT_PX = 104;
export const AXIS_WIDTH_PX = 62;
const FONT = "12px 'Instrument Sans', sans-serif";

/**
 * @typedef {Object} Line
 * @property {string} label
 * @property {(number | null)[]} values As many as there are times.
 */

/**
 * @param {{title: string, times: number[], lines: Line[], format: (value: number) => string, steps?: number[], named?: boolean, small?: boolean}} props
 *   `times` in seconds since the Unix epoch; `steps` are what may lie between two grid lines; `named` shows each
 *   line's label; a `small` one is lower, and its scale begins where the values do.
 */
export function Chart({ title, times, lines, format, steps, named = false, small = false }) {
  const height = small ? SMALL_HEIGHT_PX : HEIGHT_PX;
  const data = useMemo(() => [times, ...lines.map(({ values }) => values)], [times, lines]);
  const { box, plot } = usePlot(height, data, (paint) => settings(paint, lines, { format, steps, small }), [lines.length]);
  useEffect(() => plot.current.setData(data), [data]);
  return html`
    <figure class=${small ? "chart chart-small" : "card chart"}>
      <figcaption>
        <span class="chart-title">${title}</span>
        ${lines.map(
          ({ label, values }, index) =>
            html`<${Latest}
              key=${label}
              index=${index}
              label=${named ? label : ""}
              value=${latest(values)}
              format=${format}
            />`,
        )}
      </figcaption>
      <div class=${small ? "chart-box chart-box-small" : "chart-box"} ref=${box} aria-hidden="true"></div>
    </figure>
  `;
}

/** @param {(number | null)[]} values */
const latest = (values) => values.findLast((value) => value !== null);

function Latest({ index, label, value, format }) {
  return html`
    <span class="chart-latest"
      ><span class=${`swatch line-${index % 4}`}></span>${label}
      <strong>${value === undefined ? "–" : format(value)}</strong></span
    >
  `;
}

/**
 * A plot that fills the width of its box; made anew with the theme, the language and what else it depends on.
 *
 * @param {number} height
 * @param {(number | null)[][]} data The times, then the values of each line.
 * @param {(paint: {colour: (name: string) => string, axis: Object}) => Object} settings uPlot's, from the colours of
 *   the theme and what all axes share.
 * @param {unknown[]} dependsOn
 */
export function usePlot(height, data, settings, dependsOn) {
  const box = useRef(null);
  const plot = useRef(null);
  const look = `${useStore(theme)} ${useStore(language)} ${useColourScheme()}`;
  useLayoutEffect(() => {
    const width = box.current.clientWidth;
    const shared = { width, height, padding: [8, 26, 0, 0], legend: { show: false } };
    plot.current = new UPlot({ ...shared, ...settings(paintOf(box.current)) }, data, box.current);
    const observer = new ResizeObserver(() => plot.current.setSize({ width: box.current.clientWidth, height }));
    observer.observe(box.current);
    return () => {
      observer.disconnect();
      plot.current.destroy();
    };
  }, [look, ...dependsOn]);
  return { box, plot };
}

/** @param {HTMLElement} box */
function paintOf(box) {
  const style = getComputedStyle(box);
  const colour = (name) => style.getPropertyValue(name).trim();
  const grid = { stroke: colour("--line"), width: 1 };
  return { colour, axis: { stroke: colour("--ink-2"), font: FONT, grid, ticks: { show: false } } };
}

/** Changes with the system's light or dark, so that the chart is drawn anew. */
function useColourScheme() {
  const query = useMemo(() => matchMedia("(prefers-color-scheme: dark)"), []);
  const store = useMemo(
    () => ({
      get: () => query.matches,
      subscribe(listener) {
        const onChange = () => listener(query.matches);
        query.addEventListener("change", onChange);
        return () => query.removeEventListener("change", onChange);
      },
    }),
    [query],
  );
  return useStore(store);
}

/**
 * @param {{colour: (name: string) => string, axis: Object}} paint
 * @param {Line[]} lines
 * @param {{format: (value: number) => string, steps?: number[], small: boolean}} scale
 */
function settings({ colour, axis }, lines, { format, steps, small }) {
  return {
    cursor: { show: false },
    scales: { y: { range: (_, low, high) => (small ? around(low, high) : [0, Math.max(high * 1.2, 1)]) } },
    axes: [
      { ...axis, size: 30, space: 70, grid: { show: false }, values: (_, splits) => splits.map(clock) },
      { ...axis, size: AXIS_WIDTH_PX, space: 36, incrs: steps, values: (_, splits) => splits.map(format) },
    ],
    series: [
      {},
      ...lines.map(({ label }, index) =>
        line(label, colour(`--line-${index % 4}`), lines.length === 1 ? colour("--line-0-fill") : undefined),
      ),
    ],
  };
}

/** @param {number} low @param {number} high Leaves room above and below, also for a value that does not change. */
export function around(low, high) {
  const room = (high - low) * 0.15 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

/** @param {string} label @param {string} stroke @param {string} [fill] */
function line(label, stroke, fill) {
  return { label, stroke, fill, width: 2, points: { size: 5, fill: stroke }, spanGaps: true };
}

/** @param {number} seconds */
function clock(seconds) {
  const time = new Date(seconds * 1000);
  return [time.getHours(), time.getMinutes(), time.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}
