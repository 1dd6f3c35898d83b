"""Where queries wait for their answers: in threads of their own, so many at once, and only while who asked is there."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from edgewise.api.wire import Receive
from edgewise.errors import BusyError
from edgewise.lake.base import Lake, LakeSettings, Stop, Table

T = TypeVar("T")

_WAIT_S = 2
# A list of tables is asked for by one thread, whoever waits for it.
_LISTING = 1


class Places:
    """So many at once, and of one caller no more than half unless they may have all: nobody shuts the others out.

    Args:
        most: At once.
        what: What they are, in the plural, for who is refused.
    """

    def __init__(self, most: int, *, what: str) -> None:
        self._most = most
        self._what = what
        self._held: Counter[str] = Counter()

    @contextmanager
    def hold(self, name: str, *, all_of_them: bool) -> Iterator[None]:
        """Holds a place. On the event loop alone.

        Args:
            name: Who takes it.
            all_of_them: Whether they may take every place.

        Raises:
            BusyError: There is none left for them.
        """
        most = self._most if all_of_them else (self._most + 1) // 2
        if self._held.total() >= self._most or self._held[name] >= most:
            running = min(self._held.total(), most)
            hint = "Try again when one of them has ended."
            raise BusyError(f"{running} {self._what}", hint=hint, limit=most, retry_after_s=_WAIT_S)
        self._held[name] += 1
        try:
            yield
        finally:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]


class Desk:
    """Asks the lake for the callers of the API.

    Args:
        lake: The node's.
        settings: Its bounds.

    Attributes:
        lake: The node's.
        settings: Its bounds.
        queries: Places of queries; each is held until its process has ended.
        files: Places of exported files; each is held until the file is gone.
    """

    def __init__(self, lake: Lake, settings: LakeSettings) -> None:
        self.lake = lake
        self.settings = settings
        self.queries = Places(settings.max_queries, what="queries are running")
        self.files = Places(settings.max_queries, what="exported files are being fetched")
        self._executor = ThreadPoolExecutor(settings.max_queries + _LISTING, thread_name_prefix="query")
        self._listing: asyncio.Future[list[Table]] | None = None

    async def run(self, call: Callable[[Stop], T], receive: Receive, *, name: str, is_admin: bool) -> T:
        """Runs a call that asks the lake. When who waits for it hangs up, or the server stops, the call is called off.

        Args:
            call: Blocks, and heeds its ``Stop``.
            receive: Of the request, whose body has been read.
            name: Of the caller.
            is_admin: Whether they may take all places.

        Raises:
            BusyError: There is no place.
            ClosedError: Nobody waits any more.
        """
        stop = Stop()
        with self.queries.hold(name, all_of_them=is_admin):
            work = asyncio.get_running_loop().run_in_executor(self._executor, partial(call, stop))
            gone = asyncio.create_task(_gone(receive), name="wait for who asked to go")
            try:
                either: set[asyncio.Future[Any]] = {work, gone}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    stop.call()
                return await work
            finally:
                gone.cancel()
                stop.call()
                await asyncio.wait({work})  # the place is free when the process is

    async def tables(self) -> list[Table]:
        """The tables; those who ask while others wait for the answer get the same."""
        if self._listing is None:
            self._listing = asyncio.get_running_loop().run_in_executor(self._executor, self.lake.tables)
            self._listing.add_done_callback(self._listed)
        return await asyncio.shield(self._listing)

    def _listed(self, listing: asyncio.Future[list[Table]]) -> None:
        self._listing = None
        if not listing.cancelled():
            listing.exception()  # told to those who still wait


async def _gone(receive: Receive) -> None:
    """Returns when the peer has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass
