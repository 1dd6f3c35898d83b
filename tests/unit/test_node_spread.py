"""Spreading one model's requests over nodes: whatever nodes do, each item has exactly one answer or one failure."""

from __future__ import annotations

import heapq
import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from edgewise.node.spread import HEDGED_FREE, HEDGED_SHARE, MOST_TRIES, Move, Spread, split


class Fleet:
    """Nodes with service times, on a clock that jumps to whatever happens next."""

    def __init__(self, speeds: dict[str, float], *, places: int = 1, chance: random.Random | None = None) -> None:
        self.speeds = speeds
        self.chance = chance or random.Random(0)
        self.spread = Spread()
        self.spread.set_nodes(dict.fromkeys(speeds, places))
        self.now_s = 0.0
        self.counter = itertools.count()
        self.ahead: list[tuple[float, int, str, int, str]] = []
        self.running: dict[tuple[int, str], int] = {}
        self.answers: list[tuple[int, str]] = []
        self.failures: list[int] = []
        self.starts: list[tuple[int, str]] = []
        self.slow: dict[int, float] = {}
        self.fails: dict[str, float] = {}
        self.most_at_once = 0

    def run(self, items: int) -> None:
        for item in range(items):
            self.spread.submit(item)
        self.take(self.spread.moves(self.now_s))
        while True:
            wake_s = self.spread.next_s(self.now_s)
            if self.ahead and (wake_s is None or self.ahead[0][0] <= wake_s):
                time_s, number, what, item, node = heapq.heappop(self.ahead)
                if self.running.get((item, node)) == number:
                    self.now_s = time_s
                    del self.running[item, node]
                    self.happen(what, item, node)
            elif wake_s is not None:
                assert wake_s > self.now_s
                self.now_s = wake_s
            else:
                break
            self.take(self.spread.moves(self.now_s))

    def happen(self, what: str, item: int, node: str) -> None:
        if what == "done":
            counts, moves = self.spread.done(item, node, self.now_s)
            if counts:
                self.answers.append((item, node))
            self.take(moves)
        else:
            self.take(self.spread.failed(item, node, self.now_s, elsewhere=what == "failed"))

    def take(self, moves: list[Move]) -> None:
        for move in moves:
            if move.kind == "start":
                self.starts.append((move.item, move.node))
                number = next(self.counter)
                self.running[move.item, move.node] = number
                chance = self.chance.random()
                what = "failed" if chance < self.fails.get(move.node, 0) else "done"
                took_s = self.speeds[move.node] * self.slow.pop(move.item, 1.0)
                heapq.heappush(self.ahead, (self.now_s + took_s, number, what, move.item, move.node))
                at_once = sum(node == move.node for _, node in self.running)
                self.most_at_once = max(self.most_at_once, at_once)
            elif move.kind == "stop":
                del self.running[move.item, move.node]
            else:
                self.failures.append(move.item)


nodes = st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 1), min_size=1)
shares = st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1))


@given(
    nodes,
    shares,
    st.integers(0, 60),
    st.integers(1, 3),
    st.dictionaries(st.integers(0, 59), st.floats(1, 50)),
    st.randoms(),
)
def test_each_item_is_answered_once_or_fails_once_and_duplicates_are_bounded(
    speeds: dict[str, float],
    fails: dict[str, float],
    items: int,
    places: int,
    slow: dict[int, float],
    chance: random.Random,
) -> None:
    fleet = Fleet(speeds, places=places, chance=chance)
    fleet.fails, fleet.slow = fails, dict(slow)
    fleet.run(items)
    ended = [item for item, _ in fleet.answers] + fleet.failures
    assert sorted(ended, key=str) == sorted(range(items), key=str)
    assert not fleet.running
    assert fleet.most_at_once <= places
    assert len(set(fleet.starts)) == len(fleet.starts)  # no node gets an item twice
    tries = [sum(item == each for each, _ in fleet.starts) for item in range(items)]
    assert max(tries, default=0) <= MOST_TRIES
    if not fails:
        assert not fleet.failures
        assert len(fleet.starts) - items <= HEDGED_FREE + HEDGED_SHARE * items


@given(st.integers(0, 1000), st.integers(1, 64))
def test_parts_of_a_batch_are_all_of_it_in_order_and_alike(count: int, parts: int) -> None:
    found = split(count, parts)
    assert [number for first, end in found for number in range(first, end)] == list(range(count))
    sizes = [end - first for first, end in found]
    assert max(sizes) - min(sizes) <= 1
    assert len(found) <= parts


def test_a_node_that_is_three_times_as_quick_does_three_times_as_much() -> None:
    fleet = Fleet({"quick": 0.1, "slow": 0.3})
    fleet.run(400)
    quick = sum(node == "quick" for _, node in fleet.answers)
    assert 0.7 < quick / 400 < 0.8
    assert fleet.now_s < 400 / (1 / 0.1 + 1 / 0.3) * 1.05


def test_an_item_that_hangs_is_answered_by_another_node_and_called_off_at_the_first() -> None:
    fleet = Fleet({"a": 0.1, "b": 0.1})
    fleet.slow[39] = 1000.0
    fleet.run(40)
    assert fleet.now_s < 3
    assert len(fleet.starts) == 41
    assert [item for item, _ in fleet.answers].count(39) == 1


def test_a_slow_day_is_not_doubled() -> None:
    fleet = Fleet({"a": 0.1, "b": 0.1})
    fleet.slow = dict.fromkeys(range(20, 100), 100.0)
    fleet.run(100)
    assert len(fleet.starts) - 100 <= HEDGED_FREE + HEDGED_SHARE * 100


def test_what_a_dying_node_had_is_done_by_others_and_it_rests() -> None:
    fleet = Fleet({"good": 0.1, "dying": 0.01})
    fleet.fails["dying"] = 1.0
    fleet.run(50)
    assert {node for _, node in fleet.answers} == {"good"}
    assert not fleet.failures
    assert sum(node == "dying" for _, node in fleet.starts) < 6


def test_an_item_that_is_wrong_is_not_tried_elsewhere() -> None:
    spread = Spread()
    spread.set_nodes({"a": 1, "b": 1})
    spread.submit(1)
    (start,) = spread.moves(0)
    assert spread.failed(1, start.node, 1, elsewhere=False) == [Move("fail", 1)]
    assert spread.moves(2) == []


def test_with_nobody_there_nothing_waits() -> None:
    spread = Spread()
    spread.submit(1)
    assert spread.moves(0) == [Move("fail", 1)]


def test_an_item_that_nobody_wants_is_called_off() -> None:
    spread = Spread()
    spread.set_nodes({"a": 1})
    spread.submit(1)
    spread.submit(2)
    spread.moves(0)
    assert spread.drop(1) == [Move("stop", 1, "a")]
    assert spread.drop(1) == []
    assert spread.moves(1) == [Move("start", 2, "a")]
    assert spread.done(1, "a", 2) == (False, [])
