/** Queries that somebody ran at this browser, newest first; each account has its own. They never leave it. */

import { session } from "./session.js";

const MOST = 12;
/** A longer one is not kept: it came out of a file, and is there. */
const MAX_CHARACTERS = 4000;

const place = () => `edgewise.queries.${session.get()?.name ?? ""}`;

/** @returns {string[]} */
export function recentQueries() {
  try {
    const kept = JSON.parse(localStorage.getItem(place()) ?? "[]");
    return Array.isArray(kept) ? kept.filter((sql) => typeof sql === "string").slice(0, MOST) : [];
  } catch {
    return [];
  }
}

/** @param {string} sql @returns {string[]} All that are kept now. */
export function keepQuery(sql) {
  const kept = [sql, ...recentQueries().filter((other) => other !== sql)].slice(0, MOST);
  if (sql.length <= MAX_CHARACTERS) localStorage.setItem(place(), JSON.stringify(kept));
  return recentQueries();
}

export const forgetQueries = () => localStorage.removeItem(place());
