"""Requests that the parent hands down, answered by this node's own application.

They go through the same front as any other, with the same guard, routes, bounds and audit log; only that the one who
asks is whom the parent names, and may do what they may there and the settings here allow the parent
(``parent.may_ask``). The parent is believed in who asks: it could say anything, and ``may_ask`` is the bound of that.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from edgewise.accounts.permissions import Permission, Principal, Role, Via
from edgewise.api.errors import body_of, status_of
from edgewise.api.guard import PRINCIPAL
from edgewise.errors import UnavailableError
from edgewise.link.relay import Piece
from edgewise.link.work import MAX_PART_BYTES, Asked

if TYPE_CHECKING:
    from edgewise.api.wire import Application, Message, Scope

# An answer's head waits so long for what may come right behind it, and goes alone then.
_TOGETHER_S = 0.02
# Nothing of an answer for so long ends it; endless ones say something more often.
_STILL_S = 60.0

logger = logging.getLogger(__name__)


class Performer:
    """Answers requests from above; see ``edgewise.link.relay.Perform``. Safe for threads.

    Args:
        application: The node's own.
        loop: Where it runs.
        may_ask: What the parent may do here.
    """

    def __init__(self, application: Application, loop: asyncio.AbstractEventLoop, *, may_ask: Collection[str]) -> None:
        self._application = application
        self._loop = loop
        self._may_ask = frozenset(Permission(word) for word in may_ask)

    def __call__(self, asked: Asked) -> Performance:
        """Begins to answer."""
        return Performance(self._application, self._loop, asked, scope=scope_of(asked, may_ask=self._may_ask))


class Performance:
    """One answer in the making: the application writes on its loop, a thread of the link reads."""

    def __init__(
        self, application: Application, loop: asyncio.AbstractEventLoop, asked: Asked, *, scope: Scope
    ) -> None:
        self._loop = loop
        self._asked = asked
        self._changed = threading.Condition()
        self._room = asyncio.Event()
        self._gone = asyncio.Event()
        self._read = False
        self._status = 0
        self._headers: tuple[tuple[bytes, bytes], ...] = ()
        self._pieces: list[bytes] = []
        self._size = 0
        self._whole = False
        self._begun = False
        self._task: concurrent.futures.Future[None] | None = None
        try:
            self._task = asyncio.run_coroutine_threadsafe(self._run(application, scope), loop)
            self._task.add_done_callback(self._tell)
        except RuntimeError:  # the loop is closed: the node stops
            logger.debug("nobody answers %s any more", asked.path)

    def next(self) -> Piece:
        """See ``edgewise.link.relay.Answering``."""
        with self._changed:
            first = not self._begun
            self._begun = True
            there = self._changed.wait_for(
                lambda: self._ended() or (self._status if first else self._pieces),
                self._asked.within_s if first else _STILL_S,
            )
            if first and self._status and not self._pieces:
                self._changed.wait_for(lambda: self._ended() or self._pieces, _TOGETHER_S)
            if first and not self._status:
                return self._failure(late=not there)
            if not there:
                return Piece(broken=True)
            return self._gathered(first=first)

    def drop(self) -> None:
        """See ``edgewise.link.relay.Answering``."""
        try:
            self._loop.call_soon_threadsafe(self._gone.set)
        except RuntimeError:
            return
        if self._task is not None:
            self._task.cancel()

    def _gathered(self, *, first: bool) -> Piece:
        gathered = b"".join(self._pieces)
        body, rest = gathered[:MAX_PART_BYTES], gathered[MAX_PART_BYTES:]
        self._pieces = [rest] if rest else []
        self._size = len(rest)
        if not rest:
            self._loop.call_soon_threadsafe(self._room.set)
        last = self._whole and not rest
        broken = not last and not rest and self._ended()
        return Piece(body, last, broken, self._status if first else 200, self._headers if first else ())

    def _failure(self, *, late: bool) -> Piece:
        error = UnavailableError("The node took too long" if late else "The node stopped before it answered")
        headers = ((b"content-type", b"application/json"),)
        return Piece(body_of(error), last=True, status=int(status_of(error)), headers=headers)

    def _ended(self) -> bool:
        return self._whole or self._task is None or self._task.done()

    def _tell(self, _: object) -> None:
        with self._changed:
            self._changed.notify_all()

    # On the loop.

    async def _run(self, application: Application, scope: Scope) -> None:
        try:
            await application(scope, self._receive, self._send)
        except Exception:
            logger.exception("%s %s failed", self._asked.method, self._asked.path)

    async def _receive(self) -> Message:
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": self._asked.body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        while self._size >= MAX_PART_BYTES:
            self._room.clear()
            if self._size >= MAX_PART_BYTES:
                await self._room.wait()
        with self._changed:
            if message["type"] == "http.response.start":
                self._status = message["status"]
                self._headers = tuple((bytes(name).lower(), bytes(value)) for name, value in message["headers"])
            else:
                if body := bytes(message.get("body", b"")):
                    self._pieces.append(body)
                    self._size += len(body)
                self._whole = not message.get("more_body", False)
            self._changed.notify_all()


def scope_of(asked: Asked, *, may_ask: Collection[Permission]) -> dict[str, Any]:
    """ASGI's scope of a request from above.

    Args:
        asked: The request.
        may_ask: What the parent may do here.
    """
    told = frozenset(Permission(word) for word in asked.permissions if word in set(Permission))
    principal = Principal(asked.who, Role.ADMIN, Via.PARENT, scopes=told & frozenset(may_ask))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "https",
        "path": asked.path,
        "raw_path": quote(asked.path, safe="/:@!$&'()*+,;=~-._").encode(),
        "query_string": asked.query,
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"content-length", b"%d" % len(asked.body)),
            *((name.lower(), value) for name, value in asked.headers),
        ],
        "client": (asked.client, 0),
        "server": ("localhost", 0),
        PRINCIPAL: principal,
    }
