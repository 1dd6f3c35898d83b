"""What every journal must do that hands records on and keeps those of others, as a pytest suite to subclass.

::

    class TestMyCustody(CustodyContract):
        open = MyJournal

``testing.custody_machine`` holds a child and a parent of the same adapter against a simple model.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest

from edgewise._lib.clock import Clock
from edgewise.errors import ClosedError, ConflictError, InputError, NotFoundError, StorageFullError
from edgewise.journal.base import (
    Batch,
    Counting,
    Custody,
    Missing,
    Packed,
    Reason,
    Standing,
    StreamSettings,
    StreamState,
)
from edgewise.journal.blobs import BlobStore
from edgewise.journal.packed import pack
from edgewise.testing.journal import ROOMY, THIN, TIGHT, FullJournal, entries, joined, numbers, thinned, unbalanced
from edgewise.types import Entry

LINK = "parent"
"""The follower that hands records on."""

MUCH = 1 << 20


class CustodyJournal(FullJournal, Custody, Counting, Protocol):
    """A journal with all optional abilities and custody."""


class CustodyOpener(Protocol):
    """Opens a journal in a folder for a node; called again on the same folder to reopen it."""

    def __call__(
        self,
        folder: Path,
        *,
        node: str,
        streams: Mapping[str, StreamSettings],
        clock: Clock | None = None,
        blobs: BlobStore | None = None,
        held: Callable[[str], StreamSettings] | None = None,
        held_bytes: int = ...,
    ) -> CustodyJournal:
        """Opens it."""
        ...


def given(child: Custody, *, after: int, stream: str = "events", max_bytes: int = MUCH) -> Batch:
    """The next batch of a stream, which must have one."""
    batch = child.give(stream, LINK, after=after, max_bytes=max_bytes)
    assert batch is not None
    return batch


def hand_over(child: Custody, parent: Custody, *, stream: str = "events", node: str = "here") -> int:
    """Sends all of a stream and acknowledges it; the parent's mark."""
    while batch := child.give(stream, LINK, after=parent.mark(node, stream.rpartition("/")[2]), max_bytes=MUCH):
        parent.take([batch])
        child.advance(stream, LINK, batch.last)
    return parent.mark(node, stream.rpartition("/")[2])


class CustodyContract:
    """The promises of ``journal.base.Custody``, as stories. Subclass it and give it ``open``."""

    durable: ClassVar[bool] = True
    open: ClassVar[CustodyOpener]

    @pytest.fixture
    def start(self, tmp_path: Path) -> Iterator[Callable[..., CustodyJournal]]:
        """Opens the journal of a node, each node's in its own folder; all balance in the end."""
        opened: dict[str, CustodyJournal] = {}

        def start(node: str = "here", **settings: Any) -> CustodyJournal:
            if node in opened:
                opened[node].close()
            opened[node] = type(self).open(tmp_path / node, node=node, **{"streams": {"events": ROOMY}, **settings})
            return opened[node]

        yield start
        for journal in opened.values():
            assert not unbalanced(journal)
            journal.close()

    def test_a_childs_records_are_kept_under_its_name_as_they_were(self, start: Callable[..., CustodyJournal]) -> None:
        child, parent = start(), start("gateway")
        child.append("events", entries(1, 2))
        child.append("events", [Entry("reading", {"source": "s", "values": {"t": n}}, time_ns=n) for n in range(1, 9)])
        parent.append("events", entries(100))
        assert hand_over(child, parent) == 10
        assert parent.read("here/events") == child.read("events")
        assert numbers(parent.read("events")) == [100]
        assert parent.streams() == [StreamState("gateway", "events", 1), StreamState("here", "events", 10)]

    def test_what_comes_twice_is_taken_once(self, start: Callable[..., CustodyJournal]) -> None:
        child, parent = start(), start("gateway")
        child.append("events", entries(1, 2))
        first = given(child, after=0)
        parent.take([first])
        parent.take([first])
        child.append("events", entries(3))
        with pytest.raises(ConflictError) as refusal:  # half of it is known: its sender packs the rest anew
            parent.take([given(child, after=0)])
        assert refusal.value.facts["expected"] == 3
        parent.take([given(child, after=2)])
        parent.take([first])
        assert numbers(parent.read("here/events")) == [1, 2, 3]

    def test_a_gap_is_refused_with_all_that_came_with_it(self, start: Callable[..., CustodyJournal]) -> None:
        child, parent = start(streams={"events": ROOMY, "readings": ROOMY}), start("gateway")
        child.append("events", entries(1))
        child.append("events", entries(2))
        child.append("readings", entries(1))
        with pytest.raises(ConflictError) as refusal:
            parent.take([given(child, after=0, stream="readings"), given(child, after=1)])
        assert refusal.value.facts["expected"] == 1
        assert parent.mark("here", "readings") == 0
        with pytest.raises(NotFoundError):
            parent.read("here/readings")

    def test_what_the_child_dropped_stands_in_both_ledgers_with_its_reason(
        self, start: Callable[..., CustodyJournal]
    ) -> None:
        child, parent = start(streams={"events": TIGHT}), start("gateway")
        for number in range(1, 21):
            child.append("events", entries(number, size=500))
        child.follow("events", LINK)
        for number in range(21, 41):
            child.append("events", entries(number, size=500))
        assert hand_over(child, parent) == 40
        kept = numbers(child.read("events"))
        assert numbers(parent.read("here/events")) == kept
        [line] = joined(parent)
        assert (line.node, line.first, line.last, line.reason) == ("here", 1, kept[0] - 1, Reason.FULL)

    def test_a_thinned_child_gives_what_is_left_and_says_what_was_thinned(
        self, start: Callable[..., CustodyJournal]
    ) -> None:
        child, parent = start(streams={"events": THIN}), start("gateway")
        for number in range(1, 201):
            child.append("events", entries(number, size=100))
        child.follow("events", LINK)
        for number in range(201, 401):
            child.append("events", entries(number, size=100))
        batch = given(child, after=0)
        assert {part.reason for part in batch.missing} == {Reason.THINNED}
        assert hand_over(child, parent) == 400
        kept = numbers(child.read("events", limit=1000))
        assert numbers(parent.read("here/events", limit=1000)) == kept
        assert thinned(parent, "") == set(range(1, 401)) - set(kept)

    def test_a_child_that_joins_late_says_what_was_gone_before(self, start: Callable[..., CustodyJournal]) -> None:
        child, parent = start(streams={"events": TIGHT}), start("gateway")
        child.append("events", entries(1))
        claim = child.claim("events", "rules")
        assert claim
        child.ack("events", "rules", claim.last)
        for number in range(2, 8):
            child.append("events", entries(number, size=600))
            claim = child.claim("events", "rules")
            assert claim
            child.ack("events", "rules", claim.last)
        hand_over(child, parent)  # the first ones were delivered to the rules, and gone then
        kept = numbers(parent.read("here/events"))
        assert kept == numbers(child.read("events"))
        [line] = joined(parent)
        assert (line.first, line.last, line.reason) == (1, kept[0] - 1, Reason.GONE)

    def test_a_follower_never_loses_a_record_for_asking_often(self, start: Callable[..., CustodyJournal]) -> None:
        child = start(streams={"events": StreamSettings(max_attempts=2)})
        child.append("events", entries(1, 2))
        assert child.follow("events", LINK) == 0
        for _ in range(20):
            assert given(child, after=0).last == 2
        assert child.losses() == []
        child.advance("events", LINK, 2)
        child.advance("events", LINK, 1)
        assert child.follow("events", LINK) == 2
        assert child.give("events", LINK, after=2, max_bytes=MUCH) is None
        with pytest.raises(ConflictError):
            child.advance("events", LINK, 3)
        assert [(b.consumer, b.produced, b.delivered, b.pending) for b in child.audit()] == [
            ("", 2, 0, 2),
            (LINK, 2, 2, 0),
        ]

    def test_many_streams_are_acknowledged_together_or_none(self, start: Callable[..., CustodyJournal]) -> None:
        child = start(streams={"events": ROOMY, "readings": ROOMY})
        child.append("events", entries(1, 2))
        child.append("readings", entries(1))
        with pytest.raises(ConflictError):
            child.advance_each(LINK, {"events": 2, "readings": 2})
        assert child.follow("events", LINK) == 0
        child.advance_each(LINK, {"events": 2, "readings": 1})
        assert (child.follow("events", LINK), child.follow("readings", LINK)) == (2, 1)
        child.advance_each(LINK, {})

    def test_a_parent_lets_go_of_nothing_that_still_waits(self, start: Callable[..., CustodyJournal]) -> None:
        parent = start("gateway", held_bytes=4096)
        parent.take([Batch("here", "events", (_incompressible(1),))])
        parent.follow("here/events", LINK)
        taken = _fill(parent, "here")
        assert taken >= 3
        assert [record.sequence for record in parent.read("here/events")] == list(range(1, taken + 1))
        parent.advance("here/events", LINK, 2)
        parent.take([Batch("here", "events", (_incompressible(taken + 1),))])
        assert parent.losses() == []

    def test_all_children_share_one_bound(self, start: Callable[..., CustodyJournal]) -> None:
        parent = start("gateway", held_bytes=6000)
        for node in ("a", "b"):
            parent.take([Batch(node, "events", (_incompressible(1),))])
            parent.follow(f"{node}/events", LINK)
        parent.take([Batch("a", "events", (_incompressible(2),))])
        parent.take([Batch("a", "events", (_incompressible(3),))])
        taken = _fill(parent, "b")
        parent.advance("a/events", LINK, 3)  # what one child does not need any more makes room for the other
        assert _fill(parent, "b") > taken
        assert parent.losses() == []

    def test_where_nothing_waits_the_last_of_the_tree_keeps_the_newest(
        self, start: Callable[..., CustodyJournal]
    ) -> None:
        parent = start("center", held=lambda _: StreamSettings(max_bytes=5000))
        for n in range(1, 21):
            parent.take([Batch("here", "events", (_incompressible(n),))])
        kept = [record.sequence for record in parent.read("here/events")]
        assert kept == list(range(kept[0], 21))
        [line] = joined(parent)
        assert (line.first, line.last, line.reason) == (1, kept[0] - 1, Reason.FULL)

    def test_records_go_on_from_a_gateway_as_they_came(self, start: Callable[..., CustodyJournal]) -> None:
        child, gateway, center = start(), start("gateway"), start("center")
        child.append("events", [Entry("reading", {"source": "s", "values": {"t": n}}, time_ns=n) for n in range(1, 99)])
        hand_over(child, gateway)
        hand_over(gateway, center, stream="here/events")
        assert center.read("here/events") == child.read("events")
        assert given(gateway, after=0, stream="here/events").packed == given(child, after=0).packed

    def test_a_batch_is_about_as_large_as_asked(self, start: Callable[..., CustodyJournal]) -> None:
        parent, center = start("gateway"), start("center")
        for n in range(1, 21):
            parent.take([Batch("here", "events", (_incompressible(n),))])
        sizes = []
        while batch := parent.give("here/events", LINK, after=center.mark("here", "events"), max_bytes=3000):
            sizes.append(sum(len(part.content) for part in batch.packed))
            center.take([batch])
        assert center.mark("here", "events") == 20
        assert max(sizes) <= 3000
        assert len(sizes) < 12

    def test_names_and_parts_that_no_honest_child_sends_are_refused(self, start: Callable[..., CustodyJournal]) -> None:
        parent = start("gateway")
        part = _incompressible(1)
        for bad in (
            Batch("gateway", "events", (part,)),
            Batch("../etc", "events", (part,)),
            Batch("", "events", (part,)),
            Batch("here", "Events", (part,)),
            Batch("x" * 65, "events", (part,)),
            Batch("here", "events", ()),
            Batch("here", "events", (part, part)),
            Batch("here", "events", (part,), (Missing(3, 4, Reason.FULL),)),
            Batch("here", "events", (part,), (Missing(2, 1, Reason.FULL),)),
            Batch("here", "events", (), (Missing(0, 4, Reason.FULL),)),
            Batch("here", "events", (), (Missing(1, 1 << 41, Reason.FULL),)),
            Batch("here", "events", (Packed(1, 1, b"junk"),)),
            Batch("here", "events", (Packed(1, 2, part.content),)),
        ):
            with pytest.raises(InputError):
                parent.take([bad])
        with pytest.raises(InputError):
            parent.take([Batch("here", "events", (part,))] * 2)
        assert parent.streams() == [StreamState("gateway", "events", 0)]

    def test_what_a_follower_does_not_have_is_kept_or_in_the_ledger(self, start: Callable[..., CustodyJournal]) -> None:
        child, parent = start(streams={"events": TIGHT}), start("gateway")
        assert child.standings(["events"], LINK) == [Standing("here", "events", 0, 0, 0, 0)]
        for number in range(1, 21):
            child.append("events", entries(number, size=500))
        hand_over(child, parent)
        assert child.standings(["events"], LINK) == [Standing("here", "events", 20, 20, 0, 0)]
        for number in range(21, 41):
            child.append("events", entries(number, size=500))
        kept = numbers(child.read("events"))
        [standing] = child.standings(["events"], LINK)
        assert standing == Standing("here", "events", 40, 20, len(kept), kept[0] - 21)
        assert standing.balanced
        [line] = [line for line in child.losses() if not line.consumer and line.first == 21]
        assert child.totals().dropped == sum(line.count for line in child.losses() if not line.consumer) >= line.count
        assert 0 < child.totals().bytes <= TIGHT.max_bytes
        hand_over(child, parent)
        [standing] = parent.standings(["here/events"], LINK)
        assert (standing.last, standing.acked, standing.balanced) == (40, 0, True)
        came = numbers(parent.read("here/events"))
        assert parent.standings(["here/events"], "") == [Standing("here", "events", 40, 0, len(came), 40 - len(came))]

    def test_nobody_appends_to_anothers_stream(self, start: Callable[..., CustodyJournal]) -> None:
        parent = start("gateway")
        parent.take([Batch("here", "events", (_incompressible(1),))])
        with pytest.raises(NotFoundError, match="not appended to"):
            parent.append("here/events", entries(2))

    def test_a_childs_records_are_claimed_as_any_other(self, start: Callable[..., CustodyJournal]) -> None:
        child, parent = start(), start("gateway")
        child.append("events", entries(1, 2))
        hand_over(child, parent)
        claim = parent.claim("here/events", "lake")
        assert claim
        assert numbers(claim.records) == [1, 2]
        parent.ack("here/events", "lake", claim.last)
        assert ("here", "lake", 2, 2) in [(b.node, b.consumer, b.produced, b.delivered) for b in parent.audit()]

    def test_blobs_of_a_childs_records_are_held(self, start: Callable[..., CustodyJournal], tmp_path: Path) -> None:
        blobs = BlobStore(tmp_path / "blobs")
        child, parent = start(), start("gateway", blobs=blobs)
        digest = blobs.put(b"a picture")
        child.append("events", [Entry("face.known", {}, (digest,))])
        assert not blobs.stat(digest).held
        hand_over(child, parent)
        assert blobs.stat(digest).held

    def test_who_waits_for_news_sleeps_until_there_are(self, start: Callable[..., CustodyJournal]) -> None:
        child, parent = start(), start("gateway")
        seen = parent.news(0, timeout_s=0)
        assert parent.news(seen, timeout_s=0) == seen
        told: list[int] = []
        waiting = threading.Thread(target=lambda: told.append(parent.news(seen, timeout_s=60)))
        waiting.start()
        child.append("events", entries(1))
        hand_over(child, parent)
        waiting.join(30)
        assert told
        assert told[0] != seen
        stopped: list[bool] = []

        def wait() -> None:
            with pytest.raises(ClosedError):
                parent.news(parent.news(0, timeout_s=0), timeout_s=60)
            stopped.append(True)

        waiting = threading.Thread(target=wait)
        waiting.start()
        child.close()
        parent.close()
        waiting.join(30)
        assert stopped
        start(), start("gateway")

    def test_all_of_it_is_there_after_a_restart(self, start: Callable[..., CustodyJournal]) -> None:
        if not self.durable:
            pytest.skip("this journal keeps nothing on disk, and says so")
        child, parent = start(streams={"events": TIGHT}), start("gateway")
        for number in range(1, 21):
            child.append("events", entries(number, size=500))
        hand_over(child, parent)
        parent.follow("here/events", LINK)
        parent.advance("here/events", LINK, 18)
        before = parent.audit(), parent.losses(), parent.read("here/events"), parent.streams(), parent.identity
        parent = start("gateway")
        assert before == (
            parent.audit(),
            parent.losses(),
            parent.read("here/events"),
            parent.streams(),
            parent.identity,
        )
        assert parent.follow("here/events", LINK) == 18

    def test_another_journal_has_another_identity(self, start: Callable[..., CustodyJournal]) -> None:
        assert len({start(node).identity for node in ("a", "b", "c")}) == 3


def _fill(parent: Custody, node: str) -> int:
    """Takes records of a node until there is no room; its last."""
    first = parent.mark(node, "events") + 1
    for sequence in range(first, first + 50):
        try:
            parent.take([Batch(node, "events", (_incompressible(sequence),))])
        except StorageFullError:
            break
    return parent.mark(node, "events")


def _incompressible(sequence: int, size: int = 900) -> Packed:
    """A record of about ``size`` bytes that packing does not make smaller."""
    letters = hashlib.shake_256(str(sequence).encode()).digest(2 * size).decode("utf-16-le", errors="ignore")
    text = letters.encode("utf-8", errors="ignore")[: size * 5 // 4].decode("utf-8", errors="ignore")
    return Packed(sequence, sequence, pack([Entry("k", {"x": text}, time_ns=1)]))
