"""Who may call: pure checks of a request's headers, before anything else looks at it.

* *Token.* When the settings name one, every request but the few that must work without (``OPEN``) shows it as
  ``Authorization: Bearer``, or as the cookie that ``POST /v1/session`` sets for the console. The cookie holds a digest
  of the token, so that reading a browser's cookies does not give the token away.
* *Host.* Without a token the node trusts the loopback, and so must know that a browser did not come here under a name
  some other site made resolve to it (DNS rebinding): only loopback names, the listening address, and
  ``http.allowed_hosts`` are answered.
* *Origin.* A page of another origin may not change anything, whatever its content type: requests that browsers mark
  as another site's are refused. There are no CORS headers, so such a page cannot read anything either.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from itertools import chain
from typing import TYPE_CHECKING

from edgewise.api.errors import CrossSiteError, HeadersError
from edgewise.errors import AccessError

if TYPE_CHECKING:
    from edgewise.api.wire import Head

COOKIE = "edgewise_session"
MAX_HEADER_BYTES = 32 * 1024
# Host headers that were found fine are remembered, up to so many: a name with every port is a lot of them.
_MAX_REMEMBERED = 64
_SAFE = {"GET", "HEAD", "OPTIONS"}
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
# Needed before a token can be shown: probes, the console's own files, and the session itself.
OPEN = ("/v1/health", "/v2/health/live", "/v2/health/ready", "/v1/session")


class Guard:
    """The checks, with this node's names and token.

    Args:
        token: The token, empty when none is needed.
        hosts: Names and addresses under which browsers may reach the node, besides the loopback's.
    """

    def __init__(self, *, token: str = "", hosts: Iterable[str] = ()) -> None:
        self._token = token.encode()
        self._session = session_of(token).encode() if token else b""
        self._hosts = _LOOPBACK | {host.lower() for host in hosts}
        self._fine: set[bytes] = {b""}

    @property
    def needs_token(self) -> bool:
        """Whether a token is needed."""
        return bool(self._token)

    def check(self, request: Head) -> None:
        """Lets a request pass or raises.

        Raises:
            HeadersError: Its headers are larger than ``MAX_HEADER_BYTES``.
            CrossSiteError: It came under another name, or from another site's page.
            AccessError: It shows no token, or a wrong one.
        """
        check_head(request)
        if not self._token and request.header(b"host") not in self._fine:
            self._check_host(request.header(b"host"))
        if request.method not in _SAFE:
            _check_origin(request)
        elif request.header(b"sec-fetch-site") == b"cross-site" and request.header(b"sec-fetch-mode") != b"navigate":
            raise CrossSiteError("Another site's page may not use this node")
        if self._token and not _is_open(request.path) and not self.signed_in(request):
            raise AccessError(
                "This node needs a token",
                hint="Send `Authorization: Bearer TOKEN`, or sign in at the console.",
            )

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

    def signed_in(self, request: Head) -> bool:
        """Whether the request shows the token or a session made with it; always when none is needed."""
        if not self._token:
            return True
        scheme, _, shown = request.header(b"authorization").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(shown.strip(), self._token):
            return True
        return hmac.compare_digest(_cookie(request.header(b"cookie")), self._session)

    def is_token(self, shown: str) -> bool:
        """Whether ``shown`` is the token, in constant time."""
        return bool(self._token) and hmac.compare_digest(shown.encode(), self._token)


def check_head(request: Head) -> None:
    """Refuses headers that are larger than ``MAX_HEADER_BYTES``."""
    if _header_bytes(request) > MAX_HEADER_BYTES:
        raise HeadersError(f"The headers are larger than {MAX_HEADER_BYTES} bytes", limit=MAX_HEADER_BYTES)


def session_of(token: str) -> str:
    """The cookie's value: a digest from which the token cannot be had."""
    return hmac.new(token.encode(), b"edgewise console session", hashlib.sha256).hexdigest()


def _is_open(path: str) -> bool:
    """Whether a path works without a token: ``OPEN``, and files, which hold no data of the node."""
    return path in OPEN or not path.startswith(("/v1/", "/v2", "/metrics", "/schema"))


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
