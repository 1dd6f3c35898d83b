"""Opening and migrating SQLite files the one way Edgewise does it.

WAL with ``synchronous=FULL``: a commit that returned survives power loss. Migrations and their record are one
transaction, whichever process comes first. Migrations only expand the schema (new tables, columns with defaults), so
the previous release still runs on it after a rollback.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgewise.errors import CorruptError, StorageFullError, UnavailableError

# How long another process may hold a database up.
_PATIENCE_S = 30.0


def open_database(path: Path | None, migrations: Sequence[str], *, page_bytes: int = 4096) -> sqlite3.Connection:
    """Opens (or makes) a database and brings it to the newest schema.

    Args:
        path: The file; ``None`` for one in memory.
        migrations: SQL scripts in order; the count applied is kept in ``user_version``.
        page_bytes: Page size of a new database.

    Returns:
        A connection in autocommit mode (transactions are explicit), usable from any thread one at a time.

    Raises:
        CorruptError: The file is not an intact database.
    """
    try:
        connection = sqlite3.connect(
            path or ":memory:", isolation_level=None, check_same_thread=False, timeout=_PATIENCE_S
        )
    except sqlite3.Error as error:
        raise translate(error, path) from error
    try:
        connection.execute(f"PRAGMA page_size={page_bytes}")
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        _migrate(connection, migrations)
    except sqlite3.Error as error:
        connection.close()
        raise translate(error, path) from error
    return connection


def read_statements(path: Path) -> dict[str, str]:
    """Reads SQL statements from a file where each stands under a ``-- name: WORD`` line; by that word."""
    parts = path.read_text(encoding="utf-8").split("-- name: ")[1:]
    return {name.strip(): sql.strip() for name, _, sql in (part.partition("\n") for part in parts)}


def translate(error: sqlite3.Error, path: Path | None) -> Exception:
    """SQLite's error as one of ours where the caller can act on it, else the error itself."""
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL":
        return StorageFullError(f"No space left for {path}", hint="Free disk space, then retry.")
    if name in {"SQLITE_CORRUPT", "SQLITE_NOTADB"}:
        return CorruptError(f"{path} is not an intact database: {error}", hint="Restore it from a backup.")
    if name.startswith("SQLITE_IOERR"):
        return UnavailableError(f"The disk under {path} fails: {error}", hint="Look at the disk and at `dmesg`.")
    return error


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that writes: committed when the block ends well, else undone, also when the commit itself fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite ends some by itself, such as when the disk is full
            connection.execute("ROLLBACK")
        raise


def _use_wal(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:  # for this one SQLite does not wait by itself
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > deadline:
                raise
        time.sleep(0.005)


def _migrate(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    if _version(connection) >= len(migrations):
        return
    with transaction(connection):
        for script in migrations[_version(connection) :]:  # asked again: another process may have been first
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={max(_version(connection), len(migrations))}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; ``executescript`` would end the transaction around it."""
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip("; \n"):
        yield statement
