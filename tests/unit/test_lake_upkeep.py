"""When a table is compacted, and how far."""

import datetime
import math

from edgewise.lake.base import MIB
from edgewise.lake.upkeep import COMMITS, LAST_STEP, MANY, STEPS, SWEEP_S, File, Merge, decide

TODAY = datetime.date(2026, 11, 30)
YESTERDAY = TODAY - datetime.timedelta(days=1)
DEFAULTS = {"today": TODAY, "keep_days": 0, "commits": 0, "since_sweep_s": 0.0}


def merges(*files):
    return list(decide(files, **DEFAULTS).merges)


def test_files_of_today_are_merged_when_there_are_many_of_a_size():
    (small, first), (medium, second) = STEPS
    few = [File(TODAY, 1000)] * (MANY - 1)
    assert merges(*few) == []
    assert merges(*few, File(TODAY, small)) == []
    assert merges(*few, File(TODAY, 1000)) == [Merge(TODAY, first)]
    assert merges(*few, *[File(TODAY, small)] * MANY) == [Merge(TODAY, second)]
    assert merges(*[File(TODAY, medium)] * MANY) == []


def test_a_day_that_is_over_becomes_large_files_and_then_rests():
    small, target = LAST_STEP
    assert merges(File(YESTERDAY, 9 * MIB), File(YESTERDAY, 1000)) == [Merge(YESTERDAY, target)]
    assert merges(File(YESTERDAY, 1000)) == []
    assert merges(File(YESTERDAY, small), File(YESTERDAY, 50 * MIB)) == []


def test_a_row_is_written_a_handful_of_times():
    """A day of a commit of 7 kB every five seconds, merged as the decision says."""
    sizes, written = [], 0
    for _ in range(17_280):
        sizes.append(7000)
        for _, target in merges(*[File(TODAY, size) for size in sizes]):
            bins: list[list[int]] = [[]]
            for size in (size for size in sizes if size < target):
                if sum(bins[-1]) + size > target:
                    bins.append([])
                bins[-1].append(size)
            written += sum(sum(each) for each in bins if len(each) > 1)
            sizes = [size for size in sizes if size >= target] + [sum(each) for each in bins]
    assert (len(sizes) < 4 * MANY, written / (17_280 * 7000) < 6) == (True, True), (len(sizes), written)


def test_days_go_when_they_are_older_than_wanted():
    files = [File(TODAY - datetime.timedelta(days=age), 1000) for age in (6, 7, 8)]
    week = DEFAULTS | {"keep_days": 7}
    assert decide(files, **week).expire_before == TODAY - datetime.timedelta(days=7)
    assert decide(files[:2], **week).expire_before is None
    assert decide(files, **DEFAULTS).expire_before is None


def test_a_day_that_goes_is_not_merged_first():
    old = TODAY - datetime.timedelta(days=30)
    assert decide([File(old, 1000)] * 5, **DEFAULTS | {"keep_days": 7}).merges == []


def test_commits_are_summed_up_and_unused_files_swept_now_and_then():
    assert decide([], **DEFAULTS | {"commits": COMMITS - 1}).checkpoint is False
    assert decide([], **DEFAULTS | {"commits": COMMITS}).checkpoint is True
    assert decide([], **DEFAULTS | {"since_sweep_s": SWEEP_S - 1}).sweep is False
    first = decide([], **DEFAULTS | {"commits": 1, "since_sweep_s": math.inf})
    assert (first.sweep, first.checkpoint) == (True, True)
