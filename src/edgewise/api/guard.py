"""Who calls and what they may do: checks of a request's head, before anything else looks at it.

* *Who.* An API token or the token of ``http.token_file`` as ``Authorization: Bearer``, or the cookie of a session that
  ``POST /v1/session`` began. A node that has neither accounts nor a token and listens on the loopback alone takes every
  caller for its admin. With the first account that ends, also on the loopback: other users and programs of the machine,
  and every proxy on it, come from there too.
* *What.* ``accounts.permissions`` says which permission a method and path need; what stands nowhere is refused.
* *Host.* A node that trusts the loopback must know that a browser did not come here under a name some other site made
  resolve to it (DNS rebinding): only loopback names, the listening address, and ``http.allowed_hosts`` are answered.
* *Origin.* A page of another origin may not change anything, whatever its content type: requests that browsers mark
  as another site's are refused. There are no CORS headers, so such a page cannot read anything either.

Nothing here waits: accounts are in memory (``accounts.directory``).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, cast

from edgewise._lib.clock import Clock, SystemClock
from edgewise.accounts.permissions import Principal, Role, Route, Via, find_route, may, routes_of
from edgewise.api.errors import CrossSiteError, HeadersError, MethodError
from edgewise.errors import AccessError, ForbiddenError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from edgewise.accounts.directory import Directory
    from edgewise.api.wire import Head

COOKIE = "edgewise_session"
# Where the scope of a request that the parent handed down holds who asks.
PRINCIPAL = "edgewise.principal"
MAX_HEADER_BYTES = 32 * 1024
# Host headers that were found fine are remembered, up to so many: a name with every port is a lot of them.
_MAX_REMEMBERED = 64
_SAFE = {"GET", "HEAD", "OPTIONS"}
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
_GUARDED = ("/v1/", "/v2", "/metrics", "/schema")
# What was found out about a caller is asked again after so long, which also notes that a session is in use.
_HOLDS_NS = 60 * 10**9
_CLOCK = SystemClock()

ANYONE_HERE = Principal("", Role.ADMIN, Via.LOOPBACK)
HOLDER_OF_FILE = Principal("", Role.ADMIN, Via.TOKEN_FILE)


class Pass(NamedTuple):
    """What was found out about a request: who calls, and where to; good as long as ``Guard.holds`` says so.

    Attributes:
        principal: None for a stranger, who may have what is for everybody.
        route: None for a file of the console.
        epoch: Of the accounts.
        until_ns: Wall clock.
    """

    principal: Principal | None
    route: Route | None
    epoch: int
    until_ns: int


class Guard:
    """The checks, with this node's names, token and accounts.

    Args:
        token: The token of ``http.token_file``; empty when there is none.
        hosts: Names and addresses under which browsers may reach the node, besides the loopback's.
        directory: The accounts.
        trusts_loopback: Whether callers are taken for the admin while there is neither a token nor an account: only
            for a node that listens on the loopback alone.
        clock: For what expires.
    """

    def __init__(
        self,
        *,
        token: str = "",
        hosts: Iterable[str] = (),
        directory: Directory | None = None,
        trusts_loopback: bool = True,
        clock: Clock = _CLOCK,
    ) -> None:
        self._token = token.encode()
        self._session = session_of(token).encode() if token else b""
        self._hosts = _LOOPBACK | {host.lower() for host in hosts}
        self._fine: set[bytes] = {b""}
        self._directory = directory
        self._trusts_loopback = trusts_loopback
        self._clock = clock

    @property
    def needs_sign_in(self) -> bool:
        """Whether somebody has to show who they are."""
        in_use = self._directory is not None and self._directory.in_use
        return bool(self._token) or in_use or not self._trusts_loopback

    @property
    def has_accounts(self) -> bool:
        """Whether there is an account to sign in with."""
        return self._directory is not None and self._directory.in_use

    def check(self, request: Head) -> Pass:
        """Lets a request pass or raises, as ``admit`` and ``permit`` do."""
        passed = self.admit(request)
        self.permit(passed)
        return passed

    def admit(self, request: Head) -> Pass:
        """Finds out who calls, and where to.

        Raises:
            HeadersError: Its headers are larger than ``MAX_HEADER_BYTES``.
            CrossSiteError: It came under another name, or from another site's page.
            AccessError: It shows nothing that this node knows.
            NotFoundError: There is no such path, for those who are known.
            MethodError: The path is there, but not for this method.
            UnavailableError: Who is known cannot be found out now.
        """
        check_head(request)
        if not self.needs_sign_in and request.header(b"host") not in self._fine:
            self._check_host(request.header(b"host"))
        if request.method not in _SAFE:
            _check_origin(request)
        elif request.header(b"sec-fetch-site") == b"cross-site" and request.header(b"sec-fetch-mode") != b"navigate":
            raise CrossSiteError("Another site's page may not use this node")
        epoch = self._directory.epoch if self._directory is not None else 0  # before it is asked
        guarded = request.path.startswith(_GUARDED)
        route = find_route(request.method, request.path) if guarded else None
        principal = self._known(request, must=guarded and (route is None or route.permission is not None))
        if guarded and route is None:
            raise _nowhere(request)
        until_ns = self._clock.time_ns() + _HOLDS_NS
        if principal is not None and principal.expires_ns:
            until_ns = min(until_ns, principal.expires_ns)
        return Pass(principal, route, epoch, until_ns)

    def permit(self, passed: Pass) -> None:
        """Lets those pass who may.

        Raises:
            ForbiddenError: They may not.
        """
        permission = passed.route.permission if passed.route else None
        if not may(passed.principal, permission, now_ns=self._clock.time_ns()):
            raise ForbiddenError(
                "You may not do this here",
                hint=f"It needs the permission {permission!s}: ask an admin of this node.",
                permission=str(permission),
            )

    def holds(self, passed: Pass) -> bool:
        """Whether what was found out before still counts; cheap enough for every request."""
        epoch = self._directory.epoch if self._directory is not None else 0
        return passed.epoch == epoch and self._clock.time_ns() < passed.until_ns

    def who(self, request: Head) -> Principal | None:
        """Who calls; None for a stranger.

        Raises:
            UnavailableError: It cannot be found out now.
        """
        if asked := request.scope.get(PRINCIPAL):  # of a request from above, which the server cannot be made to set
            return cast("Principal", asked)
        scheme, _, shown = request.header(b"authorization").partition(b" ")
        cookie = _cookie(request.header(b"cookie"))
        if self._token:
            if scheme.lower() == b"bearer" and hmac.compare_digest(shown.strip(), self._token):
                return HOLDER_OF_FILE
            if hmac.compare_digest(cookie, self._session):
                return HOLDER_OF_FILE
        if self._directory is not None and self._directory.in_use:
            found = self._directory.by_token(shown.strip().decode("latin-1")) if scheme.lower() == b"bearer" else None
            return found or self._directory.by_session(cookie.decode("latin-1"))
        elsewhere = request.scope.get("scheme") == "https"  # its address is for other machines
        return None if self.needs_sign_in or elsewhere else ANYONE_HERE

    def is_token(self, shown: str) -> bool:
        """Whether ``shown`` is the token of ``http.token_file``, in constant time."""
        return bool(self._token) and hmac.compare_digest(shown.encode("utf-8", "surrogatepass"), self._token)

    def _known(self, request: Head, *, must: bool) -> Principal | None:
        try:
            principal = self.who(request)
        except UnavailableError:
            if must:
                raise
            return None
        if principal is None and must:
            raise AccessError(
                "This node asks who you are",
                hint="Send `Authorization: Bearer TOKEN`, or sign in at the console.",
            )
        return principal

    def _check_host(self, header: bytes) -> None:
        host = header.decode("latin-1").lower()
        if _without_port(host) not in self._hosts:
            raise CrossSiteError(
                f"This node does not answer to the name {host!r}",
                hint="Add the name to http.allowed_hosts if it is meant.",
                host=host,
            )
        if len(self._fine) < _MAX_REMEMBERED:
            self._fine.add(header)


def check_head(request: Head) -> None:
    """Refuses headers that are larger than ``MAX_HEADER_BYTES``."""
    if _header_bytes(request) > MAX_HEADER_BYTES:
        raise HeadersError(f"The headers are larger than {MAX_HEADER_BYTES} bytes", limit=MAX_HEADER_BYTES)


def session_of(token: str) -> str:
    """The cookie for the token of ``http.token_file``: a digest from which the token cannot be had."""
    return hmac.new(token.encode(), b"edgewise console session", hashlib.sha256).hexdigest()


def _nowhere(request: Head) -> NotFoundError | MethodError:
    allowed = {route.method for route in routes_of(request.path)}
    if allowed:
        allowed |= {"HEAD"} if "GET" in allowed else set()
        return MethodError(f"{request.path} does not take {request.method}", allowed=sorted(allowed))
    return NotFoundError(
        f"There is no {request.path}", hint="The paths stand in /schema/openapi.json.", kind="path", name=request.path
    )


def _header_bytes(request: Head) -> int:
    scope = request.scope
    headers = sum(map(len, chain.from_iterable(scope["headers"])))
    return headers + len(request.path) + len(scope.get("query_string", b""))


def _check_origin(request: Head) -> None:
    origin = request.header(b"origin").lower()
    same = not origin or origin.partition(b"://")[2] == request.header(b"host").lower()
    if not same or request.header(b"sec-fetch-site") not in (b"", b"same-origin", b"none"):
        raise CrossSiteError("Another site's page may not use this node", origin=origin.decode("latin-1"))


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _cookie(header: bytes) -> bytes:
    if COOKIE.encode() not in header:
        return b""
    try:
        cookies = SimpleCookie(header.decode("latin-1"))
    except CookieError:
        return b""
    return cookies[COOKIE].value.encode() if COOKIE in cookies else b""
