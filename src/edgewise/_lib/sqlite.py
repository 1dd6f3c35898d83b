"""Opening and migrating SQLite files the one way Edgewise does it.

WAL with ``synchronous=FULL``: a commit that returned survives power loss. A migration and its record are one
transaction. Migrations only expand the schema (new tables, columns with defaults), so the previous release still runs
on it after a rollback.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from edgewise.errors import CorruptError, StorageFullError, UnavailableError


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
        connection = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False, timeout=30.0)
    except sqlite3.Error as error:
        raise translate(error, path) from error
    try:
        connection.execute(f"PRAGMA page_size={page_bytes}")
        connection.execute("PRAGMA journal_mode=WAL")
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


def _migrate(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    done: int = connection.execute("PRAGMA user_version").fetchone()[0]
    for number, script in enumerate(migrations[done:], start=done + 1):
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\n;PRAGMA user_version={number};\nCOMMIT;")
