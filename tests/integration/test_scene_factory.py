"""The factory line, whole: pictures of products come in, defective ones fall through the flap, good ones do not."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from edgewise.models.package import check, load_manifest
from edgewise.node.node import Node
from edgewise.node.settings import load

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "factory"
PATIENCE_S = 60.0


def drawing():
    """The example's own program, which draws defects."""
    spec = importlib.util.spec_from_file_location("products", EXAMPLE / "products.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def line(tmp_path):
    """The example with 250 pictures of real products; what is wrong with each."""
    folder = tmp_path / "factory"
    shutil.copytree(EXAMPLE, folder)
    (folder / "products").mkdir()
    tools, random = drawing(), np.random.default_rng(11)
    truth = []
    with np.load(ROOT / "tests" / "data" / "products.npz") as data:
        for number, picture in enumerate(data["pictures"], 1):
            truth.append(tools.DEFECTS[random.integers(1, 4)] if random.random() < 0.3 else "good")
            cv2.imwrite(str(folder / "products" / f"{number:05d}.png"), tools.drawn(picture, truth[-1], random))
    return folder, truth


def settings_of(folder):
    """The example's settings; the folder's end is the line's end, and a slow test machine may be late."""
    settings = load(folder / "edgewise.yaml")
    belt = settings.pipelines["belt"]
    source = msgspec.structs.replace(belt.source, watch=False)
    patient = tuple(
        msgspec.structs.replace(rule, do=tuple(msgspec.structs.replace(do, expires_s=60.0) for do in rule.do))
        for rule in settings.rules
    )
    pipelines = {"belt": msgspec.structs.replace(belt, source=source)}
    return msgspec.structs.replace(settings, pipelines=pipelines, rules=patient)


def decided(node, *, count):
    """What rules decided, once it is so much."""
    newest = 0
    while True:
        records = node.journal.read("decisions", limit=1000)
        found = [record for record in records if "rule" in record.body]
        if len(found) == count:
            return found
        assert records[-1].sequence > newest, "no decision came"
        newest = records[-1].sequence
        node.journal.wait("decisions", after=newest, timeout_s=PATIENCE_S)


def test_what_is_defective_is_rejected_and_what_is_good_is_not(line):
    folder, truth = line
    node = Node(settings_of(folder))
    try:
        node.start()
        assert node.pipeline("belt").join(PATIENCE_S)
        state = node.pipeline("belt").state()
        assert (state.processed, state.errors) == (250, 0)
        events = node.journal.read("events", limit=1000)
        decisions = decided(node, count=len(events))
    finally:
        node.stop()
    told = {event.body["number"]: event.body["label"] for event in events}
    assert {event.kind for event in events} <= {"product.scratch", "product.blot", "product.missing", "product.unsure"}
    assert all(event.blobs for event in events)
    assert {decision.body["rule"] for decision in decisions} == {"reject", "call-somebody"}
    bad = {number for number, defect in enumerate(truth, 1) if defect != "good"}
    rejected = {number for number, label in told.items() if label != "unsure"}
    assert len(bad) > 60
    assert len(bad & rejected) / len(bad) > 0.8
    assert len(bad & told.keys()) / len(bad) > 0.9  # rejected, or somebody was called
    assert len(bad & rejected) / len(rejected) > 0.9
    right = [truth[number - 1] == label for number, label in told.items() if number in bad & rejected]
    assert np.mean(right) > 0.9


def test_the_inspector_is_what_its_manifest_says(line):
    assert check(EXAMPLE / "inspector").passed
    metrics = {metric.name: metric.value for metric in load_manifest(EXAMPLE / "inspector").metrics}
    assert metrics["recall"] > 0.95
    assert metrics["precision"] > 0.94
    assert (
        f"{metrics['recall']:.3f}: missing parts {metrics['recall_missing']:.3f}" in (EXAMPLE / "README.md").read_text()
    )
