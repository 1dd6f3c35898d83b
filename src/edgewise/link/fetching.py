"""Getting blobs back from the parent: what ``BlobStore`` asks when something is not here any more, or damaged."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from edgewise._lib.clock import Clock
from edgewise.errors import AccessError, BusyError, CorruptError, NotFoundError, UnavailableError
from edgewise.link.base import FETCHED_BYTES, Piece, decode
from edgewise.link.budget import Priority
from edgewise.link.client import Client
from edgewise.link.spending import Spending

AT_ONCE = 4
"""Blobs on their way back at most; each has a connection of its own."""

WAIT_S = 10.0
"""How long one waits for its turn."""

LONGEST_S = 600.0
"""How long a whole blob may take."""

_PARENT_S = 30.0  # the parent may have to ask its own parent first
_TRIES = 4  # of each piece
_HEAD_BYTES = 1024


class BlobFetch:
    """Asks the parent for blobs, as ``journal.blobs.Fetch``. Safe for threads.

    Somebody waits for what is fetched: it comes over a metered link as well, as long as there are bytes left for what a
    person asks for.

    Args:
        clock: Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._way: tuple[Callable[[], Client], Spending] | None = None

    def attach(self, connect: Callable[[], Client], spending: Spending) -> None:
        """The node has a parent from now on."""
        self._way = connect, spending

    def detach(self) -> None:
        """It has none any more."""
        self._way = None

    def __call__(self, digest: str) -> BinaryIO | None:
        """A blob's content, or None when the parent does not give it; what comes is checked by the caller.

        Raises:
            UnavailableError: There is no parent, or no answer; reading raises it as well.
            BusyError: Too much is being fetched.
        """
        if self._way is None:
            raise UnavailableError("What is asked for is at a parent, and this node has none now.")
        if not self._places.acquire(timeout=WAIT_S):
            raise BusyError("Too much is being fetched from the parent", retry_after_s=10)
        with contextlib.ExitStack() as opened:
            opened.callback(self._places.release)
            connect, spending = self._way
            client = connect()
            opened.callback(client.close)
            content = _Content(client, digest, spending=spending, clock=self._clock)
            try:
                content.begin()
            except NotFoundError:
                return None
            content.opened = opened.pop_all()
            return io.BufferedReader(content, FETCHED_BYTES)


class _Content(io.RawIOBase):
    """A blob as it comes, piece by piece."""

    def __init__(self, client: Client, digest: str, *, spending: Spending, clock: Clock) -> None:
        self.opened = contextlib.ExitStack()
        self._client = client
        self._digest = digest
        self._spending = spending
        self._clock = clock
        self._until_s = clock.monotonic() + LONGEST_S
        self._size = 0
        self._offset = 0
        self._piece = b""

    def begin(self) -> None:
        """Asks for its first piece."""
        piece = self._ask()
        self._size, self._piece = piece.size, piece.content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._piece and self._offset < self._size:
            piece = self._ask()
            if piece.size != self._size or not piece.content:
                raise CorruptError(
                    f"The parent's blob {self._digest} ends at byte {self._offset}, not {self._size}", name=self._digest
                )
            self._piece = piece.content
        taken = self._piece[: len(buffer)]
        buffer[: len(taken)] = taken
        self._piece = self._piece[len(taken) :]
        self._offset += len(taken)
        return len(taken)

    def close(self) -> None:
        super().close()
        self.opened.close()

    def _ask(self) -> Piece:
        for left in reversed(range(_TRIES)):
            if self._clock.monotonic() > self._until_s:
                raise UnavailableError(f"Blob {self._digest} takes longer than {LONGEST_S:g} s to fetch")
            allowed = self._spending.left(Priority.ASKED)
            if allowed is not None and allowed < FETCHED_BYTES:
                raise UnavailableError("The link's bytes for today are used up", hint="See parent.budget.")
            try:
                path = f"/blobs/{self._digest}/{self._offset}"
                answer = self._client.call("GET", path, wait_s=_PARENT_S, limit=FETCHED_BYTES + _HEAD_BYTES)
                return decode(answer, Piece)
            except UnavailableError:
                if not left:
                    raise
            except AccessError as error:  # whoever asked this node is not to be told that they may not
                raise UnavailableError(f"The parent refuses this node: {error}", hint=error.hint) from error
        raise AssertionError("the last try returns or raises")
