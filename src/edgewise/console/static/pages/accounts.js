/** Accounts: who may use this node, and by which tokens programs do. For admins. */

import { getAccounts, getTokens, removeAccount, revokeToken } from "../api.js";
import { AddAccountDialog, ChangeAccountDialog, TokenDialog } from "../components/account-dialogs.js";
import { Removal } from "../components/dialog.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/page.js";
import { Empty, Loaded } from "../components/states.js";
import { showToast } from "../components/toast.js";
import { html, useState } from "../html.js";
import { formatDay, t } from "../i18n/index.js";
import { useResource } from "../resource.js";

/** @typedef {{name: string, role: string, disabled: boolean, sessions: number, tokens: number}} Account */
/** @typedef {{id: string, account: string, name: string, scopes: string[], expires_ns: number, used_ns: number}} Token */

export function AccountsPage() {
  const accounts = useResource(getAccounts);
  const [adding, setAdding] = useState(false);
  const added = (name) => {
    setAdding(false);
    showToast(t("accounts.added", { name }));
    accounts.reload();
  };
  const add = html`
    <button type="button" class="button button-primary" onClick=${() => setAdding(true)}>
      <${Icon} name="plus" />${t("accounts.add")}
    </button>
  `;
  return html`
    <${Page} name="accounts" actions=${accounts.value?.length > 0 && add}>
      <${Loaded} resource=${accounts}>
        ${(value) =>
          value.length
            ? html`<div class="accounts-page">
                <${Accounts} accounts=${value} onChange=${accounts.reload} />
                <${Tokens} accounts=${value.map(({ name }) => name)} />
              </div>`
            : html`<${Nobody} />`}
      <//>
      ${adding && html`<${AddAccountDialog} onDone=${added} onClose=${() => setAdding(false)} />`}
    <//>
  `;
}

function Nobody() {
  return html`
    <${Empty} icon="accounts" title=${t("accounts.none")}>
      <p>${t("accounts.none.hint")}</p>
      <code>edgewise user add NAME --role admin</code>
    <//>
  `;
}

/** @param {{accounts: Account[], onChange: () => void}} props */
function Accounts({ accounts, onChange }) {
  const [changed, setChanged] = useState(null);
  const [removed, setRemoved] = useState(null);
  const done = () => {
    setChanged(null);
    onChange();
  };
  return html`
    <ul class="accounts">
      ${accounts.map(
        (account) =>
          html`<li key=${account.name}>
            <${AccountCard} account=${account} onEdit=${setChanged} onRemove=${setRemoved} />
          </li>`,
      )}
    </ul>
    ${changed && html`<${ChangeAccountDialog} account=${changed} onDone=${done} onClose=${() => setChanged(null)} />`}
    ${removed &&
    html`<${Removal}
      title=${t("accounts.remove.title", { name: removed.name })}
      text=${t("accounts.remove.text")}
      action=${t("people.remove")}
      remove=${() => removeAccount(removed.name)}
      removed=${t("accounts.removed", { name: removed.name })}
      onDone=${onChange}
      onClose=${() => setRemoved(null)}
    />`}
  `;
}

/** @param {{account: Account, onEdit: (account: Account) => void, onRemove: (account: Account) => void}} props */
function AccountCard({ account, onEdit, onRemove }) {
  const { name } = account;
  return html`
    <article class="card account" aria-label=${name}>
      <div class="account-words">
        <h2>${name}</h2>
        <ul class="chips">
          <li class="chip">${t(`role.${account.role}`)}</li>
          ${account.disabled && html`<li><span class="badge" data-state="failed">${t("accounts.disabled")}</span></li>`}
          <li class="chip">${t("accounts.sessions", { n: account.sessions })}</li>
        </ul>
      </div>
      <div class="account-actions">
        <button
          type="button"
          class="button button-quiet button-icon"
          aria-label=${t("accounts.change.of", { name })}
          onClick=${() => onEdit(account)}
        >
          <${Icon} name="edit" />
        </button>
        <button
          type="button"
          class="button button-quiet button-icon"
          aria-label=${t("people.remove.of", { name })}
          onClick=${() => onRemove(account)}
        >
          <${Icon} name="trash" />
        </button>
      </div>
    </article>
  `;
}

/** @param {{accounts: string[]}} props */
function Tokens({ accounts }) {
  const tokens = useResource(getTokens);
  const [adding, setAdding] = useState(false);
  const [revoked, setRevoked] = useState(null);
  const done = () => {
    setAdding(false);
    tokens.reload();
  };
  return html`
    <section class="card" aria-labelledby="tokens">
      <div class="tokens-head">
        <h2 id="tokens">${t("tokens.title")}</h2>
        <button type="button" class="button" onClick=${() => setAdding(true)}>
          <${Icon} name="plus" />${t("tokens.add")}
        </button>
      </div>
      <p class="muted small">${t("tokens.explained")}</p>
      <${Loaded} resource=${tokens}>
        ${(value) =>
          value.length > 0 &&
          html`<ul class="tokens">
            ${value.map((token) => html`<li key=${token.id}><${TokenRow} token=${token} onRevoke=${setRevoked} /></li>`)}
          </ul>`}
      <//>
      ${adding &&
      html`<${TokenDialog} accounts=${accounts} onDone=${done} onClose=${() => setAdding(false)} />`}
      ${revoked &&
      html`<${Removal}
        title=${t("tokens.revoke.title", { name: revoked.name })}
        text=${t("tokens.revoke.text")}
        action=${t("tokens.revoke")}
        remove=${() => revokeToken(revoked.id)}
        removed=${t("tokens.revoked", { name: revoked.name })}
        onDone=${tokens.reload}
        onClose=${() => setRevoked(null)}
      />`}
    </section>
  `;
}

/** @param {{token: Token, onRevoke: (token: Token) => void}} props */
function TokenRow({ token, onRevoke }) {
  const ends = token.expires_ns ? t("tokens.until", { day: formatDay(token.expires_ns) }) : t("lasting.ever");
  const used = token.used_ns ? t("tokens.used", { day: formatDay(token.used_ns) }) : t("tokens.unused");
  return html`
    <div class="token">
      <div class="account-words">
        <h3>${token.name}</h3>
        <p class="muted small">${token.account} · ${ends} · ${used}</p>
        <ul class="chips">
          ${token.scopes.map((scope) => html`<li key=${scope} class="chip">${t(`scope.${scope}`)}</li>`)}
        </ul>
      </div>
      <button
        type="button"
        class="button button-quiet button-icon"
        aria-label=${t("tokens.revoke.of", { name: token.name })}
        onClick=${() => onRevoke(token)}
      >
        <${Icon} name="trash" />
      </button>
    </div>
  `;
}
