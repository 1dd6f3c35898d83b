"""The seam of the lake: open tables that take every record exactly once, and SQL over them.

Promises, kept by every adapter:

* *Exactly once.* A table's rows and how far each stream has come stand in one commit. Records at or below a stream's
  mark are skipped, so whoever feeds the lake may hand the same records over again after any crash.
* *Taken means durable.* When ``take`` returns, the records survive SIGKILL and power loss.
* *Nothing is left out.* What does not fit its typed table lands in ``records``.
* *Queries only read.* They see the lake's tables and nothing else, each one snapshot, and end at their limits.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Meta

from edgewise.types import Record

MIB = 1024 * 1024

StreamKey: TypeAlias = tuple[str, str]
"""Node and stream."""

Format: TypeAlias = Literal["csv", "parquet"]


class S3Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """S3-compatible storage.

    Attributes:
        url: Bucket and prefix, such as ``s3://plant/lake``.
        endpoint: Where it answers, such as ``https://minio.plant:9000``; empty is AWS.
        region: As the storage names it.
        access_key: Id of the key; empty takes what the machine itself is allowed (an instance's role).
        secret_key_file: File whose first line is the key's secret.
        allow_http: Whether the endpoint may be reached without TLS.
    """

    url: Annotated[str, Meta(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,62}(/[A-Za-z0-9._=-]+)*/?$", max_length=1024)]
    endpoint: Annotated[str, Meta(pattern=r"^(https?://[^\s]+)?$", max_length=1024)] = ""
    region: Annotated[str, Meta(min_length=1, max_length=64)] = "us-east-1"
    access_key: Annotated[str, Meta(max_length=256)] = ""
    secret_key_file: str = ""
    allow_http: bool = False


class LakeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the tables lie, and how long they keep.

    Attributes:
        folder: Their folder; empty is ``lake`` in the node's own.
        s3: Their place on S3-compatible storage, instead of a folder.
        keep_days: Rows that landed longer ago are removed; 0 keeps them for ever.
        unused_hours: Files that compaction has replaced stay for those who still read them, and then go.
        max_queries: Queries that may run at once; more are refused.
        query_s: Longest time a query over HTTP may run. Of this, of ``query_rows`` and of ``export_bytes`` an operator
            has half and a viewer a quarter.
        query_rows: Rows of an answer over HTTP.
        query_memory_bytes: Memory a query over HTTP may take.
        export_bytes: Size of a file that is exported over HTTP.
        gather_s: Records wait so long for others to land with, since each commit costs some milliseconds and a file.
    """

    folder: str = ""
    s3: S3Settings | None = None
    keep_days: Annotated[int, Meta(ge=0, le=36500)] = 0
    unused_hours: Annotated[int, Meta(ge=1, le=8760)] = 24
    max_queries: Annotated[int, Meta(ge=1, le=64)] = 4
    query_s: Annotated[float, Meta(ge=1, le=3600)] = 60.0
    query_rows: Annotated[int, Meta(ge=100, le=1_000_000)] = 100_000
    query_memory_bytes: Annotated[int, Meta(ge=64 * MIB)] = 512 * MIB
    export_bytes: Annotated[int, Meta(ge=4 * MIB)] = 1024 * MIB
    gather_s: Annotated[float, Meta(ge=0, le=3600)] = 5.0


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of one query.

    Attributes:
        timeout_s: Longest time it may run.
        memory_bytes: Memory it may take, on top of the quarter of a gigabyte that its process starts with.
        max_rows: Rows of a result; what is past them is left out, and the result says so.
        max_bytes: Size of a result, the same way.
        max_file_bytes: Size of an exported file; a larger one is refused.
        threads: Threads it may compute in.
        hidden_streams: Streams whose records it does not see.
    """

    timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    memory_bytes: Annotated[int, Meta(ge=64 * MIB)] = 512 * MIB
    max_rows: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    max_bytes: Annotated[int, Meta(ge=1024, le=256 * MIB)] = 16 * MIB
    max_file_bytes: Annotated[int, Meta(ge=MIB)] = 4096 * MIB
    threads: Annotated[int, Meta(ge=1, le=64)] = 2
    hidden_streams: tuple[str, ...] = ()


class Stop:
    """Calls a query off, from any thread, before it runs or while it does. Whoever asked gets ClosedError."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._end: Callable[[], None] | None = None
        self.called = False

    def call(self) -> None:
        """Ends the query, if it runs, and any that begins with this later."""
        with self._lock:
            self.called = True
            if self._end is not None:
                self._end()

    @contextlib.contextmanager
    def ends(self, end: Callable[[], None]) -> Iterator[None]:
        """While this is open, ``call`` calls ``end``; at once when it was called before."""
        with self._lock:
            self._end = end
            if self.called:
                end()
        try:
            yield
        finally:
            with self._lock:
                self._end = None


class Column(msgspec.Struct, frozen=True):
    """A column, and its type in SQL."""

    name: str
    type: str


class Result(msgspec.Struct, frozen=True):
    """What a query gave. Values are JSON's: times are ISO 8601, bytes are Base64, what is no number is null.

    Attributes:
        columns: In order; names may occur twice.
        rows: One list per row.
        truncated: Whether there was more than the limits let through.
        elapsed_s: How long it ran.
    """

    columns: tuple[Column, ...]
    rows: list[list[Any]]
    truncated: bool
    elapsed_s: float


class Table(msgspec.Struct, frozen=True):
    """A table as it is now."""

    name: str
    columns: tuple[Column, ...]
    rows: int
    files: int
    bytes: int


class Upkeep(msgspec.Struct, frozen=True):
    """What ``compact`` did: files that were put together, rows that were too old, files that went for good."""

    files_merged: int = 0
    rows_expired: int = 0
    files_removed: int = 0


class Lake(Protocol):
    """Tables of everything that came in. Safe for threads, and for several processes on one place.

    All methods raise UnavailableError when the storage does not answer.
    """

    def take(self, records: Sequence[Record]) -> Mapping[StreamKey, int]:
        """Puts records of any number of streams into the tables; returns each stream's new mark, once it is durable.

        One commit per table, however many streams there are. A killed call has done all, nothing or some tables of it;
        handing the records over again does the rest.

        Args:
            records: Those of one stream in the order of their sequences, without a gap that will be filled later.

        Raises:
            InputError: Records of a stream are out of order.
            TooLargeError: More than ``rows.MAX_RECORDS``.
            BusyError: Other writers were always first.
            StorageFullError: No space left.
        """
        ...

    def marks(self, streams: Iterable[StreamKey]) -> Mapping[StreamKey, int]:
        """The sequence up to which each of these streams is in all tables; 0 when nothing of it is."""
        ...

    def compact(self) -> Upkeep:
        """Does what ``upkeep.decide`` finds due: small files put together, old rows and unused files removed, the log
        shortened. To be called now and then; safe beside writers and readers.
        """
        ...

    def tables(self) -> list[Table]:
        """The tables and their sizes, from what they say of themselves: no rows are read.

        Raises:
            NotFoundError: There is no lake there.
        """
        ...

    def query(self, sql: str, limits: Limits = ..., *, stop: Stop | None = None) -> Result:
        """Runs one SELECT.

        Raises:
            ClosedError: ``stop`` called it off.
            InputError: It is no single SELECT, or does not compile or run.
            TooLargeError: It ran into the limits of time or memory. Facts: ``limit``.
            BusyError: ``max_queries`` are running.
            NotFoundError: There is no lake there.
        """
        ...

    def export(
        self,
        sql: str,
        target: Path | BinaryIO,
        *,
        format: Format,  # noqa: A002
        limits: Limits = ...,
        stop: Stop | None = None,
    ) -> int:
        """Writes what a SELECT gives into a file; returns its rows. A file that is named appears whole or not at all;
        one that is open is the caller's to throw away when this raises.

        In CSV, text that a spreadsheet would take for a formula is preceded by an apostrophe.

        Raises:
            EdgewiseError: As ``query`` does; TooLargeError also past ``max_file_bytes``.
        """
        ...
