"""State in SQL that lives in SQLite or in PostgreSQL, as the settings say, with the same statements for both.

What a caller may rely on, whichever it is; ``edgewise.testing.state.StateContract`` checks each of these:

* *Statements* are written once, in what both understand, with named parameters (``:name``). Times and counts are
  ``BIGINT``, truth is ``SMALLINT``, text is ``TEXT``. Each parameter's type must follow from where it stands.
* *A transaction* happens whole or not at all, and those that write run one after another, also across threads,
  processes and machines: what one has read stays true until it ends. Inside another it is a part of that. Once a
  statement of it failed, all of it fails.
* *Durable*: a commit that returned survives a power cut.
* *Threads* may share a state; one statement or transaction runs at a time.
* *Errors* are those of ``edgewise.errors``: ConflictError for a key that is there already, UnavailableError when the
  database does not answer (the next call tries again), StorageFullError, CorruptError. A wrong statement is a defect
  and raises the driver's own.
"""

from __future__ import annotations

import abc
import contextlib
import re
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec

from edgewise._lib.secrets import read_secret
from edgewise._lib.sqlite import open_database, translate
from edgewise.errors import ClosedError, ConflictError, MissingExtraError, SettingsError, UnavailableError

Row: TypeAlias = tuple[Any, ...]
_SCHEMES = ("postgresql://", "postgres://")


class StateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the node keeps its accounts.

    Attributes:
        url: ``postgresql://USER@HOST/DATABASE`` keeps them in PostgreSQL, which several nodes may share. Empty: in
            SQLite files in ``node.data``, which need no server and no network.
        password_file: File whose first line is the database's password.
    """

    url: str = ""
    password_file: str = ""


class State(abc.ABC):
    """One component's tables; see the module's docstring."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._inside = False
        self._closed = False
        self._failure: Exception | None = None

    def execute(self, sql: str, /, **values: Any) -> int:
        """Runs a statement that writes; returns how many rows it changed."""
        with self.transaction():
            return self._run(sql, values)[1]

    def all(self, sql: str, /, **values: Any) -> list[Row]:
        """The rows of a query."""
        with self._open():
            return self._run(sql, values)[0]

    def one(self, sql: str, /, **values: Any) -> Row | None:
        """The first row of a query; None when there is none."""
        rows = self.all(sql, **values)
        return rows[0] if rows else None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Holds all other writers off until the block ends; committed when it ends well, else undone."""
        with self._open():
            if self._inside:
                yield
                return
            self._failure = None
            self._begin()
            self._inside = True
            try:
                yield
                if self._failure is not None:
                    raise self._failure
                self._commit()
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._inside = False

    def close(self) -> None:
        """Lets the database go. May be called twice."""
        with self._lock:
            self._closed = True
            self._disconnect()

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise ClosedError("The state was closed")
            yield

    def _run(self, sql: str, values: Mapping[str, Any]) -> tuple[list[Row], int]:
        if self._inside and self._failure is not None:
            raise self._failure
        try:
            return self._statement(sql, values)
        except Exception as error:
            if self._inside:
                self._failure = error
            raise

    @abc.abstractmethod
    def _statement(self, sql: str, values: Mapping[str, Any]) -> tuple[list[Row], int]:
        """Runs one statement: its rows, and how many it changed."""

    @abc.abstractmethod
    def _begin(self) -> None: ...

    @abc.abstractmethod
    def _commit(self) -> None: ...

    @abc.abstractmethod
    def _roll_back(self) -> None:
        """Undoes what was begun; never raises for a database that is gone."""

    @abc.abstractmethod
    def _disconnect(self) -> None: ...


def open_state(settings: StateSettings, file: Path | None, *, component: str, migrations: Path) -> State:
    """Opens a component's state and brings its tables to the newest form.

    Args:
        settings: SQLite, or which PostgreSQL.
        file: SQLite's file, which is made for its owner alone; None keeps it in memory.
        component: Whose tables they are; in PostgreSQL several share a database.
        migrations: Folder of SQL scripts, applied in the order of their names, each once. Where the databases differ,
            ``002.postgresql.sql`` stands in for ``002.sql``. They only expand, as those of ``sqlite``.

    Raises:
        SettingsError: The URL is none, or holds a password.
        MissingExtraError: PostgreSQL is wanted and its driver is not installed.
        UnavailableError: PostgreSQL does not answer.
        CorruptError: The file is not an intact database.
    """
    if not settings.url:
        return _SqliteState(file, scripts(migrations, "sqlite"))
    check_url(settings.url)
    password = read_secret(settings.password_file, what="state.password_file") if settings.password_file else ""
    try:
        from edgewise._lib.postgres import PostgresState
    except ImportError as error:
        raise MissingExtraError(
            "State in PostgreSQL needs psycopg, which is not installed", hint="pip install 'edgewise[postgres]'"
        ) from error
    return PostgresState(settings.url, password, component=component, scripts=scripts(migrations, "postgresql"))


def check_url(url: str) -> None:
    """Raises SettingsError when a URL is none of PostgreSQL, or holds a password."""
    if not url.startswith(_SCHEMES):
        raise SettingsError("state.url: it names no PostgreSQL", hint="Write postgresql://USER@HOST/DATABASE.")
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or "password" in parts.query
    except ValueError as error:
        raise SettingsError(f"state.url: {error}", hint="Write postgresql://USER@HOST/DATABASE.") from error
    if secret:
        raise SettingsError(
            "state.url: it holds a password", hint="Write the password into a file and set state.password_file."
        )


def scripts(migrations: Path, dialect: str) -> list[str]:
    """The migrations for one kind of database, in order."""
    files = {path.name.partition(".")[0]: path for path in migrations.glob("*.sql") if path.name.count(".") == 1}
    files |= {path.name.partition(".")[0]: path for path in migrations.glob(f"*.{dialect}.sql")}
    return [files[number].read_text(encoding="utf-8") for number in sorted(files)]


# What must be told apart before parameters are found: comments, texts, casts, parameters, and what psycopg reads.
_TOKEN = re.compile(r"--[^\n]*|'(?:[^']|'')*'|::|:([a-z_][a-z0-9_]*)|%")


def for_psycopg(sql: str) -> str:
    """A statement with ``:name`` as psycopg wants it: ``%(name)s``, and other per cent signs doubled."""

    def convert(match: re.Match[str]) -> str:
        return f"%({match[1]})s" if match[1] else match[0].replace("%", "%%")

    return _TOKEN.sub(convert, sql)


class _SqliteState(State):
    """In a file, or in memory."""

    def __init__(self, file: Path | None, scripts: list[str]) -> None:
        super().__init__()
        self._file = file
        if file is not None:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.touch(mode=0o600)
        with self._translated():
            self._database = open_database(file, scripts)
            self._database.execute("PRAGMA secure_delete=ON")

    def _statement(self, sql: str, values: Mapping[str, Any]) -> tuple[list[Row], int]:
        with self._translated():
            cursor = self._database.execute(sql, values)
            return cursor.fetchall(), cursor.rowcount

    def _begin(self) -> None:
        with self._translated():
            self._database.execute("BEGIN IMMEDIATE")

    def _commit(self) -> None:
        with self._translated():
            self._database.execute("COMMIT")

    def _roll_back(self) -> None:
        if self._database.in_transaction:  # SQLite ends some by itself, such as when the disk is full
            self._database.execute("ROLLBACK")

    def _disconnect(self) -> None:
        self._database.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            if name in {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}:
                raise ConflictError("It is there already") from error
            if name.startswith(("SQLITE_BUSY", "SQLITE_CANTOPEN")):
                raise UnavailableError(
                    f"{self._file} cannot be used: {error}", hint="Look for a process that holds it, then retry."
                ) from error
            raise translate(error, self._file) from error
