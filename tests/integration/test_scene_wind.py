"""The wind turbine, on a hundred days of a real one: it learns its power curve, and faults put in are found.

The real readings name no failures, so known faults are put into them, by the example's own ``measure.py``.
"""

from __future__ import annotations

import importlib.util
import random
import shutil
from pathlib import Path

import msgspec
import pytest

from edgewise._lib.columns import encode
from edgewise.node.node import Node
from edgewise.node.settings import load
from edgewise.series.packed import pack, unpack
from edgewise.series.table import write_csv

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "wind-turbines"
DAY_NS = 86400 * 10**9
LEARN_S = 45 * 86400.0
PATIENCE_S = 120.0
BOUNDS = {"power_kw": 20.0, "wind_speed_ms": 0.2, "outdoor_temperature_c": 0.5}


@pytest.fixture(scope="module")
def measure():
    spec = importlib.util.spec_from_file_location("measure_wind", EXAMPLE / "measure.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def turbine():
    return unpack((ROOT / "tests" / "data" / "turbine_R80711.ews").read_bytes())


def test_faults_put_into_real_readings_are_found_and_nothing_else_is_an_alarm(measure, turbine, tmp_path):
    learned_ns = turbine.times_ns[0] + round(LEARN_S * 1e9)
    faults = measure.drawn(turbine, 6, after_ns=learned_ns, random=random.Random(3))
    found = list(measure.alarms(measure.damaged(turbine, faults), tmp_path, learn_s=LEARN_S))
    judged = measure.judge(turbine, faults, found)
    assert judged.faults == {"standstill": 2, "capped": 1, "a fifth less": 1, "a tenth less": 1, "sensor stuck": 1}
    assert sum(judged.hits.values()) >= 5
    assert judged.hits["standstill"] == 2
    assert judged.hits["capped"] == judged.hits["sensor stuck"] == 1
    assert judged.false == 0


def test_real_readings_without_faults_give_no_false_alarm(measure, turbine, tmp_path):
    found = list(measure.alarms(turbine, tmp_path, learn_s=LEARN_S))
    assert measure.judge(turbine, [], found).false == 0


def test_the_example_runs_as_a_node_and_knows_its_turbine_after_a_restart(measure, turbine, tmp_path):
    """Thirty days are learned from; the node is stopped; started again with a turbine that stands, it tells at once."""
    folder = shutil.copytree(EXAMPLE, tmp_path / "wind", ignore=shutil.ignore_patterns("turbines", "data"))
    (folder / "turbines").mkdir()
    file = folder / "turbines" / "R80711.csv"
    first = measure.part(turbine, 0, turbine.times_ns[0] + 31 * DAY_NS)
    assert play(folder, file, first)[0] == []
    rest = measure.part(turbine, first.times_ns[-1] + 1, first.times_ns[-1] + 10 * DAY_NS)
    stop_ns = rest.times_ns[0] + 2 * DAY_NS
    fault = measure.Fault("standstill", stop_ns, stop_ns + DAY_NS)
    events, counts = play(folder, file, measure.damaged(rest, [fault]))
    assert counts["anomaly"]["learned"] == 0  # it knew
    [(kind, time_ns, body), *_] = events
    assert kind == "anomaly.started"
    assert stop_ns <= time_ns <= stop_ns + DAY_NS
    assert body["reasons"][0]["channel"] == "power_kw"
    assert body["reasons"][0]["expected"] > body["reasons"][0]["value"]


def play(folder, file, block):
    """Runs the example's node on a file of readings; its events, and what its transforms counted."""
    with file.open("w") as text:
        write_csv(text, block)
    settings = load(folder / "edgewise.yaml")
    pipeline = settings.pipelines["r80711"]
    transforms = tuple(
        msgspec.structs.replace(each, learn_s=30 * 86400.0) if hasattr(each, "learn_s") else each
        for each in pipeline.transforms
    )
    pipelines = {"r80711": msgspec.structs.replace(pipeline, transforms=transforms)}
    node = Node(msgspec.structs.replace(settings, pipelines=pipelines))
    try:
        before = node.journal.read("events", limit=1, newest_first=True)
        after = before[0].sequence if before else 0
        node.start()
        assert node.pipeline("r80711").join(PATIENCE_S)
        state = node.pipeline("r80711").state()
        assert (state.phase, state.errors, state.processed) == ("ended", 0, len(block.times_ns))
        events = node.journal.read("events", after=after, limit=1000)
    finally:
        node.stop()
    return [(event.kind, event.time_ns, event.body) for event in events], state.counts


@pytest.mark.parametrize("method", ["swinging_door", "dead_band"])
def test_real_readings_are_thinned_within_their_bounds(turbine, method):
    packed = pack(turbine.times_ns, turbine.columns, bounds=BOUNDS, method=method)
    for channel in packed.channels:
        assert 0.9 * channel.bound < channel.error <= channel.bound
    temperature = packed.channels[-1]
    assert temperature.values / temperature.kept > 6


def test_real_readings_take_a_quarter_of_their_plain_size_without_loss(turbine):
    block = encode(turbine.times_ns, turbine.columns)
    assert 8 * 4 * len(turbine.times_ns) / len(block) > 4
