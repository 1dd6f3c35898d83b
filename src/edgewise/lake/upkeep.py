"""What a table needs, and when: a pure decision over what it says of its files.

Small files come of frequent commits. Those of a day are put together in steps, each into files many times as large, so
that a row is written a handful of times however often is committed: twice while the day lasts, and once it is over.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edgewise.lake.base import MIB

# Files of one size that are put together at once while the day lasts.
MANY = 32
# Size up to which a file is small, and target when there are many; any two small ones fit into the target.
STEPS = ((MIB // 4, MIB // 2), (4 * MIB, 8 * MIB))
LAST_STEP = (64 * MIB, 128 * MIB)
# Commits after which a reader is spared reading them one by one.
COMMITS = 100
SWEEP_S = 3600.0
# Versions of a table whose commits are kept.
LOG_DAYS = 2


class File(NamedTuple):
    """A file of a table: the day its rows landed, and its size."""

    landed: datetime.date
    size: int


class Merge(NamedTuple):
    """Files of a day to put together into ones of about ``target_bytes``."""

    landed: datetime.date
    target_bytes: int


class Plan(NamedTuple):
    """What is due: days to expire (all before), days to merge, whether to checkpoint, whether to sweep unused files."""

    expire_before: datetime.date | None
    merges: Sequence[Merge]
    checkpoint: bool
    sweep: bool


def decide(files: Iterable[File], *, today: datetime.date, keep_days: int, commits: int, since_sweep_s: float) -> Plan:
    """Decides what a table needs.

    Args:
        files: Its files.
        today: The day that rows land in now, UTC.
        keep_days: Days that rows are kept; 0 for ever.
        commits: Commits since its last checkpoint.
        since_sweep_s: Seconds since unused files were last removed; infinite when never.
    """
    oldest = today - datetime.timedelta(days=keep_days) if keep_days else None
    expire = False
    sizes: dict[datetime.date, list[int]] = {}
    for landed, size in files:
        if oldest and landed < oldest:
            expire = True
        else:
            sizes.setdefault(landed, []).append(size)
    merges = [merge for landed in sorted(sizes) if (merge := _merge(landed, sizes[landed], today=today))]
    sweep = since_sweep_s >= SWEEP_S
    return Plan(oldest if expire else None, merges, commits >= COMMITS or (sweep and commits > 0), sweep)


def _merge(landed: datetime.date, sizes: Sequence[int], *, today: datetime.date) -> Merge | None:
    if landed < today:
        small, target = LAST_STEP
        return Merge(landed, target) if sum(size < small for size in sizes) > 1 else None
    least = 0
    due = None
    for small, target in STEPS:
        if sum(least <= size < small for size in sizes) >= MANY:
            due = Merge(landed, target)  # the larger step takes the smaller files with it
        least = small
    return due
