"""Cleaning: what is wrong goes, what was changed is told, nothing is silent."""

import msgspec
import pytest

from edgewise._lib.clock import SystemClock
from edgewise.pipeline.base import Gives, Observation, Reading
from edgewise.pipeline.runner import PipelineRunner
from edgewise.pipeline.scheduler import Scheduler
from edgewise.pipeline.transforms.clean import Clean, CleanSettings

S = 1_000_000_000


def settings(**given):
    return msgspec.convert(given, CleanSettings)


class Line:
    """A cleaner and what it gave out so far, as ``(second, values)``."""

    def __init__(self, **given):
        self.clean = Clean(settings(**given))
        self.out = []
        self.facts = []

    def take(self, second, **values):
        reading = Reading("shed", len(self.out) + 1, round(second * S), values)
        found = self.clean.apply(Observation(reading, readings=(reading,)))
        self.facts.append(found.facts.get("clean", {}))
        self._keep(found)
        return self

    def end(self):
        if held := self.clean.flush():
            self._keep(held)
        return self.out

    def _keep(self, found):
        self.out += [(reading.time_ns / S, reading.values) for reading in found.readings]


def test_a_gap_is_filled_by_a_line_once_its_other_end_is_known():
    line = Line(missing="linear", max_gap_s=10)
    line.take(0, t=20.0, door="shut").take(1, t=None, door="shut").take(2, t=None, door="open")
    assert line.out == [(0, {"t": 20.0, "door": "shut"})]
    line.take(4, t=24.0, door="open")
    assert line.end() == [
        (0, {"t": 20.0, "door": "shut"}),
        (1, {"t": 21.0, "door": "shut"}),
        (2, {"t": 22.0, "door": "open"}),
        (4, {"t": 24.0, "door": "open"}),
    ]
    assert line.clean.counts() == {"t.missing": 2, "t.interpolated": 2}
    assert line.facts == [{}, {"t.missing": 1}, {"t.missing": 1}, {"t.interpolated": 2}]


def test_no_line_is_drawn_over_a_gap_that_is_too_long_and_nothing_waits_longer():
    line = Line(missing="linear", max_gap_s=10)
    line.take(0, t=20.0, h=50.0).take(5, t=None, h=51.0).take(12, t=None, h=52.0)
    assert line.out == [(0, {"t": 20.0, "h": 50.0})]
    line.take(16, t=None, h=53.0)
    assert line.out[1:] == [(5, {"h": 51.0}), (12, {"h": 52.0}), (16, {"h": 53.0})]
    assert line.take(17, t=21.0, h=54.0).end()[-1] == (17, {"t": 21.0, "h": 54.0})
    assert line.clean.counts() == {"t.missing": 3, "t.dropped": 3}


def test_what_still_waits_when_the_source_ends_goes_on_without_the_value():
    line = Line(missing="linear", max_gap_s=10).take(0, t=1.0, h=2.0).take(1, t=None, h=3.0).take(2, t=None)
    assert line.end() == [(0, {"t": 1.0, "h": 2.0}), (1, {"h": 3.0})]


def test_the_last_good_value_is_held_for_so_long_only():
    line = Line(missing="hold", max_gap_s=2)
    for second, value in enumerate([20.0, None, None, None, 21.0]):
        line.take(second, t=value, n=second)
    assert [values.get("t") for _, values in line.end()] == [20.0, 20.0, 20.0, None, 21.0]
    assert line.clean.counts() == {"t.missing": 3, "t.held": 2, "t.dropped": 1}


@pytest.mark.parametrize(("missing", "left"), [("keep", [{"t": 20.0}, {"t": None}]), ("drop", [{"t": 20.0}])])
def test_what_is_missing_stays_so_or_goes_as_asked(missing, left):
    line = Line(missing=missing).take(0, t=20.0).take(1, t=None)
    assert [values for _, values in line.end()] == left


def test_a_spike_is_an_outlier_a_step_is_none_for_long():
    line = Line(outliers={"window": 11, "deviations": 5.0, "least": {"t": 0.5}}, missing="hold")
    steady = [20.0, 20.1, 20.0, 19.9, 20.0, 20.1]
    for second, value in enumerate([*steady, 85.0, *steady, *[30.0] * 9]):
        line.take(second, t=value)
    found = [values["t"] for _, values in line.end()]
    assert found[6] == 20.1  # the sensor's spike is gone
    assert found[7:13] == steady
    assert found[13:] == [20.1] * 6 + [30.0] * 3  # the room is warm now: half a window later that is usual
    assert line.clean.counts() == {"t.outlier": 7, "t.held": 7}


def test_what_cannot_be_is_left_out():
    """The outdoor thermometer of a real wind turbine said -273.2 degrees when its wire broke."""
    line = Line(range={"outdoor": [-40, 60]}, missing="drop")
    line.take(0, outdoor=-40.0, wind=3.0).take(1, outdoor=-273.2, wind=3.1).take(2, outdoor=60.1, wind=3.2)
    assert line.end() == [(0, {"outdoor": -40.0, "wind": 3.0}), (1, {"wind": 3.1}), (2, {"wind": 3.2})]
    assert line.clean.counts() == {"outdoor.range": 2, "outdoor.dropped": 2}


def test_a_reading_that_was_delivered_twice_counts_once():
    line = Line().take(0, t=1.0).take(1, t=2.0).take(0, t=1.0).take(1, h=5.0).take(1, t=2.5)
    assert line.end() == [(0, {"t": 1.0}), (1, {"t": 2.0}), (1, {"h": 5.0})]
    assert line.clean.counts() == {"t.duplicate": 2}


def test_a_sensor_that_repeats_itself_says_so_once_a_minute():
    line = Line(duplicates=["value"], tolerance=0.1, max_gap_s=60)
    for second in range(0, 150, 10):
        line.take(second, t=20.0 + (0.05 if second == 20 else 0), on=True)
    assert [second for second, _ in line.end()] == [0, 70, 140]


def test_numbers_alone_are_looked_at():
    line = Line(range={"on": [0, 0.5], "name": [0, 1]}, outliers={})
    line.take(0, on=True, name="x")
    assert line.end() == [(0, {"on": True, "name": "x"})]
    assert line.clean.counts() == {}


def test_only_the_named_channels_are_cleaned():
    line = Line(channels=["t"], missing="drop").take(0, t=None, h=None)
    assert line.end() == [(0, {"h": None})]


def test_a_range_the_wrong_way_round_is_refused():
    with pytest.raises(msgspec.ValidationError, match="is not below -40"):
        settings(range={"t": [60, -40]})


def test_the_pipeline_says_what_its_transforms_changed():
    class Readings:
        gives, name, live, dropped, unreadable = Gives.READING, "shed", False, 0, 0

        def read(self):
            for second, value in enumerate([20.0, None, 99.0, 21.0], 1):
                yield Reading("shed", second, second * S, {"t": value})

        def close(self):
            pass

    taken = []
    runner = PipelineRunner(
        "shed",
        Readings(),
        [Clean(settings(missing="linear")), Clean(settings(range={"t": [0, 50]}, missing="drop"))],
        lambda event: None,
        lane=Scheduler(cores=1).lane(),
        clock=SystemClock(),
        on_readings=taken.extend,
    )
    runner.start()
    assert runner.join(10)
    runner.stop()
    assert runner.state().counts == {
        "clean": {"t.missing": 1, "t.interpolated": 1},
        "clean-2": {"t.range": 2, "t.dropped": 2},
    }
    assert [reading.values for reading in taken] == [{"t": 20.0}, {"t": 21.0}]
