"""Reading a journal's database: records, audit, ledger. Writes nothing, so it is safe beside a running node.

Every method sees one consistent state of the database (a WAL snapshot).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgewise._lib.sqlite import read_statements, translate
from edgewise.errors import NotFoundError
from edgewise.journal import blocks
from edgewise.journal.base import Balance, Loss, Reason
from edgewise.journal.refusals import closed
from edgewise.types import Record

DATABASE = "journal.db"
"""The database's name in the journal's folder."""

SQL = read_statements(Path(__file__).with_name("queries.sql"))
"""The journal's statements by name."""


class SqliteReader:
    """The reading side of a SQLite journal.

    Args:
        folder: The journal's folder.
        node: Whose streams ``read`` finds by name.

    Raises:
        NotFoundError: The folder holds no journal.
    """

    def __init__(self, folder: Path, *, node: str) -> None:
        self._path = folder / DATABASE
        if not self._path.exists():
            raise NotFoundError(f"{folder} holds no journal.", hint="Start the node once: edgewise up", kind="journal")
        self._node = node
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = _connect(self._path)

    def read(
        self, stream: str, *, after: int = 0, before: int = 0, limit: int = 100, newest_first: bool = False
    ) -> list[Record]:
        """See ``base.Journal``. A damaged block raises CorruptError with the fact ``position``."""
        with self._snapshot() as connection:
            number = self._stream_id(connection, stream)
            return _read(
                connection,
                (number, self._node, stream),
                after=after,
                before=before or blocks.MAX_SEQUENCE,
                limit=limit,
                newest_first=newest_first,
            )

    def audit(self) -> list[Balance]:
        """See ``base.Journal``; every node and stream in the database, consumer by consumer."""
        with self._snapshot() as connection:
            return [
                balance
                for row in connection.execute(SQL["select_every_stream"]).fetchall()
                for balance in _audit(connection, *row)
            ]

    def losses(self, stream: str = "") -> list[Loss]:
        """See ``base.LossLedger``."""
        with self._snapshot() as connection:
            rows = connection.execute(SQL["select_losses"], {"stream": stream}).fetchall()
        return [
            Loss(node, name, consumer, first, last, count, Reason(reason), time_ns)
            for node, name, consumer, first, last, count, reason, time_ns in rows
        ]

    def damaged(self) -> list[int]:
        """Positions of all blocks that fail their checksum."""
        with self._snapshot() as connection:
            cursor = connection.execute(SQL["select_blocks"], (0, blocks.MAX_POSITION))
            with contextlib.closing(cursor):
                return [block.position for block in map(blocks.Block._make, cursor) if not block.intact]

    def close(self) -> None:
        """Releases the file."""
        with self._lock:
            if self._connection:
                self._connection.close()
                self._connection = None

    def _stream_id(self, connection: sqlite3.Connection, stream: str) -> int:
        row = connection.execute(SQL["select_stream"], (self._node, stream)).fetchone()
        if not row:
            raise NotFoundError(f"No stream {stream!r} in the journal.", kind="stream", name=stream)
        return int(row[0])

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if not self._connection:
                raise closed()
            try:
                self._connection.execute("BEGIN")
                try:
                    yield self._connection
                finally:
                    self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise translate(error, self._path) from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
        connection.execute("PRAGMA query_only=ON")
        return connection
    except sqlite3.Error as error:
        raise translate(error, path) from error


def _read(
    connection: sqlite3.Connection,
    stream: tuple[int, str, str],
    *,
    after: int,
    before: int,
    limit: int,
    newest_first: bool,
) -> list[Record]:
    number, node, name = stream
    low = first_key(connection, number, after + 1)
    high = blocks.position(number, before - 1)
    found: list[Record] = []
    statement = SQL["select_blocks_newest_first" if newest_first else "select_blocks"]
    with contextlib.closing(connection.execute(statement, (low, high))) as rows:
        for row in rows:
            records = blocks.decode(blocks.Block._make(row), node=node, stream=name)
            if newest_first:
                records.reverse()
            found += (record for record in records if after < record.sequence < before)
            if len(found) >= limit:
                break
    return found[:limit]


def first_key(connection: sqlite3.Connection, stream: int, sequence: int) -> int:
    """The key of the stream's block that holds ``sequence``, or where it would stand."""
    key = blocks.position(stream, sequence)
    row: tuple[Any, ...] | None = connection.execute(SQL["select_newest"], (blocks.position(stream, 0), key)).fetchone()
    return int(row[0]) if row and row[1] >= sequence else key


def count_records(
    connection: sqlite3.Connection, stream: int, *, after: int, through: int = blocks.MAX_SEQUENCE
) -> int:
    """How many records past ``after``, up to ``through``, are stored."""
    low, high = first_key(connection, stream, after + 1), blocks.position(stream, through)
    bounds = {"low": low, "high": high, "after": after, "through": through}
    return int(connection.execute(SQL["count_records"], bounds).fetchone()[0])


def _audit(
    connection: sqlite3.Connection, number: int, node: str, stream: str, last: int, delivered: int
) -> Iterator[Balance]:
    low, high = blocks.position(number, 0), blocks.position(number, blocks.MAX_SEQUENCE)
    newest = connection.execute(SQL["select_newest"], (low, high)).fetchone()
    produced = max(last, newest[1]) if newest else last

    def dropped(consumer: str, start: int) -> int:
        return int(connection.execute(SQL["sum_losses"], (number, consumer, start)).fetchone()[0])

    yield Balance(node, stream, "", produced, delivered, count_records(connection, number, after=0), dropped("", 0))
    for name, start, missed, acked, acknowledged, *_ in connection.execute(
        SQL["select_consumers"], (number,)
    ).fetchall():
        yield Balance(
            node,
            stream,
            name,
            produced - start - missed,
            acknowledged,
            count_records(connection, number, after=acked),
            dropped(name, start),
        )
