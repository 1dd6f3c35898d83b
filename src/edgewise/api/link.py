"""The routes by which children call: proved, bounded, and answered in one write. See ``edgewise.link.base``.

Raw ASGI, since a parent of thousands of children is asked hundreds of times a second.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from edgewise.api.errors import MethodError
from edgewise.api.link_blobs import BlobRoutes
from edgewise.api.wire import Request
from edgewise.errors import BusyError, NotFoundError
from edgewise.link import desired
from edgewise.link.base import (
    MAX_BODY_BYTES,
    MAX_RECORDS_BYTES,
    NONCE,
    PIECE_BYTES,
    PREFIX,
    PROOF,
    Hello,
    Join,
    Records,
    decode,
    encode,
)
from edgewise.link.reports import Told
from edgewise.trust.refusals import Reason, refusal
from edgewise.trust.sessions import HEADER, NEW

if TYPE_CHECKING:
    from edgewise.node.parenting import Parenting
    from edgewise.trust.proof import Caller

T = TypeVar("T")

_MSGPACK = b"application/msgpack"
_THREADS = 16  # they wait for the disk together: one sync for all
_MAX_WAITING = 4096
_HEADERS = "edgewise.link"  # of the scope: what the answer states

Route: TypeAlias = Callable[["Link", Request], Awaitable[bytes]]


class Link:
    """Answers children.

    Args:
        parenting: What this node is to its children.
    """

    def __init__(self, parenting: Parenting) -> None:
        self._parenting = parenting
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="link")
        self._waiting = 0
        self._blob_routes = BlobRoutes(parenting.blobs)

    async def __call__(self, request: Request) -> None:
        """Answers a request below ``PREFIX``; errors are answered by whoever calls, with ``headers``."""
        name = request.path.removeprefix(PREFIX).split("/")[1]
        methods = {method: route for (method, known), route in _ROUTES.items() if known == name}
        if not methods:
            raise NotFoundError(f"There is no {request.path[:200]}", kind="route", name=request.path[:200])
        if request.method not in methods:
            raise MethodError(f"{request.path[:200]} takes {', '.join(methods)}", allowed=sorted(methods))
        content = await methods[request.method](self, request)
        await request.respond(
            content, headers=[(b"content-type", _MSGPACK), *request.scope.get(_HEADERS, self.headers())]
        )

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer states, refusals included: the nonce of the next proof."""
        return [(NONCE.encode(), self._parenting.nonce().encode())]

    def leave(self) -> None:
        """Answers children that wait for news: the server is about to stop."""
        self._parenting.handing.end()

    def close(self) -> None:
        """Ends its threads."""
        self._threads.shutdown(cancel_futures=True)
        self._blob_routes.close()

    async def _authority(self, _: Request) -> bytes:
        return self._parenting.authority.pem.encode()

    async def _join(self, request: Request) -> bytes:
        body = bytes(await request.body(max_bytes=MAX_BODY_BYTES))
        stranger = self._parenting.verifier.introduce(
            _header(request, PROOF),
            method=request.method,
            target=_target(request),
            body_digest=hashlib.sha256(body).hexdigest(),
            now=self._parenting.clock.monotonic(),
        )
        return encode(await self._run(self._parenting.join, stranger, decode(body, Join)))

    async def _token(self, request: Request) -> bytes:
        body = bytes(await request.body(max_bytes=MAX_BODY_BYTES))
        now = self._parenting.clock.monotonic()
        verifier = self._parenting.verifier
        caller = verifier.admit(
            _header(request, PROOF),
            method=request.method,
            target=_target(request),
            body_digest=hashlib.sha256(body).hexdigest(),
            now=now,
        )
        return verifier.issue(caller.node, caller.key, now).encode()

    async def _hello(self, request: Request) -> bytes:
        caller, body = await self._proved(request, max_bytes=MAX_BODY_BYTES)
        hello = decode(body, Hello)
        return encode(await self._run(self._parenting.intake.greet, caller.node, hello))

    async def _records(self, request: Request) -> bytes:
        caller, body = await self._proved(request, max_bytes=MAX_RECORDS_BYTES)
        return encode(await self._run(self._take, caller, body))

    def _take(self, caller: Caller, body: bytes) -> object:
        return self._parenting.intake.take(caller.node, decode(body, Records).batches)

    async def _blobs(self, request: Request) -> bytes:
        caller, body = await self._proved(request, max_bytes=PIECE_BYTES)
        return await self._blob_routes.answer(caller.node, request.method, request.path, body)

    async def _desired(self, request: Request) -> bytes:
        caller, _ = await self._proved(request, max_bytes=0)
        have = request.query().get("have", "")
        return encode(await self._parenting.handing.wait(caller.node, have, run=self._run))

    async def _state(self, request: Request) -> bytes:
        caller, body = await self._proved(request, max_bytes=MAX_BODY_BYTES)
        reports = decode(body, desired.Reports).reports
        await self._run(self._parenting.handing.hear, caller.node, reports)
        return b""

    async def _health(self, request: Request) -> bytes:
        caller, body = await self._proved(request, max_bytes=MAX_BODY_BYTES)
        told = decode(body, Told)
        if self._parenting.reports.knows(caller.node, told, self._parenting.fleet):
            return encode(self._parenting.told(caller.node, told))
        return encode(await self._run(self._parenting.told, caller.node, told))

    async def _proved(self, request: Request, *, max_bytes: int) -> tuple[Caller, bytes]:
        """Who sends a request, and its body: the head is proved before the body is read."""
        if (session := _header(request, HEADER)) not in {"", NEW}:
            return await self._in_session(request, session, max_bytes=max_bytes)
        scheme, _, token = _header(request, "authorization").partition(" ")
        if scheme.lower() != "dpop":
            raise refusal(Reason.MISSING, "A child shows an access token with each request")
        begun = self._parenting.verifier.begin(
            token,
            _header(request, PROOF),
            method=request.method,
            target=_target(request),
            now=self._parenting.clock.monotonic(),
        )
        body = bytes(await request.body(max_bytes=max_bytes))
        caller = begun.finish(hashlib.sha256(body).hexdigest())
        if session == NEW:
            stated = self._parenting.sessions.begin(caller, self._parenting.clock.monotonic())
            request.scope[_HEADERS] = [*self.headers(), (HEADER.encode(), stated.encode())]
        return caller, body

    async def _in_session(self, request: Request, session: str, *, max_bytes: int) -> tuple[Caller, bytes]:
        """Who sends a request within a session, and its body. The answer needs no nonce."""
        self._parenting.sessions.known(session, self._parenting.clock.monotonic())
        body = bytes(await request.body(max_bytes=max_bytes))
        caller = self._parenting.sessions.check(
            session,
            method=request.method,
            target=_target(request),
            body_digest=hashlib.sha256(body).hexdigest(),
            now=self._parenting.clock.monotonic(),
        )
        request.scope[_HEADERS] = []
        return caller, body

    async def _run(self, function: Callable[..., T], /, *arguments: object) -> T:
        """Runs what waits for the disk in a thread."""
        if self._waiting >= _MAX_WAITING:
            raise BusyError("More children than can be answered wait already", retry_after_s=5)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        finally:
            self._waiting -= 1


def _header(request: Request, name: str) -> str:
    return request.header(name.encode()).decode("latin-1")


def _target(request: Request) -> str:
    """Path and query as they were sent."""
    path: bytes = request.scope.get("raw_path") or request.path.encode()
    query: bytes = request.scope.get("query_string", b"")
    return (path + b"?" + query if query else path).decode("latin-1")


# By method and the first word of the path; what comes behind it is the route's own.
_ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", "authority"): Link._authority,
    ("POST", "join"): Link._join,
    ("POST", "token"): Link._token,
    ("POST", "hello"): Link._hello,
    ("POST", "records"): Link._records,
    ("GET", "blobs"): Link._blobs,
    ("POST", "blobs"): Link._blobs,
    ("PUT", "blobs"): Link._blobs,
    ("DELETE", "blobs"): Link._blobs,
    ("GET", "desired"): Link._desired,
    ("POST", "state"): Link._state,
    ("POST", "health"): Link._health,
}
