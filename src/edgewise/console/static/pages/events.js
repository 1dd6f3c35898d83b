/** Events: what was seen and done, newest first, growing as it happens. */

import { getEvents, snapshotPath } from "../api.js";
import { ClipPlayer } from "../components/clip.js";
import { Dialog } from "../components/dialog.js";
import { lookOf, sentenceOf, sourceOf } from "../components/event-words.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/page.js";
import { Empty, Loaded } from "../components/states.js";
import { showError } from "../components/toast.js";
import { useFeed } from "../feed.js";
import { html, useState } from "../html.js";
import { formatDay, formatTime, t } from "../i18n/index.js";
import { useResource } from "../resource.js";

const PAGE_SIZE = 50;

/** What can be chosen: a stream of the journal, and of that one kind or all. */
const FILTERS = {
  all: { stream: "events", kind: "" },
  known: { stream: "events", kind: "face.known" },
  strangers: { stream: "events", kind: "face.unknown" },
  alarms: { stream: "alarms", kind: "" },
  clips: { stream: "events", kind: "clip.recorded" },
  actions: { stream: "decisions", kind: "" },
};

/** @typedef {import("../feed.js").JournalRecord} JournalRecord */

export function EventsPage() {
  const [filter, setFilter] = useState("all");
  return html`<${Filtered} key=${filter} filter=${filter} onFilter=${setFilter} />`;
}

/** @param {{filter: string, onFilter: (filter: string) => void}} props */
function Filtered({ filter, onFilter }) {
  const { stream, kind } = FILTERS[filter];
  const list = useResource((signal) => getEvents({ stream, kind, limit: PAGE_SIZE }, signal));
  const feed = useFeed(stream, (record) => {
    if (list.value && (!kind || record.kind === kind)) list.replace(extended(list.value, [record]));
  });
  const older = async () => {
    try {
      const more = await getEvents({ stream, kind, limit: PAGE_SIZE, before: list.value.next_before });
      list.replace({ ...extended(list.value, more.events), next_before: more.next_before });
    } catch (error) {
      showError(error);
    }
  };
  return html`
    <${Page} name="events" actions=${html`<${FeedState} state=${feed} />`}>
      <${Filter} value=${filter} onChange=${onFilter} />
      <${Loaded} resource=${list}>
        ${({ events, next_before: more }) => html`
          ${events.length ? html`<${Timeline} records=${events} />` : html`<${NoEvents} />`}
          ${more > 0 && html`<button type="button" class="button" onClick=${older}>${t("events.older")}</button>`}
        `}
      <//>
    <//>
  `;
}

/** A list with more records: newest first, each once. */
function extended(list, more) {
  const byPlace = new Map([...list.events, ...more].map((record) => [placeOf(record), record]));
  return { ...list, events: [...byPlace.values()].sort((one, other) => other.sequence - one.sequence) };
}

/** @param {JournalRecord} record */
const placeOf = ({ node, stream, sequence }) => `${node}/${stream}/${sequence}`;

/** @param {{state: "closed" | "connecting" | "open"}} props */
function FeedState({ state }) {
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
            <input
              type="radio"
              name="filter"
              value=${name}
              checked=${name === value}
              onChange=${() => onChange(name)}
            />
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

/** @param {{records: JournalRecord[]}} props */
function Timeline({ records }) {
  const [shown, setShown] = useState(null);
  return html`
    ${byDay(records).map(
      ([day, ofDay]) => html`
        <section key=${day} aria-label=${day}>
          <h2 class="day">${day}</h2>
          <ol class="events">
            ${ofDay.map(
              (record) => html`<li key=${placeOf(record)}><${EventRow} record=${record} onShow=${setShown} /></li>`,
            )}
          </ol>
        </section>
      `,
    )}
    ${shown && html`<${EventDialog} record=${shown} onClose=${() => setShown(null)} />`}
  `;
}

/** @param {JournalRecord[]} records @returns {[string, JournalRecord[]][]} In the order of the records. */
function byDay(records) {
  const days = new Map();
  for (const record of records) {
    const day = formatDay(record.time_ns);
    if (!days.has(day)) days.set(day, []);
    days.get(day).push(record);
  }
  return [...days];
}

/** @param {JournalRecord} record @returns {string | undefined} Of an event, and of what was decided on it. */
const clipOf = ({ body }) => body.clip || body.event?.clip;

/** @param {JournalRecord} record @returns {string | undefined} Digest of its picture; a clip's record has none. */
const snapshotOf = ({ kind, blobs }) => (kind.startsWith("clip.") ? undefined : blobs[0]);

/** @param {{record: JournalRecord, onShow: (record: JournalRecord) => void}} props */
function EventRow({ record, onShow }) {
  const { icon, tone } = lookOf(record.kind);
  const snapshot = snapshotOf(record);
  return html`
    <button type="button" class="event" data-tone=${tone} data-kind=${record.kind} onClick=${() => onShow(record)}>
      <time class="event-time">${formatTime(record.time_ns)}</time>
      <span class="event-icon"><${Icon} name=${icon} /></span>
      <span class="event-words">
        <span class="event-sentence">${sentenceOf(record)}</span>
        <span class="event-source">${sourceOf(record)}</span>
      </span>
      <span class="event-media">
        ${snapshot && html`<img class="event-thumb" src=${snapshotPath(snapshot)} alt="" loading="lazy" />`}
        ${clipOf(record) && html`<span class="event-clip"><${Icon} name="play" />${t("events.hasClip")}</span>`}
      </span>
    </button>
  `;
}

/** @param {{record: JournalRecord, onClose: () => void}} props */
function EventDialog({ record, onClose }) {
  const sentence = sentenceOf(record);
  const snapshot = snapshotOf(record);
  return html`
    <${Dialog} title=${sentence} onClose=${onClose} wide>
      ${clipOf(record) && html`<${ClipPlayer} name=${clipOf(record)} label=${sentence} />`}
      ${snapshot &&
      html`<img class="snapshot" src=${snapshotPath(snapshot)} alt=${t("events.snapshot", { sentence })} />`}
      <dl class="facts">
        <div>
          <dt>${t("events.time")}</dt>
          <dd>${formatDay(record.time_ns)}, ${formatTime(record.time_ns)}</dd>
        </div>
        <div>
          <dt>${t("events.source")}</dt>
          <dd>${sourceOf(record)}</dd>
        </div>
        <div>
          <dt>${t("events.kind")}</dt>
          <dd><code>${record.kind}</code></dd>
        </div>
        <div>
          <dt>${t("events.place")}</dt>
          <dd><code>${placeOf(record)}</code></dd>
        </div>
      </dl>
      <details class="details">
        <summary><${Icon} name="chevron" />${t("events.raw")}</summary>
        <pre tabindex="0" aria-label=${t("events.raw")}>${JSON.stringify(record.body, null, 2)}</pre>
      </details>
    <//>
  `;
}
