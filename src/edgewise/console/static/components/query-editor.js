/** Where a query is written: the text, examples to begin with, what was run before, and the tables with their columns. */

import { html, useId } from "../html.js";
import { formatBytes, hasText, t } from "../i18n/index.js";
import { Icon } from "./icon.js";

/** Each shows something in any lake. */
export const EXAMPLES = {
  overview: `SELECT node, source, channel, count(*) AS readings, round(avg(value), 2) AS mean,
  min(time) AS first, max(time) AS last
FROM readings GROUP BY ALL ORDER BY ALL`,
  newest: `SELECT time, node, source, channel, value, text
FROM readings ORDER BY time DESC LIMIT 100`,
  hourly: `SELECT time_bucket(INTERVAL 1 HOUR, time) AS hour, node, channel, round(avg(value), 2) AS mean
FROM readings
WHERE channel = (SELECT max(channel) FROM readings WHERE value IS NOT NULL)
  AND time > now() - INTERVAL 7 DAY
GROUP BY ALL ORDER BY hour`,
  events: `SELECT kind, count(*) AS events
FROM events GROUP BY kind ORDER BY events DESC`,
  visitors: `SELECT time, node, kind, body->>'name' AS name
FROM events WHERE kind LIKE 'face.%' ORDER BY time DESC LIMIT 100`,
  gaps: `SELECT node, source, channel, max(time - before) AS longest
FROM (SELECT *, lag(time) OVER (PARTITION BY node, source, channel ORDER BY time) AS before FROM readings)
WHERE time > now() - INTERVAL 7 DAY
GROUP BY ALL ORDER BY longest DESC`,
};

/**
 * @param {{sql: string, running: boolean, recent: string[], area: {current: HTMLTextAreaElement | null},
 *   onSql: (sql: string) => void, onRun: (sql: string) => void, onStop: () => void, onForget: () => void}} props
 */
export function Editor({ sql, running, recent, area, onSql, onRun, onStop, onForget }) {
  const id = useId();
  const onKeyDown = (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    if (!running) onRun(sql);
  };
  return html`
    <form
      class="card editor"
      onSubmit=${(event) => {
        event.preventDefault();
        onRun(sql);
      }}
    >
      <label class="label" for=${id}>${t("data.query")}</label>
      <textarea
        id=${id}
        ref=${area}
        rows="7"
        maxlength="262144"
        spellcheck=${false}
        autocapitalize="off"
        autocomplete="off"
        aria-describedby=${`${id}-hint`}
        value=${sql}
        onInput=${(event) => onSql(event.target.value)}
        onKeyDown=${onKeyDown}
      ></textarea>
      <div class="editor-actions">
        ${running
          ? html`<button key="stop" type="button" class="button" onClick=${onStop}><${Icon} name="close" />${t("data.stop")}</button>`
          : html`<button key="run" type="submit" class="button button-primary" disabled=${sql.trim() === ""}>${t("data.run")}</button>`}
        <p id=${`${id}-hint`} class="muted small">${t("data.query.hint")}</p>
      </div>
      <div class="editor-examples" role="group" aria-label=${t("data.examples")}>
        <span class="muted small">${t("data.examples")}</span>
        ${Object.entries(EXAMPLES).map(
          ([name, text]) => html`
            <button
              key=${name}
              type="button"
              class="chip chip-button"
              disabled=${running}
              onClick=${() => {
                onSql(text);
                onRun(text);
              }}
            >
              ${t(`data.example.${name}`)}
            </button>
          `,
        )}
      </div>
      ${recent.length > 0 && html`<${Recent} recent=${recent} onSql=${onSql} onForget=${onForget} />`}
    </form>
  `;
}

/** @param {{recent: string[], onSql: (sql: string) => void, onForget: () => void}} props */
function Recent({ recent, onSql, onForget }) {
  return html`
    <details class="details">
      <summary><${Icon} name="chevron" />${t("data.recent")}</summary>
      <ul class="recent">
        ${recent.map(
          (sql) => html`
            <li key=${sql}>
              <button type="button" class="recent-query" title=${sql} onClick=${() => onSql(sql)}>
                <code>${sql.replace(/\s+/g, " ")}</code>
              </button>
            </li>
          `,
        )}
      </ul>
      <button type="button" class="button button-quiet" onClick=${onForget}>
        <${Icon} name="trash" />${t("data.recent.forget")}
      </button>
    </details>
  `;
}

/**
 * @param {{tables: {name: string, columns: import("../api.js").Column[], rows: number, bytes: number}[],
 *   onColumn: (name: string) => void}} props
 */
export function Tables({ tables, onColumn }) {
  return html`
    <section class="card tables" aria-labelledby="tables">
      <h2 id="tables">${t("data.tables")}</h2>
      ${tables.map(
        ({ name, columns, rows, bytes }) => html`
          <details key=${name} class="table-of">
            <summary>
              <${Icon} name="chevron" />
              <span class="table-words">
                <code>${name}</code>
                <span class="muted small">${t("data.rows", { n: rows })} · ${formatBytes(bytes)}</span>
              </span>
            </summary>
            ${hasText(`data.table.${name}`) && html`<p class="muted small">${t(`data.table.${name}`)}</p>`}
            <ul class="columns">
              ${columns.map(
                (column) => html`
                  <li key=${column.name}>
                    <button type="button" class="column" onClick=${() => onColumn(column.name)}>
                      <code>${column.name}</code><span class="muted small">${shortType(column.type)}</span>
                    </button>
                  </li>
                `,
              )}
            </ul>
          </details>
        `,
      )}
      <p class="muted small">${t("data.tables.hint")}</p>
    </section>
  `;
}

/** @param {string} type */
const shortType = (type) => type.toLowerCase().replace("timestamp with time zone", "timestamptz");

/**
 * Puts a text where the cursor of a text area is.
 *
 * @param {HTMLTextAreaElement} area
 * @param {string} text
 * @returns {string} The whole text then.
 */
export function insertAt(area, text) {
  area.focus();
  area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
  return area.value;
}
