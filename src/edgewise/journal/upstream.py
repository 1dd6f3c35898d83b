"""Marks of the blobs that the parent has, durable: what it confirmed, and never more.

A mark may be missing (it is set after the parent's answer, and the oldest go when there are too many): then a blob is
only kept longer than it must be.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from edgewise._lib.sqlite import open_database, read_statements, transaction, translate
from edgewise.errors import CorruptError

_SQL = read_statements(Path(__file__).with_name("upstream.sql"))
_MIGRATIONS = [_SQL["create"]]
MAX_MARKS = 1_000_000


class UpstreamMarks:
    """Digests that the parent confirmed, with their media types. Safe for threads.

    Args:
        path: The database; made with the first mark.
        max_marks: Marks kept at most, the newest.

    Raises:
        CorruptError: The file is damaged.
    """

    def __init__(self, path: Path, *, max_marks: int = MAX_MARKS) -> None:
        self._path = path
        self._max_marks = max_marks
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        if path.exists():
            self._open()

    def add(self, media_types: Mapping[str, str]) -> None:
        """Marks these digests, on disk when it returns.

        Raises:
            StorageFullError: The disk is full; none is marked.
        """
        rows = [(bytes.fromhex(digest), media_type) for digest, media_type in media_types.items()]
        if rows:
            with self._lock, self._translated(), transaction(database := self._open()):
                database.executemany(_SQL["insert_mark"], rows)
                database.execute(_SQL["delete_oldest"], (self._max_marks,))

    def remove(self, digest: str) -> None:
        """The parent does not have it any more."""
        if self._database:
            with self._lock, self._translated(), transaction(self._database):
                self._database.execute(_SQL["delete_mark"], (bytes.fromhex(digest),))

    def clear(self) -> None:
        """Nothing is known to be at the parent, which is another one now."""
        if self._database:
            with self._lock, self._translated(), transaction(self._database):
                self._database.execute(_SQL["delete_all"])

    def find(self, digest: str) -> str | None:
        """The media type of a marked blob; None when it is not marked."""
        if not self._database:
            return None
        with self._lock, self._translated():
            row = self._database.execute(_SQL["select_mark"], (bytes.fromhex(digest),)).fetchone()
        return str(row[0]) if row else None

    def among(self, digests: Iterable[str]) -> set[str]:
        """Those of the digests that are marked."""
        if not self._database:
            return set()
        with self._lock, self._translated():
            marked = {bytes(row[0]) for row in self._database.execute(_SQL["select_digests"])}
        return {digest for digest in digests if bytes.fromhex(digest) in marked}

    def close(self) -> None:
        """Releases the file."""
        with self._lock:
            if self._database:
                self._database.close()
                self._database = None

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self._database = open_database(self._path, _MIGRATIONS)
            except CorruptError as error:
                hint = "Remove it: what the parent has is asked anew."
                raise CorruptError(error.message, hint=hint, file=str(self._path)) from error
        return self._database

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
