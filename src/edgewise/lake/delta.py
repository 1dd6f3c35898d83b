"""The lake as Delta tables (the protocol of delta-io/delta), in a folder or on S3 storage."""

from __future__ import annotations

import contextlib
import datetime
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from edgewise._lib.clock import Clock
from edgewise._lib.files import atomic_writer
from edgewise.errors import BusyError, NotFoundError
from edgewise.lake.asking import ask
from edgewise.lake.base import Column, Format, LakeSettings, Limits, Result, Stop, StreamKey, Table, Upkeep
from edgewise.lake.compaction import Compaction, facts
from edgewise.lake.questions import Question
from edgewise.lake.rows import PARTITION, TABLES, by_stream, home, route
from edgewise.lake.storage import need_extra, place, translated
from edgewise.lake.writer import TableWriter
from edgewise.types import Record

# Each time another writer was first; more often than that something is wrong.
_TRIES = 8
_LIMITS = Limits()
_SQL_TYPES = {
    "string": "VARCHAR",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "long": "BIGINT",
    "double": "DOUBLE",
    "list": "VARCHAR[]",
    "date": "DATE",
}


class DeltaLake:
    """See ``base.Lake``.

    Args:
        settings: Where it lies, and its bounds.
        clock: Time.

    Raises:
        SettingsError: The settings name no place, or a secret that cannot be read.
        MissingExtraError: The extra ``lake`` is not installed.
    """

    def __init__(self, settings: LakeSettings, *, clock: Clock) -> None:
        need_extra()
        self._settings = settings
        self._place = place(settings)
        self._clock = clock
        self._writing = threading.Lock()
        self._writers: dict[str, TableWriter] = {}
        self._compacting = threading.Lock()
        self._compactions = {
            name: Compaction(
                self._place, name, keep_days=settings.keep_days, unused_hours=settings.unused_hours, clock=clock
            )
            for name in TABLES
        }
        self._asking = threading.BoundedSemaphore(settings.max_queries)

    def take(self, records: Sequence[Record]) -> Mapping[StreamKey, int]:
        """See ``base.Lake``."""
        from deltalake.exceptions import CommitFailedError

        streams = by_stream(records)
        with self._writing, translated(self._place.url):
            for _ in range(_TRIES):
                try:
                    return self._take(streams)
                except CommitFailedError:
                    continue
        raise BusyError(f"Other writers of {self._place.url} were always first", hint="Try again.")

    def marks(self, streams: Iterable[StreamKey]) -> Mapping[StreamKey, int]:
        """See ``base.Lake``."""
        with self._writing, translated(self._place.url):
            return self._marks(list(streams), self._fresh())

    def compact(self) -> Upkeep:
        """See ``base.Lake``."""
        with self._compacting, translated(self._place.url):
            done = [compaction.run() for compaction in self._compactions.values()]
        return Upkeep(
            sum(each.files_merged for each in done),
            sum(each.rows_expired for each in done),
            sum(each.files_removed for each in done),
        )

    def tables(self) -> list[Table]:
        """See ``base.Lake``."""
        from deltalake import DeltaTable

        found = []
        with translated(self._place.url):
            for name, columns in TABLES.items():
                if not DeltaTable.is_deltatable(url := self._place.table(name), self._place.options):
                    continue
                actions = facts(DeltaTable(url, storage_options=self._place.options))
                described = tuple(Column(column, _SQL_TYPES[kind]) for column, kind in columns.items())
                sizes = actions["size_bytes"]
                found.append(
                    Table(
                        name,
                        (*described, Column(PARTITION, "DATE")),
                        sum(actions["num_records"]),
                        len(sizes),
                        sum(sizes),
                    )
                )
        if not found:
            raise nothing_at(self._place.url)
        return found

    def query(self, sql: str, limits: Limits = _LIMITS, *, stop: Stop | None = None) -> Result:
        """See ``base.Lake``."""
        return self._ask(Question(self._settings, sql, limits), stop)

    def export(
        self,
        sql: str,
        target: Path | BinaryIO,
        *,
        format: Format,  # noqa: A002
        limits: Limits = _LIMITS,
        stop: Stop | None = None,
    ) -> int:
        """See ``base.Lake``."""
        with atomic_writer(target) if isinstance(target, Path) else contextlib.nullcontext(target) as file:
            result = self._ask(Question(self._settings, sql, limits, format, file.fileno()), stop)
        return int(result.rows[0][0])

    def _take(self, streams: Mapping[StreamKey, Sequence[Record]]) -> dict[StreamKey, int]:
        """Writes what is missing, table by table. ``records`` comes first, so that a stream's home, whose mark counts,
        is written when all else of it is there.
        """
        writers = self._fresh()
        landed = datetime.datetime.fromtimestamp(self._clock.time_ns() / 1e9, tz=datetime.UTC).date()
        for name, writer in writers.items():
            rows: list[Record] = []
            marks: dict[StreamKey, int] = {}
            for key, records in streams.items():
                here = [record for record in records if route(record) == name]
                if not here and home(key[1]) != name:
                    continue
                known = writer.mark(key)
                rows += [record for record in here if record.sequence > known]
                if records[-1].sequence > known:
                    marks[key] = records[-1].sequence
            if marks:
                writer.append(rows, marks, landed=landed)
        return self._marks(list(streams), writers)

    def _marks(self, streams: Sequence[StreamKey], writers: Mapping[str, TableWriter]) -> dict[StreamKey, int]:
        return {key: writers[home(key[1])].mark(key) for key in streams}

    def _fresh(self) -> Mapping[str, TableWriter]:
        """The tables for writing, in the order they are written, with what others committed."""
        for name in TABLES:
            if name in self._writers:
                self._writers[name].refresh()
            else:
                self._writers[name] = TableWriter(self._place, name, unused_hours=self._settings.unused_hours)
        return self._writers

    def _ask(self, question: Question, stop: Stop | None) -> Result:
        if not self._asking.acquire(blocking=False):
            raise BusyError(
                f"{self._settings.max_queries} queries are running", hint="Try again.", limit=self._settings.max_queries
            )
        try:
            return ask(question, stop or Stop())
        finally:
            self._asking.release()


def nothing_at(url: str) -> NotFoundError:
    """The error for a place without tables."""
    return NotFoundError(
        f"There is no lake in {url}",
        hint="A center makes it when the first records come; name its place with --lake or in the settings.",
        kind="lake",
        name=url,
    )
