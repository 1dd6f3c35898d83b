"""What a stream lets go of, and why: properties of the pure decision."""

from hypothesis import given
from hypothesis import strategies as st

from edgewise._lib.clock import ManualClock
from edgewise.journal.base import Reason, StreamSettings, WhenFull
from edgewise.journal.retention import AgeClock, Drop, Head, Run, Verdict, decide, runs

NOW_NS = 10**12
policies = st.sampled_from(WhenFull)


@st.composite
def streams(draw: st.DrawFn) -> list[Head]:
    """Blocks oldest first; sequences go up with holes, ages only forward."""
    heads, last, aged = [], 0, 0
    for _ in range(draw(st.integers(0, 12))):
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
    drops, fits = judge(heads, settings, incoming, done)
    assert [drop.head for drop in drops] == heads[: len(drops)]
    left = sum(head.size for head in heads[len(drops) :])
    assert fits == (left + incoming <= settings.max_bytes)
    assert fits or settings.when_full is not WhenFull.DROP_OLDEST


@given(streams(), bounds, st.integers(0, 300), st.integers(0, 60))
def test_every_drop_has_its_cause(heads: list[Head], settings: StreamSettings, incoming: int, done: int) -> None:
    drops, _ = judge(heads, settings, incoming, done)
    left = sum(head.size for head in heads)
    for head, reason in drops:
        too_old = NOW_NS - head.aged_ns >= int(settings.max_age_s * 1e9)
        too_much = left + incoming > settings.max_bytes - settings.max_bytes // 32
        assert (reason is None) == (head.last <= done)
        assert too_old or too_much
        assert too_old or reason is None or settings.when_full is WhenFull.DROP_OLDEST
        assert reason in ({None, Reason.EXPIRED} if too_old else {None, Reason.FULL})
        left -= head.size


@given(streams(), bounds, st.integers(0, 60))
def test_nothing_too_old_stays(heads: list[Head], settings: StreamSettings, done: int) -> None:
    drops, _ = judge(heads, settings, 0, done)
    horizon = NOW_NS - int(settings.max_age_s * 1e9)
    assert all(head.aged_ns > horizon for head in heads[len(drops) :])


@given(streams(), bounds, st.integers(0, 300), st.integers(0, 60))
def test_deciding_again_changes_nothing(heads: list[Head], settings: StreamSettings, incoming: int, done: int) -> None:
    drops, fits = judge(heads, settings, incoming, done)
    again, fits_again = judge(heads[len(drops) :], settings, incoming, done)
    assert (list(again), fits_again) == ([], fits) or not fits


@given(streams(), st.integers(0, 60))
def test_within_its_bounds_a_stream_keeps_everything(heads: list[Head], done: int) -> None:
    drops, fits = judge(heads, StreamSettings(max_bytes=10**6, max_age_s=10**6), 10, done)
    assert (list(drops), fits) == ([], True)


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
