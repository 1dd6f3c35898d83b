/** A value that components follow: the little shared state there is lives in a few of these. */

import { useEffect, useState } from "./html.js";

/**
 * @template T
 * @typedef {{get: () => T, set: (value: T) => void, subscribe: (listener: (value: T) => void) => () => void}} Store
 */

/**
 * @template T
 * @param {T} initial
 * @returns {Store<T>}
 */
export function createStore(initial) {
  let value = initial;
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      if (Object.is(value, next)) return;
      value = next;
      for (const listener of [...listeners]) listener(value);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/**
 * A store whose value survives the visit, in this browser only.
 *
 * @param {string} key
 * @param {string} initial
 * @returns {Store<string>}
 */
export function createRememberedStore(key, initial) {
  const name = `edgewise.${key}`;
  const store = createStore(localStorage.getItem(name) ?? initial);
  store.subscribe((value) => localStorage.setItem(name, value));
  return store;
}

/**
 * @template T
 * @param {Store<T>} store
 * @returns {T}
 */
export function useStore(store) {
  const [value, setValue] = useState(store.get());
  useEffect(() => {
    setValue(() => store.get());
    return store.subscribe((next) => setValue(() => next));
  }, [store]);
  return value;
}
