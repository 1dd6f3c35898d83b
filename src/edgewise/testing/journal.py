"""What every journal must do, as a pytest suite to subclass.

::

    from edgewise.testing.journal import JournalContract

    class TestMyJournal(JournalContract):
        open = functools.partial(MyJournal, node="here")

Set ``durable = False`` for an adapter that keeps nothing on disk. ``journal_machine`` holds the same adapter against a
simple model.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest
from msgspec.structs import replace

from edgewise._lib.clock import Clock, ManualClock
from edgewise.errors import (
    ClosedError,
    ConflictError,
    InputError,
    NotFoundError,
    StorageFullError,
    TooLargeError,
)
from edgewise.journal.base import (
    Balance,
    Claim,
    Consumers,
    Followable,
    Journal,
    Loss,
    LossLedger,
    Reason,
    StreamSettings,
    Upkeep,
    WhenFull,
)
from edgewise.journal.blobs import BlobStore
from edgewise.types import Entry, Record


class FullJournal(Journal, LossLedger, Followable, Consumers, Upkeep, Protocol):
    """A journal with all optional abilities, as the adapters here are."""


class Opener(Protocol):
    """Opens the journal under test in a folder; called again on the same folder to reopen it."""

    def __call__(
        self, folder: Path, *, streams: Mapping[str, StreamSettings], clock: Clock, blobs: BlobStore | None = None
    ) -> FullJournal:
        """Opens it, for the node ``here``."""
        ...


class JumpyClock(ManualClock):
    """A manual clock whose wall side can be set wrong, as on a board without a battery."""

    def jump(self, seconds: float) -> None:
        """Moves the wall clock alone."""
        self._time_ns += int(seconds * 1e9)


NOW_NS = ManualClock().time_ns()
ROOMY = StreamSettings()
TIGHT = StreamSettings(max_bytes=4096)
THIN = StreamSettings(max_bytes=16_000, when_full=WhenFull.THIN)


def entries(*numbers: int, size: int = 0) -> list[Entry]:
    """Entries that can be told apart, with ``size`` bytes of ballast each."""
    return [Entry("test.number", {"n": number, "ballast": "x" * size}) for number in numbers]


def numbers(records: Sequence[Record]) -> list[int]:
    """What ``entries`` was given."""
    return [record.body["n"] for record in records]


def lent(journal: FullJournal, consumer: str, *, limit: int = 100) -> Claim:
    """A claim of the stream ``events`` that must succeed."""
    claim = journal.claim("events", consumer, limit=limit)
    assert claim is not None
    return claim


def unbalanced(journal: FullJournal) -> list[Balance]:
    """The lines of the audit that do not balance."""
    return [balance for balance in journal.audit() if not balance.balanced]


class JournalContract:
    """The promises of ``journal.base``, as stories. Subclass it and give it ``open``."""

    durable: ClassVar[bool] = True
    open: ClassVar[Opener]

    @pytest.fixture
    def clock(self) -> JumpyClock:
        """Time, as the test sets it."""
        return JumpyClock()

    @pytest.fixture
    def start(self, tmp_path: Path, clock: JumpyClock) -> Iterator[Callable[..., FullJournal]]:
        """Opens a journal with the given streams on one folder; what is still open is closed in the end."""
        opened: list[FullJournal] = []

        def start(blobs: BlobStore | None = None, **streams: StreamSettings) -> FullJournal:
            for journal in opened:
                journal.close()
            journal = type(self).open(tmp_path, streams=streams, clock=clock, blobs=blobs)
            opened.append(journal)
            return journal

        yield start
        for journal in opened:
            assert not journal_lost(journal)
            journal.close()

    # Appending and reading.

    def test_sequences_start_at_one_and_have_no_gaps(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=ROOMY, readings=ROOMY)
        assert journal.append("events", entries(1, 2, 3)) == range(1, 4)
        assert journal.append("readings", entries(1)) == range(1, 2)
        assert journal.append("events", entries(4)) == range(4, 5)
        assert [record.sequence for record in journal.read("events")] == [1, 2, 3, 4]

    def test_a_record_comes_back_as_it_went_in(self, start: Callable[..., FullJournal], clock: JumpyClock) -> None:
        journal = start(events=ROOMY)
        body = {
            "name": "Zoë 张伟",
            "score": 0.5,
            "box": [1, -2, 3.5],
            "none": None,
            "deep": {"yes": True},
            "big": 2**63,
        }
        journal.append("events", [Entry("face.known", body, ("a" * 64,)), Entry("face.known", {}, time_ns=42)])
        assert journal.read("events") == [
            Record("here", "events", 1, clock.time_ns(), "face.known", body, ("a" * 64,)),
            Record("here", "events", 2, 42, "face.known", {}),
        ]

    def test_reading_is_bounded_on_both_sides_and_goes_both_ways(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=ROOMY)
        journal.append("events", entries(1, 2, 3, 4))
        journal.append("events", entries(5, 6, 7, 8))
        assert numbers(journal.read("events", after=2, before=7)) == [3, 4, 5, 6]
        assert numbers(journal.read("events", after=2, limit=3)) == [3, 4, 5]
        assert numbers(journal.read("events", limit=3, newest_first=True)) == [8, 7, 6]
        assert numbers(journal.read("events", before=6, limit=3, newest_first=True)) == [5, 4, 3]
        assert journal.read("events", after=8) == []

    def test_appending_nothing_gives_an_empty_range(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=ROOMY)
        assert len(journal.append("events", [])) == 0
        assert journal.append("events", entries(1)) == range(1, 2)

    def test_a_stream_that_the_settings_do_not_name_is_refused(self, start: Callable[..., FullJournal]) -> None:
        with pytest.raises(NotFoundError) as refusal:
            start(events=ROOMY).append("evnts", entries(1))
        assert "'events'" in refusal.value.hint

    @pytest.mark.parametrize("bad", [Entry("k", {"f": object()}), Entry("k", {"i": 2**70}), {"n": 1}])
    def test_what_cannot_be_stored_is_refused_with_all_its_batch(
        self, start: Callable[..., FullJournal], bad: Any
    ) -> None:
        journal = start(events=ROOMY)
        with pytest.raises(InputError):
            journal.append("events", [*entries(1), bad])
        assert journal.append("events", entries(2)) == range(1, 2)

    def test_an_entry_past_the_bound_is_refused(self, start: Callable[..., FullJournal]) -> None:
        with pytest.raises(TooLargeError):
            start(events=ROOMY).append("events", entries(1, size=1 << 20))

    def test_a_batch_larger_than_its_stream_is_refused(self, start: Callable[..., FullJournal]) -> None:
        with pytest.raises(TooLargeError):
            start(events=TIGHT).append("events", entries(*range(10), size=1000))

    def test_a_very_large_batch_is_accepted_as_one(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=ROOMY)
        assert journal.append("events", entries(*range(3000), size=1000)) == range(1, 3001)
        assert numbers(journal.read("events", limit=5000)) == list(range(3000))

    def test_many_threads_append_without_gaps_and_each_in_its_order(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=ROOMY)

        def write(thread: int) -> None:
            for step in range(20):
                journal.append("events", entries(thread * 1000 + step * 2, thread * 1000 + step * 2 + 1))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        records = journal.read("events", limit=1000)
        assert [record.sequence for record in records] == list(range(1, 321))
        for number in range(8):
            assert [n for n in numbers(records) if n // 1000 == number] == [number * 1000 + i for i in range(40)]

    # Claiming and acknowledging.

    def test_a_consumer_gets_records_in_order_and_once_it_acknowledges(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=ROOMY)
        journal.append("events", entries(1, 2, 3, 4, 5))
        claim = lent(journal, "link", limit=3)
        assert numbers(claim.records) == [1, 2, 3]
        assert claim.attempts == 1
        journal.ack("events", "link", claim.last)
        claim = lent(journal, "link", limit=3)
        assert numbers(claim.records) == [4, 5]
        journal.ack("events", "link", claim.last)
        assert journal.claim("events", "link") is None

    def test_an_empty_stream_lends_nothing_but_registers(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=ROOMY)
        assert journal.claim("events", "link") is None
        assert Balance("here", "events", "link", 0, 0, 0, 0) in journal.audit()

    def test_what_is_lent_is_not_lent_again_until_the_lease_ends(
        self, start: Callable[..., FullJournal], clock: JumpyClock
    ) -> None:
        journal = start(events=StreamSettings(lease_s=60))
        journal.append("events", entries(1, 2, 3, 4))
        journal.claim("events", "link")
        clock.advance(59)
        clock.jump(3600)
        assert journal.claim("events", "link") is None
        clock.advance(2)
        again = lent(journal, "link", limit=4)
        assert again.attempts == 2
        assert numbers(again.records) == [1, 2]  # half as many, to find out which one is bad

    def test_a_part_can_be_acknowledged_and_the_rest_stays_lent(
        self, start: Callable[..., FullJournal], clock: JumpyClock
    ) -> None:
        journal = start(events=StreamSettings(lease_s=60))
        journal.append("events", entries(1, 2, 3))
        journal.claim("events", "link")
        clock.advance(50)
        journal.ack("events", "link", 2)
        clock.advance(50)  # the acknowledgement renewed the lease
        assert journal.claim("events", "link") is None
        journal.ack("events", "link", 2)
        journal.ack("events", "link", 3)
        journal.append("events", entries(4))
        claim = lent(journal, "link")
        assert numbers(claim.records) == [4]

    def test_acknowledging_what_was_not_claimed_is_a_conflict(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=ROOMY)
        journal.append("events", entries(1, 2))
        with pytest.raises(ConflictError):
            journal.ack("events", "link", 1)
        journal.claim("events", "link", limit=1)
        with pytest.raises(ConflictError):
            journal.ack("events", "link", 2)

    def test_a_claim_given_back_is_lent_at_once(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=ROOMY)
        journal.append("events", entries(1))
        journal.claim("events", "link")
        journal.release("events", "link")
        claim = lent(journal, "link")
        assert claim.attempts == 2

    def test_consumers_do_not_see_each_other(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=ROOMY)
        journal.append("events", entries(1, 2))
        for consumer in ("link", "lake"):
            claim = lent(journal, consumer)
            assert numbers(claim.records) == [1, 2]
        journal.ack("events", "lake", 2)
        assert {b.consumer: (b.delivered, b.pending) for b in journal.audit()} == {
            "": (0, 2),
            "lake": (2, 0),
            "link": (0, 2),
        }

    def test_a_record_that_is_never_acknowledged_dies_and_the_next_is_lent(
        self, start: Callable[..., FullJournal]
    ) -> None:
        journal = start(events=StreamSettings(max_attempts=3))
        journal.append("events", entries(1, 2))
        for attempt in (1, 2, 3):
            claim = lent(journal, "link", limit=1)
            assert (numbers(claim.records), claim.attempts) == ([1], attempt)
            journal.release("events", "link")
        claim = lent(journal, "link", limit=1)
        assert (numbers(claim.records), claim.attempts) == ([2], 1)
        [dead] = journal.losses("events")
        assert (dead.consumer, dead.first, dead.last, dead.reason) == ("link", 1, 1, Reason.DEAD_LETTER)
        assert numbers(journal.read("events")) == [1, 2]  # it can still be looked at

    def test_one_bad_record_does_not_drag_its_neighbours_along(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=ROOMY)
        journal.append("events", entries(*range(1, 17)))
        done: list[int] = []
        while claim := journal.claim("events", "link", limit=16):
            if 11 in numbers(claim.records):  # this one fails whatever is claimed with it
                journal.release("events", "link")
                continue
            done += numbers(claim.records)
            journal.ack("events", "link", claim.last)
        assert done == [n for n in range(1, 17) if n != 11]

    # Bounds.

    def test_a_full_stream_drops_its_oldest_and_tells_who_missed_them(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=TIGHT)
        journal.append("events", entries(1, size=500))
        claim = lent(journal, "link")
        journal.ack("events", "link", claim.last)
        for number in range(2, 21):
            journal.append("events", entries(number, size=500))
        kept = numbers(journal.read("events"))
        assert kept == list(range(kept[0], 21))
        assert 5 <= len(kept) <= 7
        lost = range(2, kept[0])
        assert [(x.consumer, x.first, x.last, x.reason) for x in joined(journal)] == [
            ("", lost[0], lost[-1], Reason.FULL),
            ("link", lost[0], lost[-1], Reason.FULL),
        ]
        assert {b.consumer: (b.produced, b.delivered, b.pending, b.dropped) for b in journal.audit()} == {
            "": (20, 1, len(kept), len(lost)),
            "link": (20, 1, len(kept), len(lost)),
        }

    def test_a_full_stream_can_keep_its_oldest_and_refuse_the_newest(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=StreamSettings(max_bytes=4096, when_full=WhenFull.DROP_NEWEST))
        ranges = [journal.append("events", entries(number, size=500)) for number in range(1, 21)]
        assert [number for each in ranges for number in each] == list(range(1, 21))
        kept = numbers(journal.read("events"))
        assert kept == list(range(1, len(kept) + 1))
        assert [(x.first, x.last, x.reason) for x in joined(journal)] == [(len(kept) + 1, 20, Reason.FULL)]
        claim = lent(journal, "late")  # registers where records are missing already
        assert numbers(claim.records) == kept
        journal.ack("events", "late", claim.last)
        journal.append("events", entries(21, size=500))  # room now: all consumers are done with the old ones
        claim = lent(journal, "late")
        assert [record.sequence for record in claim.records] == [21]

    def test_a_full_stream_can_become_sparser_with_age(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=THIN)
        for number in range(1, 1001):
            journal.append("events", entries(number, size=100))
        kept = numbers(journal.read("events", limit=1000))
        assert kept[0] == 1
        assert kept == sorted(kept)
        assert kept[-25:] == list(range(976, 1001))
        ages = (0, 50, 100, 200, 400, 800)
        between = [sum(low <= 1000 - n < high for n in kept) for low, high in itertools.pairwise(ages)]
        density = [count / (high - low) for count, (low, high) in zip(between, itertools.pairwise(ages), strict=True)]
        assert density == sorted(density, reverse=True)
        assert all(between)
        assert thinned(journal, "") == set(range(1, 1001)) - set(kept)

    def test_consumers_of_a_thinned_stream_are_told_what_they_missed(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=THIN)
        for number in range(1, 31):
            journal.append("events", entries(number, size=100))
        claim = lent(journal, "link", limit=20)
        journal.ack("events", "link", 10)
        for number in range(31, 301):  # what is acknowledged goes first, then some of what is lent, and of what waits
            journal.append("events", entries(number, size=100))
        kept = set(numbers(journal.read("events", limit=1000)))
        lost = thinned(journal, "link")
        assert lost == set(range(11, 301)) - kept
        assert lost & set(numbers(claim.records))
        journal.ack("events", "link", 20)
        got = numbers(lent(journal, "link", limit=1000).records)
        assert got == sorted(number for number in kept if number > 20)
        journal.ack("events", "link", got[-1])
        delivered = 10 + len(kept & set(range(11, 301)))
        assert Balance("here", "events", "link", 300, delivered, 0, len(lost)) in journal.audit()
        assert numbers(lent(journal, "late", limit=1000).records) == sorted(kept)

    def test_thinning_goes_where_that_leaves_no_room_as_far_as_it_must(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=THIN)
        journal.append("events", entries(1, size=9000))
        journal.append("events", entries(2, size=100))
        journal.append("events", entries(3, size=7000))
        assert numbers(journal.read("events")) == [2, 3]
        assert [(x.first, x.last, x.reason) for x in joined(journal)] == [(1, 1, Reason.FULL)]

    def test_what_everybody_has_makes_room_before_anything_is_thinned(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=THIN)
        for number in range(1, 301):
            journal.append("events", entries(number, size=100))
            claim = lent(journal, "link")
            journal.ack("events", "link", claim.last)
        assert journal.losses() == []
        kept = numbers(journal.read("events", limit=1000))
        assert kept == list(range(kept[0], 301))

    def test_blobs_of_thinned_records_are_let_go(
        self, start: Callable[..., FullJournal], tmp_path: Path, clock: JumpyClock
    ) -> None:
        blobs = BlobStore(tmp_path / "blobs", max_bytes=1 << 20, clock=clock)
        journal = start(blobs, events=THIN)
        digests = [blobs.put(b"%d" % number) for number in range(200)]
        for digest in digests:
            journal.append("events", [Entry("k", {"x": "x" * 100}, (digest,))])
        kept = {digest for record in journal.read("events", limit=1000) for digest in record.blobs}
        assert {digest for digest in digests if blobs.stat(digest).held} == kept
        assert len(kept) < 100

    def test_a_full_stream_can_make_its_producer_wait(self, start: Callable[..., FullJournal]) -> None:
        settings = StreamSettings(max_bytes=2048, when_full=WhenFull.BLOCK, block_timeout_s=0)
        journal = start(events=settings)
        for number in (1, 2, 3):
            journal.append("events", entries(number, size=500))
        with pytest.raises(StorageFullError):
            journal.append("events", entries(4, size=500))
        claim = lent(journal, "link")
        assert numbers(claim.records) == [1, 2, 3]
        journal.ack("events", "link", 1)
        assert journal.append("events", entries(4, size=500)) == range(4, 5)
        assert journal.losses() == []

    def test_a_waiting_producer_goes_on_when_room_is_made(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=StreamSettings(max_bytes=2048, when_full=WhenFull.BLOCK, block_timeout_s=60))
        for number in (1, 2, 3):
            journal.append("events", entries(number, size=500))
        accepted: list[range] = []
        producer = threading.Thread(target=lambda: accepted.append(journal.append("events", entries(4, size=500))))
        producer.start()
        claim = lent(journal, "link")
        journal.ack("events", "link", claim.last)
        producer.join(30)
        assert accepted == [range(4, 5)]

    def test_old_records_expire_also_where_nobody_appends(
        self, start: Callable[..., FullJournal], clock: JumpyClock
    ) -> None:
        journal = start(events=StreamSettings(max_age_s=100))
        journal.append("events", entries(1))
        clock.advance(60)
        journal.append("events", entries(2))
        clock.advance(60)
        journal.retain()
        assert numbers(journal.read("events")) == [2]
        clock.advance(60)
        journal.append("events", entries(3))
        assert numbers(journal.read("events")) == [3]
        assert [(x.first, x.last, x.reason) for x in joined(journal)] == [(1, 2, Reason.EXPIRED)]

    @pytest.mark.parametrize("jump_s", [-50 * 365 * 86400, -3600, 3600, 50 * 365 * 86400])
    def test_a_wall_clock_that_jumps_breaks_neither_order_nor_retention(
        self, start: Callable[..., FullJournal], clock: JumpyClock, jump_s: float
    ) -> None:
        journal = start(events=StreamSettings(max_age_s=100))
        journal.append("events", entries(1))
        clock.advance(60)
        clock.jump(jump_s)
        journal.append("events", entries(2))
        assert numbers(journal.read("events")) == [1, 2]
        clock.advance(60)
        journal.retain()
        assert numbers(journal.read("events")) == [2]

    def test_a_late_consumer_sees_from_the_oldest_record_kept(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=TIGHT)
        for number in range(1, 21):
            journal.append("events", entries(number, size=500))
        kept = numbers(journal.read("events"))
        claim = lent(journal, "late")
        assert numbers(claim.records) == kept
        assert Balance("here", "events", "late", len(kept), 0, len(kept), 0) in journal.audit()

    def test_a_forgotten_consumer_holds_nothing_back(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=StreamSettings(max_attempts=1))
        journal.append("events", entries(1, 2))
        journal.claim("events", "link", limit=1)
        journal.release("events", "link")
        journal.claim("events", "link", limit=1)  # record 1 is dead now
        journal.forget("events", "link")
        assert [balance.consumer for balance in journal.audit()] == [""]
        claim = lent(journal, "link")  # it does come back, as new
        assert numbers(claim.records) == [1, 2]

    # Following, blobs, closing.

    def test_a_follower_sleeps_until_something_is_appended(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=ROOMY)
        assert journal.wait("events", after=0, timeout_s=0) == 0
        seen: list[int] = []
        follower = threading.Thread(target=lambda: seen.append(journal.wait("events", after=0, timeout_s=60)))
        follower.start()
        journal.append("events", entries(1))
        follower.join(30)
        assert seen == [1]
        assert journal.wait("events", after=0, timeout_s=60) == 1

    def test_blobs_are_held_as_long_as_a_kept_record_points_to_them(
        self, start: Callable[..., FullJournal], tmp_path: Path, clock: JumpyClock
    ) -> None:
        blobs = BlobStore(tmp_path / "blobs", max_bytes=10_000, clock=clock)
        journal = start(blobs, events=TIGHT, decisions=TIGHT)
        both, one, loose = (blobs.put(bytes([n]) * 10) for n in range(3))
        journal.append("events", [Entry("face.known", {}, (both, one))])
        journal.append("decisions", [Entry("lock.opened", {}, (both,))])
        assert [blobs.stat(digest).held for digest in (both, one, loose)] == [True, True, False]
        for number in range(20):
            journal.append("events", entries(number, size=500))
        assert [blobs.stat(digest).held for digest in (both, one, loose)] == [True, False, False]

    def test_a_closed_journal_refuses_everything(self, start: Callable[..., FullJournal]) -> None:
        journal = start(events=ROOMY)
        journal.append("events", entries(1))
        follower_ended = threading.Event()

        def follow() -> None:
            with pytest.raises(ClosedError):
                journal.wait("events", after=1, timeout_s=60)
            follower_ended.set()

        threading.Thread(target=follow).start()
        journal.close()
        journal.close()
        assert follower_ended.wait(30)
        for use in (
            lambda: journal.append("events", entries(2)),
            lambda: journal.read("events"),
            lambda: journal.claim("events", "link"),
            lambda: journal.ack("events", "link", 1),
            journal.audit,
        ):
            with pytest.raises(ClosedError):
                use()

    # Over a restart.

    def test_all_of_it_is_there_after_a_restart(self, start: Callable[..., FullJournal]) -> None:
        self._needs_disk()
        journal = start(events=TIGHT, readings=ROOMY)
        for number in range(1, 21):
            journal.append("events", entries(number, size=500))
        journal.append("readings", entries(1, 2, 3))
        journal.claim("readings", "link")
        journal.ack("readings", "link", 2)
        before = (journal.audit(), journal.losses(), journal.read("events"))
        journal = start(events=TIGHT, readings=ROOMY)
        assert (journal.audit(), journal.losses(), journal.read("events")) == before
        assert journal.append("events", entries(21)) == range(21, 22)

    def test_a_thinned_stream_is_the_same_after_a_restart_and_goes_on(self, start: Callable[..., FullJournal]) -> None:
        self._needs_disk()
        journal = start(events=THIN)
        last = 0
        for _ in range(5):
            for number in range(last + 1, last + 101):
                journal.append("events", entries(number, size=100))
            last += 100
            before = (journal.audit(), journal.losses(), journal.read("events", limit=1000))
            journal = start(events=THIN)
            assert (journal.audit(), journal.losses(), journal.read("events", limit=1000)) == before
            assert journal.verify() == 0
        assert thinned(journal, "") == set(range(1, last + 1)) - set(numbers(before[2]))

    def test_sequences_go_on_after_a_restart_of_a_stream_that_lost_everything(
        self, start: Callable[..., FullJournal], clock: JumpyClock
    ) -> None:
        self._needs_disk()
        journal = start(events=StreamSettings(max_age_s=1))
        journal.append("events", entries(1, 2))
        clock.advance(2)
        journal.retain()
        assert start(events=ROOMY).append("events", entries(3)) == range(3, 4)

    def test_a_lease_and_its_attempts_outlive_a_restart(
        self, start: Callable[..., FullJournal], clock: JumpyClock
    ) -> None:
        self._needs_disk()
        journal = start(events=StreamSettings(lease_s=60))
        journal.append("events", entries(1))
        journal.claim("events", "link")
        clock.advance(50)
        journal = start(events=StreamSettings(lease_s=60))
        assert journal.claim("events", "link") is None
        clock.advance(11)
        claim = lent(journal, "link")
        assert claim.attempts == 2

    def test_a_lease_never_outlives_a_restart_by_more_than_its_length(
        self, start: Callable[..., FullJournal], clock: JumpyClock
    ) -> None:
        self._needs_disk()
        journal = start(events=StreamSettings(lease_s=60))
        journal.append("events", entries(1))
        journal.claim("events", "link")
        clock.jump(-365 * 86400)
        journal = start(events=StreamSettings(lease_s=60))
        clock.advance(61)
        assert journal.claim("events", "link")

    def test_what_grew_old_while_the_node_was_off_expires_when_it_starts(
        self, start: Callable[..., FullJournal], clock: JumpyClock
    ) -> None:
        self._needs_disk()
        journal = start(events=StreamSettings(max_age_s=100))
        journal.append("events", entries(1))
        journal.close()
        clock.advance(101)
        assert start(events=StreamSettings(max_age_s=100)).read("events") == []

    def test_a_stream_no_longer_in_the_settings_can_be_read_but_not_appended_to(
        self, start: Callable[..., FullJournal]
    ) -> None:
        self._needs_disk()
        start(events=ROOMY).append("events", entries(1))
        journal = start(readings=ROOMY)
        assert numbers(journal.read("events")) == [1]
        with pytest.raises(NotFoundError):
            journal.append("events", entries(2))

    def _needs_disk(self) -> None:
        if not self.durable:
            pytest.skip("this journal keeps nothing on disk, and says so")


def thinned(journal: FullJournal, consumer: str) -> set[int]:
    """The sequences that the ledger tells a consumer were thinned, each of them once."""
    lines = [loss for loss in journal.losses() if loss.consumer == consumer and loss.reason is Reason.THINNED]
    told = [number for loss in lines for number in range(loss.first, loss.last + 1)]
    assert len(told) == len(set(told)) == sum(loss.count for loss in lines)
    return set(told)


def joined(journal: FullJournal) -> list[Loss]:
    """The ledger by consumer, with touching lines of one reason joined, as adapters may keep them apart."""
    found: list[Loss] = []
    for loss in sorted(journal.losses(), key=lambda loss: (loss.stream, loss.consumer, loss.reason, loss.first)):
        before = found[-1] if found else None
        if before and (before.consumer, before.reason, before.last + 1) == (loss.consumer, loss.reason, loss.first):
            found[-1] = replace(before, last=loss.last, count=before.count + loss.count)
        else:
            found.append(loss)
    return found


def journal_lost(journal: FullJournal) -> list[Balance]:
    """What does not balance in a journal that may be closed already."""
    try:
        return unbalanced(journal)
    except ClosedError:
        return []
