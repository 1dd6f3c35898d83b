"""Thinning in a pipeline: what goes on has its own time, the bound holds, and how much was saved is told."""

import math

import msgspec
import pytest

from edgewise.pipeline.base import Observation, Reading
from edgewise.pipeline.transforms.thin import Thin, ThinSettings
from edgewise.series.thin import Point, rebuild

S = 1_000_000_000


def run(readings, **given):
    thin = Thin(msgspec.convert(given, ThinSettings))
    out = []
    for number, (second, values) in enumerate(readings, 1):
        reading = Reading("shed", number, second * S, values)
        out += thin.apply(Observation(reading, readings=(reading,))).readings
    if held := thin.flush():
        out += held.readings
    return [(reading.time_ns // S, reading.values) for reading in out], thin


def test_a_day_of_heating_and_cooling_is_its_corners_and_the_door_is_untouched():
    readings = [(s, {"t": 20.0 + min(s, 40 - s) / 10, "door": "shut"}) for s in range(41)]
    out, thin = run(readings, bounds={"t": 0.05})
    assert [(second, values["t"]) for second, values in out if "t" in values] == [(0, 20.0), (20, 22.0), (40, 20.0)]
    assert sum("door" in values for _, values in out) == 41
    assert thin.counts() == {"t.taken": 41, "t.kept": 3}


def test_each_channel_keeps_its_own_bound_and_order():
    readings = [(s, {"a": 20 * math.sin(s / 9), "b": 50 * math.cos(s / 23)}) for s in range(200)]
    bounds = {"a": 1.0, "b": 4.0}
    out, _ = run(readings, bounds=bounds, max_gap_s=50)
    for channel, bound in bounds.items():
        kept = [Point(second * S, values[channel]) for second, values in out if channel in values]
        assert kept == sorted(kept)
        assert len(kept) < 60
        found = rebuild(kept, [second * S for second, _ in readings], "swinging_door")
        assert max(abs(a - v[channel]) for a, (_, v) in zip(found, readings, strict=True)) <= bound


def test_a_steady_channel_is_silent_until_the_longest_gap_and_missing_is_told_once():
    values = [5.0, 5.1, 5.0, None, None, 5.0, 9.0]
    out, thin = run([(s, {"t": v}) for s, v in enumerate(values)], bounds={"t": 0.2}, method="dead_band")
    assert out == [(0, {"t": 5.0}), (3, {"t": None}), (5, {"t": 5.0}), (6, {"t": 9.0})]
    assert thin.counts() == {"t.taken": 7, "t.kept": 4}


def test_what_comes_too_late_cannot_change_what_was_said():
    out, thin = run([(0, {"t": 0.0}), (10, {"t": 10.0}), (5, {"t": 99.0}), (20, {"t": 20.0})], bounds={"t": 0.1})
    assert out == [(0, {"t": 0.0}), (20, {"t": 20.0})]
    assert thin.counts() == {"t.taken": 4, "t.late": 1, "t.kept": 2}


def test_a_bound_below_nothing_is_refused():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"bounds": {"t": -1}}, ThinSettings)
