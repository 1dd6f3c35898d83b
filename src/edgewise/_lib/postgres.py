"""State in PostgreSQL. The only place that knows psycopg.

A connection that died while nobody used it is replaced unnoticed: each transaction begins with a statement that changes
nothing, and a query outside of one may be asked again. What was under way when it died raises UnavailableError, and the
next call connects anew.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import psycopg
from psycopg import errors

from edgewise._lib.state import Row, State, for_psycopg
from edgewise.errors import ConflictError, CorruptError, StorageFullError, UnavailableError

T = TypeVar("T")

# Every wait for the server ends: to connect, for a statement, for another writer, for a peer that fell silent.
_CONNECT_S = 5
_BOUND_MS = 10_000
_OPTIONS = (
    f"-c statement_timeout={_BOUND_MS} -c lock_timeout={_BOUND_MS} -c idle_in_transaction_session_timeout={_BOUND_MS}"
)
_KEPT_ALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 2 * _BOUND_MS,
}
_VERSIONS = "CREATE TABLE IF NOT EXISTS edgewise_migrations (component TEXT PRIMARY KEY, version INTEGER NOT NULL)"
_VERSION = "SELECT version FROM edgewise_migrations WHERE component = %s"
_SET_VERSION = (
    "INSERT INTO edgewise_migrations (component, version) VALUES (%s, %s)"
    " ON CONFLICT (component) DO UPDATE SET version = excluded.version"
)
# SQLSTATE classes: no room (53100 is the disk), damaged pages, and the server's own troubles and refusals to wait.
_FULL = {"53100"}
_DAMAGED = {"XX001", "XX002"}

_statement_of = functools.lru_cache(maxsize=512)(for_psycopg)


class PostgresState(State):
    """Tables of one component in a PostgreSQL database.

    Args:
        url: Without a password.
        password: Empty when the server wants none.
        component: Named in the record of migrations; transactions of one component run one after another.
        scripts: Migrations in order.

    Raises:
        UnavailableError: The server does not answer, or lets nobody in.
    """

    def __init__(self, url: str, password: str, *, component: str, scripts: list[str]) -> None:
        super().__init__()
        self._url = url
        self._password = password
        self._component = component
        # Components have numbers of their own among the advisory locks, the same on every machine.
        self._lock_number = zlib.crc32(f"edgewise {component}".encode())
        self._connection: psycopg.Connection[Row] | None = None
        try:
            with self.transaction():
                self._migrate(scripts)
        except BaseException:
            self._disconnect()
            raise

    def _migrate(self, scripts: list[str]) -> None:
        with self._translated() as connection:
            connection.execute(_VERSIONS)
            row = connection.execute(_VERSION, (self._component,)).fetchone()
            done = int(row[0]) if row else 0
            for script in scripts[done:]:
                connection.execute(script.encode())
            if done < len(scripts):
                connection.execute(_SET_VERSION, (self._component, len(scripts)))

    def _statement(self, sql: str, values: Mapping[str, Any]) -> tuple[list[Row], int]:
        def run() -> tuple[list[Row], int]:
            with self._translated() as connection:
                cursor = connection.execute(cast("Any", _statement_of(sql)), values)
                return cursor.fetchall() if cursor.description else [], cursor.rowcount

        return run() if self._inside else self._again(run)

    def _begin(self) -> None:
        def begin() -> None:
            with self._translated() as connection:
                connection.execute("BEGIN")
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (self._lock_number,))

        try:
            self._again(begin)
        except BaseException:
            self._roll_back()
            raise

    def _commit(self) -> None:
        with self._translated() as connection:
            connection.execute("COMMIT")

    def _roll_back(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.execute("ROLLBACK")
        except psycopg.Error:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _again(self, call: Callable[[], T]) -> T:
        """Makes a call that changes nothing; once more when the connection from before turns out to be dead."""
        was_connected = self._connection is not None
        try:
            return call()
        except UnavailableError:
            if not was_connected or self._connection is not None:
                raise
        return call()

    @contextmanager
    def _translated(self) -> Iterator[psycopg.Connection[Row]]:
        try:
            if self._connection is None:
                self._connection = self._connect()
            yield self._connection
        except psycopg.Error as error:
            if self._connection is not None and (self._connection.closed or self._connection.broken):
                self._disconnect()
            raise self._in_our_words(error) from error

    def _connect(self) -> psycopg.Connection[Row]:
        own = psycopg.conninfo.conninfo_to_dict(self._url)
        options = f"{own.pop('options', '')} {_OPTIONS}".strip()
        parameters = {**_KEPT_ALIVE, "connect_timeout": _CONNECT_S, "application_name": "edgewise", **own}
        if self._password:
            parameters["password"] = self._password
        # Prepared statements would tie a connection to one server behind a pooler.
        return psycopg.connect(autocommit=True, prepare_threshold=None, options=options, **cast("Any", parameters))

    def _in_our_words(self, error: psycopg.Error) -> Exception:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, errors.UniqueViolation):
            return ConflictError("It is there already")
        if error.sqlstate in _FULL:
            return StorageFullError(f"The database has no space left: {said}", hint="Free disk space, then retry.")
        if error.sqlstate in _DAMAGED:
            return CorruptError(f"The database is damaged: {said}", hint="Restore it from a backup.")
        if isinstance(error, psycopg.OperationalError) or self._connection is None:
            return UnavailableError(
                f"The database does not answer: {said}",
                hint="See whether PostgreSQL runs, and whether state.url and state.password_file let the node in.",
            )
        return error
