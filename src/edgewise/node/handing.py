"""Handing documents down: children wait for news of theirs, each on a connection and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeAlias

from edgewise.errors import BusyError
from edgewise.fleet.wishes import WishStore
from edgewise.link.desired import POLL_S, Handed, Report

MAX_WAITING = 65_536
"""Children that wait at once; a child waits once."""

LOOK_S = 0.5
"""What another process changed is seen within this."""

Run: TypeAlias = Callable[..., Awaitable[Handed]]


class Handing:
    """What a parent says to its children of what they are to have, and hears of what became of it.

    Args:
        wishes: What is wanted of whom.
        max_waiting: Children that wait at once.
    """

    def __init__(self, wishes: WishStore, *, max_waiting: int = MAX_WAITING) -> None:
        self.wishes = wishes
        self.pass_on: Callable[[Sequence[Report]], None] = lambda _: None
        self._max_waiting = max_waiting
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._ended = False
        wishes.follow(self._tell)

    @property
    def waiting(self) -> int:
        """Children that wait now."""
        return len(self._waiting)

    async def wait(self, child: str, have: str, *, run: Run, poll_s: float = POLL_S) -> Handed:
        """What is new for a child, once there is something; nothing new after ``poll_s``.

        Args:
            child: Who asks. Where it asks again, the question before is answered with nothing.
            have: The position it names.
            run: Runs what reads the disk, in a thread.
            poll_s: How long it waits.

        Raises:
            BusyError: ``MAX_WAITING`` children wait already.
        """
        self._loop = asyncio.get_running_loop()
        if (before := self._waiting.pop(child, None)) is not None:
            _end(before)
        if len(self._waiting) >= self._max_waiting:
            raise BusyError("More children wait than may", retry_after_s=30, limit=self._max_waiting)
        news = self._waiting[child] = self._loop.create_future()
        try:
            if not self.wishes.has_news(child, have) and not self._ended:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news, poll_s)
        finally:
            if self._waiting.get(child) is news:
                del self._waiting[child]
        if not self.wishes.has_news(child, have):
            return Handed(have)
        return await run(self.wishes.hand, child, have)

    def hear(self, child: str, reports: Sequence[Report]) -> None:
        """Takes reports of a child, and passes them on. Errors as ``WishStore.report``."""
        self.wishes.report(child, reports)
        self.pass_on(reports)

    def end(self) -> None:
        """Answers all that wait, and lets nobody wait any more. Called in the loop."""
        self._ended = True
        self._wake(list(self._waiting))

    def _tell(self, children: Collection[str]) -> None:
        if (loop := self._loop) is not None:
            with contextlib.suppress(RuntimeError):  # the server has ended: nobody waits
                loop.call_soon_threadsafe(self._wake, list(children))

    def _wake(self, children: Collection[str]) -> None:
        for child in children:
            if (news := self._waiting.get(child)) is not None:
                _end(news)


def _end(news: asyncio.Future[None]) -> None:
    if not news.done():
        news.set_result(None)
