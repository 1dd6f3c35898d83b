"""Where what requests ask for is computed: threads that take their turns in one lane of the node's scheduler, behind a
bounded queue. A call that would wait too long is refused at once rather than served late.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from edgewise.errors import BusyError, ClosedError
from edgewise.pipeline.scheduler import Scheduler

# Takes what a call gave: its result, or the error it raised.
Done: TypeAlias = Callable[[Any, BaseException | None], None]
_Call: TypeAlias = tuple[Callable[..., Any], tuple[object, ...], Done]

_NEWEST = 0.1  # weight of the newest call in the average length of one
# A call counts as no longer than so many times the bound: after one that a suspended machine drew out, or that loaded a
# model, those that would be served at once must not be refused.
_MOST = 2.0


class Pool:
    """Threads with a bounded queue. Decoding and inference release the GIL, so threads are enough.

    Args:
        scheduler: Whose turns the calls take; there are as many threads as it has cores.
        max_waiting: Calls that may wait; one more is refused.
        max_wait_s: A call that is expected to wait longer than this is refused as well.

    Attributes:
        workers: Calls that run at once.
        max_waiting: Calls that may wait.
    """

    def __init__(self, scheduler: Scheduler, *, max_waiting: int = 256, max_wait_s: float = 10.0) -> None:
        self.workers = scheduler.cores
        self.max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._lane = scheduler.lane()
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._calls = 0  # running or waiting
        self._average_s = 0.0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"pool-{number}", daemon=True) for number in range(self.workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return max(0, self._calls - self.workers)

    def call(self, done: Done, function: Callable[..., Any], /, *arguments: object) -> None:
        """Runs a call on a worker, which then calls ``done(result, error)``; that must be quick and not raise.

        Raises:
            BusyError: All places are taken, or the wait would be too long.
            ClosedError: The pool was closed.
        """
        with self._gate:
            if self._closed:
                raise _stopping()
            self._admit()
            self._calls += 1
            self._queue.put((function, arguments, done))

    def close(self) -> None:
        """Finishes the calls under way; those that wait fail with ClosedError."""
        with self._gate:
            self._closed = True
        with contextlib.suppress(Empty):
            while True:  # the workers take calls meanwhile: asking first whether there is one would prove nothing
                if (call := self._queue.get_nowait()) is not None:
                    call[2](None, _stopping())
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _admit(self) -> None:
        waiting = self._calls - self.workers
        if waiting < 0:
            return
        wait_s = (waiting + 1) * self._average_s / self.workers
        if waiting >= self.max_waiting or wait_s > self._max_wait_s:
            raise BusyError(
                f"All {self.workers} workers are busy and {waiting} calls wait, {wait_s:.1f} s by now",
                hint="Retry in a moment, send fewer requests at once, or raise node.max_waiting or node.max_wait_s.",
                limit=self.max_waiting,
                retry_after_s=max(1, round(wait_s)),
            )

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            function, arguments, done = call
            result, error = None, None
            start = time.perf_counter()  # waiting for a turn keeps the calls behind it waiting as well
            with self._lane.turn():
                try:
                    result = function(*arguments)
                except BaseException as raised:  # noqa: BLE001 - handed to who asked
                    error = raised
            with self._gate:
                took_s = min(time.perf_counter() - start, _MOST * self._max_wait_s)
                self._average_s += _NEWEST * (took_s - self._average_s)
                self._calls -= 1
            done(result, error)
            del call, function, arguments, done, result, error  # nothing is held while it waits


def _stopping() -> ClosedError:
    return ClosedError("The node is stopping; it computes nothing any more")
