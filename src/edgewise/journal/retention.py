"""What a stream lets go of, and why: a pure decision over the heads of its blocks.

Blocks go oldest first and whole. Age is counted on the journal's own clock (``AgeClock``). Done blocks, those
that every consumer acknowledged, go when room is needed, under every policy; others only by age or under
``drop_oldest``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    """What to remove, oldest first, and whether the new bytes fit afterwards."""

    drops: Sequence[Drop]
    fits: bool


class Run(NamedTuple):
    """Dropped records ``first``..``last``, without a gap, for one reason."""

    first: int
    last: int
    reason: Reason | None


_HEADROOM = 32
"""A full stream is emptied by this part of its bound at once, so that not every append has to remove something."""


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
    target = bound if kept_bytes + incoming <= bound else bound - bound // _HEADROOM
    horizon = now_ns - int(settings.max_age_s * 1e9)
    drops: list[Drop] = []
    for head in oldest_first:
        is_done = head.last <= done
        expired = head.aged_ns <= horizon
        in_the_way = kept_bytes + incoming > target and (is_done or settings.when_full is WhenFull.DROP_OLDEST)
        if not (expired or in_the_way):
            break
        drops.append(Drop(head, None if is_done else Reason.EXPIRED if expired else Reason.FULL))
        kept_bytes -= head.size
    return Verdict(drops, kept_bytes + incoming <= bound)


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
