"""A device, its gateway and the center, as three processes: whatever is killed or cut, nothing is lost or doubled.

``EDGEWISE_TREE_KILLS`` sets how often one of them is killed.
"""

from __future__ import annotations

import contextlib
import datetime
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
from edgewise.journal.base import Balance, StreamSettings
from edgewise.journal.disk import DiskJournal
from edgewise.journal.reader import DiskReader
from edgewise.testing import tree as testing
from edgewise.testing.tree import PATIENCE_S, until
from edgewise.types import Entry, Record

KILLS = int(os.environ.get("EDGEWISE_TREE_KILLS", "6"))
pytestmark = pytest.mark.timeout(600 + 60 * KILLS)  # a link that was cut often waits up to a minute a hop
SENSORS = "pipelines:\n  boiler: {source: {kind: readings}}\n"
MEANS = """
pipelines:
  hall:
    source: {kind: below}
    transforms:
      - {kind: window, size_s: 1, stats: [mean, count], keep_raw: false}
"""


class Member(testing.Member):
    """A node of the tree, with what it measures."""

    def push(self, *values: float, every_s: float = 0.0) -> None:
        """Values that were measured at such distances, the last of them now."""
        now = datetime.datetime.now(datetime.UTC)
        ages = [datetime.timedelta(seconds=every_s) * back for back in reversed(range(len(values)))]
        readings = [
            {"values": {"t": value}, "time": (now - age).isoformat()} for value, age in zip(values, ages, strict=True)
        ]
        httpx.post(
            f"{self.node.address}/v1/sources/boiler/readings", json=readings, timeout=PATIENCE_S
        ).raise_for_status()

    def records(self, stream: str = "readings", *, node: str = "", newest: int = 0) -> list[Record]:
        """What its disk holds of a node's stream, in order; no more than the newest, if it is said how many."""
        try:
            with contextlib.closing(DiskReader(self.journal, node=node or self.name)) as reader:
                if newest:
                    return reader.read(stream, limit=newest, newest_first=True)[::-1]
                return reader.read(stream, limit=10**9)
        except CorruptError:
            raise
        except EdgewiseError:
            return []

    def last(self, *, node: str = "") -> int:
        """The sequence of the newest reading that its disk holds of a node."""
        return max((record.sequence for record in self.records(node=node, newest=1)), default=0)

    def unbalanced(self) -> list[Balance]:
        with contextlib.closing(DiskReader(self.journal, node=self.name)) as reader:
            return [balance for balance in reader.audit() if not balance.balanced]


class Tree(testing.Tree[Member]):
    """The three of them, with what the center has to have."""

    def arrived(self, member: Member) -> bool:
        """Whether the center has all that a node has."""
        return 0 < member.last() <= self.center.last(node=member.name)

    def check(self) -> list[Record]:
        """The center has exactly what the device has, in its order, which is given; all ledgers balance."""
        device = self.device.records()
        assert [record.sequence for record in device] == list(range(1, len(device) + 1))
        assert self.center.records(node="device") == device
        assert self.gateway.records(node="device", newest=1) == device[-1:]
        for member in self.members:
            assert member.unbalanced() == []
        until(lambda: self.landed()[0] >= len(device))
        assert self.landed() == (len(device), len(device), 1, len(device))
        return device

    def landed(self) -> tuple[int, ...]:
        """The device's readings in the lake: how many, how many different ones, the first and the last."""
        told = "count(*), count(DISTINCT sequence), min(sequence), max(sequence)"
        sql = f"SELECT {told} FROM readings WHERE node = 'device'"
        (row,) = json.loads(self.center.command("query", sql, "--format", "json"))["rows"]
        return tuple(row)


def grow(folder: Path, chance: random.Random) -> Tree:
    """A tree that is not started."""
    return Tree(
        Member(folder / "center", "center", sections="lake: {gather_s: 0.2}\n"),
        Member(folder / "gateway", "gateway", sections=SENSORS),
        Member(folder / "device", "device", sections=SENSORS),
        lives=lambda: chance.choice([200, 2000, 20_000, 200_000]),
    )


def test_whatever_is_killed_or_cut_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with grow(tmp_path, random.Random(seed + 1)) as tree:
        tree.start()
        tree.join()
        seen = kill(tree, chance)
        for member in reversed(tree.members):  # who starts anew calls at once; a link that was cut often would wait
            member.node.kill()
        tree.start()
        tree.device.push(0)  # stands behind all that waited
        until(lambda: tree.device.records(newest=1)[0].body["values"] == {"t": 0})
        until(lambda: tree.arrived(tree.device))
        there = {record.sequence: record for record in tree.check()}
    assert {sequence: there.get(sequence) for sequence in seen} == seen
    print(f"{KILLS} kills, {tree.lower.cuts + tree.upper.cuts} cuts, {len(there)} records: none lost, none doubled")
    assert len(there) > KILLS


def kill(tree: Tree, chance: random.Random) -> dict[int, Record]:
    """Kills one after the other while the device measures and the links are cut; what was on its disk at some time."""
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
    seen: dict[int, Record] = {}
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0, 1.5))
            seen |= {record.sequence: record for record in tree.device.records(newest=50)}
            member = chance.choice(tree.members)
            member.node.kill()
            time.sleep(chance.uniform(0, 0.5))
            member.node.start()
    finally:
        stopped.set()
        measuring.join()
    tree.flaky = False
    return seen


def measured(member: Member, *values: float, every_s: float = 0.0) -> int:
    """Pushes these; the sequence of the last of them, once they are on its disk."""
    last = member.last() + len(values)
    member.push(*values, every_s=every_s)
    until(lambda: member.last() == last)
    return last


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """One for all that follow, whose last ones leave it changed."""
    with grow(tmp_path_factory.mktemp("tree"), random.Random(0)) as tree:
        tree.start()
        tree.join()
        yield tree


def test_what_a_device_measures_arrives_at_the_center_by_way_of_its_gateway(tree: Tree) -> None:
    measured(tree.device, 1, 2, 3)
    measured(tree.gateway, 10)
    until(lambda: tree.arrived(tree.device) and tree.arrived(tree.gateway))
    there = tree.check()
    assert [record.body["values"]["t"] for record in there[-3:]] == [1, 2, 3]


def test_the_center_sees_the_whole_tree_and_proves_that_nothing_is_missing(tree: Tree) -> None:
    device, gateway = measured(tree.device, 1, 2, 3), measured(tree.gateway, 10)

    def seen() -> dict[str, tuple[str, str]]:
        nodes = httpx.get(f"{tree.center.node.address}/v1/nodes", timeout=PATIENCE_S).json()["nodes"]
        return {node["name"]: (node["parent"], node["status"]) for node in nodes}

    assert until(lambda: seen() == {"device": ("gateway", "ok"), "gateway": ("center", "ok")})

    def audited() -> dict[str, Any]:
        return json.loads(tree.center.command("journal", "audit", "--tree", "--json"))

    def known() -> list[tuple[str, int, int, bool]]:
        lines = [line for line in audited()["lines"] if line["stream"] == "readings"]
        return [(line["node"], line["produced"], line["here"], line["counted"]) for line in lines if line["produced"]]

    until(lambda: known() == [("device", device, device, True), ("gateway", gateway, gateway, True)])
    tree.center.node.kill()
    assert audited()["balanced"]  # from what it wrote, and what is on its disk
    listed = json.loads(tree.center.command("nodes", "list", "--json"))
    assert [(node["name"], node["parent"]) for node in listed] == [("device", "gateway"), ("gateway", "center")]
    assert "device" in tree.center.command("nodes", "tree")
    tree.center.node.start()
    assert {node: parent for node, (parent, _) in seen().items()} == {"device": "gateway", "gateway": "center"}


def test_what_is_measured_while_nobody_is_there_arrives_once_they_are_back(tree: Tree) -> None:
    known = measured(tree.device, 1)
    until(lambda: tree.arrived(tree.device))
    tree.center.node.kill()
    measured(tree.device, 2)
    until(lambda: tree.gateway.last(node="device") == known + 1)  # the gateway keeps working
    tree.gateway.node.kill()
    measured(tree.device, 3)
    tree.device.node.kill()  # and all of them start again, the lowest first
    for member in reversed(tree.members):
        member.node.start()
    until(lambda: tree.arrived(tree.device))
    assert len(tree.check()) == known + 2


def test_a_gateway_whose_room_is_used_up_leaves_the_rest_with_its_child(tree: Tree) -> None:
    measured(tree.device, 0)
    until(lambda: tree.arrived(tree.device))
    for member in tree.members:
        member.node.stop()
    settings = tree.gateway.folder / "edgewise.yaml"
    settings.write_text(settings.read_text() + f"held: {{max_bytes: {16 << 20}, stream_bytes: {16 << 20}}}\n")
    streams = {"readings": StreamSettings(), "events": StreamSettings()}
    with contextlib.closing(DiskJournal(tree.device.journal, node="device", streams=streams)) as journal:
        for number in range(200):  # texts that packing does not make much smaller, twenty megabytes of them
            letters = random.Random(number).randbytes(100_000).hex()
            journal.append("readings", [Entry("reading", {"letters": letters}, time_ns=1)])
    tree.gateway.node.start()
    tree.device.node.start()
    known = tree.center.last(node="device")
    until(lambda: tree.gateway.last(node="device") > known + 100)
    time.sleep(3)  # were there no bound, it would take all in that time
    held = [record.sequence for record in tree.gateway.records(node="device")]
    assert held == list(range(held[0], held[-1] + 1))  # what the center had was let go
    assert len(held) < 190
    tree.center.node.start()  # room is made as fast as the center takes it
    until(lambda: tree.arrived(tree.device))
    assert tree.center.records(node="device") == tree.device.records()
    for member in tree.members:
        assert member.unbalanced() == []


def test_a_gateway_sends_on_what_it_made_of_readings_instead_of_them(tree: Tree) -> None:
    tree.gateway.node.stop()
    settings = tree.gateway.folder / "edgewise.yaml"
    settings.write_text(settings.read_text().replace("parent: {", "parent: {below: [events], ").replace(SENSORS, MEANS))
    tree.gateway.node.start()
    known, said = tree.center.last(node="device"), tree.center.last(node="gateway")
    last = measured(tree.device, *range(31), every_s=0.1)
    until(lambda: tree.center.last(node="gateway") >= said + 2)
    values = [record.body["values"] for record in tree.center.records(node="gateway")[-2:]]
    assert all(0 <= each["device.boiler.t.mean"] < 30 for each in values)
    until(lambda: tree.gateway.last(node="device") == last)
    assert tree.center.last(node="device") == known


def test_a_removed_child_is_refused_within_seconds(tree: Tree) -> None:
    def refused() -> bool:
        return any("uplink is refused" in line for line in tree.device.node.output)

    tree.gateway.command("nodes", "remove", "device")
    until(refused)
    known = tree.gateway.last(node="device")
    measured(tree.device, 1)
    tree.device.node.stop()
    tree.device.node.start()  # then it tries again at once
    until(refused)
    assert tree.gateway.last(node="device") == known


def test_a_removed_device_is_released_and_goes_on_elsewhere_where_it_was(tree: Tree) -> None:
    def below_the_center() -> dict[str, str]:
        nodes = httpx.get(f"{tree.center.node.address}/v1/nodes", timeout=PATIENCE_S).json()["nodes"]
        return {node["name"]: node["parent"] for node in nodes}

    until(lambda: below_the_center() == {"gateway": "center"})
    tree.device.command("leave")
    tree.device.join(tree.center)
    until(lambda: below_the_center() == {"device": "center", "gateway": "center"})
    measured(tree.device, 2)
    until(lambda: tree.arrived(tree.device))
    assert tree.center.records(node="device") == tree.device.records()

    tree.device.command("leave")  # it says so: nobody has to remove it
    tree.device.join(tree.gateway)
    until(lambda: below_the_center() == {"device": "gateway", "gateway": "center"})
    last = measured(tree.device, 3)
    until(lambda: tree.gateway.last(node="device") == last)
    assert [record.sequence for record in tree.center.records(node="device")] == list(range(1, last))
