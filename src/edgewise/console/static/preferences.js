/** Theme, as the person chose it; `auto` follows the system. */

import { createRememberedStore } from "./store.js";

export const THEMES = ["auto", "light", "dark"];

export const theme = createRememberedStore("theme", "auto");

theme.subscribe((value) => {
  if (value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = value;
});
