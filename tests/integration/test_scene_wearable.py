"""The watch, whole, on a real wearer the model never saw: what is done is known, and help is called when it must be.

Nobody in the data lies down or overdoes it, so two real stretches are changed: at the end the watch rests (its last
acceleration and no turning, with a sensor's noise), and before that the wearer turns it twelve times as fast.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgewise._lib.columns import Block
from edgewise.node.node import Node
from edgewise.node.settings import load
from edgewise.series.packed import unpack
from edgewise.series.table import write_csv

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "wearable"
S = 1_000_000_000
STEP_NS = S // 50
PATIENCE_S = 90.0


def stretch(columns, *, turning=1.0):
    """Fifteen seconds of the last exercise, turned faster."""
    return {
        name: [value * (turning if name.startswith("angular") else 1.0) for value in values[-750:]]
        for name, values in columns.items()
    }


def rest(columns, *, seconds):
    """The watch lies there."""
    random = np.random.default_rng(1)
    count = round(seconds * 50)
    return {
        name: ((0.0 if name.startswith("angular") else values[-1]) + random.normal(0, 0.003, count)).tolist()
        for name, values in columns.items()
    }


@pytest.fixture
def wearer(tmp_path):
    """The example, with a recording that begins now; what is done when, and when the two changed stretches begin."""
    folder = shutil.copytree(EXAMPLE, tmp_path / "wearable", ignore=shutil.ignore_patterns("people", "data"))
    block = unpack((ROOT / "tests" / "data" / "watch_person_9.ews").read_bytes())
    exercises = block.columns.pop("exercise")
    now_ns = time.time_ns()
    times = [now_ns + time_ns for time_ns in block.times_ns]
    exercise_of = dict(zip(times, exercises, strict=True))
    starts = []
    for more in (stretch(block.columns, turning=12.0), rest(block.columns, seconds=40)):
        starts.append(times[-1] + STEP_NS)
        times += [starts[-1] + i * STEP_NS for i in range(len(next(iter(more.values()))))]
        for name, values in more.items():
            block.columns[name] += values
    (folder / "people").mkdir()
    with (folder / "people" / "9.csv").open("w") as file:
        write_csv(file, Block(times, block.columns))
    return folder, exercise_of, starts


def played(folder):
    """The example's settings, with the recording played at once instead of as if it were now."""
    settings = load(folder / "edgewise.yaml")
    wrist = settings.pipelines["wrist"]
    source = msgspec.structs.replace(wrist.source, stamped="recorded", speed="max")
    return msgspec.structs.replace(settings, pipelines={"wrist": msgspec.structs.replace(wrist, source=source)})


def test_the_exercise_is_known_and_help_is_called_when_the_wearer_lies_still(wearer):
    folder, exercise_of, (fast_ns, still_ns) = wearer
    node = Node(played(folder))
    try:
        node.start()
        assert node.pipeline("wrist").join(PATIENCE_S)
        state = node.pipeline("wrist").state()
        assert (state.phase, state.errors) == ("ended", 0)
        events = node.journal.read("events", limit=1000)
        readings = node.journal.read("readings", limit=1000)
        rules = decided(node, count=2)
    finally:
        node.stop()
    told_right_for_most(events, exercise_of, until_ns=fast_ns)
    fast, ended, still = [event for event in events if event.kind.startswith("anomaly.")]
    assert fast.body["reasons"][0]["why"] == "high"
    assert 5 <= (fast.time_ns - fast_ns) / S <= 15
    assert ended.kind == "anomaly.ended"
    assert still.body["reasons"][0]["why"] == "low"
    assert 20 <= (still.time_ns - still_ns) / S <= 28
    assert rules == [("too-much", "done"), ("lies-still", "done")]
    # A result travels, not the raw data: one reading a second instead of fifty, with what the movement was made of.
    seconds = len(exercise_of) / 50 + 15 + 40
    assert 0.9 * seconds < len(readings) < 1.2 * seconds
    assert "acceleration_x_g.std" in readings[0].body["values"]
    assert "acceleration_x_g" not in readings[0].body["values"]


def told_right_for_most(events, exercise_of, *, until_ns):
    changes = [event for event in events if event.kind == "activity.changed" and event.time_ns < until_ns]
    told = {event.body["label"] for event in changes}
    assert told >= set(exercise_of.values())  # each of the four was recognised
    right = []
    for time_ns, exercise in exercise_of.items():
        said = [event.body["label"] for event in changes if event.time_ns <= time_ns]
        right.append(bool(said) and said[-1] == exercise)
    assert np.mean(right) > 0.6  # of a half minute the first seconds go by before it is sure


def decided(node, *, count):
    """Which rules fired and whether their command acted, once there are so many."""
    newest = 0
    while True:
        records = node.journal.read("decisions", limit=1000)
        found = [record.body for record in records if "rule" in record.body]
        if len(found) >= count:
            return [(body["rule"], body["actions"][0]["status"]) for body in found]
        newest = records[-1].sequence if records else newest
        assert node.journal.wait("decisions", after=newest, timeout_s=PATIENCE_S) > newest, "no decision came"
