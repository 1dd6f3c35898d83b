"""What a stream lets go of, and why: a pure decision over the heads of its blocks.

Blocks go whole, and oldest first. Age is counted on the journal's own clock (``AgeClock``). Done blocks, those that
every consumer acknowledged, go when room is needed, under every policy; others only by age or under ``drop_oldest``.

Under ``thin`` blocks go from between others: of the older half a block stays only when it begins far enough behind the
one kept before it, and *far enough* is a part of its age, counted in records. Twice as old is half as dense: as many
blocks stay of records ten to twenty thousand old as of those a hundred to two hundred thousand old. However long the
stream gets, its first block is among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf, log
from typing import NamedTuple

from edgewise._lib.clock import Clock
from edgewise.journal.base import Reason, StreamSettings, WhenFull


class Head(NamedTuple):
    """What retention knows of a block: records ``first``..``last``, accepted at ``aged_ns``, costing ``size`` bytes."""

    first: int
    last: int
    aged_ns: int
    size: int


class Drop(NamedTuple):
    """A block to remove; ``reason`` is None when every consumer is done with it."""

    head: Head
    reason: Reason | None


class Verdict(NamedTuple):
    """What to remove, oldest first: the stream's first blocks, and those from between others. Whether the new bytes fit
    afterwards.
    """

    drops: Sequence[Drop]
    fits: bool
    thinned: Sequence[Head] = ()


class Run(NamedTuple):
    """Dropped records ``first``..``last``, without a gap, for one reason."""

    first: int
    last: int
    reason: Reason | None


class Span(NamedTuple):
    """Sequences ``first``..``last`` that were removed, and the key by which they are stored."""

    key: int
    first: int
    last: int


_HEADROOM = 32
"""A full stream is emptied by this part of its bound at once, so that not every append has to remove something."""

_THIN_HEADROOM = 8
"""The same when thinning, which has to look at all blocks: at about this many for each that is appended."""

_WHOLE = 2
"""This part of the bound, the newest of it, is not thinned."""

_WIDEN = 1.2
"""What is asked of the distances between blocks grows by this until enough of them may go."""

_WIDENINGS = 64


def decide(
    oldest_first: Iterable[Head], settings: StreamSettings, *, kept_bytes: int, incoming: int, now_ns: int, done: int
) -> Verdict:
    """Decides what to remove before ``incoming`` bytes are appended.

    Args:
        oldest_first: The stream's blocks; read no further than needed.
        settings: The stream's bounds.
        kept_bytes: Sum of their sizes.
        incoming: Bytes about to be appended; 0 for age alone.
        now_ns: Now, on the clock of ``Head.aged_ns``.
        done: Every consumer acknowledged the records up to here; 0 when there is no consumer.
    """
    bound = settings.max_bytes
    full = kept_bytes + incoming > bound
    target = bound - bound // _HEADROOM if full else bound
    horizon = now_ns - int(settings.max_age_s * 1e9)
    drops: list[Drop] = []
    heads = iter(oldest_first)
    for head in heads:
        is_done = head.last <= done
        expired = head.aged_ns <= horizon
        in_the_way = kept_bytes + incoming > target and (is_done or settings.when_full is WhenFull.DROP_OLDEST)
        if not (expired or in_the_way):
            break
        drops.append(Drop(head, None if is_done else Reason.EXPIRED if expired else Reason.FULL))
        kept_bytes -= head.size
    else:
        return Verdict(drops, kept_bytes + incoming <= bound)
    if settings.when_full is not WhenFull.THIN or kept_bytes + incoming <= target:
        return Verdict(drops, kept_bytes + incoming <= bound)
    rest = [head, *heads]
    if thinned := thin(rest, bound=bound, kept_bytes=kept_bytes, incoming=incoming):
        return Verdict(drops, True, thinned)
    for head in rest:
        if kept_bytes + incoming <= target:
            break
        drops.append(Drop(head, Reason.FULL))
        kept_bytes -= head.size
    return Verdict(drops, kept_bytes + incoming <= bound)


def thin(heads: Sequence[Head], *, bound: int, kept_bytes: int, incoming: int) -> Sequence[Head]:
    """Which blocks to take from between others, so that ``incoming`` bytes fit; none when that is not enough.

    Args:
        heads: All blocks of a stream, oldest first. The first one stays.
        bound: Bytes of the stream.
        kept_bytes: Sum of the blocks' sizes.
        incoming: Bytes about to be appended.
    """
    old, whole_bytes = _older(heads, bound // _WHOLE)
    excess = kept_bytes + incoming - bound + bound // _THIN_HEADROOM
    room = kept_bytes - whole_bytes - excess
    newest = heads[-1].last
    thinned: Sequence[Head] = ()
    freed = 0
    for distance in _distances(old, newest=newest, room=room):
        thinned, freed = _crowded(old, newest=newest, distance=distance)
        if freed >= excess:
            break
    return thinned if kept_bytes - freed + incoming <= bound else ()


def _older(heads: Sequence[Head], whole_bytes: int) -> tuple[Sequence[Head], int]:
    """The blocks before the newest ones of ``whole_bytes`` together, and how many bytes those have."""
    size = 0
    for number in range(len(heads) - 1, -1, -1):
        if size + heads[number].size > whole_bytes:
            return heads[: number + 1], size
        size += heads[number].size
    return (), size


def _distances(old: Sequence[Head], *, newest: int, room: int) -> Iterator[float]:
    """What to ask of the distance between blocks, as a part of their age: ever more, from too little on.

    Were blocks dense and alike, what stays would be their size times the logarithm of how much older the first is than
    the last, divided by the distance; it can be half of that, since distances come in whole blocks.
    """
    if room > 0 and len(old) > 1:
        size = sum(head.size for head in old) / len(old)
        span = (newest - old[0].first + 1) / (newest - old[-1].first + 1)
        least = size * log(span) / room / 2
        yield from (least * _WIDEN**step for step in range(_WIDENINGS))
    yield inf


def _crowded(old: Sequence[Head], *, newest: int, distance: float) -> tuple[list[Head], int]:
    """The blocks that begin too near behind the one kept before them, and their bytes."""
    crowded: list[Head] = []
    freed = 0
    kept = old[0].first if old else 0
    for head in old[1:]:
        if head.first - kept < distance * (newest - head.first + 1):
            crowded.append(head)
            freed += head.size
        else:
            kept = head.first
    return crowded, freed


def join(spans: Sequence[Span], fresh: Iterable[tuple[int, int]]) -> tuple[list[int], list[tuple[int, int]]]:
    """Puts sequences that were removed among the spans of those removed earlier.

    Args:
        spans: Of what was removed before, in order.
        fresh: First and last of what is removed now, in order; nothing of it is in ``spans``.

    Returns:
        The keys of the spans that are no more, and first and last of those that replace them.
    """
    gone: list[int] = []
    made: list[tuple[int, int]] = []
    earlier = iter(spans)
    span = next(earlier, None)
    for first, last in fresh:
        while span and span.last + 1 < first:
            span = next(earlier, None)
        if made and made[-1][1] + 1 == first:
            first = made.pop()[0]
        while span and span.first <= last + 1:
            gone.append(span.key)
            first, last = min(first, span.first), max(last, span.last)
            span = next(earlier, None)
        made.append((first, last))
    return gone, made


def runs(drops: Iterable[Drop]) -> Iterator[Run]:
    """Joins neighbouring drops of the same reason, for the ledger."""
    run: Run | None = None
    for head, reason in drops:
        if run and run.last + 1 == head.first and run.reason is reason:
            run = Run(run.first, head.last, reason)
            continue
        if run:
            yield run
        run = Run(head.first, head.last, reason)
    if run:
        yield run


_PLAUSIBLE_NS = 1_577_836_800_000_000_000
"""2020-01-01: a wall clock before it was never set (a board without a battery starts in 1970)."""


class AgeClock:
    """Nanoseconds that only go forward, by which records grow old.

    While the process runs it follows the monotonic clock. Over a restart it goes on by what the wall clock says has
    passed, unless that is negative or the earlier wall clock was never set. Time in which the machine slept or was
    switched off under a wrong clock may be missed: records are then kept longer, never shorter.
    """

    def __init__(self, clock: Clock, last_ns: int = 0, last_wall_ns: int = 0) -> None:
        self._clock = clock
        away = max(0, clock.time_ns() - last_wall_ns) if last_wall_ns >= _PLAUSIBLE_NS else 0
        self._offset = last_ns + away - int(clock.monotonic() * 1e9)

    def now_ns(self) -> int:
        """The age clock's now."""
        return self._offset + int(self._clock.monotonic() * 1e9)
