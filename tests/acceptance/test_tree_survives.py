"""A device, its gateway and the center, as three processes: whatever is killed or cut, nothing is lost or doubled.

``EDGEWISE_TREE_KILLS`` sets how often one of them is killed.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgewise.errors import CorruptError, EdgewiseError
from edgewise.journal.base import StreamSettings
from edgewise.journal.disk import DiskJournal
from edgewise.journal.reader import DiskReader
from edgewise.testing import tree as testing
from edgewise.testing.flaky import FlakyLink
from edgewise.testing.tree import until as until_it
from edgewise.types import Entry, Record

KILLS = int(os.environ.get("EDGEWISE_TREE_KILLS", "6"))
PATIENCE_S = 240.0
pytestmark = pytest.mark.timeout(600 + 60 * KILLS)  # a link that was cut often waits up to a minute a hop
until = functools.partial(until_it, patience_s=PATIENCE_S)


class Member(testing.Member):
    """A node of the tree, with what it measures."""

    def push(self, *values: float) -> None:
        readings = [{"values": {"t": value}} for value in values]
        httpx.post(
            f"{self.node.address}/v1/sources/boiler/readings", json=readings, timeout=PATIENCE_S
        ).raise_for_status()

    def records(self, stream: str = "readings", *, node: str = "") -> list[Record]:
        """What its disk holds of a node's stream."""
        try:
            with contextlib.closing(DiskReader(self.folder / "data" / "journal", node=node or self.name)) as reader:
                return reader.read(stream, limit=10**9)
        except CorruptError:
            raise
        except EdgewiseError:
            return []

    def unbalanced(self) -> list[Any]:
        with contextlib.closing(DiskReader(self.folder / "data" / "journal", node=self.name)) as reader:
            return [balance for balance in reader.audit() if not balance.balanced]


SENSORS = "pipelines:\n  boiler: {source: {kind: readings}}\n"


class Tree:
    """The three of them, with ways between them that can fail."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.center = Member(folder / "center", "center", sections="lake: {gather_s: 0.2}\n")
        self.gateway = Member(folder / "gateway", "gateway", sections=SENSORS)
        self.device = Member(folder / "device", "device", sections=SENSORS)
        self.members = (self.center, self.gateway, self.device)
        self.flaky = False

        def life() -> int | None:
            return chance.choice([200, 2000, 20_000, 200_000]) if self.flaky else None

        self.lower = FlakyLink(self.gateway.https, lives=life)
        self.upper = FlakyLink(self.center.https, lives=life)

    def start(self) -> None:
        for member in self.members:
            member.node.start()
        self.gateway.join(self.center, port=self.upper.port)
        self.device.join(self.gateway, port=self.lower.port)

    def arrived(self, node: str = "device") -> bool:
        """Whether the center has all that a node has."""
        own = next(member for member in self.members if member.name == node).records()
        return bool(own) and len(self.center.records(node=node)) >= len(own)

    def check(self) -> None:
        """The center has exactly what the device has, in its order; all ledgers balance."""
        device = self.device.records()
        assert [record.sequence for record in device] == list(range(1, len(device) + 1))
        assert self.center.records(node="device") == device
        assert self.gateway.records(node="device")[-1:] == device[-1:]
        for member in self.members:
            assert member.unbalanced() == []
        until(lambda: self.landed() == [record.sequence for record in device])

    def landed(self) -> list[int]:
        """The sequences of the device's readings in the lake."""
        sql = "SELECT sequence FROM readings WHERE node = 'device' ORDER BY sequence"
        rows = json.loads(self.center.command("query", sql, "--format", "json", "--rows", "1000000"))
        return [
            row["sequence"] if isinstance(row, dict) else row[0]
            for row in (rows["rows"] if isinstance(rows, dict) else rows)
        ]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    tree = Tree(tmp_path, random.Random(seed))
    with tree.lower, tree.upper:
        try:
            tree.start()
            yield tree
        finally:
            for member in reversed(tree.members):
                member.node.kill()


def test_what_a_device_measures_arrives_at_the_center_by_way_of_its_gateway(tree: Tree) -> None:
    tree.device.push(1, 2, 3)
    tree.gateway.push(10)
    until(tree.arrived)
    until(lambda: tree.arrived("gateway"))
    tree.check()
    assert [record.body["values"]["t"] for record in tree.center.records(node="device")] == [1, 2, 3]


def test_what_is_measured_while_nobody_is_there_arrives_once_they_are_back(tree: Tree) -> None:
    tree.device.push(1)
    until(tree.arrived)
    tree.center.node.kill()
    tree.device.push(2)
    until(lambda: len(tree.gateway.records(node="device")) == 2)  # the gateway keeps working
    tree.gateway.node.kill()
    tree.device.push(3)
    until(lambda: len(tree.device.records()) == 3)
    tree.device.node.kill()  # and all of them start again, the lowest first
    for member in reversed(tree.members):
        member.node.start()
    until(tree.arrived)
    tree.check()


def test_a_gateway_whose_room_is_used_up_leaves_the_rest_with_its_child(tree: Tree) -> None:
    tree.device.push(0.0)
    until(tree.arrived)
    for member in tree.members:
        member.node.stop()
    settings = tree.gateway.folder / "edgewise.yaml"
    settings.write_text(settings.read_text() + f"held: {{max_bytes: {16 << 20}, stream_bytes: {16 << 20}}}\n")
    streams = {"readings": StreamSettings(), "events": StreamSettings()}
    with contextlib.closing(
        DiskJournal(tree.device.folder / "data" / "journal", node="device", streams=streams)
    ) as journal:
        for number in range(300):  # texts that packing does not make much smaller, thirty megabytes of them
            letters = random.Random(number).randbytes(100_000).hex()
            journal.append("readings", [Entry("reading", {"letters": letters}, time_ns=1)])
    tree.gateway.node.start()
    tree.device.node.start()
    until(lambda: len(tree.gateway.records(node="device")) > 100)
    time.sleep(3)
    held = [record.sequence for record in tree.gateway.records(node="device")]
    assert held == list(range(held[0], held[-1] + 1))  # what the center had was let go
    assert len(held) < 250
    tree.center.node.start()  # room is made as fast as the center takes it
    until(tree.arrived)
    assert tree.center.records(node="device") == tree.device.records()
    for member in tree.members:
        assert member.unbalanced() == []


def test_a_gateway_sends_on_what_it_made_of_readings_instead_of_them(tree: Tree) -> None:
    tree.gateway.node.stop()
    settings = tree.gateway.folder / "edgewise.yaml"
    settings.write_text(
        settings.read_text()
        .replace("parent: {", "parent: {below: [events], ")
        .replace(SENSORS, "pipelines:\n  hall:\n    source: {kind: below}\n    transforms:\n")
        + "      - {kind: window, size_s: 1, stats: [mean, count], keep_raw: false}\n"
    )
    tree.gateway.node.start()
    for value in range(30):
        tree.device.push(float(value))
        time.sleep(0.1)
    tree.device.push(100.0)
    until(lambda: len(tree.center.records(node="gateway")) >= 2)
    values = [record.body["values"] for record in tree.center.records(node="gateway")]
    assert all(0 <= each["device.boiler.t.mean"] <= 29 for each in values[:2])
    assert tree.center.records(node="device") == []
    until(lambda: len(tree.gateway.records(node="device")) == 31)


def test_the_center_sees_the_whole_tree_and_proves_that_nothing_is_missing(tree: Tree) -> None:
    tree.device.push(1, 2, 3)
    tree.gateway.push(10)
    until(tree.arrived)
    until(lambda: tree.arrived("gateway"))

    def seen() -> dict[str, tuple[str, str]]:
        nodes = httpx.get(f"{tree.center.node.address}/v1/nodes", timeout=PATIENCE_S).json()["nodes"]
        return {node["name"]: (node["parent"], node["status"]) for node in nodes}

    assert until(lambda: seen() == {"device": ("gateway", "ok"), "gateway": ("center", "ok")})

    def audited() -> dict[str, Any]:
        return json.loads(tree.center.command("journal", "audit", "--tree", "--json"))

    def known() -> list[tuple[str, int, int, bool]]:
        lines = [line for line in audited()["lines"] if line["stream"] == "readings"]
        return [(line["node"], line["produced"], line["here"], line["counted"]) for line in lines if line["produced"]]

    until(lambda: known() == [("device", 3, 3, True), ("gateway", 1, 1, True)])
    tree.center.node.kill()
    assert audited()["balanced"]  # from what it wrote, and what is on its disk
    listed = json.loads(tree.center.command("nodes", "list", "--json"))
    assert [(node["name"], node["parent"]) for node in listed] == [("device", "gateway"), ("gateway", "center")]
    assert "device" in tree.center.command("nodes", "tree")
    tree.center.node.start()
    assert {node: parent for node, (parent, _) in seen().items()} == {"device": "gateway", "gateway": "center"}


def test_a_removed_child_is_refused_within_seconds(tree: Tree) -> None:
    tree.device.push(1)
    until(tree.arrived)
    tree.gateway.command("nodes", "remove", "device")
    tree.device.push(2)
    until(lambda: len(tree.device.records()) == 2)
    time.sleep(7)  # the gateway looks every five seconds
    tree.device.push(3)
    time.sleep(2)
    assert len(tree.gateway.records(node="device")) < 3


def test_whatever_is_killed_or_cut_nothing_is_lost_or_doubled(tree: Tree) -> None:
    chance = random.Random(KILLS)
    stopped = threading.Event()
    tree.flaky = True

    def measure() -> None:
        count = 0
        while not stopped.wait(0.02):
            count += 1
            with contextlib.suppress(httpx.HTTPError):
                tree.device.push(*(float(count) for _ in range(count % 7 + 1)))

    measuring = threading.Thread(target=measure)
    measuring.start()
    seen: dict[int, Record] = {}  # what was on the device's disk at some time
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0, 1.5))
            seen |= {record.sequence: record for record in tree.device.records()[-50:]}
            member = chance.choice(tree.members)
            member.node.kill()
            time.sleep(chance.uniform(0, 0.5))
            member.node.start()
    finally:
        stopped.set()
        measuring.join()
    tree.flaky = False
    tree.device.push(0)
    until(tree.arrived)
    tree.check()
    there = {record.sequence: record for record in tree.center.records(node="device")}
    assert {sequence: there.get(sequence) for sequence in seen} == seen
    print(f"{KILLS} kills, {tree.lower.cuts + tree.upper.cuts} cuts, {len(there)} records: none lost, none doubled")
    assert len(there) > KILLS
