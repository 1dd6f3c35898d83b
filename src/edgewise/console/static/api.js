/** The node's public HTTP API, one function per route the console uses. */

import { createStore } from "./store.js";

/** Whether the node asked who calls: the login page is shown while it is true. */
export const loginNeeded = createStore(false);

/** An answer that is no success, with what the API says about it. */
export class ApiError extends Error {
  /**
   * @param {{status: number, code: string, message: string, hint?: string, facts?: Object<string, unknown>}} answer
   */
  constructor({ status, code, message, hint = "", facts = {} }) {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
    this.facts = facts;
  }
}

/**
 * @typedef {Object} Options
 * @property {unknown} [json] A value to send as JSON.
 * @property {BodyInit} [body] A body to send as it is.
 * @property {AbortSignal} [signal]
 * @property {(this: any, key: string, value: any, context?: {source?: string}) => any} [reviver] For `JSON.parse`.
 */

/**
 * @param {string} method
 * @param {string} path
 * @param {Options} [options]
 * @returns {Promise<any>} The decoded body; null when there is none.
 */
async function request(method, path, { json, body, signal, reviver } = {}) {
  const headers = json === undefined ? {} : { "Content-Type": "application/json" };
  const payload = json === undefined ? body : JSON.stringify(json);
  let response;
  try {
    response = await fetch(path, { method, headers, body: payload, signal, credentials: "same-origin" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError({ status: 0, code: "unreachable", message: String(error.message ?? error) });
  }
  if (!response.ok) throw await failure(response, path);
  const text = await response.text();
  return text === "" ? null : JSON.parse(text, reviver);
}

/**
 * @param {Response} response
 * @param {string} [path]
 * @returns {Promise<ApiError>}
 */
async function failure(response, path = "") {
  if (response.status === 401 && !path.startsWith("/v1/session")) loginNeeded.set(true);
  const fallback = { code: `http_${response.status}`, message: response.statusText || `HTTP ${response.status}` };
  const text = await response.text();
  try {
    const { error } = JSON.parse(text);
    const facts = typeof error === "string" ? { message: error } : error;
    return new ApiError({ ...fallback, ...facts, status: response.status });
  } catch {
    return new ApiError({ ...fallback, status: response.status });
  }
}

const segment = encodeURIComponent;

/** @param {Object<string, string | number | undefined>} values */
function query(values) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== "") parameters.set(name, String(value));
  }
  return parameters.size ? `?${parameters}` : "";
}

/** @param {AbortSignal} [signal] @returns {Promise<import("./session.js").Session>} */
export const readSession = (signal) => request("GET", "/v1/session", { signal });

/** @param {{name: string, password: string} | {token: string}} shown */
export const signIn = (shown) => request("POST", "/v1/session", { json: shown });

/** @param {{everywhere?: boolean}} [options] */
export const signOut = ({ everywhere = false } = {}) =>
  request("DELETE", `/v1/session${everywhere ? "?everywhere=true" : ""}`);

/** @param {string} current @param {string} wanted */
export const changePassword = (current, wanted) =>
  request("PUT", "/v1/session/password", { json: { current, new: wanted } });

/** @param {AbortSignal} [signal] */
export const getAccounts = async (signal) => (await request("GET", "/v1/accounts", { signal })).accounts;

/** @param {{name: string, password: string, role: string}} account */
export const addAccount = (account) => request("POST", "/v1/accounts", { json: account });

/** @param {string} name @param {{role?: string, password?: string, disabled?: boolean}} changes */
export const changeAccount = (name, changes) =>
  request("PATCH", `/v1/accounts/${segment(name)}`, { json: changes });

/** @param {string} name */
export const removeAccount = (name) => request("DELETE", `/v1/accounts/${segment(name)}`);

/** @param {AbortSignal} [signal] */
export const getTokens = async (signal) => (await request("GET", "/v1/tokens", { signal })).tokens;

/** @param {{name: string, scopes: string[], valid_s: number | null, account?: string}} token */
export const createToken = (token) => request("POST", "/v1/tokens", { json: token });

/** @param {string} id */
export const revokeToken = (id) => request("DELETE", `/v1/tokens/${segment(id)}`);

/**
 * @param {{where?: string}} selection
 * @param {AbortSignal} [signal]
 * @returns {Promise<{node: string, nodes: import("./pages/nodes.js").NodeSummary[], next_after: string, counts: Object<string, number>}>}
 */
export const getNodes = ({ where }, signal) => request("GET", `/v1/nodes${query({ where, limit: 1000 })}`, { signal });

/** @param {string} name @param {AbortSignal} [signal] */
export const getNode = (name, signal) => request("GET", `/v1/nodes/${segment(name)}`, { signal });

/** @param {string} name @param {Object<string, string | null>} labels Null removes one; others stay. */
export const changeNode = (name, labels) => request("PATCH", `/v1/nodes/${segment(name)}`, { json: { labels } });

/** @param {string} name */
export const removeNode = (name) => request("DELETE", `/v1/nodes/${segment(name)}`);

/** @param {{name: string, labels: Object<string, string>, valid_s: number}} token */
export const createJoinToken = (token) => request("POST", "/v1/join-tokens", { json: token });

/** @param {AbortSignal} [signal] */
export const getHealth = (signal) => request("GET", "/v1/health", { signal });

/** @param {AbortSignal} [signal] */
export const getSystem = (signal) => request("GET", "/v1/system", { signal });

/** @param {AbortSignal} [signal] */
export const getAudit = (signal) => request("GET", "/v1/journal/audit", { signal });

/** @param {AbortSignal} [signal] */
export const getModels = async (signal) => (await request("GET", "/v1/models", { signal })).models;

/** @param {string} name @param {AbortSignal} [signal] */
export const getModel = (name, signal) => request("GET", `/v1/models/${segment(name)}`, { signal });

/** @param {string} name @param {"load" | "unload"} action */
export const setModelState = (name, action) =>
  request("POST", `/v2/repository/models/${segment(name)}/${action}`, { json: {} });

/** @param {string} name @param {Blob} picture @param {AbortSignal} [signal] */
export const predict = (name, picture, signal) =>
  request("POST", `/v1/models/${segment(name)}/predict`, { body: picture, signal });

/** @param {AbortSignal} [signal] */
export const getPeople = async (signal) => (await request("GET", "/v1/people", { signal })).people;

/**
 * @param {string} name
 * @param {File[]} photos
 * @param {Object<string, unknown>} preferences
 */
export function addPerson(name, photos, preferences) {
  const form = new FormData();
  form.set("name", name);
  form.set("preferences", JSON.stringify(preferences));
  for (const photo of photos) form.append("photos", photo);
  return request("POST", "/v1/people", { body: form });
}

/** @param {string} name @param {Object<string, unknown>} preferences */
export const setPreferences = (name, preferences) =>
  request("PATCH", `/v1/people/${segment(name)}`, { json: { preferences } });

/** @param {string} name */
export const removePerson = (name) => request("DELETE", `/v1/people/${segment(name)}`);

/** @param {string} name */
export const personPhotoPath = (name) => `/v1/people/${segment(name)}/photo`;

/** @param {AbortSignal} [signal] */
export const getThreshold = async (signal) =>
  (await request("GET", "/v1/settings/face-threshold", { signal })).threshold;

/** @param {number} threshold */
export const setThreshold = (threshold) => request("PUT", "/v1/settings/face-threshold", { json: { threshold } });

/**
 * @param {{stream: string, node?: string, kind?: string, before?: number, limit?: number}} selection
 * @param {AbortSignal} [signal]
 * @returns {Promise<{events: import("./feed.js").JournalRecord[], next_before: number}>} Newest first; `next_before`
 *   continues the list, 0 when there are no older ones.
 */
export const getEvents = (selection, signal) => request("GET", `/v1/events${query(selection)}`, { signal });

/** @param {string} stream Of the journal, such as `events`. */
export const eventStreamPath = (stream) => `/v1/events/stream${query({ stream })}`;

/** @param {string} digest */
export const snapshotPath = (digest) => `/v1/snapshots/${segment(digest)}`;

/** @param {AbortSignal} [signal] */
export const getDevices = async (signal) => (await request("GET", "/v1/devices", { signal })).devices;

/** @param {string} name @param {string} command @param {Object<string, unknown>} [args] */
export const commandDevice = (name, command, args = {}) =>
  request("POST", `/v1/devices/${segment(name)}/commands`, { json: { command, arguments: args } });

/** @param {AbortSignal} [signal] */
export const getCameras = async (signal) => (await request("GET", "/v1/cameras", { signal })).cameras;

/** @param {string} name */
export const livePath = (name) => `/v1/cameras/${segment(name)}/live`;

/** What all pipelines find, over one connection. */
export const OBSERVATIONS_PATH = "/v1/observations/stream";

/**
 * Begins a WebRTC call with a camera (WHEP).
 *
 * @param {string} name
 * @param {string} offer SDP
 * @param {AbortSignal} signal
 * @returns {Promise<{answer: string, location: string}>}
 */
export async function beginCall(name, offer, signal) {
  const path = `/v1/cameras/${segment(name)}/webrtc`;
  const headers = { "Content-Type": "application/sdp" };
  const response = await fetch(path, { method: "POST", headers, body: offer, signal, credentials: "same-origin" });
  if (!response.ok) throw await failure(response);
  return { answer: await response.text(), location: response.headers.get("Location") };
}

/** @param {string} location Of the call. */
export const endCall = (location) => fetch(location, { method: "DELETE", credentials: "same-origin", keepalive: true });

/** @param {string} name @param {AbortSignal} [signal] */
export const getClip = (name, signal) => request("GET", `/v1/clips/${segment(name)}`, { signal });

/** @param {string} name @param {{download?: boolean}} [options] */
export const clipVideoPath = (name, { download = false } = {}) =>
  `/v1/clips/${segment(name)}/video${download ? "?download=true" : ""}`;

/**
 * @typedef {Object} Column
 * @property {string} name
 * @property {string} type As SQL names it.
 */

/**
 * @typedef {Object} QueryResult
 * @property {Column[]} columns
 * @property {any[][]} rows
 * @property {boolean} truncated Whether there was more.
 * @property {number} elapsed_s
 */

/**
 * @param {AbortSignal} [signal]
 * @returns {Promise<{tables: {name: string, columns: Column[], rows: number, files: number, bytes: number}[], bounds:
 *   {max_rows: number, timeout_s: number, max_file_bytes: number}}>}
 */
export const getTables = (signal) => request("GET", "/v1/tables", { signal });

/**
 * Runs a query; aborting ends it on the node.
 *
 * @param {{sql: string, max_rows?: number, timeout_s?: number}} question
 * @param {AbortSignal} [signal]
 * @returns {Promise<QueryResult>} Whole numbers that no float holds are BigInt, where the browser can tell them.
 */
export const runQuery = (question, signal) =>
  request("POST", "/v1/query", { json: question, signal, reviver: exactly });

/** @param {string} _key @param {any} value @param {{source?: string}} [context] */
const exactly = (_key, value, context) =>
  Number.isInteger(value) && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "")
    ? BigInt(context.source)
    : value;

/**
 * All rows of a query as a file.
 *
 * @param {string} sql
 * @param {"csv" | "parquet"} format
 * @param {AbortSignal} [signal]
 * @returns {Promise<{file: Blob, name: string}>}
 */
export async function exportQuery(sql, format, signal) {
  const response = await fetch(`/v1/query/export${query({ format })}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ sql }),
    signal,
    credentials: "same-origin",
  });
  if (!response.ok) throw await failure(response);
  const [, name] = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "") ?? [];
  return { file: await response.blob(), name: name ?? `query.${format}` };
}

/** @param {string} name */
export const cameraSnapshotPath = (name) => `/v1/cameras/${segment(name)}/snapshot`;

/** @param {string} name @param {Blob} picture */
export const sendFrame = (name, picture) => request("POST", `/v1/cameras/${segment(name)}/frames`, { body: picture });
