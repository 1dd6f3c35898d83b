"""The node's one pool of workers: what requests ask for is computed here, so however many there are, they stay inside
the node's budget of cores. A pipeline computes in its own thread, one frame at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from edgewise.errors import BusyError, ClosedError

T = TypeVar("T")


class Pool:
    """Threads with a bounded queue. Decoding and inference release the GIL, so threads are enough.

    Args:
        workers: Calls that run at once; one per core of the budget.
        max_waiting: Calls that may wait; one more is refused at once rather than served late.
    """

    def __init__(self, *, workers: int, max_waiting: int = 256) -> None:
        self.workers = workers
        self.max_waiting = max_waiting
        self._places = threading.BoundedSemaphore(workers + max_waiting)
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="pool")

    def submit(self, function: Callable[..., T], /, *arguments: object) -> Future[T]:
        """Runs a call on a worker.

        Raises:
            BusyError: All places are taken.
            ClosedError: The pool was closed.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError(
                f"All {self.workers} workers are busy and {self.max_waiting} calls wait",
                hint="Retry in a moment, send fewer requests at once, or raise pool.max_waiting.",
                limit=self.max_waiting,
            )
        try:
            future = self._executor.submit(function, *arguments)
        except RuntimeError as error:
            self._places.release()
            raise ClosedError("The node is stopping; it computes nothing any more") from error
        future.add_done_callback(lambda _: self._places.release())
        return future

    def close(self) -> None:
        """Finishes the calls under way and drops those that wait."""
        self._executor.shutdown(wait=True, cancel_futures=True)
