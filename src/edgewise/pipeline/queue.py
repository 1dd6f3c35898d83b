"""The bounded queue between threads: newest wins, or the producer waits."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from edgewise.pipeline.base import WhenFull

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """First in, first out, at most ``capacity`` items. Safe for threads.

    Attributes:
        dropped: Items that were pushed out by newer ones.
    """

    def __init__(self, capacity: int, when_full: WhenFull) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._when_full = when_full
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    def put(self, item: T) -> bool:
        """Adds an item; under ``block`` waits for room. False once the queue is closed."""
        with self._changed:
            if self._when_full is WhenFull.BLOCK:
                self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                return False
            if len(self._items) >= self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self) -> T | None:
        """Takes the oldest item, waiting for one; None once the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self, *, discard: bool = False) -> None:
        """Takes nothing more; what waits can still be taken unless it is to be discarded."""
        with self._changed:
            self._closed = True
            if discard:
                self._items.clear()
            self._changed.notify_all()
