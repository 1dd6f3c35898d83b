"""Databases are opened and migrated by whoever comes first, also when several come at once."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgewise._lib.sqlite import open_database
from edgewise.errors import CorruptError

FIRST = "CREATE TABLE people (name TEXT); -- a comment; with a semicolon\nCREATE INDEX people_by_name ON people (name);"
SECOND = """
CREATE TABLE log (name TEXT);
CREATE TRIGGER told AFTER INSERT ON people BEGIN
    INSERT INTO log VALUES (new.name);
    INSERT INTO log VALUES ('again; ' || new.name);
END;
"""


def test_several_that_open_a_new_database_at_once_migrate_it_once(tmp_path: Path) -> None:
    for turn in range(10):
        together = threading.Barrier(4)

        def come(path: Path, together: threading.Barrier = together) -> sqlite3.Connection:
            together.wait(10)
            return open_database(path, [FIRST, SECOND])

        with ThreadPoolExecutor(4) as threads:
            connections = list(threads.map(come, [tmp_path / f"{turn}.db"] * 4))
        for connection in connections:
            assert connection.execute("PRAGMA user_version").fetchone() == (2,)
            connection.close()


def test_an_older_database_gets_what_it_lacks_and_a_newer_one_is_left_alone(tmp_path: Path) -> None:
    open_database(tmp_path / "a.db", [FIRST]).close()
    newer = open_database(tmp_path / "a.db", [FIRST, SECOND])
    newer.execute("INSERT INTO people VALUES ('Ada')")
    assert newer.execute("SELECT name FROM log").fetchall() == [("Ada",), ("again; Ada",)]
    newer.close()
    older = open_database(tmp_path / "a.db", [FIRST])
    assert older.execute("PRAGMA user_version").fetchone() == (2,)
    older.close()


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        open_database(tmp_path / "a.db", [FIRST, "CREATE TABLE half (x); NONSENSE;"])
    connection = sqlite3.connect(tmp_path / "a.db")
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert "half" not in tables
    connection.close()


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"not a database, but long enough to have a header" * 100)
    with pytest.raises(CorruptError):
        open_database(tmp_path / "a.db", [FIRST])
