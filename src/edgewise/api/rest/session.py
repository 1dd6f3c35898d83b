"""Signing in at the console: the token becomes a cookie that scripts cannot read."""

from __future__ import annotations

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.datastructures import Cookie
from litestar.params import JSONBody

from edgewise.api.guard import COOKIE, session_of
from edgewise.api.rest.context import Injected
from edgewise.api.wire import Request as RawRequest
from edgewise.errors import AccessError

_TAGS = ["session"]


class SessionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person signs in with."""

    token: str


class Session(msgspec.Struct, frozen=True):
    """Whether this node needs a token, and whether this browser has shown it."""

    required: bool
    signed_in: bool


@get("/v1/session", tags=_TAGS, sync_to_thread=False)
def read_session(request: Request, context: Injected) -> Session:  # type: ignore[type-arg]
    """Whether a token is needed, and was shown."""
    raw = RawRequest(request.scope, request.receive, request.send)  # type: ignore[arg-type]
    return Session(required=context.guard.needs_token, signed_in=context.guard.signed_in(raw))


@post("/v1/session", tags=_TAGS, status_code=200, sync_to_thread=False)
def sign_in(data: JSONBody[SessionRequest], context: Injected) -> Response[Session]:
    """Shows the token; the answer sets a cookie."""
    guard = context.guard
    if not guard.needs_token:
        return Response(Session(required=False, signed_in=True))
    if not guard.is_token(data.token):
        raise AccessError("That is not this node's token", hint="It stands in the file that http.token_file names.")
    cookie = Cookie(COOKIE, value=session_of(data.token), httponly=True, samesite="strict", path="/")
    return Response(Session(required=True, signed_in=True), cookies=[cookie])


@delete("/v1/session", tags=_TAGS, status_code=204, sync_to_thread=False)
def sign_out() -> Response[None]:
    """Forgets the cookie."""
    response = Response(None, status_code=204)
    response.delete_cookie(COOKIE)
    return response


HANDLERS = (read_session, sign_in, sign_out)
