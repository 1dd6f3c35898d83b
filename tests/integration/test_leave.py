"""A running node leaves its parent and joins another: the new one gets all that is still here, the old one nothing."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgewise.fleet.wishes import WishStore
from edgewise.journal.base import Batch, Packed
from edgewise.journal.packed import pack
from edgewise.link.reconnect import Phase
from edgewise.link.way import Way
from edgewise.node import kin
from edgewise.node import node as nodes
from edgewise.node.node import Node
from edgewise.node.settings import Settings, load
from edgewise.pipeline.base import Event
from edgewise.testing.tree import Member, until
from edgewise.trust.joining import JoinToken
from edgewise.trust.proof import Stranger
from edgewise.types import Entry

PATIENCE_S = 60.0
JPEG = b"\xff\xd8\xff\xe0 a picture"


def settings_of(folder: Path) -> Settings:
    file = folder / "edgewise.yaml"
    file.write_text(
        "node: {name: gateway, data: data}\nhttp: {port: 0}\nhttps: {host: 127.0.0.1, port: 0}\n"
        "parent: {gather_s: 0.05, may_change: [pipelines, rules]}\n"
    )
    return load(file, environment={})


class Gateway:
    """The node that leaves, in this process: commands beside it are what tests call in ``kin``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.settings = settings_of(folder)
        self.start()

    def start(self) -> None:
        self.node = Node(self.settings)
        self.node.start()

    def join(self, parent: Member) -> None:
        token = JoinToken.parse(parent.command("token", "create"))
        kin.join_parent(self.settings, f"https://127.0.0.1:{parent.https}", token)

    def leave(self) -> None:
        kin.link_folder(self.settings).leave()

    def see(self, number: int) -> str:
        """An event with a picture of its own."""
        digest = self.node.blobs.put(JPEG + bytes([number]), media_type="image/jpeg")
        self.node.accept(Event("motion", "porch", self.node.clock.time_ns(), {"n": number}, (digest,)))
        return digest

    def upstream(self, *digests: str) -> bool:
        return all(self.node.blobs.stat(digest).upstream for digest in digests)

    def pending(self) -> int:
        """Records on their way to a parent."""
        return sum(each.pending for each in self.node.journal.audit() if each.consumer == "parent")

    @property
    def wishes(self) -> WishStore:
        assert self.node.parenting
        return self.node.parenting.handing.wishes


def has(parent: Member, numbers: list[int], digests: list[str]) -> bool:
    """Whether a parent has these events, and these pictures."""
    with httpx.Client(base_url=parent.node.address, timeout=PATIENCE_S) as http:
        events = http.get("/v1/events", params={"node": "gateway"}).raise_for_status().json()["events"]
        pictures = [http.get(f"/v1/blobs/{digest}").status_code for digest in digests]
    return sorted(each["body"]["n"] for each in events) == numbers and set(pictures) <= {200}


def wish(parent: Member, node: str, document: object) -> int:
    return httpx.put(f"{parent.node.address}/v1/nodes/{node}/desired", json=document, timeout=PATIENCE_S).status_code


@pytest.fixture
def parents(tmp_path: Path) -> Iterator[tuple[Member, Member]]:
    members = Member(tmp_path / "first", "first"), Member(tmp_path / "second", "second")
    for member in members:
        member.node.start()
    yield members
    for member in members:
        member.node.kill()


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(nodes, "_KIN_S", 0.2)
    gateway = Gateway(tmp_path / "gateway")
    yield gateway
    gateway.node.stop()


def test_a_running_node_leaves_its_parent_and_gives_another_all_that_is_here(
    gateway: Gateway, parents: tuple[Member, Member]
) -> None:
    first, second = parents
    assert gateway.node.parenting
    token = gateway.node.parenting.fleet.invite("ab" * 32, random=secrets.token_bytes)
    gateway.node.parenting.fleet.admit(Stranger("lamp", "cd" * 32), token.secret, journal="ef" * 16)
    gateway.node.journal.take([Batch("lamp", "readings", (Packed(1, 1, pack([Entry("k", {}, time_ns=1)])),))])
    gateway.join(first)
    digests = [gateway.see(1), gateway.see(2)]
    until(lambda: has(first, [1, 2], digests) and gateway.upstream(*digests), patience_s=PATIENCE_S)
    assert wish(first, "gateway", {"pipelines": {"porch": {"source": {"kind": "upload"}}}}) == 200
    until(lambda: wish(first, "lamp", {"models": []}) == 200, patience_s=PATIENCE_S)  # it has heard of the lamp
    until(lambda: "porch" in gateway.node.pipelines, patience_s=PATIENCE_S)
    until(lambda: gateway.wishes.desired("lamp").by == "first", patience_s=PATIENCE_S)

    gateway.leave()
    until(lambda: gateway.node.links is None, patience_s=PATIENCE_S)
    until(lambda: "porch" not in gateway.node.pipelines, patience_s=PATIENCE_S)
    until(lambda: not any(gateway.upstream(digest) for digest in digests), patience_s=PATIENCE_S)
    until(lambda: gateway.wishes.desired("lamp").by != "first", patience_s=PATIENCE_S)
    assert not gateway.node.blobs.reachable("00" * 32)
    assert gateway.pending() == 0
    assert gateway.wishes.set_node("lamp", {"models": []}).by == "gateway"
    digests.append(gateway.see(3))

    gateway.join(second)
    until(lambda: has(second, [1, 2, 3], digests) and gateway.upstream(*digests), patience_s=PATIENCE_S)
    assert has(first, [1, 2], digests[:2])
    assert wish(second, "gateway", {"pipelines": {"yard": {"source": {"kind": "upload"}}}}) == 200
    until(lambda: list(gateway.node.pipelines) == ["yard"], patience_s=PATIENCE_S)


def test_a_node_that_was_stopped_meanwhile_starts_with_its_new_parent_as_with_its_first(
    gateway: Gateway, parents: tuple[Member, Member]
) -> None:
    first, second = parents
    gateway.join(first)
    digests = [gateway.see(1)]
    until(lambda: has(first, [1], digests) and gateway.upstream(*digests), patience_s=PATIENCE_S)
    gateway.node.stop()
    gateway.start()
    assert gateway.upstream(*digests)  # nobody was left
    gateway.node.stop()
    gateway.leave()
    gateway.join(second)
    gateway.start()
    until(lambda: has(second, [1], digests) and gateway.upstream(*digests), patience_s=PATIENCE_S)


def test_a_running_node_that_was_removed_and_joins_again_goes_on_at_once(
    gateway: Gateway, parents: tuple[Member, Member]
) -> None:
    first, _ = parents
    gateway.join(first)
    gateway.see(1)
    until(lambda: has(first, [1], []), patience_s=PATIENCE_S)
    first.command("nodes", "remove", "gateway")
    until(lambda: gateway.node.links and gateway.node.links.uplink.state.link.phase is Phase.REFUSED, patience_s=60)
    gateway.join(first)
    gateway.see(2)
    until(lambda: has(first, [1, 2], []), patience_s=PATIENCE_S)  # far less than who is refused waits


def test_a_parent_that_moved_is_called_at_its_new_address(gateway: Gateway, parents: tuple[Member, Member]) -> None:
    first, _ = parents
    gateway.join(first)
    digests = [gateway.see(1)]
    until(lambda: has(first, [1], digests) and gateway.upstream(*digests), patience_s=PATIENCE_S)
    links = gateway.node.links
    token = JoinToken.parse(first.command("token", "create"))
    kin.join_parent(gateway.settings, f"https://localhost:{first.https}", token)
    until(lambda: gateway.node.links not in {None, links}, patience_s=PATIENCE_S)
    assert gateway.upstream(*digests)  # it is the same one
    digests.append(gateway.see(2))
    until(lambda: has(first, [1, 2], digests), patience_s=PATIENCE_S)


def test_nothing_begins_by_a_way_that_ends(
    gateway: Gateway, parents: tuple[Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.join(parents[0])
    until(lambda: gateway.node.links is not None, patience_s=PATIENCE_S)
    steering = gateway.node._steering
    assert steering
    stop = steering.stop

    def stop_while_the_api_comes_up() -> None:
        gateway.node.answer_parent(lambda *_: pytest.fail("the parent that was left asks"))
        stop()

    monkeypatch.setattr(steering, "stop", stop_while_the_api_comes_up)
    gateway.leave()
    until(lambda: gateway.node.links is None, patience_s=PATIENCE_S)
    assert gateway.node.relay is None


def test_another_parent_is_called_only_once_what_is_true_of_the_one_before_is_forgotten(
    gateway: Gateway, parents: tuple[Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = parents
    open_way, make_links = kin.open_way, kin.make_links
    seen: list[tuple[str | None, str]] = []

    def join_another_meanwhile(*given: Any, **named: Any) -> Any:
        folder = kin.link_folder(gateway.settings)
        if (known := folder.membership) and known.parent == "first":
            gateway.leave()
            gateway.join(second)
        return open_way(*given, **named)

    def look(settings: Settings, *given: Any, way: Way, **named: Any) -> Any:
        seen.append((kin.link_folder(settings).settled, way.membership.identity))
        return make_links(settings, *given, way=way, **named)

    monkeypatch.setattr(kin, "open_way", join_another_meanwhile)
    monkeypatch.setattr(kin, "make_links", look)
    gateway.join(first)
    until(lambda: bool(seen), patience_s=PATIENCE_S)
    assert all(settled == called for settled, called in seen)
