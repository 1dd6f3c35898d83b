/** Loading a value from the API for a component: first load, polling while the page is visible, reload, errors. */

import { useCallback, useEffect, useRef, useState } from "./html.js";

/**
 * @template T
 * @typedef {Object} Resource
 * @property {T | undefined} value The latest value; it stays while a reload runs or after one failed.
 * @property {Error | null} error Why the latest load failed.
 * @property {boolean} loading No value and no error yet.
 * @property {() => Promise<void>} reload
 * @property {(value: T) => void} replace Sets the value at once, for instance with the answer to a change.
 */

/**
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @param {{everyMs?: number, key?: string}} [options] `everyMs` 0 loads once; a new `key` loads anew.
 * @returns {Resource<T>}
 */
export function useResource(load, { everyMs = 0, key = "" } = {}) {
  const [state, setState] = useState({ value: undefined, error: null });
  const latest = useRef(load);
  latest.current = load;
  const controller = useRef(new AbortController());

  const reload = useCallback(async () => {
    controller.current.abort();
    const own = new AbortController();
    controller.current = own;
    try {
      const value = await latest.current(own.signal);
      if (!own.signal.aborted) setState({ value, error: null });
    } catch (error) {
      if (!own.signal.aborted) setState((before) => ({ value: before.value, error }));
    }
  }, []);

  useEffect(() => {
    let timer = 0;
    let stopped = false;
    const tick = async () => {
      if (!document.hidden) await reload();
      if (everyMs && !stopped) timer = setTimeout(tick, everyMs);
    };
    tick();
    return () => {
      stopped = true;
      clearTimeout(timer);
      controller.current.abort();
    };
  }, [everyMs, key, reload]);

  const replace = useCallback((value) => setState({ value, error: null }), []);
  return { ...state, loading: state.value === undefined && state.error === null, reload, replace };
}
