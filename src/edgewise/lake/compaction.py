"""Doing what ``upkeep.decide`` finds due for one table."""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Any

from edgewise._lib.clock import Clock
from edgewise.lake import durable
from edgewise.lake.base import Upkeep
from edgewise.lake.rows import PARTITION
from edgewise.lake.storage import Place
from edgewise.lake.upkeep import File, Plan, decide
from edgewise.lake.writer import no_hooks, properties

if TYPE_CHECKING:
    from deltalake import DeltaTable

# Merging takes memory for each file it writes at once.
_AT_ONCE = 1


class Compaction:
    """The upkeep of one table. Used by one thread at a time, which need not be the writer's.

    Args:
        place: Of the lake.
        name: Of the table.
        keep_days: Rows that landed longer ago go; 0 keeps them.
        unused_hours: How long files stay that nothing refers to any more.
        clock: Time.
    """

    def __init__(self, place: Place, name: str, *, keep_days: int, unused_hours: int, clock: Clock) -> None:
        self._place = place
        self._name = name
        self._keep_days = keep_days
        self._unused_hours = unused_hours
        self._clock = clock
        self._checkpoint = -1
        self._swept_at = -math.inf

    def run(self) -> Upkeep:
        """Does what is due. A commit that meets another one's is left for the next time."""
        from deltalake import DeltaTable
        from deltalake.exceptions import CommitFailedError

        url = self._place.table(self._name)
        if not DeltaTable.is_deltatable(url, self._place.options):
            return Upkeep()
        table = DeltaTable(url, storage_options=self._place.options)
        plan = decide(
            files(table),
            today=datetime.datetime.fromtimestamp(self._clock.time_ns() / 1e9, tz=datetime.UTC).date(),
            keep_days=self._keep_days,
            commits=table.version() - self._checkpoint,
            since_sweep_s=self._clock.monotonic() - self._swept_at,
        )
        begun = table.version()
        try:
            return self._carry_out(plan, table)
        except CommitFailedError:
            return Upkeep()
        finally:
            self._sync(range(begun + 1, table.version() + 1))

    def _carry_out(self, plan: Plan, table: DeltaTable) -> Upkeep:
        expired = merged = removed = 0
        if plan.expire_before:
            condition = f"{PARTITION} < DATE '{plan.expire_before}'"
            before = _rows(table)
            table.delete(condition, post_commithook_properties=no_hooks())
            expired = before - _rows(table)
        for merge in plan.merges:
            done = table.optimize.compact(
                partition_filters=[(PARTITION, "=", str(merge.landed))],
                target_size=merge.target_bytes,
                max_concurrent_tasks=_AT_ONCE,
                writer_properties=properties(),
                post_commithook_properties=no_hooks(),
            )
            merged += done["numFilesRemoved"]
        if plan.sweep:
            gone = table.vacuum(
                self._unused_hours,
                dry_run=False,
                enforce_retention_duration=False,
                post_commithook_properties=no_hooks(),
                full=True,
            )
            removed = len(gone)
            self._swept_at = self._clock.monotonic()
        if plan.checkpoint:
            table.update_incremental()
            table.create_checkpoint()
            self._checkpoint = table.version()
            self._sync(range(self._checkpoint, self._checkpoint + 1))
            table.cleanup_metadata()
        return Upkeep(merged, expired, removed)

    def _sync(self, versions: range) -> None:
        if self._place.folder:
            durable.sync(self._place.folder / self._name, versions)


def files(table: DeltaTable) -> list[File]:
    """The files of a table as it is now."""
    actions = facts(table)
    return [
        File(landed, size)
        for landed, size in zip(actions[f"partition.{PARTITION}"], actions["size_bytes"], strict=True)
    ]


def facts(table: DeltaTable) -> dict[str, list[Any]]:
    """What the log says of a table's files, by column."""
    import pyarrow as arrow  # type: ignore[import-untyped]

    found: dict[str, list[Any]] = arrow.table(table.get_add_actions(flatten=True)).to_pydict()
    return found


def _rows(table: DeltaTable) -> int:
    return sum(facts(table)["num_records"])
