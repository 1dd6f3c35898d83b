"""Segments: filled, compacted, removed, begun from the first format, and what a crash at any moment of that leaves."""

import errno
import gzip
import hashlib
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import CorruptError, PermanentError, StorageFullError
from edgewise.journal import carry, segments, store
from edgewise.journal.base import Reason, StreamSettings, WhenFull
from edgewise.journal.blobs import BlobStore
from edgewise.journal.database import DATABASE, Database
from edgewise.journal.disk import DiskJournal
from edgewise.journal.reader import DiskReader
from edgewise.testing.journal import entries, joined, numbers, thinned
from edgewise.types import Entry

SEGMENT_BYTES = 2000
STREAMS = {
    "fast": StreamSettings(max_bytes=6000, lease_s=1),
    "slow": StreamSettings(),
    "thin": StreamSettings(max_bytes=6000, when_full=WhenFull.THIN),
}


def open_journal(folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> DiskJournal:
    return DiskJournal(folder, node="here", streams=STREAMS, clock=ManualClock(), segment_bytes=segment_bytes)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DiskJournal]:
    monkeypatch.setattr(segments, "_AHEAD_BYTES", 0)
    journal = open_journal(tmp_path)
    yield journal
    journal.close()


def log_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.log"))


def kept_bytes(journal: DiskJournal) -> int:
    return sum(stream.bytes for stream in journal._actions.streams.values())


def churn(journal: DiskJournal, steps: int) -> None:
    """A stream that overflows all the time beside one that keeps everything and gets little."""
    for step in range(steps):
        journal.append("fast", entries(step, size=100))
        if step % 20 == 0:
            journal.append("slow", [Entry("slow", {"n": step}, (f"{step:064x}",))])


def test_the_log_takes_no_more_than_twice_what_is_kept_and_a_few_segments(journal: DiskJournal, tmp_path: Path) -> None:
    for _ in range(8):
        churn(journal, 50)
        assert log_bytes(tmp_path) <= 2 * kept_bytes(journal) + 2 * SEGMENT_BYTES


def test_what_was_compacted_is_read_claimed_and_counted_as_before(journal: DiskJournal, tmp_path: Path) -> None:
    churn(journal, 400)
    assert len(list(tmp_path.glob("*.log"))) < 15
    for again in (journal, None):
        if again is None:
            journal.close()
            again = open_journal(tmp_path)
        assert numbers(again.read("slow", limit=100)) == list(range(0, 400, 20))
        assert numbers(again.read("slow", limit=3, newest_first=True)) == [380, 360, 340]
        assert numbers(again.read("slow", after=10, before=14)) == [200, 220, 240]
        assert all(balance.balanced for balance in again.audit())
        assert set(again._store.blobs()) == {f"{step:064x}" for step in range(0, 400, 20)}
    claim = again.claim("slow", "link", limit=12)
    assert claim
    again.ack("slow", "link", claim.last)
    assert {b.consumer: (b.delivered, b.pending) for b in again.audit() if b.stream == "slow"} == {
        "": (0, 20),
        "link": (12, 8),
    }
    again.close()


def test_a_start_reads_the_newest_segment_and_no_other(
    journal: DiskJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    churn(journal, 300)
    journal.close()
    whole: list[Path] = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (whole.append(path), read_bytes(path))[1])
    again = open_journal(tmp_path)
    assert [path.name for path in whole] == [max(path.name for path in tmp_path.glob("*.log"))]
    again.close()


def test_a_segment_with_damage_is_compacted_once_the_ledger_tells(journal: DiskJournal, tmp_path: Path) -> None:
    journal.append("slow", entries(1))
    journal.append("slow", entries(2))
    place = next(journal._store.index(2).places(2) if numbers(journal.read("slow")) else ())
    path = tmp_path / journal._store._stored.segments[place.segment].file
    with open(path, "r+b") as file:
        file.seek(place.offset + 100)
        file.write(b"\xff\xff\xff")
    churn(journal, 200)
    assert not path.exists()
    assert [(x.first, x.last, x.reason) for x in journal.losses("slow")] == [(2, 2, Reason.CORRUPT)]
    assert numbers(journal.read("slow"))[:2] == [1, 0]


@pytest.mark.parametrize("running", [True, False])
def test_a_segment_that_somebody_removed_is_told_as_loss(journal: DiskJournal, tmp_path: Path, running: bool) -> None:
    for number in range(60):
        journal.append("slow", [Entry("k", {"n": number}, (f"{number:064x}",))])
    segment = sorted(tmp_path.glob("*.log"))[2]
    if running:
        segment.unlink()
        assert journal.verify() > 3
    else:
        journal.close()
        segment.unlink()
        journal = open_journal(tmp_path)
    lost = joined(journal)
    assert [(loss.stream, loss.consumer, loss.reason) for loss in lost] == [("slow", "", Reason.CORRUPT)]
    assert lost[0].count > 3
    assert all(balance.balanced for balance in journal.audit())
    kept = [number for number in range(60) if not lost[0].first <= number + 1 <= lost[0].last]
    assert numbers(journal.read("slow", limit=200)) == kept
    assert set(journal._store.blobs()) == {f"{number:064x}" for number in kept}
    journal.close()


def test_a_thin_stream_is_no_more_work_however_long_it_runs(journal: DiskJournal, tmp_path: Path) -> None:
    reader = DiskReader(tmp_path, node="here")
    for last in range(300, 2101, 300):
        for number in range(last - 299, last + 1):
            journal.append("thin", entries(number, size=100))
            journal.append("slow", entries(number))  # shares the segments
        kept = numbers(journal.read("thin", limit=1000))
        assert kept[0] == 1
        assert len(kept) < 40
        assert len(journal.losses("thin")) < len(kept)
        assert len(journal._database.all("select_holes_of", 3)) < len(kept)
        assert log_bytes(tmp_path) <= 2 * kept_bytes(journal) + 3 * SEGMENT_BYTES
        assert journal.verify() == 0
        assert reader.audit() == journal.audit()
        assert reader.read("thin") == journal.read("thin")
    reader.close()


def test_old_segments_of_a_thin_stream_leave_few_runs_and_their_columns_out_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "_AHEAD_BYTES", 0)
    streams = {"thin": StreamSettings(max_bytes=100_000, when_full=WhenFull.THIN)}
    journal = DiskJournal(tmp_path, node="here", streams=streams, clock=ManualClock(), segment_bytes=8000)
    thin = journal._actions.streams["thin"]
    payloads = journal._codec.encode(entries(1, size=100)) * 20
    for _ in range(500):
        journal._submit(lambda: [journal._actions.accept(thin, [one], one.size) for one in payloads])
    runs = journal._store.index(thin.id).runs
    assert sum(run.records for run in runs) > 300
    assert len(runs) < 60
    assert sum(run._columns is not None for run in runs) <= 10  # the last used, and what is being written
    assert journal.verify() == 0
    assert log_bytes(tmp_path) <= 2 * kept_bytes(journal) + 2 * 8000
    journal.close()


def test_damage_in_a_thinned_stream_costs_one_block_and_joins_its_hole(journal: DiskJournal, tmp_path: Path) -> None:
    for number in range(1, 301):
        journal.append("thin", entries(number, size=100))
    kept = numbers(journal.read("thin", limit=1000))
    victim = kept[3]
    place = next(journal._store.index(3).places(victim))
    path = tmp_path / journal._store._stored.segments[place.segment].file
    with open(path, "r+b") as file:
        file.seek(place.offset + 100)
        file.write(b"\xff\xff\xff")
    assert journal.verify() == 1
    for number in range(301, 501):
        journal.append("thin", entries(number, size=100))
    assert [(x.first, x.last) for x in journal.losses("thin") if x.reason is Reason.CORRUPT] == [(victim, victim)]
    journal.close()
    again = open_journal(tmp_path)
    assert all(balance.balanced for balance in again.audit())
    assert thinned(again, "") == set(range(1, 501)) - set(numbers(again.read("thin", limit=1000))) - {victim}
    again.close()


def test_a_block_may_point_to_any_number_of_blobs(journal: DiskJournal, tmp_path: Path) -> None:
    digests = tuple(chr(number) for number in range(0x10000, 0x10000 + 70_000))
    journal.append("slow", [Entry("k", {}, digests)])
    journal.close()
    again = open_journal(tmp_path)
    assert set(again._store.blobs()) == set(digests)
    again.close()


def test_blobs_of_records_that_come_and_go_within_one_group_are_let_go(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "blobs")
    journal = DiskJournal(tmp_path / "journal", node="here", streams=STREAMS, clock=ManualClock(), blobs=blobs)
    picture, again = blobs.put(b"1"), blobs.put(b"2")
    fast = journal._actions.streams["fast"]

    def both() -> None:
        for digest in (picture, again):
            [payload] = journal._codec.encode([Entry("k", {"x": "x" * 4000}, (digest,))])
            journal._actions.accept(fast, [payload], payload.size)
        [payload] = journal._codec.encode([Entry("k", {"x": "x" * 100}, (again,))])
        journal._actions.accept(fast, [payload], payload.size)
        journal._store.drop(fast.id, [place.head for place in list(journal._store.index(fast.id).places())[:1]])

    journal._submit(both)
    assert [blobs.stat(digest).held for digest in (picture, again)] == [False, True]
    journal.close()


def test_the_end_of_the_log_that_somebody_cut_off_is_told_as_loss(journal: DiskJournal, tmp_path: Path) -> None:
    for number in range(3):
        journal.append("slow", entries(number))
    journal.close()
    newest = max(tmp_path.glob("*.log"))
    os.truncate(newest, newest.stat().st_size - 10)
    again = open_journal(tmp_path)
    assert numbers(again.read("slow")) == [0, 1]
    assert [(x.first, x.last, x.reason) for x in again.losses()] == [(3, 3, Reason.CORRUPT)]
    assert again.append("slow", entries(3)) == range(4, 5)  # its number is not given again
    again.close()


def test_damage_anywhere_costs_one_block_and_is_told_once(journal: DiskJournal, tmp_path: Path) -> None:
    churn(journal, 30)
    before = {name: journal.read(name, limit=1000) for name in STREAMS}
    folder = tmp_path / "killed"
    shutil.copytree(tmp_path, folder, ignore=shutil.ignore_patterns("*-shm", "killed"))
    chance = random.Random(5)
    for path in [max(folder.glob("*.log"))] * 8 + sorted(folder.glob("*.log"))[:-1] * 2:
        damaged = tmp_path / "damaged"
        shutil.copytree(folder, damaged)
        content = bytearray(path.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (damaged / path.name).write_bytes(content)
        told = []
        for _ in range(2):
            again = open_journal(damaged)
            again.verify()
            assert all(balance.balanced for balance in again.audit())
            told.append([loss for loss in again.losses() if loss.reason is Reason.CORRUPT])
            missing = [
                (name, record.sequence)
                for name in STREAMS
                for record in before[name]
                if record not in again.read(name, limit=1000)
            ]
            assert missing == [(loss.stream, loss.first) for loss in told[0]]
            assert len(missing) <= 1
            again.close()
        assert told[0] == told[1]
        shutil.rmtree(damaged)


def test_a_journal_whose_database_was_lost_is_refused_and_its_segments_stay(
    journal: DiskJournal, tmp_path: Path
) -> None:
    journal.append("slow", entries(1))
    journal.close()
    for path in tmp_path.glob("journal.db*"):
        path.unlink()
    with pytest.raises(CorruptError):
        open_journal(tmp_path)
    assert log_bytes(tmp_path)


def test_when_there_is_no_room_for_a_next_segment_the_newest_grows(
    journal: DiskJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.SegmentWriter

    def full(*args: Any, **named: Any) -> segments.SegmentWriter:
        if not (tmp_path / args[1].file).exists():
            raise StorageFullError("no inode left")
        return real(*args, **named)

    monkeypatch.setattr(store, "SegmentWriter", full)
    for number in range(60):
        journal.append("slow", entries(number, size=100))
    assert len(list(tmp_path.glob("*.log"))) == 1
    monkeypatch.setattr(store, "SegmentWriter", real)
    journal.append("slow", entries(60))
    assert len(list(tmp_path.glob("*.log"))) == 2
    assert numbers(journal.read("slow")) == list(range(61))


def test_groups_of_all_sizes_lie_behind_each_other_however_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "_BUFFER_BYTES", 64 << 10)
    monkeypatch.setattr(segments, "_LARGE_GROUP_BYTES", 10_000)
    chance = random.Random(3)
    journal = open_journal(tmp_path, segment_bytes=1 << 20)
    past_cache: set[bool] = set()  # where the disk can do that it does it always
    for number in range(60):
        size = chance.choice([1, 3000, 9_900, 20_000, 65_536, 200_000])
        journal.append("slow", entries(number, size=size))
        if size > 10_000:
            past_cache.add(journal._store._writer._can_direct)
        if number % 7 == 0:
            journal.close()
            journal = open_journal(tmp_path, segment_bytes=1 << 20)
            assert journal.verify() == 0
    assert numbers(journal.read("slow", limit=100)) == list(range(60))
    assert not journal.losses()
    assert len(past_cache) == 1
    journal.close()


def test_the_file_is_made_longer_once_for_many_small_groups(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=4 << 20)
    lengths = []
    for number in range(100):
        journal.append("slow", entries(number))
        lengths.append(log_bytes(tmp_path))
    assert len(set(lengths)) == 1
    assert lengths[0] > 1 << 20
    journal.close()


def test_a_file_system_that_has_no_way_past_the_page_cache_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(segments, "_DirectFile", refuse)
    journal = open_journal(tmp_path)
    journal.append("slow", entries(*range(4), size=200_000))
    assert numbers(journal.read("slow")) == [0, 1, 2, 3]
    journal.close()


def test_a_reader_beside_the_node_follows_through_full_and_removed_segments(
    journal: DiskJournal, tmp_path: Path
) -> None:
    reader = DiskReader(tmp_path, node="here")
    for step in range(300):
        journal.append("fast", entries(step, size=100))
        if step % 10 == 0:
            journal.append("slow", entries(step))
            assert reader.audit() == journal.audit()
            assert reader.read("fast") == journal.read("fast")
            assert reader.read("slow", newest_first=True) == journal.read("slow", newest_first=True)
    assert reader.losses() == journal.losses()
    reader.close()


class CrashEverywhere:
    """Copies a journal's folder before and after everything that reaches the disk, as a kill there would leave it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, check: Callable[[Path], None]) -> None:
        self.folder = folder
        self.check = check
        self.crashes = 0
        self.busy = True
        for owner, name in (
            (os, "fdatasync"),
            (os, "fsync"),
            (os, "ftruncate"),
            (os, "pwritev"),
            (Path, "unlink"),
            (Database, "commit"),
        ):
            monkeypatch.setattr(owner, name, self.around(getattr(owner, name)))

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def crashing(*args: Any, **named: Any) -> Any:
            self.crash()
            result = call(*args, **named)
            self.crash()
            return result

        return crashing

    def crash(self) -> None:
        if self.busy:
            return
        self.busy = True
        copy = self.folder.with_name("crashed")
        shutil.copytree(self.folder, copy, ignore=shutil.ignore_patterns("*-shm"))
        try:
            self.check(copy)
        finally:
            shutil.rmtree(copy)
            self.crashes += 1
            self.busy = False


@pytest.mark.parametrize("large_bytes", [500, 1 << 20], ids=["past the page cache", "through it"])
def test_a_crash_at_any_moment_loses_nothing_accepted_and_all_figures_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large_bytes: int
) -> None:
    monkeypatch.setattr(segments, "_LARGE_GROUP_BYTES", large_bytes)
    accepted = dict.fromkeys(STREAMS, 0)
    acked = 0

    def check(copy: Path) -> None:
        journal = open_journal(copy)
        try:
            assert journal.verify() == 0
            assert [balance for balance in journal.audit() if not balance.balanced] == []
            assert not any(loss.reason is Reason.CORRUPT for loss in journal.losses())
            assert [record.sequence for record in journal.read("slow", limit=1000)][: accepted["slow"]] == list(
                range(1, accepted["slow"] + 1)
            )
            for stream, last in accepted.items():
                newest = journal.read(stream, limit=1, newest_first=True)
                assert last == 0 or newest[0].sequence in {last, last + 1, last + 2}
            newest = journal.read("thin", limit=1, newest_first=True)
            there = {record.sequence for record in journal.read("thin", limit=1000)}
            assert thinned(journal, "") == set(range(1, newest[0].sequence + 1 if newest else 1)) - there
            kept = [record for stream in STREAMS for record in journal.read(stream, limit=1000)]
            assert set(journal._store.blobs()) == {digest for record in kept for digest in record.blobs}
            assert sum(b.delivered for b in journal.audit() if b.consumer) >= acked
        finally:
            journal.close()

    folder = tmp_path / "journal"
    crashes = CrashEverywhere(folder, monkeypatch, check)
    journal = open_journal(folder, segment_bytes=700)
    chance = random.Random(7)
    crashes.busy = False
    for step in range(60):
        stream = "slow" if step % 6 == 0 else "thin" if step % 2 else "fast"
        batch = [Entry("k", {"n": step, "x": "x" * chance.randrange(300)}, (f"{step:064x}",)) for _ in range(2)]
        accepted[stream] = journal.append(stream, batch)[-1]
        if step % 9 == 0 and (claim := journal.claim("fast", "link", limit=5)):
            journal.ack("fast", "link", claim.last)
            acked += len(claim.records)
    crashes.busy = True
    assert len(list(folder.glob("*.log"))) > 1
    assert int(max(path.stem for path in folder.glob("*.log"))) > 10
    journal.close()
    assert crashes.crashes > 200


# A journal of the first format: see tests/data/README.md.

FIRST_FORMAT = Path(__file__).parents[1] / "data" / "journal-first-format.db.gz"
OLD_STREAMS = {
    "events": StreamSettings(),
    "tight": StreamSettings(max_bytes=6000),
    "newest": StreamSettings(max_bytes=4000, when_full=WhenFull.DROP_NEWEST),
    "empty": StreamSettings(),
}
PICTURE = hashlib.sha256(b"picture").hexdigest()


@pytest.fixture
def first_format(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    folder.mkdir()
    (folder / DATABASE).write_bytes(gzip.decompress(FIRST_FORMAT.read_bytes()))
    return folder


def open_old(folder: Path) -> DiskJournal:
    return DiskJournal(folder, node="here", streams=OLD_STREAMS, clock=ManualClock(), segment_bytes=1000)


def check_carried(folder: Path) -> None:
    journal = open_old(folder)
    try:
        assert {(b.stream, b.consumer): (b.produced, b.delivered, b.pending, b.dropped) for b in journal.audit()} == {
            ("events", ""): (21, 2, 17, 2),
            ("events", "link"): (21, 7, 12, 2),
            ("tight", ""): (40, 0, 16, 24),
            ("newest", ""): (22, 2, 11, 9),
            ("newest", "link"): (13, 11, 2, 0),
            ("empty", ""): (0, 0, 0, 0),
        }
        assert {(x.stream, x.consumer, x.first, x.last, x.reason) for x in journal.losses()} == {
            ("tight", "", 1, 24, Reason.FULL),
            ("newest", "", 12, 20, Reason.FULL),
            ("events", "", 10, 11, Reason.CORRUPT),  # what was damaged and not found before
            ("events", "link", 10, 11, Reason.CORRUPT),
        }
        events = journal.read("events")
        assert [record.sequence for record in events] == [*range(1, 6), 8, 9, *range(12, 22)]
        assert all(record.body == {"n": record.sequence - 1} for record in events)
        assert events[-1].time_ns == ManualClock().time_ns() + 10 * 10**9
        assert [record.sequence for record in journal.read("tight")] == list(range(25, 41))
        assert [record.sequence for record in journal.read("newest")] == [*range(3, 12), 21, 22]
        assert set(journal._store.blobs()) == {PICTURE}
        assert journal.claim("events", "link") is None  # the lease was carried over as well
    finally:
        journal.close()


def test_a_journal_of_the_first_format_is_carried_over_with_all_it_knew(first_format: Path) -> None:
    for _ in range(2):
        check_carried(first_format)
    journal = open_old(first_format)
    assert journal.append("events", entries(22)) == range(22, 23)
    journal.close()
    with sqlite3.connect(first_format / DATABASE) as connection:
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'blocks'").fetchall()
    connection.close()


def test_a_journal_of_the_first_format_is_not_read_before_a_node_carried_it_over(first_format: Path) -> None:
    with pytest.raises(PermanentError) as refusal:
        DiskReader(first_format, node="here")
    assert "edgewise up" in refusal.value.hint
    open_old(first_format).close()
    reader = DiskReader(first_format, node="here")
    assert all(balance.balanced for balance in reader.audit())
    reader.close()


def test_a_reader_says_when_a_segment_is_missing(journal: DiskJournal, tmp_path: Path) -> None:
    for number in range(100):
        journal.append("slow", entries(number, size=50))
    journal.close()
    sorted(tmp_path.glob("*.log"))[2].unlink()
    reader = DiskReader(tmp_path, node="here")
    with pytest.raises(CorruptError):
        reader.read("slow", limit=100)
    reader.close()


def test_a_crash_at_any_moment_of_carrying_over_loses_and_doubles_nothing(
    first_format: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carry, "_BATCH_BYTES", 2000)
    crashes = CrashEverywhere(first_format, monkeypatch, check_carried)
    crashes.busy = False
    open_old(first_format).close()
    crashes.busy = True
    assert crashes.crashes > 30
