"""Whatever sensors send, in whatever order: transforms of readings neither fail nor grow nor hide anything."""

import math

import hypothesis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.pipeline.base import Counting, Observation, Reading
from edgewise.pipeline.catalog import transform_class
from edgewise.pipeline.settings import TransformSettings

S = 1_000_000_000
VALUES = st.one_of(
    st.none(), st.booleans(), st.text(max_size=3), st.integers(-(2**63), 2**63 - 1), st.floats(), st.floats(-1e3, 1e3)
)
READINGS = st.lists(
    st.tuples(st.integers(0, 600 * S), st.dictionaries(st.sampled_from("ab"), VALUES, min_size=1)), max_size=25
)
CHAINS = [
    [{"kind": "clean", "missing": "linear", "outliers": {"window": 5}, "range": {"a": [-1e4, 1e4]}}],
    [{"kind": "clean", "missing": "hold", "duplicates": ["time", "value"], "tolerance": 0.5}],
    [
        {
            "kind": "window",
            "size_s": 60,
            "every_s": 20,
            "stats": ["mean", "std", "slope", "p90", "count"],
            "lateness_s": 9,
        }
    ],
    [{"kind": "resample", "interval_s": 30, "method": "linear"}],
    [{"kind": "resample", "interval_s": 30, "method": "max", "max_readings": 3}],
    [{"kind": "features", "size_s": 60, "rate_hz": 1, "bands": {"slow": [0, 0.1]}, "keep_raw": True}],
    [{"kind": "thin", "bounds": {"a": 1.0, "b": 0}, "max_gap_s": 50}],
    [{"kind": "thin", "bounds": {"a": 1.0}, "method": "dead_band"}],
    [{"kind": "anomaly", "learn_s": 60, "checks": [{"channel": "a", "by": "b"}, {"channel": "a", "still_s": 30}]}],
    [{"kind": "clean"}, {"kind": "resample", "interval_s": 20}, {"kind": "thin", "bounds": {"a": 1.0}}],
]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: "-".join(part["kind"] for part in chain))
def test_any_readings_go_through(chain, tmp_path):
    settings = msgspec.convert(chain, list[TransformSettings])
    tools = type("Tools", (), {"folder": staticmethod(lambda name: tmp_path)})

    @hypothesis.settings(max_examples=40)
    @given(READINGS)
    def run(readings):
        for file in tmp_path.iterdir():
            file.unlink()
        transforms = [transform_class(part)(part, tools) for part in settings]
        for number, (time_ns, values) in enumerate(readings, 1):
            reading = Reading("shed", number, time_ns, values)
            through(Observation(reading, readings=(reading,)), transforms)
        for place, transform in enumerate(transforms):
            if held := transform.flush():
                through(held, transforms[place + 1 :])
            assert isinstance(transform, Counting)
            assert all(count >= 0 for count in transform.counts().values())

    run()


def through(observation, transforms):
    for transform in transforms:
        observation = transform.apply(observation)
    for reading in observation.readings:
        assert reading.values
        for name, value in reading.values.items():
            if "." in name:  # what was calculated is a number
                assert math.isfinite(value)
