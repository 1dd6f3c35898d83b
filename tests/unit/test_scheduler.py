"""The CPU contract: never more turns than cores, nobody starves, nothing idles, silence saves up nothing."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.pipeline.scheduler import MAX_DEBT_S, Lane, Scheduler

PATIENCE_S = 10.0


class Turns:
    """Plays threads without threads: lanes ask, turns of a stated length end, and who is next is noted."""

    def __init__(self, weights: dict[str, float], *, length: dict[str, float]) -> None:
        self.scheduler = Scheduler(cores=1)
        self.lanes = {name: self.scheduler.lane(weight=weight) for name, weight in weights.items()}
        self.length = length
        self.due: dict[str, float] = dict.fromkeys(weights, 0.0)
        self.used: Counter[str] = Counter()

    def play(self, names: list[str], *, turns: int) -> None:
        """All named lanes want turns all the time."""
        release, order = threading.Event(), []

        def want(name: str) -> None:
            while len(order) < turns:
                charged = self.scheduler._begin(self.lanes[name])
                order.append(name)
                self.used[name] += self.length[name]
                self.scheduler._end(self.lanes[name], self.length[name], charged)

        holder = self.scheduler.lane()
        charged = self.scheduler._begin(holder)
        threads = [threading.Thread(target=want, args=(name,)) for name in names for _ in range(2)]
        for thread in threads:
            thread.start()
        while self.scheduler.waiting < len(threads):
            release.wait(0.001)
        self.scheduler._end(holder, 0.0, charged)
        for thread in threads:
            thread.join(PATIENCE_S)


def test_there_are_never_more_turns_than_cores() -> None:
    scheduler = Scheduler(cores=2)
    lanes = [scheduler.lane() for _ in range(5)]
    now, most, gate = [0], [0], threading.Lock()

    def work(lane: Lane) -> None:
        for _ in range(50):
            with lane.turn():
                with gate:
                    now[0] += 1
                    most[0] = max(most[0], now[0])
                threading.Event().wait(0.0001)
                with gate:
                    now[0] -= 1

    threads = [threading.Thread(target=work, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert most == [2]
    assert [lane.state().turns for lane in lanes] == [50] * 5
    assert scheduler.waiting == 0


@given(st.floats(0.25, 4), st.floats(0.001, 0.05), st.floats(0.001, 0.05))
def test_lanes_that_always_want_get_time_by_their_weights_however_long_their_turns_are(
    weight: float, short: float, long: float
) -> None:
    turns = Turns({"one": 1.0, "other": weight}, length={"one": short, "other": long})
    turns.play(["one", "other"], turns=400)
    longest = 4 * max(short, long)
    assert turns.used["other"] / weight == pytest.approx(turns.used["one"], abs=longest * (1 + 1 / weight), rel=0.1)


def test_a_greedy_lane_does_not_starve_a_modest_one() -> None:
    scheduler = Scheduler(cores=1)
    greedy, modest = scheduler.lane(), scheduler.lane()
    for _ in range(1000):
        scheduler._end(greedy, 1.0, scheduler._begin(greedy))
    holding = scheduler._begin(greedy)
    order: list[str] = []
    arrived = threading.Event()

    def want(name: str, lane: Lane) -> None:
        arrived.set()
        charged = scheduler._begin(lane)
        order.append(name)
        scheduler._end(lane, 0.001, charged)

    threads = []
    for name, lane in (("greedy", greedy), ("greedy", greedy), ("modest", modest)):
        threads.append(threading.Thread(target=want, args=(name, lane)))
        before = scheduler.waiting
        threads[-1].start()
        while scheduler.waiting == before:
            arrived.wait(0.001)
    scheduler._end(greedy, 1.0, holding)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert order[0] == "modest"


def test_many_threads_in_one_lane_get_it_no_more() -> None:
    turns = Turns({"many": 1.0, "few": 1.0}, length={"many": 0.1, "few": 0.1})
    turns.play(["many"] * 8 + ["few"], turns=400)
    assert turns.used["many"] == pytest.approx(turns.used["few"], rel=0.2)


def test_one_long_turn_does_not_keep_its_lane_waiting_until_all_others_have_had_as_much() -> None:
    turns = Turns({"loading": 1.0, "busy": 1.0}, length={"loading": 0.01, "busy": 0.01})
    lane = turns.lanes["loading"]
    turns.scheduler._end(lane, 10.0, turns.scheduler._begin(lane))
    assert lane.state().used_ms == 10_000
    turns.play(["loading", "busy"], turns=400)
    assert 0 < turns.used["busy"] - turns.used["loading"] <= MAX_DEBT_S + 0.1


def test_a_lane_that_was_silent_saves_up_nothing() -> None:
    turns = Turns({"busy": 1.0, "silent": 1.0}, length={"busy": 0.01, "silent": 0.01})
    turns.play(["busy"], turns=200)
    turns.used.clear()
    turns.play(["busy", "silent"], turns=100)
    assert turns.used["silent"] <= 1.2 * turns.used["busy"]


def test_a_turn_that_fails_is_given_back_and_counted() -> None:
    scheduler = Scheduler(cores=1)
    lane = scheduler.lane()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), lane.turn():
            raise ZeroDivisionError
    assert lane.state().turns == 3
    with lane.turn():
        assert scheduler.waiting == 0
