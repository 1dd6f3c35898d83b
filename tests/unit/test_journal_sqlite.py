"""What is particular to the journal on SQLite: damage, full disks, other processes, one sync for many."""

import itertools
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import ConflictError, CorruptError, EdgewiseError, NotFoundError, StorageFullError
from edgewise.journal import blocks
from edgewise.journal.base import Reason, StreamSettings, WhenFull
from edgewise.journal.reader import DATABASE, SqliteReader
from edgewise.journal.sqlite import SqliteJournal
from edgewise.testing.journal import entries, numbers
from edgewise.types import Entry

STREAMS = {"events": StreamSettings(), "readings": StreamSettings()}


def open_journal(folder: Path, **streams: StreamSettings) -> SqliteJournal:
    return SqliteJournal(folder, node="here", streams=streams or STREAMS, clock=ManualClock())


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = open_journal(tmp_path)
    yield journal
    journal.close()


def damage(journal: SqliteJournal, first: int, assignment: str) -> None:
    """Changes a block behind the journal's back, as a failing disk does."""
    journal._connection.execute(f"UPDATE blocks SET {assignment} WHERE position & 0xFFFFFFFFFF = {first}")


FLIPS = {
    "payload": "payload = CAST(substr(payload, 1, 9) || x'FF' || substr(payload, 11) AS BLOB)",
    "truncated": "payload = substr(payload, 1, 5)",
    "time": "time_ns = time_ns + 1",
    "last, longer": "last = last + 1000000",
    "last, shorter": "last = -1",
}


@pytest.mark.parametrize("flip", FLIPS.values(), ids=FLIPS)
def test_a_damaged_block_is_told_and_the_others_stay_readable(journal: SqliteJournal, flip: str) -> None:
    for number in (1, 3, 5):
        journal.append("events", entries(number, number + 1))
    claim = journal.claim("events", "link", limit=2)
    assert claim
    journal.ack("events", "link", 2)
    damage(journal, 3, flip)
    assert numbers(journal.read("events")) == [1, 2, 5, 6]
    assert {(x.consumer, x.first, x.last, x.reason) for x in journal.losses()} == {
        ("", 3, 4, Reason.CORRUPT),
        ("link", 3, 4, Reason.CORRUPT),
    }
    claim = journal.claim("events", "link")
    assert claim
    assert numbers(claim.records) == [5, 6]
    assert all(balance.balanced for balance in journal.audit())


def test_claiming_steps_over_damage(journal: SqliteJournal) -> None:
    journal.append("events", entries(1))
    journal.append("events", entries(2))
    damage(journal, 1, FLIPS["payload"])
    claim = journal.claim("events", "link", limit=1)
    assert claim
    assert numbers(claim.records) == [2]


def test_verify_finds_damage_that_nobody_has_read(journal: SqliteJournal) -> None:
    for number in range(1, 6):
        journal.append("events", entries(number))
    damage(journal, 2, FLIPS["payload"])
    damage(journal, 5, FLIPS["last, longer"])
    assert journal.verify() == 2
    assert journal.verify() == 0
    assert numbers(journal.read("events")) == [1, 3, 4]
    assert all(balance.balanced for balance in journal.audit())


def test_damage_seen_by_a_mere_reader_is_an_error(journal: SqliteJournal, tmp_path: Path) -> None:
    journal.append("events", entries(1))
    damage(journal, 1, FLIPS["payload"])
    reader = SqliteReader(tmp_path, node="here")
    with pytest.raises(CorruptError):
        reader.read("events")
    reader.close()


def test_a_reader_beside_the_node_sees_the_same(journal: SqliteJournal, tmp_path: Path) -> None:
    journal.append("events", entries(1, 2))
    journal.claim("events", "link")
    reader = SqliteReader(tmp_path, node="here")
    assert (reader.read("events"), reader.audit(), reader.losses()) == (
        journal.read("events"),
        journal.audit(),
        journal.losses(),
    )
    reader.close()


def test_a_folder_without_a_journal_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        SqliteReader(tmp_path, node="here")


def test_only_one_at_a_time_writes_a_folder(journal: SqliteJournal, tmp_path: Path) -> None:
    with pytest.raises(ConflictError):
        open_journal(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"not a database" * 1000)
    with pytest.raises(CorruptError):
        open_journal(tmp_path)
    (tmp_path / DATABASE).unlink()
    open_journal(tmp_path).close()  # the refusal left no lock behind


def append_for_ever(journal: SqliteJournal) -> None:
    for number in itertools.count(2):
        journal.append("events", entries(number, size=20_000))


def test_a_full_disk_refuses_whole_appends_and_keeps_what_it_has(journal: SqliteJournal) -> None:
    journal.append("events", entries(1))
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(StorageFullError):
        append_for_ever(journal)
    accepted = len(journal.read("events"))
    journal._connection.execute("PRAGMA max_page_count=1000000")
    assert journal.append("events", entries(accepted + 1)) == range(accepted + 1, accepted + 2)
    assert numbers(journal.read("events")) == list(range(1, accepted + 2))
    assert all(balance.balanced for balance in journal.audit())


def test_a_transaction_that_fails_leaves_no_trace_in_memory(journal: SqliteJournal) -> None:
    journal.append("events", entries(1))
    stream = journal._streams["events"]

    def fail_after_writing() -> None:
        journal._accept(stream, blocks.encode(entries(2, 3)), 100)
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(sqlite3.OperationalError):
        journal._submit(fail_after_writing)
    assert journal.append("events", entries(4)) == range(2, 3)
    assert numbers(journal.read("events")) == [1, 4]


def test_appends_of_many_threads_share_transactions(journal: SqliteJournal) -> None:
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
    before = journal._streams["events"].bytes
    journal.close()
    journal = open_journal(tmp_path, events=settings)
    assert journal._streams["events"].bytes == before
    journal.close()


def test_the_ledger_stays_short_while_a_stream_overflows(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, events=StreamSettings(max_bytes=2000))
    for number in range(500):
        journal.append("events", entries(number, size=100))
    [line] = journal.losses()
    assert line.count == line.last - line.first + 1 > 400
    journal.close()


def test_the_previous_release_still_runs_when_columns_were_added(tmp_path: Path) -> None:
    open_journal(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        for table in ("blocks", "streams", "consumers", "losses"):
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


FILL_UP = """
import resource, sys
from pathlib import Path
from edgewise.errors import RetryError
from edgewise.journal import blocks
from edgewise.journal.base import StreamSettings
from edgewise.journal.sqlite import SqliteJournal
from edgewise.types import Entry

journal = SqliteJournal(Path(sys.argv[1]), node="here", streams={"events": StreamSettings()})
if limit := int(sys.argv[2]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
accepted = 0
try:
    for step in range(10_000):
        accepted = journal.append("events", [Entry("k", {"x": "x" * 5000})] * 4)[-1]
except RetryError as error:
    print(error.code, accepted)
assert len(journal.read("events", limit=10**6)) == accepted
"""


def fill_up(folder: Path, *, file_bytes: int = 0) -> tuple[str, int]:
    """Appends until the disk (or the file) is full; the error's code and the last sequence accepted."""
    done = subprocess.run(
        [sys.executable, "-c", FILL_UP, str(folder), str(file_bytes)], capture_output=True, text=True, timeout=60
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


def test_files_that_may_not_grow_lose_nothing(tmp_path: Path) -> None:
    code, accepted = fill_up(tmp_path, file_bytes=8 << 20)
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


def test_a_full_disk_is_told_and_loses_nothing(small_disk: Path) -> None:
    code, accepted = fill_up(small_disk)
    assert code == "storage_full"
    assert accepted > 0
    subprocess.run(["mount", "-o", "remount,size=32m", small_disk], check=True)
    check_after_full(small_disk, accepted)


def test_a_journal_that_cannot_be_opened_for_lack_of_space_says_so(small_disk: Path) -> None:
    subprocess.run(["dd", "if=/dev/zero", f"of={small_disk / 'ballast'}", "bs=64k"], capture_output=True)
    with pytest.raises(EdgewiseError) as refusal:
        open_journal(small_disk)
    assert refusal.value.code == "storage_full"
