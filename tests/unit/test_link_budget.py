"""What a link may carry: never more than its day's bytes, and always something left for an alarm."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewise.link.budget import DAY_S, Budget, BudgetSettings, Priority, priority_of

DAY = 20_000 * DAY_S


def test_without_a_bound_everything_goes() -> None:
    assert all(Budget().left(each, BudgetSettings(), DAY) is None for each in Priority)


def test_a_metered_link_carries_events_and_alarms() -> None:
    metered = BudgetSettings(metered=True)
    assert [Budget().left(each, metered, DAY) for each in Priority] == [None, None, 0, 0]


def test_a_day_of_readings_leaves_room_for_an_alarm() -> None:
    settings = BudgetSettings(bytes_per_day=1000)
    budget = Budget()
    while left := budget.left(Priority.READING, settings, DAY):
        budget = budget.spend(min(left, 70), DAY)
    assert budget.left(Priority.MEDIA, settings, DAY) == 0
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
