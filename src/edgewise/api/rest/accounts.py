"""``/v1/accounts``, ``/v1/tokens`` and ``/v1/audit``: who may use the node, and what they changed. For admins."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from edgewise.accounts.permissions import Permission, Role, Via
from edgewise.accounts.store import MAX_TOKEN_NAME, MAX_TOKEN_S, AccountStore, Token
from edgewise.api.rest.context import Context, Injected, blocking, caller, note
from edgewise.api.rest.events import MAX_LIMIT, SEQUENCE_MAX, EventList, page_of
from edgewise.errors import ForbiddenError, InputError
from edgewise.node.streams import AUDIT

_TAGS = ["accounts"]
# Unless told otherwise a token lasts a year: long for a device that nobody looks after, and not for ever.
DEFAULT_TOKEN_S = 365 * 86400.0
_Text = Annotated[str, Meta(max_length=256)]


class AccountSummary(msgspec.Struct, frozen=True):
    """One account, with how many sessions and tokens it has. ``created_ns`` and ``changed_ns`` count from 1970."""

    name: str
    role: Role
    disabled: bool
    created_ns: int
    changed_ns: int
    sessions: int
    tokens: int


class AccountList(msgspec.Struct, frozen=True):
    """All accounts."""

    accounts: list[AccountSummary]


class AccountRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An account to be made."""

    name: _Text
    password: _Text
    role: Role = Role.VIEWER


class AccountChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be another; what is left out stays. Each change signs the account out everywhere."""

    role: Role | None = None
    password: _Text | None = None
    disabled: bool | None = None


class TokenSummary(msgspec.Struct, frozen=True):
    """One API token, but for its secret.

    Attributes:
        id: What it is revoked by.
        expires_ns: 0 for never.
        used_ns: When it was last used, to a few minutes; 0 for never.
    """

    id: str
    account: str
    name: str
    scopes: list[Permission]
    created_ns: int
    expires_ns: int
    used_ns: int


class TokenList(msgspec.Struct, frozen=True):
    """All API tokens, oldest first."""

    tokens: list[TokenSummary]


class TokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to be made.

    Attributes:
        name: What it is for.
        scopes: What it may do, as far as its account may.
        account: Whose it is; one's own when left out.
        valid_s: Seconds until it expires; null for never.
    """

    name: Annotated[str, Meta(min_length=1, max_length=MAX_TOKEN_NAME)]
    scopes: Annotated[list[Permission], Meta(min_length=1, max_length=len(Permission))]
    account: _Text | None = None
    valid_s: Annotated[float, Meta(ge=1, le=MAX_TOKEN_S)] | None = DEFAULT_TOKEN_S


class NewToken(msgspec.Struct, frozen=True):
    """A token that was made. ``secret`` is told this once."""

    token: TokenSummary
    secret: str


@get("/v1/accounts", tags=_TAGS)
@blocking
def list_accounts(context: Injected) -> AccountList:
    """Everybody who may use this node."""
    return AccountList(_summaries(context.node.accounts.store))


@post("/v1/accounts", tags=_TAGS)
@blocking
def add_account(data: JSONBody[AccountRequest], context: Injected, request: Request[Any, Any, Any]) -> AccountSummary:
    """Makes an account. The first one is made on the machine: ``edgewise user add``."""
    principal = caller(request)
    if principal is not None and principal.via is Via.LOOPBACK:
        raise ForbiddenError(
            "The first account is made on the machine itself", hint="edgewise user add NAME --role admin"
        )
    account = context.node.accounts.change(lambda store: store.add(data.name, data.password, role=data.role))
    note(request, account=account.name, role=account.role.value)
    return _summary(account.name, context)


@patch("/v1/accounts/{name:str}", tags=_TAGS)
@blocking
def change_account(
    name: FromPath[str], data: JSONBody[AccountChange], context: Injected, request: Request[Any, Any, Any]
) -> AccountSummary:
    """Changes role, password, or whether it is shut out; all of it or nothing."""
    accounts = context.node.accounts
    target = accounts.store.get(name)
    principal = caller(request)
    changes = {key: value for key in ("role", "disabled") if (value := getattr(data, key)) is not None}
    note(request, account=target.name, **changes, **({"password": "changed"} if data.password is not None else {}))
    if data.password is not None and principal is not None and principal.name == target.name:
        raise InputError("Your own password is changed with the one there is", hint="PUT /v1/session/password")
    accounts.change(lambda store: _change(store, target.name, data))
    return _summary(target.name, context)


@delete("/v1/accounts/{name:str}", tags=_TAGS, status_code=204)
@blocking
def remove_account(name: FromPath[str], context: Injected, request: Request[Any, Any, Any]) -> None:
    """Removes an account with its tokens and sessions. The last admin stays."""
    note(request, account=name)
    context.node.accounts.change(lambda store: store.remove(name))


@delete("/v1/accounts/{name:str}/sessions", tags=_TAGS, status_code=204)
@blocking
def end_sessions(name: FromPath[str], context: Injected, request: Request[Any, Any, Any]) -> None:
    """Signs an account out everywhere."""
    note(request, account=name)
    context.node.accounts.change(lambda store: store.end_sessions(name))


@get("/v1/tokens", tags=_TAGS)
@blocking
def list_tokens(context: Injected) -> TokenList:
    """All API tokens, but for their secrets."""
    return TokenList([_token(token) for token in context.node.accounts.store.tokens()])


@post("/v1/tokens", tags=_TAGS)
@blocking
def create_token(
    data: JSONBody[TokenRequest], context: Injected, request: Request[Any, Any, Any]
) -> Response[NewToken]:
    """Makes an API token; its secret is told this once."""
    principal = caller(request)
    account = data.account or (principal.name if principal else "")
    if not account:
        raise InputError("A token belongs to an account", hint="Name one in `account`.", field="account")
    token, secret = context.node.accounts.change(
        lambda store: store.add_token(account, data.name, data.scopes, valid_s=data.valid_s)
    )
    note(request, token=token.id, account=token.account, name=token.name, scopes=sorted(token.scopes))
    return Response(NewToken(_token(token), secret), status_code=201, headers={"cache-control": "no-store"})


@delete("/v1/tokens/{token_id:str}", tags=_TAGS, status_code=204)
@blocking
def revoke_token(token_id: FromPath[str], context: Injected, request: Request[Any, Any, Any]) -> None:
    """Revokes a token: from the next request on it is worth nothing, and sessions begun with it end."""
    token = context.node.accounts.change(lambda store: store.revoke_token(token_id))
    note(request, token=token.id, account=token.account, name=token.name)


@get("/v1/audit", tags=_TAGS)
@blocking
def list_audit(
    context: Injected,
    after: Annotated[int, QueryParameter(ge=0, le=SEQUENCE_MAX)] = 0,
    before: Annotated[int, QueryParameter(ge=0, le=SEQUENCE_MAX)] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)] = 100,
    kind: Annotated[str, QueryParameter(max_length=128)] = "",
) -> EventList:
    """Who changed what, from where, and what came of it, newest first; ``kind`` may be a pattern: ``accounts.*``."""
    return page_of(context, AUDIT, after=after, before=before, limit=limit, kind=kind)


def _change(store: AccountStore, name: str, data: AccountChange) -> None:
    with store.state.transaction():
        if data.role is not None:
            store.set_role(name, data.role)
        if data.password is not None:
            store.set_password(name, data.password)
        if data.disabled is not None:
            store.set_disabled(name, disabled=data.disabled)


def _summaries(store: AccountStore) -> list[AccountSummary]:
    sessions = Counter(session.account for session in store.sessions())
    tokens = Counter(token.account for token in store.tokens())
    return [
        AccountSummary(
            name=account.name,
            role=account.role,
            disabled=account.disabled,
            created_ns=account.created_ns,
            changed_ns=account.changed_ns,
            sessions=sessions[account.name],
            tokens=tokens[account.name],
        )
        for account in store.accounts()
    ]


def _summary(name: str, context: Context) -> AccountSummary:
    store = context.node.accounts.store
    store.get(name)
    return next(account for account in _summaries(store) if account.name == name)


def _token(token: Token) -> TokenSummary:
    return TokenSummary(
        id=token.id,
        account=token.account,
        name=token.name,
        scopes=sorted(token.scopes),
        created_ns=token.created_ns,
        expires_ns=token.expires_ns,
        used_ns=token.used_ns,
    )


HANDLERS = (
    list_accounts,
    add_account,
    change_account,
    remove_account,
    end_sessions,
    list_tokens,
    create_token,
    revoke_token,
    list_audit,
)
