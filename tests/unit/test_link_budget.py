"""What a link may carry: never more than its day's bytes, and always something left for an alarm."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise._lib.clock import ManualClock
from edgewise.link import calling
from edgewise.link.base import encode
from edgewise.link.budget import DAY_S, Budget, BudgetSettings, Priority, priority_of
from edgewise.link.desired import Fetching, Handed
from edgewise.link.spending import REST_S, Spending
from edgewise.testing.tree import until

DAY = 20_000 * DAY_S


def test_without_a_bound_everything_goes() -> None:
    assert all(Budget().left(each, BudgetSettings(), DAY) is None for each in Priority)


def test_a_metered_link_carries_events_and_alarms_and_what_a_person_asks_for() -> None:
    metered = BudgetSettings(metered=True)
    assert [Budget().left(each, metered, DAY) for each in Priority] == [None, None, None, 0, 0]


def test_a_day_of_readings_leaves_room_for_an_alarm() -> None:
    settings = BudgetSettings(bytes_per_day=1000)
    budget = Budget()
    while left := budget.left(Priority.READING, settings, DAY):
        budget = budget.spend(min(left, 70), DAY)
    assert budget.left(Priority.MEDIA, settings, DAY) == 0
    assert budget.left(Priority.ASKED, settings, DAY) == 100
    assert budget.left(Priority.EVENT, settings, DAY) == 150
    assert budget.left(Priority.ALARM, settings, DAY) == 200
    assert budget.left(Priority.READING, settings, DAY + DAY_S) == 800  # another day


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0, 3 * DAY_S)), max_size=40))
def test_a_clock_that_jumps_opens_no_day_twice(spent: list[tuple[int, float]]) -> None:
    settings = BudgetSettings(bytes_per_day=1000)
    budget = Budget()
    used: dict[int, int] = {}
    for size, at in spent:
        left = budget.left(Priority.ALARM, settings, DAY + at)
        assert left is not None
        size = min(size, left)
        before = budget.day
        budget = budget.spend(size, DAY + at)
        assert budget.day >= before
        used[budget.day] = used.get(budget.day, 0) + size
    assert all(size <= 1000 for size in used.values())


def test_each_stream_is_as_urgent_as_what_it_holds() -> None:
    assert priority_of("alarms") < priority_of("events") == priority_of("decisions") < priority_of("readings")
    assert priority_of("anything") is Priority.READING


class Poll:
    """A parent that answers each question at once, for a hundred bytes."""

    def __init__(self, spending: Spending) -> None:
        self.spending = spending
        self.calls = 0
        self.closed = 0

    def call(self, *_: Any, **__: Any) -> bytes:
        self.calls += 1
        self.spending.spend(100)
        return encode(Handed("here"))

    def close(self) -> None:
        self.closed += 1

    def end(self) -> None:
        """Nobody waits here."""


def test_what_is_wanted_is_still_asked_for_when_the_bytes_are_used_up_but_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calling, "_LOOK_S", 0.001)
    clock = ManualClock()
    spending = Spending(BudgetSettings(bytes_per_day=100_000), budget=Budget(), keep=lambda _: None, clock=clock)
    line = Poll(spending)
    fetching = Fetching(
        connect=lambda: line,  # type: ignore[arg-type,return-value]
        spending=spending,
        position=lambda: "here",
        take=lambda _: None,
        clock=clock,
        random=lambda: 0.0,
    )
    spending.spend(85_900)  # of the 90,000 that it shares with requests
    fetching.start()
    try:
        for number in range(1, 4):
            until(lambda number=number: line.closed == number, patience_s=20)  # type: ignore[misc]
            assert line.calls == number  # and none while it rests
            if number < 3:
                clock.advance(REST_S)
        assert spending.left(Priority.ALARM)
        before = line.calls
        spending.bound(BudgetSettings(bytes_per_day=10_000_000))  # what was wanted may have been just that
        until(lambda: line.calls > before + 10, patience_s=20)
        assert line.closed == 3  # a connection that is used stays
    finally:
        fetching.stop()


def test_what_is_less_than_one_request_takes_is_nothing_and_a_metered_link_answers_who_asks() -> None:
    spending = Spending(BudgetSettings(bytes_per_day=1000), budget=Budget(), keep=lambda _: None, clock=ManualClock())
    assert (spending.for_requests, spending.is_sparing) == (0, True)
    spending.bound(BudgetSettings(metered=True))
    assert (spending.for_requests, spending.is_sparing) == (None, False)
