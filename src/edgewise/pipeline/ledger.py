"""What has to be known of commands after a crash: which keys were used, which of them no device has confirmed, and who
holds which device.

A key, its device and the hold of its command are on disk, in one transaction, before the command leaves.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgewise._lib.sqlite import open_database, read_statements, transaction, translate
from edgewise.errors import ClosedError
from edgewise.pipeline.base import Hold, Origin

_SCHEMA = """
CREATE TABLE keys (key TEXT NOT NULL UNIQUE, time_ns INTEGER NOT NULL);
CREATE TABLE holds (
    device TEXT PRIMARY KEY, origin TEXT NOT NULL, cause TEXT NOT NULL,
    since_ns INTEGER NOT NULL, until_ns INTEGER NOT NULL
);
"""
# The device of a key that it has not confirmed; empty once it did.
_UNCONFIRMED = """
ALTER TABLE keys ADD COLUMN unconfirmed TEXT NOT NULL DEFAULT '';
CREATE INDEX unconfirmed ON keys (unconfirmed) WHERE unconfirmed != '';
"""
_SQL = read_statements(Path(__file__).with_name("ledger.sql"))


class Ledger:
    """Keys and holds in a small database. Safe for threads.

    Args:
        path: The file; None for one in memory.

    Raises:
        CorruptError: The file is not an intact database.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = open_database(path, [_SCHEMA, _UNCONFIRMED])

    def keys(self) -> list[str]:
        """Every key that was used and is not forgotten, oldest first."""
        with self._open() as database:
            return [str(key) for (key,) in database.execute(_SQL["select_keys"])]

    def holds(self) -> dict[str, Hold]:
        """Who holds which device, also where the time is over."""
        with self._open() as database:
            rows = database.execute(_SQL["select_holds"]).fetchall()
        return {device: Hold(Origin(origin), cause, since, until) for device, origin, cause, since, until in rows}

    def unconfirmed(self) -> set[str]:
        """Devices that may have been commanded and have confirmed nothing since."""
        with self._open() as database:
            return {str(device) for (device,) in database.execute(_SQL["select_unconfirmed"])}

    def use(self, key: str, time_ns: int, *, device: str, hold: Hold | None) -> None:
        """Remembers that a key is used, and who holds the device from now on.

        Raises:
            StorageFullError: The disk is full; nothing is remembered.
        """
        with self._open() as database, transaction(database):
            database.execute(_SQL["insert_key"], (key, time_ns, device))
            _put(database, device, hold)

    def confirm(self, device: str) -> None:
        """Remembers that a device confirmed what it was told last.

        It does not wait for the disk: when the power fails now, the device is brought where it is safe for nothing.
        """
        with self._open() as database:
            database.execute("PRAGMA synchronous=NORMAL")
            try:
                database.execute(_SQL["confirm_keys"], (device,))
            finally:
                database.execute("PRAGMA synchronous=FULL")

    def give_back(self, key: str, *, device: str, hold: Hold | None) -> None:
        """Undoes ``use``: the command certainly did not act."""
        with self._open() as database, transaction(database):
            database.execute(_SQL["delete_key"], (key,))
            _put(database, device, hold)

    def hold(self, device: str, hold: Hold | None) -> None:
        """Remembers who holds a device; None for nobody."""
        with self._open() as database, transaction(database):
            _put(database, device, hold)

    def forget(self, keys: Iterable[str]) -> None:
        """Removes keys that are too old to matter."""
        with self._open() as database, transaction(database):
            database.executemany(_SQL["delete_key"], [(key,) for key in keys])

    def close(self) -> None:
        """Releases the file. May be called twice."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._database is None:
                raise ClosedError("The ledger of commands was closed")
            try:
                yield self._database
            except sqlite3.Error as error:
                raise translate(error, self._path) from error


def _put(database: sqlite3.Connection, device: str, hold: Hold | None) -> None:
    if hold is None:
        database.execute(_SQL["delete_hold"], (device,))
    else:
        row = (device, hold.origin.value, hold.cause, hold.since_ns, hold.until_ns)
        database.execute(_SQL["upsert_hold"], row)
