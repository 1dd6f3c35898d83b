/** Starts the console: language, then the page that the address names. */

import { loginNeeded } from "./api.js";
import { Shell } from "./components/shell.js";
import { ErrorNotice } from "./components/states.js";
import { closeFeeds } from "./feed.js";
import { closeObservations } from "./observations.js";
import { html, render, useErrorBoundary } from "./html.js";
import { language, loadLanguage, preferredLanguage } from "./i18n/index.js";
import { AccountsPage } from "./pages/accounts.js";
import { DataPage } from "./pages/data.js";
import { EventsPage } from "./pages/events.js";
import { LivePage } from "./pages/live.js";
import { LoginPage } from "./pages/login.js";
import { ModelsPage } from "./pages/models.js";
import { NodesPage } from "./pages/nodes.js";
import { PeoplePage } from "./pages/people.js";
import { SystemPage } from "./pages/system.js";
import { TryPage } from "./pages/try.js";
import { route } from "./router.js";
import { loadSession, session } from "./session.js";
import { useStore } from "./store.js";

const PAGES = {
  try: TryPage,
  live: LivePage,
  events: EventsPage,
  people: PeoplePage,
  models: ModelsPage,
  data: DataPage,
  nodes: NodesPage,
  system: SystemPage,
  accounts: AccountsPage,
};
// What a page shows at all needs these.
const NEEDED = { try: "predict", accounts: "admin" };

function App() {
  useStore(language);
  const login = useStore(loginNeeded);
  const wanted = useStore(route);
  const allowed = useStore(session)?.permissions ?? [];
  const pages = Object.keys(PAGES).filter((name) => allowed.includes(NEEDED[name] ?? "read"));
  const page = pages.includes(wanted) ? wanted : (pages[0] ?? "try");
  if (login) return html`<${Shell} page="login" pages=${[]}><${LoginPage} /><//>`;
  return html`
    <${Shell} page=${page} pages=${pages}>
      <${Guarded} key=${page}><${PAGES[page]} /><//>
    <//>
  `;
}

/** Shows a fault of the console itself instead of a blank page. */
function Guarded({ children }) {
  const [error, reset] = useErrorBoundary();
  if (error) return html`<${ErrorNotice} error=${{ code: "console", message: String(error) }} onRetry=${reset} />`;
  return children;
}

// A page that the browser keeps for its Back button would go on holding connections, of which there are only six.
addEventListener("pagehide", () => {
  closeFeeds();
  closeObservations();
  stop();
});
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

await Promise.all([loadLanguage(preferredLanguage()), loadSession()]);
if (session.get()?.required && !session.get().signed_in) loginNeeded.set(true);
render(html`<${App} />`, document.getElementById("app"));
