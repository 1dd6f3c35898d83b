/** Events: what was seen and done, newest first, growing as it happens. */

import { getEvents, snapshotPath } from "../api.js";
import { Dialog } from "../components/dialog.js";
import { lookOf, sentenceOf, sourceOf } from "../components/event-words.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/page.js";
import { Empty, Loaded } from "../components/states.js";
import { showError } from "../components/toast.js";
import { feedState, useFeed } from "../feed.js";
import { html, useState } from "../html.js";
import { formatDay, formatTime, t } from "../i18n/index.js";
import { useResource } from "../resource.js";
import { useStore } from "../store.js";

const PAGE_SIZE = 50;

/** Filter name → glob of kinds, as the API takes it. */
const FILTERS = { all: "", known: "face.known", strangers: "face.stranger", alarms: "alarm.*" };

export function EventsPage() {
  const [filter, setFilter] = useState("all");
  const kind = FILTERS[filter];
  const events = useResource((signal) => getEvents({ kind, limit: PAGE_SIZE }, signal), { key: kind });
  useFeed((record) => matches(kind, record.kind) && events.value && events.replace(merge(events.value, [record])));
  return html`
    <${Page} name="events" actions=${html`<${FeedState} />`}>
      <${Filter} value=${filter} onChange=${setFilter} />
      <${Loaded} resource=${events}>
        ${(records) => (records.length ? html`<${Timeline} key=${kind} records=${records} kind=${kind} onOlder=${events.replace} />` : html`<${NoEvents} />`)}
      <//>
    <//>
  `;
}

/** @param {string} glob @param {string} kind */
const matches = (glob, kind) => glob === "" || glob === kind || (glob.endsWith("*") && kind.startsWith(glob.slice(0, -1)));

/** Newest first, each record once. */
function merge(records, more) {
  const byPlace = new Map([...records, ...more].map((record) => [placeOf(record), record]));
  return [...byPlace.values()].sort((one, other) => other.sequence - one.sequence);
}

/** @param {import("../feed.js").JournalRecord} record */
const placeOf = ({ node, stream, sequence }) => `${node}/${stream}/${sequence}`;

function FeedState() {
  const state = useStore(feedState);
  return html`<span class="badge" data-state=${state === "open" ? "running" : "waiting"}>${t(`feed.${state}`)}</span>`;
}

/** Native radio buttons: arrow keys move between them. */
function Filter({ value, onChange }) {
  return html`
    <fieldset class="segments">
      <legend class="visually-hidden">${t("events.filter")}</legend>
      ${Object.keys(FILTERS).map(
        (name) => html`
          <label key=${name} class="segment">
            <input type="radio" name="filter" value=${name} checked=${name === value} onChange=${() => onChange(name)} />
            <span>${t(`events.filter.${name}`)}</span>
          </label>
        `,
      )}
    </fieldset>
  `;
}

function NoEvents() {
  return html`<${Empty} icon="events" title=${t("events.none")}><p>${t("events.none.hint")}</p><//>`;
}

function Timeline({ records, kind, onOlder }) {
  const [shown, setShown] = useState(null);
  const [ended, setEnded] = useState(records.length < PAGE_SIZE);
  const older = async () => {
    try {
      const more = await getEvents({ kind, limit: PAGE_SIZE, before: records.at(-1).sequence });
      setEnded(more.length < PAGE_SIZE);
      onOlder(merge(records, more));
    } catch (error) {
      showError(error);
    }
  };
  return html`
    ${byDay(records).map(
      ([day, ofDay]) => html`
        <section key=${day} aria-label=${day}>
          <h2 class="day">${day}</h2>
          <ol class="events">
            ${ofDay.map((record) => html`<li key=${placeOf(record)}><${EventRow} record=${record} onShow=${setShown} /></li>`)}
          </ol>
        </section>
      `,
    )}
    ${!ended && html`<button type="button" class="button" onClick=${older}>${t("events.older")}</button>`}
    ${shown && html`<${EventDialog} record=${shown} onClose=${() => setShown(null)} />`}
  `;
}

/** @returns {[string, import("../feed.js").JournalRecord[]][]} In the order of the records. */
function byDay(records) {
  const days = new Map();
  for (const record of records) {
    const day = formatDay(record.time_ns);
    days.set(day, [...(days.get(day) ?? []), record]);
  }
  return [...days];
}

function EventRow({ record, onShow }) {
  const { icon, tone } = lookOf(record.kind);
  const [snapshot] = record.blobs;
  return html`
    <button type="button" class="event" data-tone=${tone} data-kind=${record.kind} onClick=${() => onShow(record)}>
      <time class="event-time">${formatTime(record.time_ns)}</time>
      <span class="event-icon"><${Icon} name=${icon} /></span>
      <span class="event-words">
        <span class="event-sentence">${sentenceOf(record)}</span>
        <span class="muted small">${sourceOf(record)}</span>
      </span>
      ${snapshot ? html`<img class="event-thumb" src=${snapshotPath(snapshot)} alt="" loading="lazy" />` : html`<span></span>`}
    </button>
  `;
}

function EventDialog({ record, onClose }) {
  const sentence = sentenceOf(record);
  return html`
    <${Dialog} title=${sentence} onClose=${onClose} wide>
      ${record.blobs.map((digest) => html`<img key=${digest} class="snapshot" src=${snapshotPath(digest)} alt=${t("events.snapshot", { sentence })} />`)}
      <dl class="facts">
        <div><dt>${t("events.time")}</dt><dd>${formatDay(record.time_ns)}, ${formatTime(record.time_ns)}</dd></div>
        <div><dt>${t("events.kind")}</dt><dd><code>${record.kind}</code></dd></div>
        <div><dt>${t("events.place")}</dt><dd><code>${placeOf(record)}</code></dd></div>
      </dl>
      <details class="details">
        <summary><${Icon} name="chevron" />${t("events.raw")}</summary>
        <pre tabindex="0" aria-label=${t("events.raw")}>${JSON.stringify(record.body, null, 2)}</pre>
      </details>
    <//>
  `;
}
