"""The routes by which children call: proved, bounded, and answered in one write. See ``edgewise.link.base``.

Raw ASGI, since a parent of thousands of children is asked hundreds of times a second.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from edgewise.api.errors import MethodError
from edgewise.api.link_blobs import BlobRoutes
from edgewise.api.relay import while_there
from edgewise.api.wire import Request
from edgewise.errors import AccessError, BusyError, NotFoundError
from edgewise.link import desired
from edgewise.link.base import (
    MAX_BODY_BYTES,
    MAX_RECORDS_BYTES,
    NONCE,
    PIECE_BYTES,
    PREFIX,
    PROOF,
    SUCCESSOR,
    Hello,
    Join,
    Records,
    decode,
    encode,
)
from edgewise.link.consult import Question
from edgewise.link.reports import Told
from edgewise.link.work import MAX_MESSAGE_BYTES, Part, Poll
from edgewise.trust import rotation
from edgewise.trust.refusals import Reason, refusal
from edgewise.trust.sessions import HEADER, NEW

if TYPE_CHECKING:
    from edgewise.api.opinions import Opinions
    from edgewise.node.parenting import Parenting
    from edgewise.trust.proof import Caller

T = TypeVar("T")

_MSGPACK = b"application/msgpack"
_THREADS = 16  # they wait for the disk together: one sync for all
_MAX_WAITING = 4096
# Of the scope: what the answer states, and who asked.
_HEADERS, _CALLER = "edgewise.link", "edgewise.caller"

Route: TypeAlias = Callable[["Link", Request], Awaitable[bytes]]


class Link:
    """Answers children.

    Args:
        parenting: What this node is to its children.
        opinions: What its models say to them.
    """

    def __init__(self, parenting: Parenting, opinions: Opinions) -> None:
        self._parenting = parenting
        self._opinions = opinions
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
        headers = [*request.scope.get(_HEADERS, self.headers())]
        caller: Caller | None = request.scope.get(_CALLER)
        if caller and self._parenting.successor and caller.audience != self._parenting.authority.fingerprint:
            headers.append((SUCCESSOR.encode(), self._parenting.successor.encode()))
        await request.respond(content, media_type=_MSGPACK, headers=headers)

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
        join = functools.partial(self._parenting.join, address=_address(request))
        return encode(await self._run(join, stranger, decode(body, Join)))

    async def _token(self, request: Request) -> bytes:
        body = bytes(await request.body(max_bytes=MAX_BODY_BYTES))
        now = self._parenting.clock.monotonic()
        verifier = self._parenting.verifier
        admit = functools.partial(
            verifier.admit,
            _header(request, PROOF),
            method=request.method,
            target=_target(request),
            body_digest=hashlib.sha256(body).hexdigest(),
            now=now,
        )
        try:
            caller = admit()
        except AccessError as error:
            if error.facts["reason"] != Reason.WRONG_KEY or not await self._run(self._parenting.fleet.refresh):
                raise
            caller = admit()  # another process on the same database has taken the key
        return verifier.issue(caller.node, caller.key, now).encode()

    async def _key(self, request: Request) -> bytes:
        caller, _ = await self._proved(request, max_bytes=0)
        return encode(self._parenting.key(caller.node))

    async def _change_key(self, request: Request) -> bytes:
        caller, body = await self._proved(request, max_bytes=rotation.MAX_BYTES)
        change = functools.partial(self._parenting.change_key, address=_address(request))
        return encode(await self._run(change, caller.node, body.decode("ascii", "replace")))

    async def _leave(self, request: Request) -> bytes:
        caller, _ = await self._proved(request, max_bytes=0)
        leave = functools.partial(self._parenting.leave, address=_address(request))
        await self._run(leave, caller.node)
        return b""

    async def _hello(self, request: Request) -> bytes:
        caller, body = await self._proved(request, max_bytes=MAX_BODY_BYTES)
        hello = decode(body, Hello)
        return encode(await self._run(self._parenting.intake.greet, caller.node, hello))

    async def _records(self, request: Request) -> bytes:
        caller, body = await self._proved(request, max_bytes=MAX_RECORDS_BYTES)
        return encode(await self._run(self._take, caller, body))

    async def _work(self, request: Request) -> bytes:
        caller, body = await self._proved(request, max_bytes=MAX_BODY_BYTES)
        poll = decode(body, Poll)
        if poll.brings:
            await self._run(self._parenting.fleet.announce, caller.node, poll.brings)
        taking = self._parenting.relaying.take(caller.node, poll)
        return encode(await while_there(request, taking))

    async def _answer(self, request: Request) -> bytes:
        caller, body = await self._proved(request, max_bytes=MAX_MESSAGE_BYTES)
        identity = request.path.rpartition("/")[2]
        return encode(await self._parenting.relaying.answer(caller.node, identity, decode(body, Part)))

    async def _infer(self, request: Request) -> bytes:
        _, body = await self._proved(request, max_bytes=MAX_BODY_BYTES)
        model = request.path.rpartition("/")[2]
        return encode(await while_there(request, self._opinions.give(model, decode(body, Question))))

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
        caller = request.scope[_CALLER] = begun.finish(hashlib.sha256(body).hexdigest())
        self._parenting.shown(caller)
        if session == NEW:
            stated = self._parenting.sessions.begin(caller, self._parenting.clock.monotonic())
            request.scope[_HEADERS] = [*self.headers(), (HEADER.encode(), stated.encode())]
        return caller, body

    async def _in_session(self, request: Request, session: str, *, max_bytes: int) -> tuple[Caller, bytes]:
        """Who sends a request within a session, and its body. The answer needs no nonce."""
        self._parenting.sessions.known(session, self._parenting.clock.monotonic())
        body = bytes(await request.body(max_bytes=max_bytes))
        caller = request.scope[_CALLER] = self._parenting.sessions.check(
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


def _address(request: Request) -> str:
    """Where a request came from, for the audit log."""
    client: tuple[str, int] | None = request.scope.get("client")
    return client[0] if client else ""


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
    ("GET", "key"): Link._key,
    ("POST", "key"): Link._change_key,
    ("POST", "leave"): Link._leave,
    ("POST", "hello"): Link._hello,
    ("POST", "records"): Link._records,
    ("GET", "blobs"): Link._blobs,
    ("POST", "blobs"): Link._blobs,
    ("PUT", "blobs"): Link._blobs,
    ("DELETE", "blobs"): Link._blobs,
    ("GET", "desired"): Link._desired,
    ("POST", "state"): Link._state,
    ("POST", "health"): Link._health,
    ("POST", "work"): Link._work,
    ("POST", "answer"): Link._answer,
    ("POST", "infer"): Link._infer,
}
