"""What every lake keeps: the contract of ``edgewise.lake.base``, as tests.

Subclass it and give ``lake``, an empty one on a clock that ``clock`` sets.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import BusyError, InputError, NotFoundError, TooLargeError
from edgewise.lake.base import Lake, Limits
from edgewise.lake.rows import MAX_RECORDS
from edgewise.lake.upkeep import MANY
from edgewise.types import Record

OpenLake: TypeAlias = Callable[..., Lake]
"""Opens the lake under test, again and again on the same place; takes fields of ``LakeSettings``."""

NOON_NS = 1_796_040_000_000_000_000
"""2026-11-30 12:00 UTC."""


def reading(sequence: int, *, node: str = "shed", time_ns: int = 0, **values: Any) -> Record:
    """A record of the stream ``readings``; each a second after the one before, unless ``time_ns`` says when."""
    body = {"source": "boiler", "values": values or {"temperature": sequence / 2}}
    return Record(node, "readings", sequence, time_ns or NOON_NS + sequence * 10**9, "reading", body)


def record(sequence: int, *, stream: str, node: str = "shed", **body: Any) -> Record:
    """A record of another stream."""
    return Record(node, stream, sequence, NOON_NS + sequence * 10**9, "face.known", {"source": "door", **body}, ("ab",))


def rows(lake: Lake, sql: str, **limits: Any) -> list[list[Any]]:
    """The rows of a query."""
    return lake.query(sql, Limits(**limits)).rows


def sequences(lake: Lake, table: str, node: str = "shed") -> list[int]:
    """The sequences of a node's rows in a table, each as often as it is there."""
    found = rows(lake, f"SELECT sequence FROM {table} WHERE node = '{node}' ORDER BY sequence", max_rows=1_000_000)  # noqa: S608
    return [sequence for [sequence] in found]


class LakeContract:
    """Promises of a lake."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock(NOON_NS)

    @pytest.fixture
    def open_lake(self, clock: ManualClock) -> OpenLake:
        raise NotImplementedError

    @pytest.fixture
    def lake(self, open_lake: OpenLake) -> Lake:
        return open_lake()

    def test_records_of_many_streams_land_each_in_its_table(self, lake: Lake) -> None:
        marks = lake.take(
            [
                reading(1, temperature=20.5, door=True, state="idle", count=2**60, missing=None),
                reading(1, node="attic"),
                record(1, stream="events", label="ann"),
                record(1, stream="decisions", rule="open"),
            ]
        )
        assert marks == {
            ("shed", "readings"): 1,
            ("attic", "readings"): 1,
            ("shed", "events"): 1,
            ("shed", "decisions"): 1,
        }
        found = rows(lake, "SELECT channel, value, text FROM readings WHERE node = 'shed' ORDER BY channel")
        assert found == [
            ["count", 2.0**60, str(2**60)],
            ["door", 1.0, "true"],
            ["missing", None, None],
            ["state", None, "idle"],
            ["temperature", 20.5, None],
        ]
        assert rows(lake, "SELECT * FROM events") == [
            [
                "shed",
                "door",
                "2026-11-30T12:00:01Z",
                1,
                "face.known",
                '{"source":"door","label":"ann"}',
                ["ab"],
                "2026-11-30",
            ]
        ]
        assert rows(lake, "SELECT stream, kind, body->>'rule' FROM records") == [["decisions", "face.known", "open"]]

    def test_what_is_handed_over_again_lands_once(self, open_lake: OpenLake) -> None:
        streams = [("shed", "readings"), ("shed", "events"), ("attic", "readings")]
        assert open_lake().marks(streams) == dict.fromkeys(streams, 0)
        open_lake().take([reading(n) for n in range(1, 6)])
        open_lake().take([reading(n) for n in range(3, 9)])
        lake = open_lake()
        assert lake.take([reading(n) for n in range(1, 4)]) == {("shed", "readings"): 8}
        assert sequences(lake, "readings") == list(range(1, 9))
        assert lake.marks(streams) == {streams[0]: 8, streams[1]: 0, streams[2]: 0}

    def test_what_is_no_plain_reading_is_kept_whole_elsewhere(self, lake: Lake) -> None:
        strange = Record("shed", "readings", 2, NOON_NS, "calibration", {"by": "hand", "offsets": [1, 2]})
        unlike = [reading(3, nested={"a": 1}), Record("shed", "readings", 4, -(2**70), "reading", {"values": 5})]
        records = [reading(1), strange, *unlike]
        assert lake.take(records) == lake.take(records) == {("shed", "readings"): 4}
        assert sequences(lake, "readings") == [1]
        assert sequences(lake, "records") == [2, 3, 4]
        assert rows(lake, "SELECT stream, body FROM records WHERE sequence = 2") == [
            ["readings", '{"by":"hand","offsets":[1,2]}']
        ]

    def test_a_stream_that_runs_backwards_is_refused_whole(self, lake: Lake) -> None:
        with pytest.raises(InputError, match="Record 1 of shed/readings is out of order"):
            lake.take([reading(2), reading(1)])
        with pytest.raises(TooLargeError):
            lake.take([reading(1)] * (MAX_RECORDS + 1))
        lake.take([])
        assert lake.marks([("shed", "readings")]) == {("shed", "readings"): 0}

    def test_two_writers_of_one_stream_write_it_once(self, open_lake: OpenLake) -> None:
        one, other = open_lake(), open_lake()
        one.take([reading(1)])
        other.take([reading(1)])
        refused: list[BaseException] = []

        def feed(lake: Lake) -> None:
            try:
                for last in range(2, 22):
                    lake.take([reading(n) for n in range(max(1, last - 3), last + 1)])
            except BusyError:
                pass  # the other one was always first, which is no harm
            except BaseException as error:
                refused.append(error)
                raise

        threads = [threading.Thread(target=feed, args=(lake,)) for lake in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert refused == []
        assert sequences(one, "readings") == list(range(1, 22))

    def test_compaction_merges_files_and_keeps_rows_and_marks(self, open_lake: OpenLake) -> None:
        lake = open_lake()
        for n in range(1, MANY + 1):
            lake.take([reading(n), reading(n, node=f"other-{n}")])
        before = {table.name: table for table in lake.tables()}
        assert open_lake().compact().files_merged == MANY
        after = {table.name: table for table in lake.tables()}
        assert (before["readings"].files, after["readings"].files) == (MANY, 1)
        assert after["readings"].rows == 2 * MANY
        assert lake.compact().files_merged == 0
        reopened = open_lake()
        assert reopened.take([reading(n) for n in range(1, MANY + 3)]) == {("shed", "readings"): MANY + 2}
        assert sequences(reopened, "readings") == list(range(1, MANY + 3))
        assert reopened.marks([("other-1", "readings")]) == {("other-1", "readings"): 1}

    def test_a_day_that_is_over_becomes_one_file_and_an_old_one_goes(
        self, open_lake: OpenLake, clock: ManualClock
    ) -> None:
        lake = open_lake(keep_days=2)
        for n in (1, 2):
            lake.take([reading(n)])
        clock.advance(86400)
        lake.take([reading(3)])
        assert lake.compact().files_merged == 2
        assert [table.files for table in lake.tables() if table.name == "readings"] == [2]
        clock.advance(2 * 86400)
        assert lake.compact().rows_expired == 2
        assert sequences(lake, "readings") == [3]
        assert lake.take([reading(n) for n in range(1, 5)]) == {("shed", "readings"): 4}
        assert sequences(lake, "readings") == [3, 4]

    def test_writers_readers_and_compaction_do_not_disturb_each_other(self, open_lake: OpenLake) -> None:
        lake, keeper = open_lake(), open_lake()
        lake.take([reading(1)])
        done = threading.Event()
        failed: list[BaseException] = []

        def keep() -> None:
            try:
                while not done.is_set():
                    keeper.compact()
            except BaseException as error:
                failed.append(error)
                raise

        thread = threading.Thread(target=keep)
        thread.start()
        try:
            for n in range(2, 80):
                lake.take([reading(n)])
                if n % 40 == 0:
                    assert sequences(open_lake(), "readings") == list(range(1, n + 1))
        finally:
            done.set()
            thread.join()
        assert failed == []
        assert sequences(lake, "readings") == list(range(1, 80))

    def test_a_query_says_what_it_left_out(self, lake: Lake) -> None:
        lake.take([reading(n) for n in range(1, 11)])
        result = lake.query("SELECT sequence AS n, value FROM readings ORDER BY n", Limits(max_rows=3))
        assert [(column.name, column.type) for column in result.columns] == [("n", "BIGINT"), ("value", "DOUBLE")]
        assert (result.rows, result.truncated) == ([[1, 0.5], [2, 1.0], [3, 1.5]], True)
        assert not lake.query("SELECT sequence FROM readings", Limits(max_rows=10)).truncated

    def test_export_writes_all_rows(self, lake: Lake, tmp_path: Path) -> None:
        lake.take([reading(n) for n in range(1, 31)])
        assert (
            lake.export("SELECT * FROM readings", tmp_path / "all.csv", format="csv", limits=Limits(max_rows=1)) == 30
        )
        assert len((tmp_path / "all.csv").read_text().splitlines()) == 31
        assert lake.export("SELECT * FROM readings", tmp_path / "all.parquet", format="parquet") == 30

    def test_where_no_lake_is_nothing_is_found(self, lake: Lake) -> None:
        with pytest.raises(NotFoundError):
            lake.tables()
        with pytest.raises(NotFoundError):
            lake.query("SELECT 1")
