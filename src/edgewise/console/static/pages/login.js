/** Login: asked for when the node wants to know who one is. */

import { loginNeeded, signIn } from "../api.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/page.js";
import { ErrorNotice } from "../components/states.js";
import { html, useId, useState } from "../html.js";
import { t } from "../i18n/index.js";
import { session } from "../session.js";
import { useStore } from "../store.js";

export function LoginPage() {
  const accounts = useStore(session)?.accounts ?? false;
  const [byToken, setByToken] = useState(!accounts);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async (shown) => {
    setError(null);
    setBusy(true);
    try {
      session.set(await signIn(shown));
      loginNeeded.set(false);
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  const other = () => {
    setError(null);
    setByToken(!byToken);
  };
  const Form = byToken ? ByToken : ByPassword;
  return html`
    <${Page} name="login">
      <div class="card login">
        <${Form} onSubmit=${submit} busy=${busy} error=${error} />
        ${accounts &&
        html`<button type="button" class="button button-quiet" onClick=${other}>
          ${t(byToken ? "login.byPassword" : "login.byToken")}
        </button>`}
      </div>
    <//>
  `;
}

function ByPassword({ onSubmit, busy, error }) {
  const id = useId();
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const submit = (event) => {
    event.preventDefault();
    onSubmit({ name, password });
  };
  return html`
    <form onSubmit=${submit}>
      <div class="field">
        <label for=${id}>${t("login.name")}</label>
        <input
          id=${id}
          autocomplete="username"
          autocapitalize="none"
          spellcheck=${false}
          maxlength="64"
          required
          value=${name}
          onInput=${(event) => setName(event.target.value)}
        />
      </div>
      <${Secret} label=${t("login.password")} value=${password} onInput=${setPassword} />
      <${End} busy=${busy} error=${error} />
    </form>
  `;
}

function ByToken({ onSubmit, busy, error }) {
  const [token, setToken] = useState("");
  const submit = (event) => {
    event.preventDefault();
    onSubmit({ token });
  };
  return html`
    <form onSubmit=${submit}>
      <input type="text" name="username" autocomplete="username" value="edgewise" hidden />
      <${Secret} label=${t("login.token")} hint=${t("login.hint")} value=${token} onInput=${setToken} />
      <${End} busy=${busy} error=${error} />
    </form>
  `;
}

/** @param {{label: string, hint?: string, value: string, onInput: (value: string) => void}} props */
function Secret({ label, hint, value, onInput }) {
  const id = useId();
  return html`
    <div class="field">
      <label for=${id}>${label}</label>
      <input
        id=${id}
        type="password"
        autocomplete="current-password"
        maxlength="256"
        required
        value=${value}
        onInput=${(event) => onInput(event.target.value)}
      />
      ${hint && html`<p class="field-hint">${hint}</p>`}
    </div>
  `;
}

function End({ busy, error }) {
  return html`
    ${error && html`<${ErrorNotice} error=${error} />`}
    <button type="submit" class="button button-primary" disabled=${busy} aria-busy=${busy}>
      <${Icon} name="key" />${t("login.submit")}
    </button>
  `;
}
