"""Too many events, or the same one again and again: throttled and debounced, whatever they are of."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.pipeline import bursts
from edgewise.pipeline.base import Event, Frame, Gives, Observation, Reading, Sample, Sound
from edgewise.pipeline.transforms.debounce import Debounce, DebounceSettings
from edgewise.pipeline.transforms.throttle import Throttle, ThrottleSettings
from edgewise.testing.pipeline import picture

S = 10**9
FRAME = Frame("yard", 1, 0, picture())


def event(time_s: float, kind: str = "zone.entered", source: str = "yard", **body: Any) -> Event:
    return Event(kind, source, 10**18 + round(time_s * S), body)


def passed(transform: Throttle | Debounce, *events: Event) -> list[float]:
    """Seconds of the events that pass, each given in an observation of its own."""
    kept = [each for one in events for each in transform.apply(Observation(FRAME, events=(one,))).events]
    return [(each.time_ns - 10**18) / S for each in kept]


def test_so_many_pass_in_any_window_and_the_rest_is_counted() -> None:
    throttle = Throttle(ThrottleSettings(most=2, per_s=10))
    assert passed(throttle, *(event(t) for t in (0, 1, 2, 9.9, 10, 10.5, 11, 12, 30))) == [0, 1, 10, 11, 30]
    assert throttle.counts() == {"passed": 5, "dropped": 4}
    throttle.apply(Observation(FRAME, events=tuple(event(31) for _ in range(5))))
    assert throttle.counts() == {"passed": 6, "dropped": 8}


steps = st.lists(st.integers(0, 40).map(lambda tenths: tenths / 10), max_size=80)


@given(steps, st.integers(1, 5), st.integers(1, 8))
def test_never_more_than_the_limit_passes_in_any_window(waits: list[float], most: int, per_s: int) -> None:
    times = np.cumsum([0, *waits]).tolist()
    kept = passed(Throttle(ThrottleSettings(most=most, per_s=per_s)), *(event(time) for time in times))
    assert kept[:1] == [0]
    for start in kept:
        assert sum(start <= time < start + per_s for time in kept) <= most


@given(steps, st.integers(1, 8))
def test_of_a_burst_exactly_the_first_passes(waits: list[float], quiet_s: int) -> None:
    times = np.cumsum([0, *waits]).tolist()
    first = [0.0, *(after for before, after in itertools.pairwise(times) if after - before > quiet_s - 1e-6)]
    assert passed(Debounce(DebounceSettings(quiet_s=quiet_s)), *(event(time) for time in times)) == pytest.approx(first)


def test_events_are_alike_when_kind_source_and_the_named_fields_are() -> None:
    for transform in (
        Throttle(ThrottleSettings(by=("zone",), per_s=60)),
        Debounce(DebounceSettings(by=("zone",), quiet_s=60)),
    ):
        events = [
            event(0, zone="a", track=1),
            event(1, zone="a", track=2),
            event(2, zone="b"),
            event(3, "zone.left", zone="a"),
            event(4, zone="a", source="door"),
            event(5),
            event(6, zone=None),
        ]
        assert passed(transform, *events) == [0, 2, 3, 4, 5]


def test_only_the_kinds_that_are_named_are_concerned() -> None:
    kinds = ("zone", "line.crossed")
    for transform in (
        Throttle(ThrottleSettings(events=kinds, per_s=60)),
        Debounce(DebounceSettings(events=kinds, quiet_s=60)),
    ):
        names = ("zone.entered", "zone.entered", "line.crossed", "line.crossed", "zones.x", "zones.x", "line.x")
        assert passed(transform, *(event(t, name) for t, name in enumerate(names))) == [0, 2, 4, 5, 6]


def test_a_clock_that_was_set_back_silences_nobody_for_longer_than_the_window() -> None:
    for transform in (Throttle(ThrottleSettings(per_s=10)), Debounce(DebounceSettings(quiet_s=10))):
        assert passed(transform, *(event(t) for t in (5000, 0, 10.5))) == [5000, 10.5]


def test_many_sorts_of_events_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound they share one limit: still never too many, and memory does not grow."""
    monkeypatch.setattr(bursts, "MAX_KEYS", 10)
    throttle = Throttle(ThrottleSettings(by=("track",), per_s=100))
    kept = passed(throttle, *(event(n / 10, track=n) for n in range(50)))
    assert len(kept) == 11
    assert len(throttle._times._times) <= 11
    assert len(passed(throttle, *(event(200 + n / 10, track=n) for n in range(5)))) == 5, "what is old makes room"


@pytest.mark.parametrize(
    "sample",
    [FRAME, Sound("yard", 1, 0, np.zeros(16, np.float32), 16000), Reading("yard", 1, 0, {"temperature": 20.5})],
)
def test_any_kind_of_sample_will_do(sample: Sample) -> None:
    for transform in (Throttle(ThrottleSettings()), Debounce(DebounceSettings())):
        assert transform.takes == set(Gives)
        kept = transform.apply(Observation(sample, events=(event(0), event(1), event(2, "other"))))
        assert Counter(each.kind for each in kept.events) == {"zone.entered": 1, "other": 1}
        quiet = Observation(sample)
        assert transform.apply(quiet) is quiet
