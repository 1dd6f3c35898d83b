"""A lake in a folder after the power was lost: what was told to be taken is there, the rest can come again."""

import os
import shutil
from pathlib import Path

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import UnavailableError
from edgewise.lake import durable, open_lake
from edgewise.lake.base import LakeSettings
from edgewise.testing.lake import NOON_NS, reading, sequences

STREAM = ("shed", "readings")


@pytest.fixture
def reopen(tmp_path):
    clock = ManualClock(NOON_NS)
    return lambda: open_lake(LakeSettings(folder=str(tmp_path)), clock=clock)


@pytest.fixture
def log(tmp_path, reopen):
    """The log of a table with three records in three commits; the last was cut off before anybody was told of it."""
    lake = reopen()
    for n in (1, 2, 3):
        lake.take([reading(n)])
    return tmp_path / "readings" / "_delta_log"


def newest(log):
    return max(log.glob("*.json"))


def empty(log):
    newest(log).write_bytes(b"")


def half(log):
    newest(log).write_bytes(newest(log).read_bytes()[:-20])


def without_its_data(log):
    for path, _ in durable._added(log.parent, newest(log)):
        path.write_bytes(b"")


def with_its_data_gone(log):
    for path, _ in durable._added(log.parent, newest(log)):
        path.unlink()


@pytest.mark.parametrize("cut", [empty, half, without_its_data, with_its_data_gone])
def test_a_commit_that_was_cut_off_is_taken_back_and_comes_again(reopen, log, cut):
    cut(log)
    lake = reopen()
    assert lake.marks([STREAM]) == {STREAM: 2}
    assert sequences(lake, "readings") == [1, 2]
    lake.take([reading(n) for n in (1, 2, 3)])
    assert sequences(reopen(), "readings") == [1, 2, 3]


def test_a_log_that_is_whole_is_left_alone(reopen, log):
    before = sorted(path.name for path in log.iterdir())
    assert durable.mend(log.parent) == 0
    assert sorted(path.name for path in log.iterdir()) == before
    assert reopen().marks([STREAM]) == {STREAM: 3}


def test_a_checkpoint_that_was_cut_off_is_none(reopen, log):
    reopen().compact()
    [checkpoint] = log.glob("*.checkpoint.parquet")
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    lake = reopen()
    assert lake.marks([STREAM]) == {STREAM: 3}
    assert not checkpoint.exists()
    (log / "_last_checkpoint").write_bytes(b"")
    assert sequences(reopen(), "readings") == [1, 2, 3]


def test_a_table_whose_making_was_cut_off_is_made_anew(tmp_path, reopen):
    reopen().marks([STREAM])
    (tmp_path / "readings" / "_delta_log" / f"{0:020}.json").write_bytes(b"")
    assert reopen().take([reading(1)]) == {STREAM: 1}


def test_all_that_a_commit_wrote_is_synced_before_take_returns(tmp_path, reopen, monkeypatch):
    synced = set()
    fsync = os.fsync

    def spy(descriptor):
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    lake = reopen()
    lake.take([reading(1)])
    lake.compact()
    table = tmp_path / "readings"
    written = {str(path) for path in table.rglob("*")} | {str(table)}
    assert written - synced == set()


def test_what_another_process_committed_but_did_not_sync_is_synced_before_it_counts(tmp_path, reopen, monkeypatch):
    lake = reopen()
    lake.take([reading(1)])
    monkeypatch.setattr(durable, "sync", lambda *_: None)
    reopen().take([reading(2)])
    monkeypatch.undo()
    synced = []
    monkeypatch.setattr(durable, "sync", lambda table, versions: synced.append((table.name, list(versions))))
    assert lake.marks([STREAM]) == {STREAM: 2}
    assert ("readings", [2]) in synced


def test_marks_and_rows_outlive_the_log_they_were_written_in(reopen, log):
    for path in log.glob("*.json"):
        os.utime(path, (0, 0))
    reopen().compact()
    assert not (log / f"{1:020}.json").exists()
    lake = reopen()
    assert lake.take([reading(n) for n in range(1, 5)]) == {STREAM: 4}
    assert sequences(reopen(), "readings") == [1, 2, 3, 4]


def test_files_of_a_killed_writer_go_once_they_are_old(tmp_path, reopen):
    lake = reopen()
    lake.take([reading(1)])
    [file] = (tmp_path / "readings").glob("landed=*/*.parquet")
    young, old = file.with_name("young.parquet"), file.with_name("old.parquet")
    for path in (young, old):
        shutil.copyfile(file, path)
    os.utime(old, (0, 0))
    os.utime(file, (0, 0))
    assert lake.compact().files_removed == 1
    assert (file.exists(), young.exists(), old.exists()) == (True, True, False)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "lake").write_text("no folder")
    with pytest.raises(UnavailableError, match="lake cannot be reached"):
        open_lake(LakeSettings(folder=str(tmp_path / "lake"))).take([reading(1)])
