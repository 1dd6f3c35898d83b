"""Looking back: windows are what a naive recomputation says, in whatever order values come, in bounded memory."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import RuleError
from edgewise.pipeline.base import Event
from edgewise.pipeline.rules import Do, RuleEngine, RuleSettings, Situation
from edgewise.pipeline.rules.windows import EXACT, REDUCE, Series

SECOND = 10**9
NOON = 1_700_000_000 * SECOND
SIREN = (Do("siren", "raise"),)

times = st.integers(0, 1000)
values = st.floats(-1e6, 1e6)
samples = st.lists(st.tuples(times, values), max_size=60)


def rule(when: str, **fields: Any) -> RuleSettings:
    return RuleSettings(**{"name": "watch", "on": "reading", "do": SIREN, "when": when, **fields})


def reading(at_s: float, source: str = "boiler", **channels: Any) -> Event:
    return Event("reading", source, NOON + int(at_s * SECOND), {"source": source, "values": channels})


def fires(engine: RuleEngine, *happened: Event) -> list[Mapping[str, Any]]:
    """Why the rules fired, for each time that one did."""
    memory = engine.memory()
    decisions = [engine.decide(event, Situation(event.time_ns), memory) for event in happened]
    assert [fault.error.message for decision in decisions for fault in decision.faults] == []
    return [firing.why for decision in decisions for firing in decision.firings]


def naive(function: str, window: list[tuple[int, float]]) -> float | None:
    found = [value for _, value in window]
    if function in {"sum", "samples"}:
        return float(sum(found)) if function == "sum" else len(found)
    if not found:
        return None
    if function == "slope":
        spread = {time for time, _ in window}
        if len(spread) < 2:
            return None
        return statistics.linear_regression([time for time, _ in window], found).slope
    return {
        "avg": statistics.fmean(found),
        "min": min(found),
        "max": max(found),
        "delta": found[-1] - found[0],
    }[function]


@pytest.mark.parametrize("function", REDUCE)
@given(taken=samples, now=times, window=st.integers(1, 500))
def test_a_window_holds_what_a_recomputation_over_all_values_finds(
    function: str, taken: list[tuple[int, float]], now: int, window: int
) -> None:
    series = Series(window * SECOND)
    for time, value in taken:
        series.add(time * SECOND, value)
    inside = sorted((pair for pair in taken if now - window < pair[0] <= now), key=lambda pair: pair[0])
    found = REDUCE[function](series.cells(now * SECOND))
    expected = naive(function, inside)
    assert found == (expected if expected is None else pytest.approx(expected, rel=1e-6, abs=1e-6))


@given(taken=samples.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_in_which_values_come_does_not_matter(taken: tuple[list[Any], list[Any]]) -> None:
    told = []
    for order in taken:
        series = Series(500 * SECOND)
        for time, value in order:
            series.add(time * SECOND, value)
        told.append([REDUCE[name](series.cells(900 * SECOND)) for name in ("min", "max", "samples", "avg")])
    assert told[0] == [None if value is None else pytest.approx(value) for value in told[1]]


@given(rate=st.integers(10, 200), window=st.integers(10, 120))
def test_a_flood_is_kept_in_bounded_memory_and_the_edge_is_off_by_a_256th_at_most(rate: int, window: int) -> None:
    series = Series(window * SECOND)
    step = SECOND // rate
    for number in range(EXACT * 4):
        series.add(number * step, float(number))
        assert len(series) <= EXACT
    now = (EXACT * 4 - 1) * step
    found = REDUCE["samples"](series.cells(now))
    exact = min(EXACT * 4, -(-window * SECOND // step))
    assert exact <= found <= exact + window * SECOND / 256 / step + 1
    assert REDUCE["max"](series.cells(now)) == EXACT * 4 - 1


def test_a_clock_that_jumps_far_and_back_costs_no_memory() -> None:
    series = Series(60 * SECOND)
    for number in range(EXACT * 3):
        series.add((number % 2) * 10**18 + number * SECOND, 1.0)
    assert len(series) <= EXACT


def test_a_rule_fires_when_the_mean_of_its_window_is_too_high_and_says_so() -> None:
    engine = RuleEngine([rule('avg(temperature, "5m") > 80')])
    cold = [reading(second, temperature=20.0) for second in range(0, 60, 10)]
    hot = [reading(300 + second, temperature=90) for second in range(0, 100, 10)]
    why = fires(engine, *cold, *hot)
    # The last cold one leaves at 350 s; before, the mean is 78 at most.
    assert why == [{'avg(temperature, "5m")': 90.0}] * 5


def test_each_source_has_windows_of_its_own_and_another_source_can_be_named() -> None:
    own = RuleEngine([rule('avg(temperature, "1m") > 50')])
    assert len(fires(own, reading(0, "oven", temperature=99), reading(1, "fridge", temperature=4))) == 1
    other = RuleEngine([rule('values.temperature > 10.0 && avg("oven-2.temperature", "1m") > 50.0', source="fridge")])
    assert fires(other, reading(0, "oven-2", temperature=99), reading(1, "fridge", temperature=12.0)) == [
        {'avg("oven-2.temperature", "1m")': 99.0, "values.temperature": 12.0}
    ]


def test_a_window_with_nothing_in_it_holds_no_rule_up_and_is_no_fault() -> None:
    engine = RuleEngine([rule("slope(oven.temperature, '5m') > 0"), rule("avg(gas, '1m') > 1", name="gas")])
    assert fires(engine, reading(0, temperature=1.0), reading(1, temperature=1.0)) == []


def test_on_off_values_count_as_one_and_nought_and_missing_ones_not_at_all() -> None:
    engine = RuleEngine([rule("avg(motion, '1m') >= 0.5")])
    series = [reading(at, motion=value) for at, value in enumerate([False, None, True, None])]
    assert [why["avg(motion, '1m')"] for why in fires(engine, *series)] == [0.5, 0.5]


def test_last_changed_and_delta() -> None:
    engine = RuleEngine(
        [
            rule("changed(valve)", name="now"),
            rule("changed(valve, '10s')", name="lately"),
            rule("last(valve) == 'open' && delta(level, '1m') > 2.0", name="filling"),
        ]
    )
    memory = engine.memory()
    happened = (
        reading(0, valve="shut", level=1),
        reading(5, valve="open", level=2),
        reading(9, valve="open", level=4),
        reading(20, valve="open", level=4),
    )
    decisions = [engine.decide(event, Situation(event.time_ns), memory) for event in happened]
    told = [[firing.rule for firing in decision.firings] for decision in decisions]
    assert told == [[], ["now", "lately"], ["lately", "filling"], ["filling"]]


def test_a_sensor_that_falls_silent_is_told_by_the_clock() -> None:
    engine = RuleEngine([rule("stale(boiler.temperature, '10m')", on="time", every_s=60)])
    memory = engine.memory()
    engine.decide(reading(0, temperature=1), Situation(NOON), memory)
    told = []
    for minute in range(13):
        at = NOON + minute * 60 * SECOND
        told += [minute for _ in engine.tick(at, Situation(at), memory).firings]
    assert told == [11, 12]


def seen(at_s: float, kind: str = "face.unknown", source: str = "porch", **body: Any) -> Event:
    return Event(kind, source, NOON + int(at_s * SECOND), body)


def test_events_of_a_kind_are_counted_in_a_window() -> None:
    engine = RuleEngine([rule('count("face.unknown", "10m") >= 3', on="face.unknown")])
    why = fires(engine, *[seen(at) for at in (0, 100, 200, 1000)])
    assert why == [{'count("face.unknown", "10m")': 3}]


def test_events_are_counted_for_one_person_source_or_track_when_asked() -> None:
    engine = RuleEngine([rule('count("face.*", "10m", "person") == 2', on="face.known")])
    happened = [seen(at, "face.known", name=name) for at, name in enumerate(["Ada", "Bob", "Ada"])]
    assert len(fires(engine, *happened)) == 1


def test_channels_and_sources_choose_the_readings() -> None:
    engine = RuleEngine([rule("", source="pump-*", channel="flow")])
    happened = [reading(0, "pump-1", flow=1), reading(1, "pump-1", heat=1), reading(2, "fan", flow=1)]
    assert len(fires(engine, *happened)) == 1
    assert engine.decide(seen(0), Situation(NOON)).firings == ()


@pytest.mark.parametrize(
    ("when", "column", "says", "hint"),
    [
        ('avrg(temperature, "5m") > 1', 1, "function 'avrg' is not known", "avg"),
        ('avg(temperature, "5 min") > 1', 18, "is no window", '"5m"'),
        ('avg(temperature, "8d") > 1', 18, "from 100ms to 7d", '"5m"'),
        ("avg(temperature) > 1", 1, "needs a window", '"5m"'),
        ('avg(1 + 2, "5m") > 1', 1, "takes a channel or kind", '"5m"'),
        ("true && event.body.x", 9, "variable 'event' is not known in a rule on readings", ""),
        ('count("Face Unknown", "1m") > 1', 7, "is no kind of event", "face.unknown"),
        ("sun.up", 1, "without a location", ""),
    ],
)
def test_what_cannot_be_looked_back_at_is_refused_with_its_place(when: str, column: int, says: str, hint: str) -> None:
    with pytest.raises(RuleError) as caught:
        RuleEngine([rule(when)])
    assert says in caught.value.message
    assert caught.value.facts["column"] == column
    assert hint in caught.value.hint


def test_a_channel_without_a_source_means_nothing_in_a_rule_on_events() -> None:
    with pytest.raises(RuleError, match="whose channel is not told") as caught:
        RuleEngine([rule('avg(temperature, "5m") > 1', on="face.known")])
    assert "boiler.temperature" in caught.value.hint


def test_only_what_rules_look_at_is_remembered() -> None:
    engine = RuleEngine([rule('avg(temperature, "5m") > 1', source="boiler")])
    memory = engine.memory()
    for source in ("oven", "fridge", "boiler"):
        engine.decide(reading(0, source, temperature=1, pressure=2), Situation(NOON), memory)
    assert list(memory._series) == [("boiler", "temperature", 300 * SECOND)]


def test_sources_without_end_take_bounded_memory() -> None:
    engine = RuleEngine([rule('avg(temperature, "5m") > 1 && last(temperature) > 1.0 && !changed(temperature)')])
    memory = engine.memory()
    for number in range(3000):
        event = reading(number / 100, temperature=1, source=f"s{number}")
        engine.decide(event, Situation(event.time_ns), memory)
    assert len(memory._series) <= 1024
    assert len(memory._latest) <= 1024


def test_a_fault_on_readings_is_told_once_a_minute_not_a_thousand_times() -> None:
    engine = RuleEngine([rule("values.missing > 1")])
    memory = engine.memory()
    faults = 0
    for number in range(700):
        event = reading(number / 10, temperature=1)
        faults += len(engine.decide(event, Situation(event.time_ns), memory).faults)
    assert faults == 2
