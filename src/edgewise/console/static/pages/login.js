/** Login: asked for when the node wants a token. */

import { logIn } from "../api.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/page.js";
import { ErrorNotice } from "../components/states.js";
import { html, useId, useState } from "../html.js";
import { t } from "../i18n/index.js";

export function LoginPage() {
  const id = useId();
  const [token, setToken] = useState("");
  const [error, setError] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    setError(null);
    try {
      await logIn(token);
    } catch (problem) {
      setError(problem);
    }
  };
  return html`
    <${Page} name="login">
      <form class="card login" onSubmit=${submit}>
        <input type="text" name="username" autocomplete="username" value="edgewise" hidden />
        <div class="field">
          <label for=${id}>${t("login.token")}</label>
          <input
            id=${id}
            type="password"
            autocomplete="current-password"
            required
            value=${token}
            onInput=${(event) => setToken(event.target.value)}
          />
          <p class="field-hint">${t("login.hint")}</p>
        </div>
        ${error && html`<${ErrorNotice} error=${error} />`}
        <button type="submit" class="button button-primary"><${Icon} name="key" />${t("login.submit")}</button>
      </form>
    <//>
  `;
}
