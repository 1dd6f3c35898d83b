"""Which blob goes to the parent next, and in pieces of which size. Pure.

A blob may go once the parent has taken records that point to it. What alarms point to goes first, then what events and
decisions do, then the rest; of these what is small goes before what is large, so that a person sees a picture of what
happened before the film of it. Within such a *class* the newest goes first: on a link that is slower than the camera
something is lost whatever the order, and what just happened is worth more than what was. On one that is faster
everything arrives in the end.

One that was begun is finished before another of its class is begun, so there is at most one of each class half-sent:
what the parent has to hold is bounded, however often something more urgent comes between.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from edgewise.link.budget import Priority

SMALL_BYTES = 1 << 20
"""What is larger waits for all that is not."""

LEAST_BYTES = 4 << 10
"""The smallest piece: below it a good part of what goes over the link is heads."""

FIRST_BYTES = 64 << 10
"""The first piece: what a slow mobile link carries in some seconds."""

MOST_BYTES = 1 << 20

_FAST_S, _SLOW_S = 1.0, 4.0


class Item(msgspec.Struct, frozen=True, order=True):
    """A blob that is to be sent.

    Attributes:
        digest: Of its content.
        size: Of its content.
        media_type: Of its content.
        time_ns: When it was kept.
        priority: Of the records that point to it.
        stream: Where those records stand.
        sequence: Once the parent has the stream up to here, the blob may go.
    """

    digest: str
    size: int
    media_type: str
    time_ns: int
    priority: Priority
    stream: str
    sequence: int

    @property
    def kind(self) -> tuple[int, bool]:
        """Its class: the smaller goes first."""
        return (self.priority, self.size > SMALL_BYTES)

    @property
    def rank(self) -> tuple[tuple[int, bool], int]:
        """The smaller goes first."""
        return (self.kind, -self.time_ns)


_Ready: TypeAlias = tuple[tuple[tuple[int, bool], int], str]


class Order:
    """What is to be sent, in its order. For one thread.

    Args:
        wanted: Whether a blob is still to be sent.
    """

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        self._wanted = wanted
        self._waiting: dict[str, list[tuple[int, str, Item]]] = {}  # for the parent to take records
        self._ready: list[_Ready] = []
        self._items: dict[str, Item] = {}
        self._begun: dict[str, Item] = {}
        self._before: set[str] = set()
        self._aside: list[tuple[float, str, Item]] = []

    def add(self, item: Item) -> None:
        """Something is to be sent. A blob may be added for several streams: it goes when the first of them is there."""
        heapq.heappush(self._waiting.setdefault(item.stream, []), (item.sequence, item.digest, item))

    @property
    def streams(self) -> list[str]:
        """Those that something waits for."""
        return list(self._waiting)

    def reach(self, stream: str, sequence: int) -> None:
        """The parent has a stream up to a sequence."""
        waiting = self._waiting.get(stream, [])
        while waiting and waiting[0][0] <= sequence:
            self._make_ready(heapq.heappop(waiting)[2])
        if not waiting:
            self._waiting.pop(stream, None)

    def resume(self, digests: list[str]) -> None:
        """The parent has begun with these, and with no others."""
        self._before = set(digests)
        for digest, item in list(self._begun.items()):
            if digest not in self._before:
                del self._begun[digest]
                self._push(item)
        self._begun |= {digest: self._items[digest] for digest in digests if digest in self._items}

    def next(self, now_s: float, *, begun_only: bool = False) -> Item | None:
        """What is to be sent a piece of; it counts as begun from now on. None when there is nothing.

        Args:
            now_s: The monotonic clock, for what was set aside.
            begun_only: The parent takes no more before some of those are finished.
        """
        while self._aside and self._aside[0][0] <= now_s:
            self._make_ready(heapq.heappop(self._aside)[2])
        for digest in [digest for digest in self._begun if not self._wanted(digest)]:
            self.end(digest)
        best = min(self._begun.values(), key=lambda item: item.rank, default=None)
        fresh = None if begun_only else self._first()
        if fresh and (best is None or fresh.kind < best.kind):
            best = self._begun[fresh.digest] = fresh
        return best

    def begun_besides(self, digest: str) -> bool:
        """Whether another one was begun."""
        return bool(self._begun.keys() - {digest})

    def end(self, digest: str) -> None:
        """It was sent, or is not to be sent any more."""
        self._begun.pop(digest, None)
        self._items.pop(digest, None)
        self._before.discard(digest)

    def set_aside(self, item: Item, until_s: float) -> None:
        """It cannot be sent before a moment of the monotonic clock."""
        self.end(item.digest)
        heapq.heappush(self._aside, (until_s, item.digest, item))

    def _make_ready(self, item: Item) -> None:
        known = self._items.get(item.digest)
        if item.digest in self._begun or (known and known.rank <= item.rank):
            return
        self._items[item.digest] = item
        if item.digest in self._before:
            self._begun[item.digest] = item
        else:
            self._push(item)

    def _push(self, item: Item) -> None:
        heapq.heappush(self._ready, (item.rank, item.digest))

    def _first(self) -> Item | None:
        """The first of those that were not begun."""
        while self._ready:
            rank, digest = self._ready[0]
            item = self._items.get(digest)
            if item is None or item.rank != rank or digest in self._begun:
                heapq.heappop(self._ready)
            elif not self._wanted(digest):
                heapq.heappop(self._ready)
                self.end(digest)
            else:
                return item
        return None


def piece_after(size: int, took_s: float) -> int:
    """The size of the next piece: a cut costs what was on the way, so none takes much longer than a second."""
    if took_s > _SLOW_S:
        return smaller(size)
    return min(size * 2, MOST_BYTES) if took_s < _FAST_S else size


def smaller(size: int) -> int:
    """The size of the next piece after one that did not arrive."""
    return max(size // 2, LEAST_BYTES)
