"""The journal's database: cursors, the loss ledger, and where full segments have what.

Its blocks are in segment files (``store``). A change and the blocks written with it are one: both carry the number of
their group, and blocks whose group the database does not know of were never accepted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from edgewise._lib.sqlite import open_database, read_statements, translate

DATABASE = "journal.db"
"""The database's name in the journal's folder."""

SQL = read_statements(Path(__file__).with_name("queries.sql"))
"""The journal's statements by name."""

_MIGRATIONS = [
    path.read_text(encoding="utf-8") for path in sorted(Path(__file__).with_name("migrations").glob("*.sql"))
]


_log = logging.getLogger(__name__)

_MUCH_BYTES = 16 << 20
_WAL_BYTES = 1 << 20  # copied to the database at this size, then written anew from its start


class Tables:
    """A connection that only reads; its answers are of one state within ``snapshot``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / DATABASE
        try:
            self.connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30.0)
            self.connection.execute("PRAGMA query_only=ON")
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    def columns(self, stream: int, first: int) -> bytes:
        """Where the blocks of a run lie, as ``index.Columns`` packs it."""
        row = self.connection.execute(SQL["select_columns"], (stream, first)).fetchone()
        return bytes(row[0]) if row else b""

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Inside, all answers are of one state."""
        try:
            self.connection.execute("BEGIN")
            try:
                yield self.connection
            finally:
                self.connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    def close(self) -> None:
        """Releases the file."""
        self.connection.close()


class Database:
    """A connection that begins a transaction with the first change. Used by one thread at a time.

    Args:
        folder: The journal's folder.

    Raises:
        CorruptError: The file is not an intact database.
        StorageFullError: The disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / DATABASE
        self.connection = open_database(self.path, _MIGRATIONS)
        self.connection.execute("PRAGMA secure_delete=FAST")
        [(page_bytes,)] = self.connection.execute("PRAGMA page_size")
        self.connection.execute(f"PRAGMA wal_autocheckpoint={_WAL_BYTES // page_bytes}")
        _lay_out(self.path.with_name(f"{DATABASE}-wal"))

    @property
    def changed(self) -> bool:
        """Whether there is something to commit."""
        return self.connection.in_transaction

    def change(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Runs a statement that changes something."""
        self._begin()
        return self.connection.execute(SQL[statement], values)

    def change_each(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Runs a statement that changes something for each row of values."""
        self._begin()
        self.connection.executemany(SQL[statement], rows)

    def one(self, statement: str, *values: object) -> Any:
        """The first row of an answer, or None."""
        return self.connection.execute(SQL[statement], values).fetchone()

    def all(self, statement: str, *values: object) -> list[Any]:
        """All rows of an answer."""
        return self.connection.execute(SQL[statement], values).fetchall()

    def commit(self) -> None:
        """Returns once the changes are on disk."""
        if self.changed:
            self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Takes the changes back."""
        if self.changed:  # SQLite ends some transactions by itself, such as when the disk is full
            self.connection.execute("ROLLBACK")

    def shrink(self) -> None:
        """Gives room back that much content left behind."""
        free, page_bytes = (
            self.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size")
        )
        if free * page_bytes > _MUCH_BYTES:
            self.connection.execute("VACUUM")

    def translate(self, error: BaseException) -> BaseException:
        """SQLite's errors as ours where the caller can act on them; others as they are."""
        return translate(error, self.path) if isinstance(error, sqlite3.Error) else error

    def close(self) -> None:
        """Releases the file."""
        self.connection.close()

    def _begin(self) -> None:
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN IMMEDIATE")


def _lay_out(log: Path) -> None:
    """Makes the write-ahead log as long as it will get, so that a commit overwrites blocks that are there.

    A sync then has no change of size or allocation to write, which nearly halves it. SQLite ignores what follows the
    last valid frame.
    """
    try:
        with open(log, "ab", buffering=0) as file:
            length = file.tell()
            try:
                file.write(bytes(max(0, _WAL_BYTES + _WAL_BYTES // 4 - length)))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(length)  # leaves the little room there is to the records
                raise
    except OSError as error:
        _log.debug("%s was not laid out, so syncs take longer: %s", log, error)
