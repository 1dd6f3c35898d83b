/** Dialogs that make and change accounts, and make tokens. */

import { addAccount, changeAccount, createToken } from "../api.js";
import { html, useId, useState } from "../html.js";
import { t } from "../i18n/index.js";
import { session } from "../session.js";
import { useStore } from "../store.js";
import { Dialog } from "./dialog.js";
import { NewPassword, Submit, useSubmit } from "./form.js";
import { SecretDialog } from "./secret.js";
import { ErrorNotice } from "./states.js";

const ROLES = ["viewer", "operator", "admin"];
const SCOPES = ["predict", "read", "operate", "admin"];
const DAY_S = 86_400;
const LASTING = { month: 30 * DAY_S, year: 365 * DAY_S, ever: null };

/** @param {{value: string, onChange: (role: string) => void}} props */
function RoleField({ value, onChange }) {
  const id = useId();
  return html`
    <div class="field">
      <label for=${id}>${t("accounts.role")}</label>
      <select id=${id} value=${value} onChange=${(event) => onChange(event.target.value)}>
        ${ROLES.map((role) => html`<option key=${role} value=${role}>${t(`role.${role}`)}</option>`)}
      </select>
      <p class="field-hint">${t(`role.${value}.may`)}</p>
    </div>
  `;
}

/** @param {{label: string, value: string, onInput: (value: string) => void}} props */
function NameField({ label, value, onInput }) {
  const id = useId();
  return html`
    <div class="field">
      <label for=${id}>${label}</label>
      <input
        id=${id}
        required
        maxlength="64"
        autocomplete="off"
        autocapitalize="none"
        spellcheck=${false}
        autofocus
        value=${value}
        onInput=${(event) => onInput(event.target.value)}
      />
    </div>
  `;
}

/** @param {{onDone: (name: string) => void, onClose: () => void}} props */
export function AddAccountDialog({ onDone, onClose }) {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [role, setRole] = useState("viewer");
  const { busy, error, submit } = useSubmit(async () => onDone((await addAccount({ name, password, role })).name));
  return html`
    <${Dialog} title=${t("accounts.add")} onClose=${onClose}>
      <form onSubmit=${submit}>
        <${NameField} label=${t("login.name")} value=${name} onInput=${setName} />
        <${NewPassword} label=${t("login.password")} value=${password} onInput=${setPassword} />
        <${RoleField} value=${role} onChange=${setRole} />
        ${error && html`<${ErrorNotice} error=${error} />`}
        <${Submit} label=${t("accounts.add.submit")} busy=${busy} disabled=${false} onClose=${onClose} />
      </form>
    <//>
  `;
}

/** @param {{account: import("../pages/accounts.js").Account, onDone: () => void, onClose: () => void}} props */
export function ChangeAccountDialog({ account, onDone, onClose }) {
  const own = useStore(session)?.name === account.name;
  const [role, setRole] = useState(account.role);
  const [disabled, setDisabled] = useState(account.disabled);
  const [password, setPassword] = useState("");
  const { busy, error, submit } = useSubmit(async () => {
    const changes = {};
    if (role !== account.role) changes.role = role;
    if (disabled !== account.disabled) changes.disabled = disabled;
    if (password) changes.password = password;
    if (Object.keys(changes).length) await changeAccount(account.name, changes);
    onDone();
  });
  return html`
    <${Dialog} title=${t("accounts.change.of", { name: account.name })} onClose=${onClose}>
      <form onSubmit=${submit}>
        <${RoleField} value=${role} onChange=${setRole} />
        ${!own &&
        html`<${NewPassword}
          label=${t("accounts.password.new")}
          value=${password}
          required=${false}
          onInput=${setPassword}
        />`}
        <label class="choice">
          <input type="checkbox" checked=${disabled} onChange=${(event) => setDisabled(event.target.checked)} />
          ${t("accounts.disable")}
        </label>
        <p class="field-hint">${t("accounts.change.hint")}</p>
        ${error && html`<${ErrorNotice} error=${error} />`}
        <${Submit} label=${t("action.save")} busy=${busy} disabled=${false} onClose=${onClose} />
      </form>
    <//>
  `;
}

/** @param {{accounts: string[], onDone: () => void, onClose: () => void}} props */
export function TokenDialog({ accounts, onDone, onClose }) {
  const own = useStore(session)?.name;
  const ids = { account: useId(), lasting: useId() };
  const [name, setName] = useState("");
  const [account, setAccount] = useState(accounts.includes(own) ? own : accounts[0]);
  const [scopes, setScopes] = useState(["read"]);
  const [lasting, setLasting] = useState("year");
  const [secret, setSecret] = useState("");
  const { busy, error, submit } = useSubmit(async () => {
    setSecret((await createToken({ name, scopes, account, valid_s: LASTING[lasting] })).secret);
  });
  if (secret) {
    return html`<${SecretDialog} title=${t("tokens.made")} text=${t("tokens.once")} secret=${secret} onClose=${onDone} />`;
  }
  const toggle = (scope) =>
    setScopes(scopes.includes(scope) ? scopes.filter((one) => one !== scope) : [...scopes, scope]);
  return html`
    <${Dialog} title=${t("tokens.add")} onClose=${onClose}>
      <form onSubmit=${submit}>
        <${NameField} label=${t("tokens.name")} value=${name} onInput=${setName} />
        <div class="field">
          <label for=${ids.account}>${t("tokens.account")}</label>
          <select id=${ids.account} value=${account} onChange=${(event) => setAccount(event.target.value)}>
            ${accounts.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}
          </select>
        </div>
        <fieldset class="field">
          <legend class="label">${t("tokens.scopes")}</legend>
          ${SCOPES.map(
            (scope) => html`
              <label key=${scope} class="choice">
                <input type="checkbox" checked=${scopes.includes(scope)} onChange=${() => toggle(scope)} />
                ${t(`scope.${scope}`)}
              </label>
            `,
          )}
        </fieldset>
        <div class="field">
          <label for=${ids.lasting}>${t("tokens.lasting")}</label>
          <select id=${ids.lasting} value=${lasting} onChange=${(event) => setLasting(event.target.value)}>
            ${Object.keys(LASTING).map((one) => html`<option key=${one} value=${one}>${t(`lasting.${one}`)}</option>`)}
          </select>
        </div>
        ${error && html`<${ErrorNotice} error=${error} />`}
        <${Submit} label=${t("accounts.add.submit")} busy=${busy} disabled=${!scopes.length} onClose=${onClose} />
      </form>
    <//>
  `;
}
