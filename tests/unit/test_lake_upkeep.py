"""When a table is compacted, and how far."""

import datetime
import math

from edgewise.lake.base import MIB
from edgewise.lake.upkeep import COMMITS, LARGE_BYTES, MANY, SMALL_BYTES, SWEEP_S, File, Merge, decide

TODAY = datetime.date(2026, 11, 30)
YESTERDAY = TODAY - datetime.timedelta(days=1)
DEFAULTS = {"today": TODAY, "keep_days": 0, "commits": 0, "since_sweep_s": 0.0}


def merges(*files):
    return list(decide(files, **DEFAULTS).merges)


def test_files_of_today_are_merged_when_there_are_many_small_ones():
    few = [File(TODAY, 1000)] * (MANY - 1)
    assert merges(*few) == []
    assert merges(*few, File(TODAY, SMALL_BYTES)) == []
    assert merges(*few, File(TODAY, 1000)) == [Merge(TODAY, SMALL_BYTES)]


def test_a_day_that_is_over_becomes_large_files_and_then_rests():
    assert merges(File(YESTERDAY, SMALL_BYTES), File(YESTERDAY, 1000)) == [Merge(YESTERDAY, LARGE_BYTES)]
    assert merges(File(YESTERDAY, 1000)) == []
    assert merges(File(YESTERDAY, LARGE_BYTES), File(YESTERDAY, 50 * MIB)) == []
    assert merges(File(YESTERDAY, 100 * MIB), File(YESTERDAY, 100 * MIB)) == []


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
