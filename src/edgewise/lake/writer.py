"""Appending to one table: rows and marks in one commit.

A stream's mark is a Delta application transaction: its id says node and stream, its version is the last sequence. Two
writers that bring the same stream at once cannot both commit, since the log refuses a transaction that was made without
knowing of the other.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from edgewise.lake import durable
from edgewise.lake.base import StreamKey
from edgewise.lake.rows import INDEXED, PARTITION, TABLES, columns
from edgewise.lake.storage import Place
from edgewise.lake.upkeep import LOG_DAYS
from edgewise.types import Record

if TYPE_CHECKING:
    from deltalake import DeltaTable, PostCommitHookProperties, WriterProperties

# Commits that a killed writer may have left without syncing them; more than one take makes.
_TAIL = 256
# A reader holds some groups of rows in memory at once.
_GROUP_ROWS = 131_072


class TableWriter:
    """One table, made when it is not there. Used by one thread at a time.

    Args:
        place: Of the lake.
        name: Of the table.
        unused_hours: How long replaced files stay; told to other engines as well.
    """

    def __init__(self, place: Place, name: str, *, unused_hours: int) -> None:
        self._name = name
        self._folder = place.folder / name if place.folder else None
        if self._folder:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            durable.mend(self._folder)
        self._table = _open_or_make(place, name, unused_hours=unused_hours)
        self._marks: dict[StreamKey, int] = {}
        self._synced = max(-1, self._table.version() - _TAIL)
        self._sync()

    def refresh(self) -> None:
        """Learns what others committed."""
        before = self._table.version()
        self._table.update_incremental()
        if self._table.version() != before:
            self._marks.clear()
        self._sync()

    def mark(self, key: StreamKey) -> int:
        """How far a stream is in this table, as of the last refresh or commit."""
        if key not in self._marks:
            self._marks[key] = self._table.transaction_version(_app_id(key)) or 0
        return self._marks[key]

    def append(self, records: Sequence[Record], marks: Mapping[StreamKey, int], *, landed: datetime.date) -> None:
        """Commits records and the marks they lead to; durable when it returns.

        Raises:
            CommitFailedError: Another writer brought one of these streams, or was always first; nothing was committed.
        """
        from deltalake import CommitProperties, Transaction, write_deltalake

        transactions = [Transaction(_app_id(key), sequence) for key, sequence in marks.items()]
        self._marks.clear()  # what is known of a commit that fails is nothing
        write_deltalake(
            self._table,
            _arrow(self._name, records, landed=landed),
            mode="append",
            writer_properties=properties(),
            commit_properties=CommitProperties(app_transactions=transactions),
            post_commithook_properties=no_hooks(),
        )
        self._sync()
        self._marks.update(marks)

    def _sync(self) -> None:
        version = self._table.version()
        if self._folder and version > self._synced:
            durable.sync(self._folder, range(self._synced + 1, version + 1))
        self._synced = version


def properties() -> WriterProperties:
    """How files are written."""
    from deltalake import WriterProperties

    return WriterProperties(compression="ZSTD", compression_level=3, max_row_group_size=_GROUP_ROWS)


def no_hooks() -> PostCommitHookProperties:
    """Leaves checkpoints and the log's upkeep to ``compaction``, which syncs what it makes."""
    from deltalake import PostCommitHookProperties

    return PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


def _app_id(key: StreamKey) -> str:
    return "/".join(quote(part, safe="") for part in key)


def _arrow(name: str, records: Sequence[Record], *, landed: datetime.date) -> Any:
    import pyarrow as arrow  # type: ignore[import-untyped]

    types = {
        "string": arrow.string(),
        "timestamp": arrow.timestamp("us", "UTC"),
        "long": arrow.int64(),
        "double": arrow.float64(),
        "list": arrow.list_(arrow.string()),
        "date": arrow.date32(),
    }
    schema = arrow.schema([(column, types[kind]) for column, kind in {**TABLES[name], PARTITION: "date"}.items()])
    return arrow.table(columns(name, records, landed=landed), schema=schema)


def _open_or_make(place: Place, name: str, *, unused_hours: int) -> DeltaTable:
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    url = place.table(name)
    if not DeltaTable.is_deltatable(url, place.options):
        try:
            _make(place, name, unused_hours=unused_hours)
        except DeltaError:  # another process may have been first
            if not DeltaTable.is_deltatable(url, place.options):
                raise
    return DeltaTable(url, storage_options=place.options)


def _make(place: Place, name: str, *, unused_hours: int) -> None:
    from deltalake import DeltaTable, Field, Schema
    from deltalake.schema import ArrayType, PrimitiveType

    fields = [
        Field(column, ArrayType(PrimitiveType("string"), contains_null=True) if kind == "list" else PrimitiveType(kind))
        for column, kind in {**TABLES[name], PARTITION: "date"}.items()
    ]
    DeltaTable.create(
        place.table(name),
        schema=Schema(fields),
        partition_by=[PARTITION],
        mode="error",
        storage_options=place.options,
        configuration={
            "delta.dataSkippingStatsColumns": ",".join(column for column in INDEXED if column in TABLES[name]),
            "delta.deletedFileRetentionDuration": f"interval {unused_hours} hours",
            "delta.logRetentionDuration": f"interval {LOG_DAYS} days",
        },
    )
