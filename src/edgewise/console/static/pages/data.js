/** Data: SQL over everything that came in. */

import { getTables, runQuery } from "../api.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/page.js";
import { Editor, EXAMPLES, insertAt, Tables } from "../components/query-editor.js";
import { Result } from "../components/query-result.js";
import { Empty, ErrorNotice, Loading } from "../components/states.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { t } from "../i18n/index.js";
import { forgetQueries, keepQuery, recentQueries } from "../queries.js";
import { useResource } from "../resource.js";

/** Rows that are asked for, within what the node allows: enough for a chart, little enough for a phone. */
const MOST_ROWS = 5000;
const TABLES_EVERY_MS = 30_000;

export function DataPage() {
  const tables = useResource(getTables, { everyMs: TABLES_EVERY_MS });
  return html`<${Page} name="data"><${Lake} tables=${tables} /><//>`;
}

/** @param {{tables: import("../resource.js").Resource<any>}} props */
function Lake({ tables }) {
  const { value, error, loading, reload } = tables;
  if (loading) return html`<${Loading} />`;
  if (value === undefined) {
    return error.code === "not_found" ? html`<${NoLake} facts=${error.facts} />` : html`<${ErrorNotice} error=${error} onRetry=${reload} />`;
  }
  if (value.tables.every(({ rows }) => rows === 0)) {
    return html`<${Empty} icon="data" title=${t("data.empty")}><p>${t("data.empty.hint")}</p><//>`;
  }
  return html`<${Workbench} tables=${[...value.tables].reverse()} bounds=${value.bounds} />`;
}

/** @param {{facts: {missing?: string[]}}} props */
function NoLake({ facts }) {
  return html`
    <${Empty} icon="data" title=${t("data.noLake")}>
      <p>${t("data.noLake.hint")}</p>
      <code>lake: {}</code>
      ${facts.missing?.length > 0 &&
      html`<p>${t("data.noLake.extra")}</p>
        <code>pip install 'edgewise[lake]'</code>`}
    <//>
  `;
}

/** @param {{tables: any[], bounds: {max_rows: number}}} props */
function Workbench({ tables, bounds }) {
  const [recent, setRecent] = useState(recentQueries);
  const [sql, setSql] = useState(recent[0] ?? EXAMPLES.overview);
  const area = useRef(null);
  const { state, run, stop } = useQuery({ maxRows: Math.min(MOST_ROWS, bounds.max_rows), onAnswer: (text) => setRecent(keepQuery(text)) });
  const forget = () => {
    forgetQueries();
    setRecent([]);
  };
  return html`
    <div class="data-page">
      <${Editor}
        sql=${sql}
        running=${state.running}
        recent=${recent}
        area=${area}
        onSql=${setSql}
        onRun=${run}
        onStop=${stop}
        onForget=${forget}
      />
      <${Tables} tables=${tables} onColumn=${(name) => setSql(insertAt(area.current, name))} />
      <section class="data-result" aria-label=${t("data.result")} aria-busy=${state.running}>
        ${state.running && html`<p class="visually-hidden" role="status">${t("data.running")}</p>`}
        ${state.running && !state.result && html`<${Loading} />`}
        ${state.error && html`<${QueryError} error=${state.error} />`}
        ${state.result && html`<${Result} key=${state.result} sql=${state.sql} result=${state.result} />`}
      </section>
    </div>
  `;
}

/**
 * Runs queries, one at a time. Leaving the page ends the one that runs, as stopping it does.
 *
 * @param {{maxRows: number, onAnswer: (sql: string) => void}} options
 */
function useQuery({ maxRows, onAnswer }) {
  const [state, setState] = useState({ running: false, sql: "", result: null, error: null });
  const controller = useRef(new AbortController());
  useEffect(() => () => controller.current.abort(), []);
  const run = async (sql) => {
    controller.current.abort();
    const own = new AbortController();
    controller.current = own;
    setState((before) => ({ ...before, running: true, error: null }));
    try {
      const result = await runQuery({ sql, max_rows: maxRows }, own.signal);
      if (own.signal.aborted) return;
      setState({ running: false, sql, result, error: null });
      onAnswer(sql);
    } catch (error) {
      if (!own.signal.aborted) setState({ running: false, sql, result: null, error });
    }
  };
  const stop = () => {
    controller.current.abort();
    setState((before) => ({ ...before, running: false }));
  };
  return { state, run, stop };
}

/** The engine's words: what is wrong, and the line with a mark under the place. */
function QueryError({ error }) {
  const [title, ...more] = error.message.split("\n");
  const where = more.join("\n").trim();
  return html`
    <div class="notice notice-error" role="alert">
      <${Icon} name="warning" />
      <div class="notice-text">
        <p class="notice-title">${error.code === "unreachable" ? t("error.unreachable") : title}</p>
        ${where && html`<pre tabindex="0" aria-label=${title}>${where}</pre>`} ${error.hint && html`<p>${error.hint}</p>`}
        <p class="notice-code"><span class="visually-hidden">${t("error.code")} </span><code>${error.code}</code></p>
      </div>
    </div>
  `;
}
