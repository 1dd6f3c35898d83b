"""Anomalies: learned from a machine's own past, kept over a restart, told once with their reasons."""

import math

import msgspec
import pytest

from edgewise.errors import CorruptError
from edgewise.pipeline.base import Observation, Reading
from edgewise.pipeline.transforms.anomaly import Anomaly, AnomalySettings
from edgewise.series.usual import Ewma, Learner

S = 1_000_000_000


class Disk:
    """The node's tools, as far as this transform needs them."""

    def __init__(self, path):
        self.path = path

    def folder(self, name):
        assert name == "anomaly"
        return self.path


class Machine:
    """A machine that is watched; ``say`` gives a reading and returns the events as ``(kind, body)``."""

    def __init__(self, disk, *checks, **given):
        settings = msgspec.convert({"checks": list(checks), **given}, AnomalySettings)
        self.anomaly = Anomaly(settings, disk)
        self.observation = None

    def say(self, second, **values):
        reading = Reading("mill", 1, round(second * S), values)
        self.observation = self.anomaly.apply(Observation(reading, readings=(reading,)))
        return [(event.kind, event.body) for event in self.observation.events]


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path)


POWER = {"channel": "power", "by": "wind", "bin": 0.5, "least": 10.0, "start": 5.0, "end": 2.0}


def learned(disk, **given):
    """A machine that has learned for 1,000 seconds that its power is a hundred times the wind, give or take 10."""
    machine = Machine(disk, POWER, learn_s=1000, **given)
    for second in range(1001):
        wind = 4 + 3 * math.sin(second / 50)
        assert machine.say(second, wind=wind, power=100 * wind + (10 if second % 2 else -10)) == []
    return machine


def test_less_power_than_the_wind_gives_is_an_anomaly_with_a_reason_and_an_end(disk):
    mill = learned(disk)
    assert mill.say(1002, wind=5.0, power=505.0) == []
    assert mill.say(1003, wind=5.0, power=460.0) == []
    [(kind, body)] = mill.say(1004, wind=5.0, power=0.0)
    assert kind == "anomaly.started"
    [reason] = body["reasons"]
    assert reason["channel"] == "power"
    assert reason["why"] == "unusual"
    assert reason["value"] == 0.0
    assert reason["expected"] == pytest.approx(500, abs=10)
    assert reason["score"] == body["score"] == 15.0  # one value counts for three times the threshold at most
    assert mill.say(1005, wind=5.0, power=400.0) == []  # still the same anomaly
    [(kind, body)] = mill.say(1010, wind=5.0, power=500.0)
    assert kind == "anomaly.ended"
    assert body["lasted_s"] == 6
    assert body["score"] == 15.0
    assert mill.observation.facts["anomaly"]["active"] is False


def test_what_was_learned_is_still_known_after_a_restart(disk):
    learned(disk).say(1002, wind=5.0, power=500.0)
    again = Machine(disk, POWER, learn_s=1000)
    assert again.say(2000, wind=5.0, power=500.0) == []
    assert [kind for kind, _ in again.say(2001, wind=5.0, power=0.0)] == ["anomaly.started"]


def test_a_restart_while_it_learns_goes_on_learning(disk):
    first = Machine(disk, POWER, learn_s=1000)
    for second in range(600):
        first.say(second, wind=5.0, power=500.0 + second % 7)
    first.anomaly.flush()
    again = Machine(disk, POWER, learn_s=1000)
    assert again.say(1001, wind=5.0, power=503.0) == []  # the thousand seconds count from the first reading ever
    assert [kind for kind, _ in again.say(1002, wind=5.0, power=0.0)] == ["anomaly.started"]


def test_other_checks_learn_anew_and_damage_is_told(disk):
    learned(disk).say(1002, wind=5.0, power=500.0)
    other = Machine(disk, {**POWER, "bin": 0.25}, learn_s=1000)
    assert other.say(2000, wind=5.0, power=0.0) == []
    [file, *_] = disk.path.iterdir()
    file.write_text("[{")
    with pytest.raises(CorruptError) as caught:
        Machine(disk, POWER, learn_s=1000).say(0, wind=5.0, power=0.0)
    assert "Delete it" in caught.value.hint


def test_where_nothing_was_learned_nothing_is_said(disk):
    mill = learned(disk)
    assert mill.say(1002, wind=25.0, power=0.0) == []
    assert mill.say(1003, wind=5.0, power=None) == []
    assert mill.say(1004, power=0.0) == []


def test_faults_that_are_rare_while_it_learns_do_little_harm():
    learner = Learner(0.0)
    for i in range(5000):
        learner.add(0.0 if i % 10 == 0 else 500 + i % 21 - 10)
    middle, spread = learner.usual().at(0.0)
    assert middle == pytest.approx(499, abs=1)
    assert 5 < spread < 12
    assert len(learner.samples[0]) == 1000


def test_what_is_learned_is_of_the_whole_stretch_not_of_its_beginning():
    learner = Learner(0.0)
    for i in range(10_000):
        learner.add(1.0 if i < 3000 else 2.0)
    assert len(learner.samples[0]) == 1000
    assert learner.usual().at(0.0)[0] == 2.0
    assert 250 < learner.samples[0].count(1.0) < 350


def test_between_the_middles_of_bins_the_usual_value_lies_on_a_line():
    learner = Learner(1.0)
    for wind, power in ((4.2, 100.0), (5.7, 200.0)):
        for _ in range(20):
            learner.add(power, wind)
    learner.add(1e6, 9.0)  # too few to say anything
    usual = learner.usual()
    assert usual.at(4.5) == (100.0, 0.0)
    assert usual.at(5.0) == (150.0, 0.0)
    assert usual.at(5.9) == (200.0, 0.0)
    assert usual.at(9.0) is None


def test_the_average_starts_at_nothing_and_forgets_with_time():
    average = Ewma(100)
    assert average.add(0, 8.0) == 0.0
    assert average.add(100 * S, 8.0) == pytest.approx(4.0)  # half at most
    assert average.add(110 * S, 4.0) == pytest.approx(4.0)
    assert average.add(120 * S, 0.0) == pytest.approx(4.0 * math.exp(-0.1))


def test_smoothing_asks_for_more_than_one_bad_value(disk):
    press = Machine(disk, {"channel": "force", "least": 1.0, "smooth_s": 10, "start": 3.0, "end": 1.0}, learn_s=100)
    for second in range(102):
        press.say(second, force=50.0 + second % 2)
    assert press.say(102, force=500.0) == []
    assert [press.say(second, force=50.5) for second in range(103, 120)] == [[]] * 17
    told = [press.say(second, force=55.0)[0:1] for second in range(120, 150)]
    assert sum(map(len, told)) == 1


def test_a_sensor_that_stands_still_and_one_past_its_limits(disk):
    checks = ({"channel": "wind", "still_s": 60}, {"channel": "oil", "high": 90.0, "low": -20.0, "for_s": 5})
    mill = Machine(disk, *checks)
    for second in range(60):
        assert mill.say(second, wind=3.3, oil=95.0 if second == 30 else 70.0) == []
    [(_, body)] = mill.say(60, wind=3.3, oil=70.0)
    assert [(reason["channel"], reason["why"]) for reason in body["reasons"]] == [("wind", "still")]
    assert [mill.say(second, wind=3.3, oil=95.0) for second in range(61, 70)] == [[]] * 9
    [(kind, body)] = mill.say(70, wind=3.4, oil=70.0)
    assert kind == "anomaly.ended"
    assert {(reason["channel"], reason["why"]) for reason in body["reasons"]} == {("wind", "still"), ("oil", "high")}
    assert [kind for second in range(80, 86) for kind, _ in mill.say(second, wind=second, oil=-30.0)] == [
        "anomaly.started"
    ]


def test_only_the_side_that_was_asked_for_counts(disk):
    mill = Machine(disk, {"channel": "power", "least": 1.0, "side": "below"}, learn_s=10)
    for second in range(30):
        mill.say(second / 2, power=100.0 + second % 2)
    assert mill.say(20, power=500.0) == []
    assert [kind for kind, _ in mill.say(21, power=50.0)] == ["anomaly.started"]


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ({"channel": "t", "start": 1, "end": 2}, "end is past start"),
        ({"channel": "t", "low": 1, "still_s": 2}, "two checks"),
        ({"channel": "t", "low": 1, "by": "x"}, "by is for what is learned"),
    ],
)
def test_checks_that_make_no_sense_are_refused(check, said):
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert({"checks": [check]}, AnomalySettings)
