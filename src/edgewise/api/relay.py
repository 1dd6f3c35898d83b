"""``ANY /v1/nodes/{name}/v1/…`` and ``/v2/…``: the API of another node of the tree, at this one.

The guard has let the caller pass by what the path needs at that node. What tells who asks (token, cookie) stays here;
the child is told a name and what it may do. A child is trusted with its own answers alone: of their headers only those
pass that describe the content, and a browser that shows one runs nothing in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from edgewise.accounts.permissions import Via
from edgewise.api import audit
from edgewise.api.wire import PeerGoneError
from edgewise.errors import NotFoundError, RetryError, TooLargeError
from edgewise.link.work import MAX_REQUEST_BYTES, Asked

if TYPE_CHECKING:
    from edgewise.accounts.permissions import Principal
    from edgewise.api.guard import Pass
    from edgewise.api.wire import Headers, Request
    from edgewise.node.parenting import Parenting
    from edgewise.node.relaying import Answer

T = TypeVar("T")

logger = logging.getLogger(__name__)

_DOWN = {
    b"accept",
    b"accept-encoding",
    b"content-encoding",
    b"content-type",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"inference-header-content-length",
    b"last-event-id",
    b"range",
}
_UP = {
    b"accept-ranges",
    b"allow",
    b"cache-control",
    b"content-disposition",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"etag",
    b"inference-header-content-length",
    b"last-modified",
    b"retry-after",
    b"x-edgewise-frame",
}
_ALWAYS = [(b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"default-src 'none'; sandbox")]
_MAX_VALUE = 8192
_MAX_PATH = 4096


class Relay:
    """Hands requests to the nodes below this one.

    Args:
        parenting: What this node is to its children; None where it takes none.
        node: Its own name.
    """

    def __init__(self, parenting: Parenting | None, *, node: str) -> None:
        self._parenting = parenting
        self._node = node

    async def __call__(self, request: Request, passed: Pass, name: str, inner: str) -> None:
        """Has ``name`` answer what stands at ``inner`` in its API.

        Raises:
            NotFoundError: No node below this one is called so.
            UnavailableError: The child that it is, or that it is below, is not there.
            BusyError: Too many requests wait for it.
        """
        child = self._parenting.fleet.route(name) if self._parenting else None
        if self._parenting is None or child is None:
            name = name[:64]
            raise NotFoundError(f"No node is named {name!r}", hint="See: edgewise nodes", kind="node", name=name)
        audit.note(request.scope, node=name)
        relaying = self._parenting.relaying
        relaying.check(child)
        body = bytes(await request.body(max_bytes=MAX_REQUEST_BYTES))
        path = inner if child == name else f"/v1/nodes/{name}{inner}"
        now_ns = self._parenting.clock.time_ns()
        asked = asked_of(request, passed.principal, path=path, body=body, node=self._node, now_ns=now_ns)
        answer = await while_there(request, relaying.ask(child, asked))
        try:
            await _pass_on(request, answer)
        finally:
            answer.drop()


def asked_of(request: Request, principal: Principal | None, *, path: str, body: bytes, node: str, now_ns: int) -> Asked:
    """A request as the child is told it.

    Args:
        request: What somebody asks here.
        principal: Who.
        path: At the child.
        body: Of the request.
        node: This node's name.
        now_ns: Wall clock.

    Raises:
        TooLargeError: Path, query or a header is longer than is handed on.
    """
    query: bytes = request.scope.get("query_string", b"")
    headers = tuple((name, value) for name, value in request.scope["headers"] if name in _DOWN)
    if len(path) > _MAX_PATH or len(query) > _MAX_VALUE or any(len(value) > _MAX_VALUE for _, value in headers):
        raise TooLargeError("Path, query or a header is too long to be handed on", limit=_MAX_VALUE)
    client = request.scope.get("client")
    return Asked(
        id="0" * 32,
        method=request.method,
        path=path,
        query=query,
        headers=headers,
        body=body,
        who=who_is(principal, node=node),
        client=client[0] if client else "",
        permissions=tuple(sorted(principal.permissions(now_ns=now_ns))) if principal else (),
    )


def who_is(principal: Principal | None, *, node: str) -> str:
    """Whom the audit log of a child names: an account of ``node``, or of a node above it."""
    if principal is None:
        return f"@{node}"
    return principal.name if principal.via is Via.PARENT else f"{principal.name or principal.via.value}@{node}"


async def while_there(request: Request, waiting: Coroutine[Any, Any, T]) -> T:
    """What is waited for, as long as the peer waits for it too; a request whose body was read.

    Raises:
        PeerGoneError: It hung up.
    """
    task = asyncio.ensure_future(waiting)
    gone = asyncio.ensure_future(request.gone())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise PeerGoneError
    finally:
        for each in (task, gone):
            each.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await asyncio.gather(task, gone, return_exceptions=True)


def _kept(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name in _UP and not any(byte < 32 for byte in value)]


async def _pass_on(request: Request, answer: Answer) -> None:
    headers = [*_kept(answer.headers), *_ALWAYS]
    bodiless = request.method == "HEAD" or answer.status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
    if answer.whole or bodiless:
        length = _length(answer) if bodiless else len(answer.body)
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        await request.send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await request.send({"type": "http.response.body", "body": b"" if bodiless else answer.body})
        return
    left = _length(answer)
    if left is not None:
        headers.append((b"content-length", b"%d" % left))
    await request.send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await while_there(request, _stream(request, answer, left=left))


async def _stream(request: Request, answer: Answer, *, left: int | None) -> None:
    """Sends pieces as they come. When the child breaks off, or sends more or less than it stated, the connection ends:
    what was sent can be told from a whole answer.

    Raises:
        PeerGoneError: It broke off; nothing can be said any more.
    """
    await request.send({"type": "http.response.body", "body": answer.body, "more_body": True})
    sent = len(answer.body)
    try:
        async for piece in answer.rest():
            sent += len(piece)
            if left is not None and sent > left:
                break
            await request.send({"type": "http.response.body", "body": piece, "more_body": True})
    except RetryError as error:
        logger.info("%s is cut off: %s", request.path, error)
        raise PeerGoneError from error
    if left is not None and sent != left:
        logger.warning("%s is cut off: the node sends %d bytes and states %d", request.path, sent, left)
        raise PeerGoneError
    await request.send({"type": "http.response.body", "body": b""})


def _length(answer: Answer) -> int | None:
    stated = dict(answer.headers).get(b"content-length", b"")
    return int(stated) if stated.isdigit() and len(stated) <= 12 else None
