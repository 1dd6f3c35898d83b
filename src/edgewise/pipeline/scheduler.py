"""The CPU contract: whatever a node computes, it computes in a *turn*, and there are only as many turns at once as the
node's budget has cores.

Decoding and inference release the GIL and sessions run in one thread each, so a turn is a core. Each camera, and all
requests together, are a *lane*. A lane that waits gets the next free turn when it has had the least so far, measured
in time and divided by its weight (start-time fair queuing, Goyal, Vin and Cheng 1997): a greedy lane cannot starve a
modest one, nothing stays idle while somebody waits, and a lane that was silent saves up nothing. A turn is never taken
away, so it should be short: one stage of one sample. A rare long one, such as a model's first, is held against its lane
for ``MAX_DEBT_S`` only.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

MAX_DEBT_S = 0.5
"""A turn is charged for so long at most, before and after it. Charged in full, a model that takes 10 s to load would
keep its lane waiting until every other lane had had 10 s: minutes, where there are many."""

_NEWEST = 0.2  # weight of the newest turn in the expected length of the next


class LaneState(msgspec.Struct, frozen=True):
    """What a lane has had so far.

    Attributes:
        turns: Turns that ended.
        used_ms: Milliseconds that they took together.
        waited_ms: Milliseconds that they were waited for together.
    """

    turns: int = 0
    used_ms: float = 0.0
    waited_ms: float = 0.0


class Lane:
    """Who takes turns. Any number of threads may wait in one lane. Made by ``Scheduler.lane``.

    Attributes:
        weight: Its part of the budget, in proportion to those of the others that want turns.
    """

    def __init__(self, scheduler: Scheduler, *, weight: float) -> None:
        self.weight = weight
        self._scheduler = scheduler
        self._due = 0.0  # virtual start of its next turn
        self._expected = 0.0  # length of its next turn, seconds
        self._turns = 0
        self._used_s = 0.0
        self._waited_s = 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for a turn and holds it. Not to be nested: a thread that holds one must not ask for another."""
        charged = self._scheduler._begin(self)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._scheduler._end(self, time.perf_counter() - start, charged)

    def state(self) -> LaneState:
        """What it has had so far."""
        return LaneState(self._turns, 1000 * self._used_s, 1000 * self._waited_s)


class _Ticket:
    """A thread that waits for its turn."""

    __slots__ = ("signal", "start")

    def __init__(self, start: float) -> None:
        self.start = start
        self.signal = threading.Lock()
        self.signal.acquire()

    def __lt__(self, other: _Ticket) -> bool:
        return self.start < other.start


class Scheduler:
    """Hands out turns. Safe for threads.

    Args:
        cores: Turns at once.

    Attributes:
        cores: Turns at once.
    """

    def __init__(self, *, cores: int) -> None:
        self.cores = cores
        self._free = cores
        self._gate = threading.Lock()
        self._virtual = 0.0  # virtual start of the newest turn
        self._waiting: list[_Ticket] = []

    def lane(self, *, weight: float = 1.0) -> Lane:
        """A new lane."""
        return Lane(self, weight=weight)

    @property
    def waiting(self) -> int:
        """Threads that wait for a turn."""
        return len(self._waiting)

    def _begin(self, lane: Lane) -> float:
        """Returns once the lane has a turn; how much it was charged for it in advance, seconds."""
        with self._gate:
            start = max(lane._due, self._virtual)
            charged = lane._expected
            lane._due = start + charged / lane.weight
            if self._free:
                self._free -= 1
                self._virtual = start
                return charged
            ticket = _Ticket(start)
            heapq.heappush(self._waiting, ticket)
        began = time.perf_counter()
        ticket.signal.acquire()
        lane._waited_s += time.perf_counter() - began
        return charged

    def _end(self, lane: Lane, took: float, charged: float) -> None:
        cost = min(took, MAX_DEBT_S)
        with self._gate:
            lane._due += (cost - charged) / lane.weight
            lane._expected += _NEWEST * (cost - lane._expected)
            lane._turns += 1
            lane._used_s += took
            if not self._waiting:
                self._free += 1
                return
            following = heapq.heappop(self._waiting)
            self._virtual = max(self._virtual, following.start)
        following.signal.release()
