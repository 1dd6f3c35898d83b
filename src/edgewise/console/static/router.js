/** Pages by the address's hash (`#/events`): nothing for the server to know, and addresses can be shared. */

import { createStore } from "./store.js";

/** @returns {string} The first path segment after `#/`; empty when there is none. */
const current = () => (location.hash.startsWith("#/") ? location.hash.slice(2).split("/")[0] : "");

export const route = createStore(current());

addEventListener("hashchange", () => {
  if (location.hash === "" || location.hash.startsWith("#/")) route.set(current());
});
