"""A node's life: it opens all or nothing, and when it stops nothing is left running, open or half done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from edgewise.errors import ClosedError, SettingsError
from edgewise.link.budget import BudgetSettings
from edgewise.link.membership import LinkFolder, Membership
from edgewise.link.reports import EVERY_S, METERED_EVERY_S
from edgewise.link.way import Way
from edgewise.node import node as node_module
from edgewise.node import organs
from edgewise.node.node import Node
from edgewise.node.reporting import make_report
from edgewise.node.settings import Settings, load
from edgewise.node.streams import DECISIONS
from edgewise.pipeline.base import Action, Event
from edgewise.testing.packages import write_echo

PATIENCE_S = 10.0
HOME = """
pipelines:
  porch: {source: {kind: upload}}
devices:
  door: {kind: lock, relock_s: 0}
rules:
  - name: open
    on: face.known
    do: [{device: door, command: unlock, expires_s: 60}]
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a house with a door, and an empty cache."""
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "edgewise.yaml"
    file.write_text(HOME)
    return load(file, environment={})


@pytest.fixture
def node(settings: Settings) -> Iterator[Node]:
    """A running node."""
    node = Node(settings)
    try:
        node.start()
        yield node
    finally:
        node.stop()


def happens(node: Node) -> None:
    node.accept(Event("face.known", "porch", node.clock.time_ns(), {"name": "Ada"}))


def test_a_node_whose_link_has_no_bytes_left_reports_seldom_and_says_so(settings: Settings, tmp_path: Path) -> None:
    node = Node(settings)
    try:
        assert make_report(node).every_s == EVERY_S
        link = LinkFolder(tmp_path / "link")
        parent = Membership("https://center", "center", "porch", "ab", "")
        node.way = Way(link, parent, budget=BudgetSettings(bytes_per_day=100_000), clock=node.clock)
        assert make_report(node).every_s == EVERY_S
        node.way.spending.spend(90_000)
        assert make_report(node).every_s == METERED_EVERY_S
    finally:
        node.stop()
    assert link.budget().used == 90_000


def test_an_event_becomes_a_decision_and_the_door_opens(node: Node) -> None:
    happens(node)
    assert node.journal.wait(DECISIONS, after=0, timeout_s=PATIENCE_S) == 1
    assert node.devices.get("door").state["state"] == "unlocked"


def test_an_event_cannot_claim_another_source(node: Node) -> None:
    node.accept(Event("face.known", "porch", node.clock.time_ns(), {"source": "vault"}))
    assert node.journal.read("events")[0].body["source"] == "porch"


def test_once_stopped_the_door_is_locked_and_stays_so(settings: Settings) -> None:
    node = Node(settings)
    node.start()
    happens(node)
    node.journal.wait(DECISIONS, after=0, timeout_s=PATIENCE_S)
    node.stop()
    assert node.devices.get("door").state["state"] == "locked"
    with pytest.raises(ClosedError):
        node.devices.perform(Action("door", "unlock", {}, key="late", expires_ns=node.clock.time_ns() + 10**9))
    assert node.devices.get("door").state["state"] == "locked"


def test_stopping_leaves_no_thread_and_may_be_done_twice(settings: Settings) -> None:
    before = set(threading.enumerate())
    node = Node(settings)
    node.start()
    node.stop()
    node.stop()
    assert set(threading.enumerate()) == before


def test_what_goes_wrong_while_stopping_leaves_nothing_open(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(settings)
    node.start()
    monkeypatch.setattr(node.devices, "fail_safe", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        node.stop()
    Node(settings).stop()


def test_devices_become_safe_whatever_goes_wrong_while_stopping(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(settings)
    node.start()
    happens(node)
    node.journal.wait(DECISIONS, after=0, timeout_s=PATIENCE_S)
    stop = node._decider.stop
    monkeypatch.setattr(node._decider, "stop", lambda: (stop(), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        node.stop()
    assert node.devices.get("door").state["state"] == "locked"


def test_a_node_that_cannot_be_made_leaves_nothing_open(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    with monkeypatch.context() as patch:
        patch.setattr(node_module, "Pool", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Node(settings)
    assert set(threading.enumerate()) == before
    Node(settings).stop()


def test_opencv_leaves_the_cores_to_the_workers(settings: Settings) -> None:
    cv2.setNumThreads(4)
    node = Node(settings)
    try:
        node.start()
        assert cv2.getNumThreads() == 1
    finally:
        node.stop()


def test_data_that_cannot_be_kept_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match=r"node\.data: cannot make") as caught:
        Node(load(environment={}, flags={"node.data": str(tmp_path / "file" / "data")}))
    assert "--data" in caught.value.hint


def test_a_model_is_never_a_folder_that_happens_to_have_its_name(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_echo(tmp_path).rename(tmp_path / "cifar10-resnet")
    monkeypatch.chdir(tmp_path)
    repository = organs.open_repository(load(environment={}, flags={"models": ["cifar10-resnet"]}))
    assert "echo" not in repository.names()
