/** Pipelines without pictures: how loud it is, and what sensors say. */

import { getEvents } from "../api.js";
import { html } from "../html.js";
import { formatFigure, formatNumber, formatTime, t } from "../i18n/index.js";
import { useHistory, useSeen } from "../observations.js";
import { useResource } from "../resource.js";
import { Chart } from "./chart.js";
import { lookOf, sentenceOf } from "./event-words.js";
import { Icon } from "./icon.js";

/** What counts as silence, decibels below full scale. */
const SILENCE_DB = -60;
const EVENTS_EVERY_MS = 3000;
const EVENTS_SHOWN = 3;
const RECENT = 100;
/** Channels that get a chart of their own; the others stand in the table alone. */
const CHARTS = 2;
const READINGS_KEPT = 200;

/** @param {{name: string}} props */
export function SoundView({ name }) {
  const seen = useSeen(name);
  const level = Math.max(SILENCE_DB, seen?.level_db ?? SILENCE_DB);
  const events = useResource(
    async (signal) => (await getEvents({ stream: "events", limit: RECENT }, signal)).events,
    { everyMs: EVENTS_EVERY_MS },
  );
  const own = (events.value ?? []).filter((record) => record.body.source === name).slice(0, EVENTS_SHOWN);
  return html`
    <div class="sense">
      <div class="level">
        <meter
          min=${SILENCE_DB}
          max="0"
          value=${level}
          aria-label=${t("sound.level.of", { name })}
        ></meter>
        <span class="level-value">${seen ? `${formatNumber(seen.level_db, 0)} dB` : "–"}</span>
      </div>
      ${own.length === 0
        ? html`<p class="muted small">${t("sound.nothing")}</p>`
        : html`<ul class="sense-events">
            ${own.map(
              (record) => html`
                <li key=${record.sequence} data-tone=${lookOf(record.kind).tone}>
                  <${Icon} name=${lookOf(record.kind).icon} />
                  <span>${sentenceOf(record)}</span>
                  <time class="muted small">${formatTime(record.time_ns)}</time>
                </li>
              `,
            )}
          </ul>`}
    </div>
  `;
}

/** @param {{name: string}} props */
export function ReadingView({ name }) {
  const past = useResource(async (signal) => {
    const { events } = await getEvents({ stream: "readings", limit: READINGS_KEPT }, signal);
    return events.filter((record) => record.body.source === name).map(({ time_ns, body }) => ({ time_ns, ...body }));
  });
  const live = useHistory(name);
  const newestPast = past.value?.[0]?.time_ns ?? 0;
  const readings = [...(past.value ?? [])].reverse().concat(live.filter((seen) => seen.time_ns > newestPast));
  const newest = readings.at(-1);
  if (!newest) return html`<div class="sense"><p class="muted">${t("reading.waiting")}</p></div>`;
  const channels = Object.keys(newest.values);
  const numbers = channels.filter((channel) => readings.some(({ values }) => typeof values[channel] === "number"));
  return html`
    <div class="sense">
      <dl class="readings">
        ${channels.map(
          (channel) => html`<div key=${channel}>
            <dt>${channel}</dt>
            <dd>${valueWords(newest.values[channel])}</dd>
          </div>`,
        )}
      </dl>
      ${readings.length > 1 &&
      numbers.slice(0, CHARTS).map(
        (channel) => html`<${Chart}
          key=${channel}
          title=${channel}
          times=${readings.map(({ time_ns }) => time_ns / 1e9)}
          lines=${[{ label: channel, values: readings.map(({ values }) => numberOf(values[channel])) }]}
          format=${formatFigure}
          small
        />`,
      )}
      <p class="muted small">${t("reading.at", { time: formatTime(newest.time_ns) })}</p>
    </div>
  `;
}

/** @param {unknown} value */
const numberOf = (value) => (typeof value === "number" ? value : null);

/** @param {unknown} value */
function valueWords(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" ? formatFigure(value) : String(value);
}
