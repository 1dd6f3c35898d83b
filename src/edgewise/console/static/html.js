/** Templates: htm bound to Preact. Text is escaped by Preact; nothing here sets raw HTML. */

import htm from "./vendor/htm.js";
import { h } from "./vendor/preact.js";

export { createContext, Fragment, render } from "./vendor/preact.js";
export {
  useCallback,
  useEffect,
  useErrorBoundary,
  useId,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "./vendor/preact-hooks.js";

export const html = htm.bind(h);
