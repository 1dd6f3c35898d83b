"""Signing in at the console, with a name and its password or with a token: a cookie that scripts cannot read."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.datastructures import Cookie
from litestar.params import FromQuery, JSONBody
from msgspec import Meta

from edgewise.accounts.names import fold
from edgewise.accounts.permissions import Principal, Via
from edgewise.api.guard import COOKIE, HOLDER_OF_FILE, session_of
from edgewise.api.rest.context import Context, Injected, blocking, caller, client_of, note
from edgewise.errors import AccessError, ForbiddenError, InputError

_TAGS = ["session"]
_Secret = Annotated[str, Meta(max_length=256)]


class SessionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person signs in with: a name and its password, or a token."""

    name: _Secret | None = None
    password: _Secret | None = None
    token: _Secret | None = None


class PasswordRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The password there is, and the one to be."""

    current: _Secret
    new: _Secret


class Session(msgspec.Struct, frozen=True):
    """Who is signed in here.

    Attributes:
        required: Whether this node asks who calls.
        accounts: Whether there are accounts to sign in with, besides tokens.
        signed_in: Whether this caller is known.
        name: Of the account; empty when the caller has none.
        role: Of the account, else ``admin``; empty for strangers.
        via: ``session``, ``api_token``, ``token_file`` or ``loopback``; empty for strangers.
        permissions: What the caller may do now.
    """

    required: bool
    accounts: bool
    signed_in: bool
    name: str
    role: str
    via: str
    permissions: list[str]


@get("/v1/session", tags=_TAGS, sync_to_thread=False)
def read_session(request: Request[Any, Any, Any], context: Injected) -> Session:
    """Who is signed in, and what they may do."""
    return _session(context, caller(request))


@post("/v1/session", tags=_TAGS, status_code=200)
@blocking
def sign_in(data: JSONBody[SessionRequest], context: Injected, request: Request[Any, Any, Any]) -> Response[Session]:
    """Signs in; the answer sets a cookie. Who tries too often has to wait: 429 with `Retry-After`."""
    if not context.guard.needs_sign_in:
        return Response(_session(context, caller(request)))
    try:
        principal, secret = _begin(data, context, client_of(request))
    except AccessError:
        note(request, account=_known_name(context, data.name or ""))
        raise
    note(request, account=principal.name)
    return Response(_session(context, principal), cookies=[_cookie(request, context, principal, secret)])


@put("/v1/session/password", tags=_TAGS, status_code=200)
@blocking
def change_password(
    data: JSONBody[PasswordRequest], context: Injected, request: Request[Any, Any, Any]
) -> Response[Session]:
    """Changes one's own password. All sessions of the account end; this one goes on under a new cookie."""
    principal = caller(request)
    if principal is None or principal.via is not Via.SESSION or principal.scopes is not None:
        raise ForbiddenError("Sign in with your password to change it")
    accounts, address = context.node.accounts, client_of(request)
    accounts.confirm(principal.name, data.current, address=address)
    accounts.change(lambda store: store.set_password(principal.name, data.new))
    renewed, secret = accounts.sign_in(principal.name, data.new, address=address)
    return Response(_session(context, renewed), cookies=[_cookie(request, context, renewed, secret)])


@delete("/v1/session", tags=_TAGS, status_code=204)
@blocking
def sign_out(context: Injected, request: Request[Any, Any, Any], everywhere: FromQuery[bool] = False) -> Response[None]:
    """Ends the session and forgets the cookie; ``everywhere`` ends all sessions of the account."""
    principal = caller(request)
    if principal is not None and principal.via is Via.SESSION:
        everywhere = everywhere and principal.scopes is None  # what a token is for does not reach that far
        note(request, account=principal.name, everywhere=everywhere)
        name, digest = principal.name, principal.credential
        context.node.accounts.change(
            lambda store: store.end_sessions(name) if everywhere else store.end_session(digest)
        )
    response = Response(None, status_code=204)
    response.delete_cookie(COOKIE)
    return response


def _begin(data: SessionRequest, context: Context, address: str) -> tuple[Principal, str]:
    """Who signs in, and the secret of the new session."""
    accounts = context.node.accounts
    if data.token is not None and data.name is None and data.password is None:
        if not context.guard.is_token(data.token):
            return accounts.sign_in_with_token(data.token, address=address)
        accounts.attempt(address=address)()
        return HOLDER_OF_FILE, session_of(data.token)
    if data.token is None and data.name is not None and data.password is not None:
        return accounts.sign_in(data.name, data.password, address=address)
    raise InputError("Sign in with a name and a password, or with a token")


def _cookie(request: Request[Any, Any, Any], context: Context, principal: Principal, secret: str) -> Cookie:
    # The token of the file has no session that would end: its cookie goes with the browser.
    lasts_s = int(context.node.settings.accounts.session_max_s) if principal.via is Via.SESSION else None
    secure = request.scope.get("scheme") == "https"
    return Cookie(COOKIE, value=secret, max_age=lasts_s, httponly=True, secure=secure, samesite="strict", path="/")


def _session(context: Context, principal: Principal | None) -> Session:
    guard = context.guard
    allowed = principal.permissions(now_ns=context.node.clock.time_ns()) if principal else frozenset()
    return Session(
        required=guard.needs_sign_in,
        accounts=guard.has_accounts,
        signed_in=principal is not None,
        name=principal.name if principal else "",
        role=principal.role.value if principal else "",
        via=principal.via.value if principal else "",
        permissions=sorted(permission.value for permission in allowed),
    )


def _known_name(context: Context, typed: str) -> str:
    """The account somebody tried to be; empty when there is none: what they typed may be their password."""
    name = fold(typed)
    return name if any(account.name == name for account in context.node.accounts.store.accounts()) else ""


HANDLERS = (read_session, sign_in, change_password, sign_out)
