"""Keys change in a running tree: records flow on, nothing has to be restarted, and a key copied before is refused."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgewise.errors import AccessError, EdgewiseError
from edgewise.journal.reader import DiskReader
from edgewise.link.base import Hello, Welcome
from edgewise.link.membership import LinkFolder
from edgewise.testing import tree as testing
from edgewise.testing.tree import until

PATIENCE_S = 120.0
SENSOR = "pipelines:\n  boiler: {source: {kind: readings}}\n"
pytestmark = pytest.mark.timeout(600)


class Member(testing.Member):
    """A node of the tree, with what it measures."""

    def push(self, value: float) -> None:
        httpx.post(
            f"{self.node.address}/v1/sources/boiler/readings", json=[{"values": {"t": value}}], timeout=PATIENCE_S
        ).raise_for_status()

    def values(self, *, node: str = "") -> list[float]:
        """What its disk holds of a node's readings."""
        try:
            with contextlib.closing(DiskReader(self.folder / "data" / "journal", node=node or self.name)) as reader:
                return [record.body["values"]["t"] for record in reader.read("readings", limit=10**9)]
        except EdgewiseError:
            return []

    @property
    def link(self) -> LinkFolder:
        return LinkFolder(self.folder / "data" / "link")

    def authority(self) -> Any:
        return json.loads(self.command("authority", "show", "--json"))

    def pinned(self) -> str:
        membership = self.link.membership
        return membership.fingerprint if membership else ""


class Tree:
    """A center, its gateway, and two devices below that."""

    def __init__(self, folder: Path) -> None:
        self.center = Member(folder / "center", "center")
        self.gateway = Member(folder / "gateway", "gateway")
        self.device = Member(folder / "device", "device", sections=SENSOR)
        self.away = Member(folder / "away", "away", sections=SENSOR)
        self.members = (self.center, self.gateway, self.device, self.away)

    def start(self) -> None:
        for member in self.members:
            member.node.start()
        self.gateway.join(self.center)
        self.device.join(self.gateway)
        self.away.join(self.gateway)

    def arrived(self, member: Member) -> bool:
        """Whether the center has all that a device has, once and in its order."""
        own = member.values()
        return bool(own) and self.center.values(node=member.name) == own


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    tree = Tree(tmp_path)
    try:
        tree.start()
        yield tree
    finally:
        for member in reversed(tree.members):
            member.node.kill()


def test_an_authority_and_a_key_change_while_records_flow(tree: Tree, tmp_path: Path) -> None:
    stopped = threading.Event()
    tree.away.push(1)
    tree.device.push(0)
    until(lambda: tree.arrived(tree.away) and tree.arrived(tree.device), patience_s=PATIENCE_S)
    tree.away.node.stop()
    shutil.copytree(tree.device.folder / "data" / "link", tmp_path / "stolen")

    def measure() -> None:
        count = 0
        while not stopped.wait(0.05):
            count += 1
            tree.device.push(float(count))

    measuring = threading.Thread(target=measure)
    measuring.start()
    try:
        tree.gateway.command("authority", "rotate")
        now = tree.gateway.authority()
        assert now["behind"] == ["away", "device"]
        tree.device.command("key", "rotate")
        until(lambda: tree.device.pinned() == now["fingerprint"], patience_s=PATIENCE_S)
        until(lambda: tree.gateway.authority()["behind"] == ["away"], patience_s=PATIENCE_S)
        assert refused(LinkFolder(tmp_path / "stolen")) == "wrong_key"
        tree.gateway.node.kill()  # what it told is on its disk
        tree.gateway.node.start()
    finally:
        stopped.set()
        measuring.join()
    until(lambda: tree.arrived(tree.device), patience_s=PATIENCE_S)
    assert len(tree.device.values()) > 20

    tree.away.node.start()
    tree.away.push(2)
    until(lambda: tree.arrived(tree.away), patience_s=PATIENCE_S)
    until(lambda: tree.away.pinned() == now["fingerprint"], patience_s=PATIENCE_S)
    until(lambda: tree.gateway.authority()["behind"] == [], patience_s=PATIENCE_S)
    kinds = json.loads(tree.gateway.command("audit", "log", "--json", "--limit", "100"))
    assert {"nodes.joined", "nodes.key_changed", "authority.rotated"} <= {each["kind"] for each in kinds}


def refused(folder: LinkFolder) -> object:
    """Why a parent takes nothing from whoever copied the folder of a child."""
    membership = folder.membership
    assert membership
    client = folder.client(membership, folder.credentials(membership))
    with contextlib.closing(client), pytest.raises(AccessError) as refusal:
        client.ask("POST", "/hello", Hello("ab" * 16, "1", ()), Welcome)
    return refusal.value.facts["reason"]
