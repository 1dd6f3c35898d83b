"""What is particular to the journal on disk: damage, full disks, other processes, one sync for many."""

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import ConflictError, CorruptError, EdgewiseError, NotFoundError, UnavailableError
from edgewise.journal import frames
from edgewise.journal.base import Batch, Packed, Reason, StreamSettings, WhenFull
from edgewise.journal.cipher import Cipher, KeyCipher
from edgewise.journal.database import DATABASE
from edgewise.journal.disk import DiskJournal
from edgewise.journal.packed import pack
from edgewise.journal.reader import DiskReader
from edgewise.testing.journal import entries, numbers
from edgewise.types import Entry

STREAMS = {"events": StreamSettings(), "readings": StreamSettings()}


def open_journal(folder: Path, *, cipher: Cipher | None = None, **streams: StreamSettings) -> DiskJournal:
    return DiskJournal(folder, node="here", streams=streams or STREAMS, clock=ManualClock(), cipher=cipher)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[DiskJournal]:
    journal = open_journal(tmp_path)
    yield journal
    journal.close()


def damage(journal: DiskJournal, first: int, at: int, *, size: int = 1) -> None:
    """Flips bits of the block at ``first``, ``at`` bytes from its frame's begin (or end), as a failing disk does."""
    place = next(journal._store.index(1).places(first))
    start = place.offset + at if at >= 0 else place.offset + place.size + at
    with open(journal._store._folder / journal._store._stored.segments[place.segment].file, "r+b") as file:
        file.seek(start)
        content = file.read(size)
        file.seek(start)
        file.write(bytes(byte ^ 0x55 for byte in content))


def seen(*digests: str) -> list[Entry]:
    return [Entry("seen", {}, digests)]


def test_who_points_to_a_blob_is_known_in_full_segments_and_in_the_one_being_written(tmp_path: Path) -> None:
    def pointers(journal: DiskJournal) -> list[list[tuple[str, str, int]]]:
        found = journal.pointers(["a", "b", "nothing"])
        return [sorted((each.node, each.stream, each.sequence) for each in of) for of in found]

    bounds = StreamSettings(max_bytes=20_000)
    streams = {"events": bounds, "readings": bounds}
    journal = DiskJournal(tmp_path, node="here", streams=streams, segment_bytes=2000, clock=ManualClock())
    journal.append("readings", seen("b"))
    journal.append("events", seen("a"))
    journal.append("events", seen("a", "b"))
    packed = Packed(1, 1, pack(seen("a")))
    journal.take([Batch("lamp", "events", (packed,))])
    everybody = [
        [("here", "events", 1), ("lamp", "events", 1)],
        [("here", "events", 2), ("here", "readings", 1)],
        [],
    ]
    assert pointers(journal) == everybody
    for _ in range(4):  # into segments that follow
        journal.append("events", [Entry("long", {"text": "x" * 1500})])
    assert pointers(journal) == everybody
    journal.close()
    journal = DiskJournal(tmp_path, node="here", streams=streams, segment_bytes=2000, clock=ManualClock())
    assert pointers(journal) == everybody
    for _ in range(20):
        journal.append("events", [Entry("long", {"text": "x" * 1500})])
    assert pointers(journal) == [[("lamp", "events", 1)], [("here", "readings", 1)], []]
    journal.close()


FLIPS = {"head": 20, "magic": 0, "payload": frames.HEAD_BYTES + 9, "tail": -9}


@pytest.mark.parametrize("flip", ["head", "magic", "payload"])
def test_a_damaged_block_is_told_and_the_others_stay_readable(journal: DiskJournal, flip: str) -> None:
    for number in (1, 3, 5):
        journal.append("events", entries(number, number + 1))
    claim = journal.claim("events", "link", limit=2)
    assert claim
    journal.ack("events", "link", 2)
    damage(journal, 3, FLIPS[flip])
    assert numbers(journal.read("events")) == [1, 2, 5, 6]
    assert {(x.consumer, x.first, x.last, x.reason) for x in journal.losses()} == {
        ("", 3, 4, Reason.CORRUPT),
        ("link", 3, 4, Reason.CORRUPT),
    }
    claim = journal.claim("events", "link")
    assert claim
    assert numbers(claim.records) == [5, 6]
    assert all(balance.balanced for balance in journal.audit())


def test_claiming_steps_over_damage(journal: DiskJournal) -> None:
    journal.append("events", entries(1))
    journal.append("events", entries(2))
    damage(journal, 1, FLIPS["payload"])
    claim = journal.claim("events", "link", limit=1)
    assert claim
    assert numbers(claim.records) == [2]


def test_verify_finds_damage_that_nobody_has_read(journal: DiskJournal) -> None:
    for number in range(1, 6):
        journal.append("events", entries(number))
    damage(journal, 2, FLIPS["payload"])
    damage(journal, 5, FLIPS["head"])
    assert journal.verify() == 2
    assert journal.verify() == 0
    assert numbers(journal.read("events")) == [1, 3, 4]
    assert all(balance.balanced for balance in journal.audit())


def test_damage_seen_by_a_mere_reader_is_an_error(journal: DiskJournal, tmp_path: Path) -> None:
    journal.append("events", entries(1))
    damage(journal, 1, FLIPS["payload"])
    reader = DiskReader(tmp_path, node="here")
    with pytest.raises(CorruptError):
        reader.read("events")
    reader.close()


def test_a_reader_beside_the_node_sees_the_same(journal: DiskJournal, tmp_path: Path) -> None:
    journal.append("events", entries(1, 2))
    journal.claim("events", "link")
    reader = DiskReader(tmp_path, node="here")
    assert (reader.read("events"), reader.audit(), reader.losses()) == (
        journal.read("events"),
        journal.audit(),
        journal.losses(),
    )
    reader.close()


def test_a_folder_without_a_journal_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        DiskReader(tmp_path, node="here")


def test_only_one_at_a_time_writes_a_folder(journal: DiskJournal, tmp_path: Path) -> None:
    with pytest.raises(ConflictError):
        open_journal(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"not a database" * 1000)
    with pytest.raises(CorruptError):
        open_journal(tmp_path)
    (tmp_path / DATABASE).unlink()
    open_journal(tmp_path).close()  # the refusal left no lock behind


def test_a_group_that_fails_leaves_no_trace_in_memory_or_on_disk(
    journal: DiskJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append("events", entries(1))
    real = os.fdatasync

    def fail(descriptor: int) -> None:
        real(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as failing:
        failing.setattr(os, "fdatasync", fail)
        with pytest.raises(UnavailableError):
            journal.append("events", entries(2, 3))
    assert journal.append("events", entries(4)) == range(2, 3)
    assert numbers(journal.read("events")) == [1, 4]


def test_a_disk_that_cannot_even_take_a_write_back_stops_the_journal_until_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path)
    journal.append("events", entries(1))

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as failing:
        failing.setattr(os, "fdatasync", fail)
        failing.setattr(os, "ftruncate", fail)
        with pytest.raises(UnavailableError):
            journal.append("events", entries(2))
    with pytest.raises(UnavailableError, match="stopped"):
        journal.append("events", entries(3))
    journal.close()
    journal = open_journal(tmp_path)
    assert journal.append("events", entries(4)).start in {2, 3}  # nobody was told that 2 was accepted, nor that not
    journal.close()


def test_changes_of_the_database_and_the_blocks_written_with_them_are_one(
    journal: DiskJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append("events", entries(1))
    stream = journal._actions.streams["events"]

    def both() -> None:
        journal._actions.lend(stream, "link", 10)
        journal._actions.accept(stream, journal._codec.encode(entries(2)), 200)

    def fail() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as failing:
        failing.setattr(journal._database, "commit", fail)
        with pytest.raises(sqlite3.OperationalError):
            journal._submit(both)
    assert numbers(journal.read("events")) == [1]
    assert [balance.consumer for balance in journal.audit() if balance.stream == "events"] == [""]
    assert journal.append("events", entries(3)) == range(2, 3)


def test_appends_of_many_threads_share_transactions(journal: DiskJournal) -> None:
    groups: list[int] = []
    run = journal._group._run
    journal._group._run = lambda group: (groups.append(len(group)), run(group))  # type: ignore[assignment,func-returns-value]
    ready = threading.Barrier(8)

    def write() -> None:
        ready.wait()
        for number in range(10):
            journal.append("events", entries(number))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(groups) == 80
    assert len(groups) <= 60


def test_what_is_stored_is_counted_right_however_it_came_about(tmp_path: Path) -> None:
    settings = StreamSettings(max_bytes=3000, when_full=WhenFull.DROP_OLDEST)
    journal = open_journal(tmp_path, events=settings)
    for number in range(50):
        journal.append("events", entries(number, size=100))
    before = journal._actions.streams["events"].bytes
    journal.close()
    journal = open_journal(tmp_path, events=settings)
    assert journal._actions.streams["events"].bytes == before
    journal.close()


def test_the_ledger_stays_short_while_a_stream_overflows(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, events=StreamSettings(max_bytes=2000))
    for number in range(500):
        journal.append("events", entries(number, size=100))
    [line] = journal.losses()
    assert line.count == line.last - line.first + 1 > 400
    journal.close()


def test_this_release_still_runs_when_a_later_one_added_columns(tmp_path: Path) -> None:
    open_journal(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        for table in ("log", "segments", "runs", "holes", "streams", "consumers", "losses"):
            connection.execute(f"ALTER TABLE {table} ADD COLUMN later INTEGER NOT NULL DEFAULT 0")
        connection.execute("PRAGMA user_version=99")
    connection.close()
    journal = open_journal(tmp_path)
    journal.append("events", entries(1))
    assert journal.claim("events", "link")
    journal.ack("events", "link", 1)
    journal.verify()
    assert numbers(journal.read("events")) == [1]
    journal.close()


def test_a_sealed_journal_tells_nothing_without_its_key_and_loses_nothing_by_a_wrong_one(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, cipher=KeyCipher(b"k" * 32))
    journal.append("events", [Entry("face.known", {"name": "Ada"}, ("a" * 64,))])
    journal.close()
    assert not any(b"Ada" in path.read_bytes() for path in tmp_path.iterdir())
    for wrong in (KeyCipher(b"x" * 32), None):
        with pytest.raises(EdgewiseError) as refusal:
            open_journal(tmp_path, cipher=wrong)
        assert refusal.value.code in {"wrong_key", "settings_invalid"}
    journal = open_journal(tmp_path, cipher=KeyCipher(b"n" * 32, b"k" * 32))  # another key from now on
    journal.append("events", entries(2))
    assert [record.kind for record in journal.read("events")] == ["face.known", "test.number"]
    assert journal.losses() == []
    journal.close()


FILL_UP = """
import resource, sys
from pathlib import Path
from edgewise.errors import RetryError
from edgewise.journal import frames
from edgewise.journal.base import StreamSettings
from edgewise.journal.cipher import Cipher, KeyCipher
from edgewise.journal.disk import DiskJournal
from edgewise.journal.packed import pack
from edgewise.types import Entry

journal = DiskJournal(Path(sys.argv[1]), node="here", streams={"events": StreamSettings()})
if limit := int(sys.argv[2]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
accepted = 0
try:
    for step in range(10_000):
        accepted = journal.append("events", [Entry("k", {"x": "x" * 5000})] * int(sys.argv[3]))[-1]
except RetryError as error:
    print(error.code, accepted)
assert len(journal.read("events", limit=10**6)) == accepted
"""


def fill_up(folder: Path, *, file_bytes: int = 0, batch: int = 4) -> tuple[str, int]:
    """Appends until the disk (or the file) is full; the error's code and the last sequence accepted."""
    done = subprocess.run(
        [sys.executable, "-c", FILL_UP, str(folder), str(file_bytes), str(batch)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    code, accepted = done.stdout.split()
    return code, int(accepted)


def check_after_full(folder: Path, accepted: int) -> None:
    journal = open_journal(folder)
    try:
        assert journal.verify() == 0
        assert [record.sequence for record in journal.read("events", limit=10**6)] == list(range(1, accepted + 1))
        assert all(balance.balanced for balance in journal.audit())
        assert journal.append("readings", [Entry("k", {})]) == range(1, 2)
    finally:
        journal.close()


@pytest.mark.parametrize("batch", [4, 120], ids=["small groups", "large groups"])
def test_files_that_may_not_grow_lose_nothing(tmp_path: Path, batch: int) -> None:
    code, accepted = fill_up(tmp_path, file_bytes=8 << 20, batch=batch)
    assert code in {"storage_full", "unavailable"}
    assert accepted > 0
    check_after_full(tmp_path, accepted)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    if os.geteuid():
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("batch", [4, 120], ids=["small groups", "large groups"])
def test_a_full_disk_is_told_and_loses_nothing(small_disk: Path, batch: int) -> None:
    code, accepted = fill_up(small_disk, batch=batch)
    assert code == "storage_full"
    assert accepted > 0
    subprocess.run(["mount", "-o", "remount,size=32m", small_disk], check=True)
    check_after_full(small_disk, accepted)


def test_a_journal_that_cannot_be_opened_for_lack_of_space_says_so(small_disk: Path) -> None:
    subprocess.run(["dd", "if=/dev/zero", f"of={small_disk / 'ballast'}", "bs=64k"], capture_output=True)
    with pytest.raises(EdgewiseError) as refusal:
        open_journal(small_disk)
    assert refusal.value.code == "storage_full"
