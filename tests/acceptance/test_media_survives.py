"""Pictures and films of a device go to the center by way of its gateway: whatever is killed or cut in the middle of
one, each arrives byte for byte, goes over each link about once, and comes back when it is asked for.

``EDGEWISE_MEDIA_KILLS`` sets how often each of the three is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edgewise.journal.base import StreamSettings
from edgewise.journal.blobs import BlobStore, read_blob
from edgewise.journal.disk import DiskJournal
from edgewise.journal.upstream import UpstreamMarks
from edgewise.testing import tree as testing
from edgewise.testing.tree import PATIENCE_S, at_once, until
from edgewise.types import Entry

pytestmark = pytest.mark.timeout(600)  # a link that was cut often waits up to a minute a hop

KILLS = int(os.environ.get("EDGEWISE_MEDIA_KILLS", "1"))
CUTS = 6  # all of it passes no link in so few connections
MIB = 1 << 20
DATA = f"./data, snapshot_bytes: {2 * MIB}"


class Member(testing.Member):
    """A node of the tree, with what it sees."""

    @property
    def blobs(self) -> Path:
        return self.journal / "blobs"

    def see(self, *contents: bytes, media_type: str = "image/jpeg") -> list[str]:
        """Events with pictures, as a pipeline leaves them. The node must not run."""
        blobs = BlobStore(self.blobs, max_bytes=2 * MIB, bounds={"video/mp4": 4096 * MIB})
        streams = {name: StreamSettings() for name in ("events", "decisions", "readings", "audit")}
        with (
            contextlib.closing(blobs),
            contextlib.closing(DiskJournal(self.journal, node=self.name, streams=streams, blobs=blobs)) as opened,
        ):
            digests = []
            for content in contents:
                digests.append(blobs.put(content, media_type=media_type))
                opened.append("events", [Entry("object.appeared", {"source": "yard"}, (digests[-1],))])
        return digests

    def has(self, digest: str) -> bool:
        return any((self.blobs / digest[:2]).glob(f"{digest}*"))

    def marked(self, *digests: str) -> bool:
        """Whether it knows that its parent has these."""
        with contextlib.closing(UpstreamMarks(self.blobs / "upstream.db")) as marks:
            return marks.among(digests) == set(digests)

    def receives(self) -> int:
        """Bytes of the largest blob that is being received."""
        sizes = [0]
        for part in (self.journal / "receiving").glob("*.part"):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(part.stat().st_size)
        return max(sizes)

    def get(self, path: str) -> bytes:
        return httpx.get(self.node.address + path, timeout=PATIENCE_S).raise_for_status().content


class Tree(testing.Tree[Member]):
    """The three of them, with what the center has to have."""

    def check(self, contents: list[bytes]) -> None:
        """The center has exactly these, and nothing is left half-received."""
        for content in contents:
            digest = digest_of(content)
            until(lambda digest=digest: self.center.has(digest))
            assert read_blob(self.center.blobs, digest) == content
        until(lambda: not any(member.receives() for member in self.members))


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.fixture
def tree(tmp_path: Path, chance: random.Random) -> Iterator[Tree]:
    cuts = random.Random(chance.random())
    center, gateway, device = (Member(tmp_path / name, name, data=DATA) for name in ("center", "gateway", "device"))
    with Tree(center, gateway, device, lives=lambda: cuts.choice([20_000, 60_000, 200_000, 1_000_000])) as tree:
        at_once(center.node.start, gateway.node.start)
        tree.join()
        yield tree


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_a_device_saw_is_seen_at_the_center_and_comes_back_once_nobody_on_the_way_has_it(
    tree: Tree, chance: random.Random
) -> None:
    pictures = [chance.randbytes(100_000) for _ in range(12)]
    film = chance.randbytes(9 * MIB + 17)
    digests = tree.device.see(*pictures) + tree.device.see(film, media_type="video/mp4")
    before = tree.lower.carried, tree.upper.carried
    tree.device.node.start()
    tree.check([*pictures, film])
    until(lambda: tree.device.marked(*digests) and tree.gateway.marked(*digests))
    size = sum(map(len, pictures)) + len(film)
    for link, start in ((tree.lower, before[0]), (tree.upper, before[1])):
        carried = link.carried - start
        print(f"{size} bytes of blobs, {carried} over the link: {carried / size - 1:.1%} more")
        assert carried < 1.1 * size
    assert tree.center.get(f"/v1/snapshots/{digests[0]}") == pictures[0]

    for member in (tree.device, tree.gateway):
        member.node.stop()
        member.see(*(chance.randbytes(100_000) for _ in range(22)))  # what the parent has goes for it
        assert not member.has(digests[0])
        member.node.start()
    assert tree.device.get(f"/v1/snapshots/{digests[0]}") == pictures[0]
    assert tree.gateway.has(digests[0])  # it passed by there

    (film_file,) = (tree.device.blobs / digests[-1][:2]).glob(f"{digests[-1]}*")
    film_file.unlink()
    assert tree.device.get(f"/v1/blobs/{digests[-1]}") == film


def test_whoever_is_killed_in_the_middle_of_a_film_it_goes_on_at_the_byte(tree: Tree, chance: random.Random) -> None:
    films = [chance.randbytes(60 * MIB) for _ in range(3 * KILLS)]
    size = sum(map(len, films))
    kills = 0
    for film, victim in zip(films, [tree.device, tree.gateway, tree.center] * KILLS, strict=True):
        receiver = tree.center if victim is tree.center else tree.gateway
        tree.device.see(film, media_type="video/mp4")
        tree.device.node.start()
        there = until(lambda to=receiver: to.receives() if to.receives() > 4 * MIB else 0, every_s=0.002)
        victim.node.kill()
        kills += there < len(film)
        assert receiver.receives() >= there  # what was taken stays
        victim.node.start()
        tree.check([film])
        tree.device.node.stop()
    for link in (tree.lower, tree.upper):
        print(f"{kills} kills, {size} bytes of films, {link.carried} over the link: {link.carried / size - 1:.1%} more")
        assert link.carried < 1.2 * size


def test_whatever_is_cut_on_the_way_all_pictures_arrive(tree: Tree, chance: random.Random) -> None:
    pictures = [chance.randbytes(chance.randrange(1, 90_000)) for _ in range(20)]
    film = chance.randbytes(3 * MIB)
    tree.device.see(*pictures)
    tree.device.see(film, media_type="video/mp4")
    tree.flaky = True
    tree.device.node.start()
    cuts = until(lambda: (now := tree.lower.cuts + tree.upper.cuts) > CUTS and now)
    tree.flaky = False
    tree.check([*pictures, film])
    size = sum(map(len, pictures)) + len(film)
    print(f"{cuts} cuts, {size} bytes, {tree.lower.carried} and {tree.upper.carried} over the links")
