"""Which node works on what, when one model's requests are spread over several. Pure: events in, moves out.

Nodes *pull*: whoever has a free place gets the next item, the quickest first. So each gets as much as it can do,
measured by nothing but its doing it. An item that takes longer than nineteen of twenty did, when nothing waits and
somebody is free, is *hedged* (Dean and Barroso 2013, "The Tail at Scale"): a second node gets it too, the first answer
counts, the other is called off. Hedges are bounded to a share of the work, so that a slow day does not double it. A
node that fails rests for a while; its items go to others.

Promises: each item that is submitted is answered once or failed once; it runs on two nodes at most at a time, and on
``MOST_TRIES`` in all.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping
from typing import Literal

import msgspec

MOST_TRIES = 4
"""Nodes that an item is given to, hedges included."""

HEDGED_SHARE = 0.1
"""Of the items that were answered so many may be hedged."""

HEDGED_FREE = 2
"""And so many besides."""

_LATEST = 128
_ENOUGH = 16  # so many answers say how long one takes
_RANK = 0.95
_FIRST_REST_S = 1.0
_LONGEST_REST_S = 30.0
_NEWEST = 0.2  # weight of the newest answer in a node's average


class Move(msgspec.Struct, frozen=True):
    """What is to be done: ``start`` an item on a node, ``stop`` it there, or ``fail`` it, since nobody could do it."""

    kind: Literal["start", "stop", "fail"]
    item: int
    node: str = ""


class _Node:
    def __init__(self) -> None:
        self.places = 0
        self.running: set[int] = set()
        self.average_s = 0.0
        self.failures = 0
        self.rests_until_s = -math.inf

    def is_free(self, now_s: float) -> bool:
        return len(self.running) < self.places and now_s >= self.rests_until_s


class _Work:
    def __init__(self) -> None:
        self.running: dict[str, float] = {}  # since when, by node
        self.tried: set[str] = set()
        self.hedged = False


class Spread:
    """Spreads the items of one model. One thread at a time."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._work: dict[int, _Work] = {}
        self._waiting: deque[int] = deque()
        self._latest: deque[float] = deque(maxlen=_LATEST)
        self._answered = 0
        self._hedged = 0

    def set_nodes(self, places: Mapping[str, int]) -> None:
        """Who may work now, and on how many items at once. One that is gone finishes what it has, if it can."""
        for name in places:
            self._nodes.setdefault(name, _Node())
        for name, node in list(self._nodes.items()):
            node.places = places.get(name, 0)
            if not node.places and not node.running:
                del self._nodes[name]

    def submit(self, item: int) -> None:
        """An item to be worked on; none of that name is under way."""
        self._work[item] = _Work()
        self._waiting.append(item)

    def drop(self, item: int) -> list[Move]:
        """Nobody wants it any more."""
        if item not in self._work:
            return []
        return self._end(item)

    def done(self, item: int, node: str, now_s: float) -> tuple[bool, list[Move]]:
        """A node has answered; whether its answer is the one that counts, and who is to stop."""
        since_s = self._leave(item, node)
        if since_s is None:
            return False, []
        took_s = now_s - since_s
        worker = self._nodes[node]
        worker.failures = 0
        worker.average_s += (took_s - worker.average_s) * (_NEWEST if worker.average_s else 1)
        self._latest.append(took_s)
        self._answered += 1
        return True, self._end(item)

    def failed(self, item: int, node: str, now_s: float, *, elsewhere: bool) -> list[Move]:
        """A node has failed.

        Args:
            item: At what.
            node: Which.
            now_s: Monotonic.
            elsewhere: Another node may do better: then this one rests. Otherwise the item itself is wrong.
        """
        if self._leave(item, node) is None:
            return []
        work = self._work[item]
        if not elsewhere:
            return [*self._end(item), Move("fail", item)]
        worker = self._nodes[node]
        worker.failures += 1
        worker.rests_until_s = now_s + min(_LONGEST_REST_S, _FIRST_REST_S * 2.0 ** min(worker.failures - 1, 16))
        if work.running:
            return []
        if len(work.tried) >= MOST_TRIES:
            return [*self._end(item), Move("fail", item)]
        self._waiting.appendleft(item)
        return []

    def moves(self, now_s: float) -> list[Move]:
        """What is to be begun now, and what can be done by nobody."""
        moves: list[Move] = []
        stuck: list[int] = []
        while self._waiting:
            item = self._waiting.popleft()
            if (node := self._free(item, now_s)) is not None:
                moves.append(self._start(item, node, now_s))
            elif self._hopeless(item):
                moves += [*self._end(item), Move("fail", item)]
            else:
                stuck.append(item)
                if not any(each.is_free(now_s) for each in self._nodes.values()):
                    break
        self._waiting.extendleft(reversed(stuck))
        if not self._waiting:
            moves += self._hedges(now_s)
        return moves

    def next_s(self, now_s: float) -> float | None:
        """When ``moves`` may have something though nothing has happened; None for never."""
        times = [node.rests_until_s for node in self._nodes.values() if self._waiting and node.rests_until_s > now_s]
        late_s = self._late_s()
        if late_s is not None and self._may_hedge():
            alone = [work for work in self._work.values() if len(work.running) == 1 and not work.hedged]
            times += [min(work.running.values()) + late_s for work in alone]
        later = [time_s for time_s in times if time_s > now_s]
        return min(later) if later else None

    def _start(self, item: int, name: str, now_s: float) -> Move:
        work = self._work[item]
        work.running[name] = now_s
        work.tried.add(name)
        self._nodes[name].running.add(item)
        return Move("start", item, name)

    def _leave(self, item: int, name: str) -> float | None:
        """Takes an item off a node; since when it had it, None when it had it no more."""
        node, work = self._nodes.get(name), self._work.get(item)
        if node is not None:
            node.running.discard(item)
        return work.running.pop(name, None) if work and node else None

    def _end(self, item: int) -> list[Move]:
        work = self._work.pop(item)
        for name in work.running:
            self._nodes[name].running.discard(item)
        if item in self._waiting:
            self._waiting.remove(item)
        return [Move("stop", item, name) for name in work.running]

    def _free(self, item: int, now_s: float) -> str | None:
        tried = self._work[item].tried
        free = [
            (node.average_s, name) for name, node in self._nodes.items() if node.is_free(now_s) and name not in tried
        ]
        return min(free)[1] if free else None

    def _hopeless(self, item: int) -> bool:
        """Whether no node is left that has not tried it."""
        return all(not node.places or name in self._work[item].tried for name, node in self._nodes.items())

    def _late_s(self) -> float | None:
        if len(self._latest) < _ENOUGH:
            return None
        return sorted(self._latest)[math.ceil(_RANK * len(self._latest)) - 1]

    def _may_hedge(self) -> bool:
        return self._hedged + 1 <= HEDGED_FREE + HEDGED_SHARE * self._answered

    def _hedges(self, now_s: float) -> list[Move]:
        late_s = self._late_s()
        moves: list[Move] = []
        if late_s is None:
            return moves
        for item, work in self._work.items():
            if not self._may_hedge():
                break
            if work.hedged or len(work.running) != 1 or len(work.tried) >= MOST_TRIES:
                continue
            if now_s < min(work.running.values()) + late_s or (name := self._free(item, now_s)) is None:
                continue
            work.hedged = True
            self._hedged += 1
            moves.append(self._start(item, name, now_s))
        return moves


def split(count: int, parts: int) -> list[tuple[int, int]]:
    """``count`` things in order as ``parts`` runs ``[first, end)`` that differ by one at most; fewer when there are
    fewer things.
    """
    parts = max(1, min(count, parts))
    edges = [count * number // parts for number in range(parts + 1)]
    return list(itertools.pairwise(edges))
