"""Queries read the lake's tables and nothing else, and end at their limits, whatever the SQL."""

import csv
import subprocess
import sys
import time

import msgspec
import pyarrow.parquet as parquet
import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import BusyError, EdgewiseError, InputError, TooLargeError
from edgewise.lake import open_lake
from edgewise.lake.base import MIB, LakeSettings, Limits
from edgewise.lake.questions import Question
from edgewise.lake.values import plain
from edgewise.testing.lake import NOON_NS, reading, record, rows
from edgewise.types import Record

DAY_S = 86400


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    lake = open_lake(LakeSettings(folder=str(tmp_path_factory.mktemp("lake"))), clock=ManualClock(NOON_NS))
    lake.take([*(reading(n) for n in range(1, 101)), record(1, stream="events", label="ann")])
    return lake


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "SELECT * FROM read_parquet('/tmp/*.parquet')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM query('COPY readings TO ''/tmp/stolen.csv''')",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM question",  # no variable of the program is a table
        "SELECT getenv('HOME')",
        "SELECT * FROM arrow_scan(1::POINTER, 2::POINTER, 3::POINTER)",
        "COPY readings TO '/tmp/stolen.csv'",
        "EXPLAIN ANALYZE COPY readings TO '/tmp/stolen.csv'",
        "EXPORT DATABASE '/tmp/stolen'",
        "ATTACH '/tmp/stolen.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "PRAGMA memory_limit='10GB'",
        "SET memory_limit='10GB'",
        "RESET lock_configuration",
        "CALL pragma_version()",
        "CREATE TABLE mine AS SELECT 1",
        "DROP VIEW readings",
        "INSERT INTO readings SELECT * FROM readings",
        "DELETE FROM readings",
        "CREATE SECRET (TYPE s3)",
        "PREPARE p AS SELECT 1",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY readings TO '/tmp/stolen.csv'",
        "-- nothing",
        "SELECT FROM WHERE",
        "SELECT nothing FROM readings",
        "SELECT * FROM nowhere",
    ],
)
def test_what_is_no_plain_question_is_refused(lake, sql):
    with pytest.raises(InputError) as caught:
        lake.query(sql)
    assert not isinstance(caught.value, TooLargeError)
    assert "root:" not in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "is_within"),
    [
        ("SELECT count(*) FROM readings a, readings b, readings c, readings d, readings e, readings f", "time"),
        # The engine cannot be interrupted in there.
        ("SELECT jaro_similarity(repeat('x', 200000) || i, repeat('y', 200000)) FROM range(1000) t(i)", "time"),
        ("SELECT length(repeat('x', 1000000000))", "memory"),  # the engine's own limit does not see this
        ("SELECT list(i) FROM range(100000000) t(i)", "memory"),
        ("SELECT count(DISTINCT i) FROM range(100000000) t(i)", "memory"),
        ("SELECT string_agg(repeat('x', 1000), '') FROM range(10000000)", "memory"),
    ],
)
def test_a_query_ends_at_its_limits(lake, sql, is_within):
    limits = Limits(timeout_s=1.5) if is_within == "time" else Limits(memory_bytes=256 * MIB)
    start = time.monotonic()
    with pytest.raises(TooLargeError) as caught:
        lake.query(sql, limits)
    assert caught.value.facts["resource"] == is_within
    assert time.monotonic() - start < 8


def test_a_billion_rows_are_cut_short(lake):
    result = lake.query("SELECT i, 'x' || i FROM range(1000000000) t(i)", Limits(max_rows=5))
    assert (len(result.rows), result.truncated) == (5, True)
    large = lake.query("SELECT repeat('x', 1000) FROM range(1000000000)", Limits(max_bytes=100_000))
    assert (len(large.rows) < 100, large.truncated) == (True, True)


def test_a_query_ends_when_nobody_waits_for_it_any_more(lake):
    question = Question(lake._settings, "SELECT count(*) FROM range(100000000000) t(i) WHERE hash(i) = 1", Limits())
    command = [sys.executable, "-P", "-m", "edgewise.lake.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(msgspec.json.encode(question) + b"\n")
        process.stdin.close()  # as it is when whoever asked was killed
        assert process.wait(10) == 1


def test_more_queries_than_allowed_at_once_are_refused(tmp_path):
    lake = open_lake(LakeSettings(folder=str(tmp_path), max_queries=1))
    lake.take([reading(1)])
    lake._asking.acquire()
    with pytest.raises(BusyError):
        lake.query("SELECT 1")
    lake._asking.release()
    assert rows(lake, "SELECT 1") == [[1]]


def test_a_query_of_one_day_reads_that_days_files_alone(tmp_path):
    clock = ManualClock(NOON_NS)
    lake = open_lake(LakeSettings(folder=str(tmp_path)), clock=clock)
    for day in range(3):
        lake.take([reading(day * 10 + n, time_ns=clock.time_ns() + n) for n in range(1, 11)])
        clock.advance(DAY_S)
    for day in ("2026-11-30", "2026-12-02"):  # whoever opens one of these finds that it is none
        for file in (tmp_path / "readings" / f"landed={day}").iterdir():
            file.write_bytes(bytes(file.stat().st_size))
    of_the_day = "time >= '2026-12-01' AND time < '2026-12-02'"
    assert rows(lake, f"SELECT count(*), min(sequence) FROM readings WHERE {of_the_day}") == [[10, 11]]
    assert rows(lake, "SELECT sum(value) FROM readings WHERE landed = DATE '2026-12-01'") == [[77.5]]
    with pytest.raises(EdgewiseError):
        lake.query("SELECT min(sequence) FROM readings")


def test_values_are_those_of_json(lake):
    sql = """SELECT 1.5::DECIMAL(4, 2), 'nan'::DOUBLE, 2::HUGEINT ** 3, 170141183460469231731687303715884105727,
        '\\xFF'::BLOB, INTERVAL 90 MINUTE, {'a': [1, NULL]}, MAP {'k': DATE '2026-11-30'},
        TIMESTAMPTZ '2026-11-30 12:00:00+01', uuid '6f1e1f66-6e1b-4b5c-8a53-0a5e1d7e9c11', NULL, TRUE"""
    assert rows(lake, sql) == [
        [
            1.5,
            None,
            8.0,
            "170141183460469231731687303715884105727",
            "/w==",
            "1:30:00",
            {"a": [1, None]},
            {"k": "2026-11-30"},
            "2026-11-30T11:00:00Z",
            "6f1e1f66-6e1b-4b5c-8a53-0a5e1d7e9c11",
            None,
            True,
        ]
    ]
    assert plain({1: b"a"}) == {"1": "YQ=="}


def test_only_the_columns_that_a_query_names_are_read(lake):
    [[_, plan]] = rows(lake, "EXPLAIN SELECT max(value) FROM readings")
    assert "Projections: value " in plan


def test_sql_of_time_works(lake):
    hourly = "SELECT time_bucket(INTERVAL 1 MINUTE, time) AS m, count(*) FROM readings GROUP BY m ORDER BY m"
    assert rows(lake, hourly) == [["2026-11-30T12:00:00Z", 59], ["2026-11-30T12:01:00Z", 41]]


def test_exported_text_is_no_formula_and_nested_values_are_json(tmp_path):
    lake = open_lake(LakeSettings(folder=str(tmp_path / "lake")), clock=ManualClock(NOON_NS))
    evil = ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(1)", "\tx", 'plain, "quoted"\nand more']
    lake.take([reading(n, note=text) for n, text in enumerate(evil, start=1)])
    lake.take([Record("shed", "events", 1, NOON_NS, "=kind", {"source": "door"}, ("ab", "cd"))])
    lake.export("SELECT text, -sequence AS n FROM readings ORDER BY sequence", tmp_path / "notes.csv", format="csv")
    with open(tmp_path / "notes.csv", newline="") as file:
        header, *found = csv.reader(file)
    assert header == ["text", "n"]
    assert found == [[text if text.startswith("plain") else "'" + text, str(-n)] for n, text in enumerate(evil, 1)]
    lake.export("SELECT kind, blobs FROM events", tmp_path / "events.csv", format="csv")
    assert (tmp_path / "events.csv").read_text().splitlines()[1] == '"\'=kind","[""ab"",""cd""]"'
    lake.export("SELECT kind, blobs FROM events", tmp_path / "events.parquet", format="parquet")
    assert parquet.read_table(tmp_path / "events.parquet").to_pylist() == [{"kind": "=kind", "blobs": ["ab", "cd"]}]


@pytest.mark.parametrize(
    ("sql", "limits", "error"),
    [
        ("SELECT nothing FROM readings", Limits(), InputError),
        ("EXPLAIN SELECT 1", Limits(), InputError),
        ("SELECT 1 AS a, 2 AS a", Limits(), InputError),
        ("SELECT hash(i) AS h FROM range(10000000) t(i)", Limits(max_file_bytes=2 * MIB), TooLargeError),
        ("SELECT count(*) FROM range(100000000000) t(i) WHERE hash(i) = 1", Limits(timeout_s=1), TooLargeError),
    ],
)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_export_that_fails_leaves_the_old_file_and_nothing_else(lake, tmp_path, form, sql, limits, error):
    target = tmp_path / "out"
    target.write_text("as before")
    with pytest.raises(error):
        lake.export(sql, target, format=form, limits=limits)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert target.read_text() == "as before"
