/** Who is signed in at this browser and what they may do. The node refuses the rest anyway; here it is left out. */

import { readSession } from "./api.js";
import { createStore, useStore } from "./store.js";

/**
 * @typedef {Object} Session
 * @property {boolean} required Whether this node asks who calls.
 * @property {boolean} accounts Whether there are accounts to sign in with.
 * @property {boolean} signed_in
 * @property {string} name Of the account; empty for those who have none.
 * @property {"" | "viewer" | "operator" | "admin"} role
 * @property {"" | "session" | "api_token" | "token_file" | "loopback"} via
 * @property {string[]} permissions
 */

/** @type {import("./store.js").Store<Session | null>} Null while nothing is known. */
export const session = createStore(null);

/** Asks the node. When it does not answer, what was known stays, and the pages say so. */
export async function loadSession() {
  try {
    session.set(await readSession());
  } catch {
    return;
  }
}

/**
 * @param {"predict" | "read" | "operate" | "admin"} permission
 * @returns {boolean} Whether who is signed in may do it.
 */
export const useMay = (permission) => useStore(session)?.permissions.includes(permission) ?? false;
