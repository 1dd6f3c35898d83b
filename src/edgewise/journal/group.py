"""Group commit: many threads hand in work, one of them at a time carries it out for all.

The first thread that finds nobody at work leads: it runs what has gathered, hands the lead to one of those that came
meanwhile, and wakes those whose work is done. Before it starts, the new leader yields a few times to the threads just
woken, so that a group holds nearly all of them and not every other one. It does not when the group is heavy already:
those that still prepare theirs then do so while this one is written, and it stands before them in the line for the
interpreter. No thread of its own, no timer; a lone caller waits for nobody.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

_PATIENCE = 10
"""How often a leader yields the processor, at most, to threads that are about to hand in more work."""


_HEAVY_BYTES = 512 << 10
"""A group that writes this much gains less from company than from being written while others prepare the next."""


class Work(Generic[T]):
    """One action and what came of it. ``GroupCommit`` runs it at most once."""

    __slots__ = ("_signal", "action", "error", "leads", "result", "size")

    def __init__(self, action: Callable[[], T], size: int) -> None:
        self.action = action
        self.size = size
        self.result: T
        self.error: BaseException | None = None
        self.leads = False
        self._signal = threading.Lock()
        self._signal.acquire()

    def wake(self) -> None:
        """Lets the thread that handed it in go on."""
        self._signal.release()

    def wait(self) -> None:
        """Blocks until ``wake``."""
        self._signal.acquire()


class GroupCommit:
    """Runs work in groups, one group at a time, in the order it came.

    Args:
        run: Carries out a group. It sets ``result`` or ``error`` of each work; an exception that escapes it fails all
            of them.
    """

    def __init__(self, run: Callable[[Sequence[Work[object]]], None]) -> None:
        self._run = run
        self._gate = threading.Lock()
        self._queue: list[Work[object]] = []
        self._busy = False
        self._width = 1  # size of the newest group
        self._expected = 1  # threads that were at it when that group was done

    def submit(self, action: Callable[[], T], *, size: int = 0) -> T:
        """Runs ``action``, which writes about ``size`` bytes, within a group.

        Returns its result, or raises its error, once the group is done.
        """
        work = Work(action, size)
        with self._gate:
            leads, self._busy = not self._busy, True
            if not leads:
                self._queue.append(work)  # type: ignore[arg-type]
        if leads or self._follow(work):
            self._lead(work)
        if work.error is not None:
            raise copy.copy(work.error)  # one object must not be raised in many threads at once
        return work.result

    def _follow(self, work: Work[T]) -> bool:
        """Waits until the work is done or, True, its turn to lead has come."""
        try:
            work.wait()
        except BaseException:
            with self._gate:
                if work in self._queue:
                    self._queue.remove(work)  # type: ignore[arg-type]
            if work.leads:
                self._pass_on()
            raise
        return work.leads

    def _lead(self, own: Work[T]) -> None:
        group: list[Work[object]] = [own]  # type: ignore[list-item]
        try:
            self._gather(own)
            with self._gate:
                group += self._queue
                self._queue = []
            self._width = len(group)
            self._run(group)
        except BaseException as error:
            for work in group:
                work.error = error
            raise
        finally:
            self._pass_on()
            for work in group[1:]:
                work.wake()

    def _gather(self, own: Work[T]) -> None:
        """Gives the threads that the last group set free a moment to come back."""
        for _ in range(_PATIENCE):
            queue = self._queue[:]
            if len(queue) + 1 >= self._expected or own.size + sum(work.size for work in queue) >= _HEAVY_BYTES:
                return
            time.sleep(0)

    def _pass_on(self) -> None:
        with self._gate:
            self._expected = len(self._queue) + self._width
            successor = self._queue.pop(0) if self._queue else None
            if successor:
                successor.leads = True
            else:
                self._busy = False
        if successor:
            successor.wake()
