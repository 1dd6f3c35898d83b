"""What a stream lets go of, and why: properties of the pure decision."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edgewise._lib.clock import ManualClock
from edgewise.journal.base import Reason, StreamSettings, WhenFull
from edgewise.journal.retention import AgeClock, Drop, Head, Run, Span, Verdict, decide, join, runs, thin

NOW_NS = 10**12
DROPPING = {WhenFull.DROP_OLDEST, WhenFull.THIN}
policies = st.sampled_from(WhenFull)


@st.composite
def streams(draw: st.DrawFn, longest: int = 12) -> list[Head]:
    """Blocks oldest first; sequences go up with holes, ages only forward."""
    heads, last, aged = [], 0, 0
    for _ in range(draw(st.integers(0, longest))):
        first = last + draw(st.integers(1, 3))
        last = first + draw(st.integers(0, 4))
        aged += draw(st.integers(0, NOW_NS // 8))
        heads.append(Head(first, last, min(aged, NOW_NS), draw(st.integers(1, 300))))
    return heads


bounds = st.builds(StreamSettings, max_bytes=st.integers(300, 2000), max_age_s=st.floats(1, 2000), when_full=policies)


def judge(heads: list[Head], settings: StreamSettings, incoming: int, done: int) -> Verdict:
    kept_bytes = sum(head.size for head in heads)
    return decide(heads, settings, kept_bytes=kept_bytes, incoming=incoming, now_ns=NOW_NS, done=done)


@given(streams(), bounds, st.integers(0, 300), st.integers(0, 60))
def test_the_oldest_go_and_the_verdict_says_whether_the_rest_fits(
    heads: list[Head], settings: StreamSettings, incoming: int, done: int
) -> None:
    drops, fits, thinned = judge(heads, settings, incoming, done)
    assert [drop.head for drop in drops] == heads[: len(drops)]
    left = sum(head.size for head in heads[len(drops) :]) - sum(head.size for head in thinned)
    assert fits == (left + incoming <= settings.max_bytes)
    assert fits or settings.when_full not in DROPPING


@given(streams(), bounds, st.integers(0, 300), st.integers(0, 60))
def test_every_drop_has_its_cause(heads: list[Head], settings: StreamSettings, incoming: int, done: int) -> None:
    drops, _, _ = judge(heads, settings, incoming, done)
    left = sum(head.size for head in heads)
    for head, reason in drops:
        too_old = NOW_NS - head.aged_ns >= int(settings.max_age_s * 1e9)
        too_much = left + incoming > settings.max_bytes - settings.max_bytes // 32
        assert (reason is None) == (head.last <= done)
        assert too_old or too_much
        assert too_old or reason is None or settings.when_full in DROPPING
        assert reason in ({None, Reason.EXPIRED} if too_old else {None, Reason.FULL})
        left -= head.size


@given(streams(), bounds, st.integers(0, 60))
def test_nothing_too_old_stays(heads: list[Head], settings: StreamSettings, done: int) -> None:
    drops, _, _ = judge(heads, settings, 0, done)
    horizon = NOW_NS - int(settings.max_age_s * 1e9)
    assert all(head.aged_ns > horizon for head in heads[len(drops) :])


@given(streams(), bounds, st.integers(0, 300), st.integers(0, 60))
def test_deciding_again_changes_nothing(heads: list[Head], settings: StreamSettings, incoming: int, done: int) -> None:
    drops, fits, thinned = judge(heads, settings, incoming, done)
    left = [head for head in heads[len(drops) :] if head not in thinned]
    again, fits_again, thinned_again = judge(left, settings, incoming, done)
    assert (list(again), fits_again, list(thinned_again)) == ([], fits, []) or not fits


@given(streams(), st.integers(0, 60))
def test_within_its_bounds_a_stream_keeps_everything(heads: list[Head], done: int) -> None:
    for policy in WhenFull:
        settings = StreamSettings(max_bytes=10**6, max_age_s=10**6, when_full=policy)
        drops, fits, thinned = judge(heads, settings, 10, done)
        assert (list(drops), fits, list(thinned)) == ([], True, [])


@given(streams(longest=60), bounds, st.integers(0, 300), st.integers(0, 60))
def test_thinning_takes_from_between_what_stays_and_leaves_the_first_and_the_newest_half(
    heads: list[Head], settings: StreamSettings, incoming: int, done: int
) -> None:
    drops, fits, thinned = judge(heads, replace(settings, when_full=WhenFull.THIN), incoming, done)
    if not thinned:
        return
    rest = heads[len(drops) :]
    assert fits
    assert all(head.last > done for head in thinned)
    assert [head for head in rest if head in thinned] == list(thinned)
    assert rest[0] not in thinned
    newest = 0
    for head in reversed(rest):
        newest += head.size
        assert newest > settings.max_bytes // 2 or head not in thinned


@given(streams(longest=60), bounds, st.integers(0, 300))
def test_a_thin_stream_loses_its_oldest_only_when_thinning_cannot_make_room(
    heads: list[Head], settings: StreamSettings, incoming: int
) -> None:
    thin = replace(settings, when_full=WhenFull.THIN, max_age_s=10**6)
    drops, _, thinned = judge(heads, thin, incoming, 0)
    newest = 0
    must_stay = heads[0].size if heads else 0
    for head in reversed(heads[1:]):
        if newest + head.size > thin.max_bytes // 2:
            break
        newest += head.size
    assert not (drops and thinned)
    assert not drops or must_stay + newest + incoming > thin.max_bytes


@given(st.integers(40, 400), st.integers(1, 40), st.integers(1, 3000))
def test_what_one_thinning_leaves_is_never_denser_where_it_is_older(count: int, size: int, incoming: int) -> None:
    heads = [Head(first * 3 + 1, first * 3 + 3, 0, size) for first in range(count)]
    bound = count * size
    thinned = set(thin(heads, bound=bound, kept_bytes=bound, incoming=min(incoming, bound // 3)))
    kept = [head for head in heads if head not in thinned]
    distances = [after.first - before.first for before, after in itertools.pairwise(kept)]
    assert thinned
    assert distances[:-1] == sorted(distances[:-1], reverse=True)


def test_however_long_a_thin_stream_runs_each_doubling_of_age_has_about_as_many_blocks() -> None:
    settings = StreamSettings(max_bytes=40_000, when_full=WhenFull.THIN)
    kept: list[Head] = []
    size = looked_at = 0
    for first in range(1, 40_001):
        if size + 100 > settings.max_bytes:
            looked_at += len(kept)
            drops, fits, thinned = judge(kept, settings, 100, 0)
            assert fits
            assert not drops
            kept = [head for head in kept if head not in set(thinned)]
            size = sum(head.size for head in kept)
        kept.append(Head(first, first, NOW_NS, 100))
        size += 100
    ages = [200 << doubling for doubling in range(7)]
    counts = [sum(low <= 40_000 - head.first < high for head in kept) for low, high in itertools.pairwise(ages)]
    assert kept[0].first == 1
    assert [head.first for head in kept[-200:]] == list(range(39_801, 40_001))
    assert all(older < 2 * newer for newer, older in itertools.pairwise(counts))  # less dense, then
    assert min(counts) > 10
    assert looked_at < 10 * 40_000


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)))
def test_what_is_removed_later_joins_what_was_removed_before(before: set[int], after: set[int]) -> None:
    spans = [Span(number, *span) for number, span in enumerate(spanned(before - after))]
    gone, made = join(spans, spanned(after))
    left = [(span.first, span.last) for span in spans if span.key not in gone]
    assert sorted(left + made) == spanned(before | after)
    assert len(gone) == len(set(gone))
    assert set(made).isdisjoint(left)


def spanned(sequences: set[int]) -> list[tuple[int, int]]:
    """First and last of each stretch."""
    drops = (Drop(Head(number, number, 0, 1), None) for number in sorted(sequences))
    return [(run.first, run.last) for run in runs(drops)]


def test_no_more_blocks_are_looked_at_than_needed() -> None:
    looked_at = 0

    def heads():
        nonlocal looked_at
        for first in range(1, 10**6):
            looked_at += 1
            yield Head(first, first, NOW_NS, 100)

    settings = StreamSettings(max_bytes=10_000, when_full=WhenFull.DROP_OLDEST)
    decide(heads(), settings, kept_bytes=10_000, incoming=100, now_ns=NOW_NS, done=0)
    assert looked_at < 10


def test_neighbours_of_one_reason_are_one_line_of_the_ledger() -> None:
    def drop(first: int, last: int, reason: Reason | None) -> Drop:
        return Drop(Head(first, last, 0, 1), reason)

    drops = [drop(1, 2, None), drop(3, 5, Reason.FULL), drop(6, 6, Reason.FULL), drop(9, 9, Reason.FULL)]
    assert list(runs(drops)) == [Run(1, 2, None), Run(3, 6, Reason.FULL), Run(9, 9, Reason.FULL)]


def test_the_age_clock_goes_on_over_a_restart_by_what_the_wall_clock_says() -> None:
    clock = ManualClock()
    age = AgeClock(clock)
    clock.advance(10)
    last, wall = age.now_ns(), clock.time_ns()
    clock.advance(50)
    assert AgeClock(clock, last, wall).now_ns() - last == 50 * 10**9


def test_the_age_clock_believes_no_wall_clock_that_went_back_or_was_never_set() -> None:
    clock = ManualClock()
    assert AgeClock(clock, 7, clock.time_ns() + 10**18).now_ns() == 7  # it was ahead before
    assert AgeClock(clock, 7, 60 * 10**9).now_ns() == 7  # it stood at 1970 before
