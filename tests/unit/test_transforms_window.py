"""Windows, resampling and features: exact numbers, in event time, also when readings come late."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.pipeline.base import Observation, Reading
from edgewise.pipeline.transforms.features import Features
from edgewise.pipeline.transforms.resample import Resample
from edgewise.pipeline.transforms.window import WindowTransform
from edgewise.series.windows import Windows, percentile, slope, statistic

S = 1_000_000_000


def run(cls, readings, *, flush=True, **given):
    """What a transform makes of ``(second, values)``, as the same, and the transform."""
    transform = cls(msgspec.convert(given, cls.Settings))
    out = []
    for number, (second, values) in enumerate(readings, 1):
        reading = Reading("shed", number, round(second * S), values)
        out += transform.apply(Observation(reading, readings=(reading,))).readings
    if flush and (held := transform.flush()):
        out += held.readings
    return [(reading.time_ns / S, reading.values) for reading in out], transform


def test_a_minute_of_temperatures_is_told_at_its_end():
    readings = [(s, {"t": float(s), "door": "shut"}) for s in range(0, 61, 10)]
    stats = ["mean", "min", "max", "std", "rms", "count", "sum", "slope", "first", "last", "p50", "p90"]
    out, _ = run(WindowTransform, readings, flush=False, size_s=60, stats=stats)
    [(end, values)] = out
    assert end == 60
    assert values == {
        "t.mean": 25.0,
        "t.min": 0.0,
        "t.max": 50.0,
        "t.std": pytest.approx(np.std([0, 10, 20, 30, 40, 50])),
        "t.rms": pytest.approx(math.sqrt(5500 / 6)),
        "t.count": 6,
        "t.sum": 150.0,
        "t.slope": pytest.approx(1.0),
        "t.first": 0.0,
        "t.last": 50.0,
        "t.p50": 25.0,
        "t.p90": 45.0,
    }


def test_sliding_windows_overlap_and_raw_readings_go_on_if_asked():
    readings = [(s, {"t": float(s)}) for s in range(5)]
    out, _ = run(WindowTransform, readings, flush=False, size_s=2, every_s=1, stats=["sum"], keep_raw=True)
    assert [(s, values) for s, values in out if "t.sum" in values] == [
        (1, {"t.sum": 0.0}),
        (2, {"t.sum": 1.0}),
        (3, {"t.sum": 3.0}),
        (4, {"t.sum": 5.0}),
    ]
    assert [s for s, values in out if "t" in values] == [0, 1, 2, 3, 4]


def test_a_reading_may_come_late_but_not_too_late():
    readings = [
        (1, {"t": 1.0}),
        (9, {"t": 9.0}),
        (11, {"t": 11.0}),
        (8, {"t": 8.0}),
        (15, {"t": 15.0}),
        (7, {"t": 7.0}),
    ]
    out, window = run(WindowTransform, readings, size_s=10, stats=["count", "sum"], lateness_s=5)
    assert out == [(10, {"t.count": 3, "t.sum": 18.0}), (20, {"t.count": 2, "t.sum": 26.0})]
    assert window.counts() == {"late": 1, "pushed_out": 0}


def test_the_end_of_the_source_closes_what_is_open():
    out, _ = run(WindowTransform, [(1, {"t": 1.0})], size_s=60, stats=["count"])
    assert out == [(60, {"t.count": 1})]


def test_a_year_without_readings_is_no_year_of_windows():
    out, _ = run(WindowTransform, [(0, {"t": 1.0}), (365 * 86400, {"t": 2.0})], size_s=1, stats=["mean"])
    assert out == [(1, {"t.mean": 1.0}), (365 * 86400 + 1, {"t.mean": 2.0})]


def test_one_reading_from_the_future_does_not_silence_a_sensor_for_ever():
    readings = [(0, {"t": 0.0}), (10**6, {"t": -1.0}), *[(s, {"t": float(s)}) for s in range(1, 300)]]
    out, window = run(WindowTransform, readings, size_s=60, stats=["last"])
    assert out[-1] == (300, {"t.last": 299.0})
    assert window.counts()["late"] == 100


def test_a_full_window_makes_room_and_says_so():
    out, window = run(
        WindowTransform, [(s / 10, {"t": float(s)}) for s in range(10)], size_s=60, stats=["count"], max_readings=4
    )
    assert out == [(60, {"t.count": 4})]
    assert window.counts()["pushed_out"] == 6


def test_a_channel_with_too_few_values_is_not_spoken_of():
    readings = [(0, {"a": 1.0, "b": 1.0}), (1, {"a": 2.0}), (2, {"c": True, "d": "x", "b": None})]
    out, _ = run(WindowTransform, readings, size_s=10, stats=["mean"], min_count=2)
    assert out == [(10, {"a.mean": 1.5})]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 100))
def test_percentiles_are_those_of_numpy(values, percent):
    assert percentile(values, percent) == pytest.approx(np.percentile(values, percent), rel=1e-9, abs=1e-6)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=80), st.integers(1, 40), st.integers(1, 40))
def test_every_reading_in_order_stands_in_every_window_it_belongs_to(times, size, every):
    every = min(every, size)
    windows = Windows(size_ns=size, every_ns=every)
    closed = [window for time in sorted(times) for window in windows.add(time, {"x": float(time)})] + windows.flush()
    assert windows.late == 0
    assert [window.end_ns for window in closed] == sorted({window.end_ns for window in closed})
    for window in closed:
        assert window.values["x"] == sorted(float(t) for t in times if window.end_ns - size <= t < window.end_ns)
    assert sum(len(window.values["x"]) for window in closed) == sum(
        (time + size) // every - time // every for time in times
    )


def test_the_slope_of_values_at_one_time_is_none():
    assert slope([5, 5], [1.0, 3.0]) == 0.0
    assert statistic("p0", [0, 1], [4.0, 2.0]) == 2.0


@pytest.mark.parametrize(
    ("method", "values"), [("mean", [15.0, 30.0]), ("last", [20.0, 30.0]), ("max", [20.0, 30.0]), ("min", [10.0, 30.0])]
)
def test_readings_at_any_time_stand_at_full_minutes(method, values):
    readings = [(1, {"t": 10.0}), (59, {"t": 20.0}), (61, {"t": 30.0})]
    out, _ = run(Resample, readings, interval_s=60, method=method)
    assert out == [(60, {"t": values[0]}), (120, {"t": values[1]})]


def test_lines_are_drawn_between_readings_but_not_over_gaps():
    readings = [(5, {"t": 5.0}), (25, {"t": 25.0}), (24, {"t": 0.0}), (200, {"t": 200.0}), (215, {"t": 215.0})]
    out, resample = run(Resample, readings, interval_s=10, method="linear", max_gap_s=60)
    assert out == [(10, {"t": 10.0}), (20, {"t": 20.0}), (200, {"t": 200.0}), (210, {"t": 210.0})]
    assert resample.counts() == {"late": 1, "pushed_out": 0, "gap": 1}


def test_a_vibration_of_five_hertz_has_its_energy_there():
    readings = [(i / 100, {"v": 3 + 2 * math.sin(2 * math.pi * 5 * i / 100)}) for i in range(401)]
    out, _ = run(
        Features, readings, flush=False, size_s=4, rate_hz=100, stats=["mean"], bands={"low": [0, 4], "mid": [4, 6]}
    )
    [(end, values)] = out
    assert end == 4
    assert values["v.mean"] == pytest.approx(3.0)
    assert values["v.dominant_hz"] == 5.0
    assert values["v.centroid_hz"] == pytest.approx(5.0, abs=1e-6)
    assert values["v.energy"] == pytest.approx(2.0, rel=1e-6)  # half the square of the amplitude
    assert values["v.band.mid"] == pytest.approx(1.0)
    assert values["v.band.low"] == pytest.approx(0.0, abs=1e-9)


def test_two_vibrations_share_the_energy_by_the_squares_of_their_amplitudes():
    wave = [(i / 50, {"v": 2 * math.sin(0.8 * math.pi * i) + math.sin(0.16 * math.pi * i)}) for i in range(500)]
    [(_, values)], _ = run(Features, wave, size_s=10, rate_hz=50, bands={"low": [0, 10], "high": [10, 25]})
    assert values["v.dominant_hz"] == 20.0
    assert values["v.band.high"] == pytest.approx(0.8, abs=1e-6)
    assert values["v.band.low"] == pytest.approx(0.2, abs=1e-6)
    assert values["v.centroid_hz"] == pytest.approx(0.8 * 20 + 0.2 * 4, abs=1e-3)


def test_what_does_not_move_has_no_spectrum_and_what_is_seldom_said_has_none_either():
    readings = [(i / 10, {"still": 7.0} | ({"seldom": 1.0} if i % 30 == 0 else {})) for i in range(100)]
    [(_, values)], _ = run(Features, readings, size_s=10, rate_hz=10, stats=["std"])
    assert values == {
        "still.std": 0.0,
        "still.dominant_hz": 0.0,
        "still.centroid_hz": 0.0,
        "still.energy": 0.0,
        "seldom.std": 0.0,
    }


@pytest.mark.parametrize(
    ("cls", "given", "said"),
    [
        (WindowTransform, {"size_s": 1, "every_s": 2, "stats": ["mean"]}, "every_s is longer"),
        (WindowTransform, {"size_s": 86400, "every_s": 0.001, "stats": ["mean"]}, "more than 10000 times every_s"),
        (WindowTransform, {"size_s": 1e-9, "stats": ["mean"]}, "0.001"),
        (Resample, {"interval_s": 0.001, "method": "linear"}, "max_gap_s is more than 10000 times interval_s"),
        (Resample, {"interval_s": 60, "method": "linear", "max_gap_s": 10}, "interval_s is longer than max_gap_s"),
        (WindowTransform, {"size_s": 1, "stats": ["median"]}, "regex"),
        (WindowTransform, {"size_s": 1, "stats": ["p101"]}, "regex"),
        (Features, {"size_s": 1, "rate_hz": 2}, "8 to 1000000 values"),
        (Features, {"size_s": 10, "rate_hz": 10, "bands": {"x": [6, 7]}}, "nothing above 5.0 Hz"),
    ],
)
def test_settings_that_make_no_sense_are_refused(cls, given, said):
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(given, cls.Settings)
