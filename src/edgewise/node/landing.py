"""From the journal to the lake: a follower of every stream, the node's own and those of the nodes below it.

Exactly once: the lake's tables know how far each stream has come, in the commits that hold the rows. So a crash between
a commit and its acknowledgement costs nothing but handing the same records over again. While the lake does not answer
the records stay in the journal, within its bounds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import msgspec

from edgewise._lib.clock import Clock
from edgewise.errors import ConflictError
from edgewise.journal.base import Custody, Journal, StreamState
from edgewise.journal.custody import key_at, key_of
from edgewise.lake.base import Lake, StreamKey
from edgewise.link.loop import Loop
from edgewise.link.reconnect import Reconnect
from edgewise.types import Record

CONSUMER = "lake"

_BATCH = 20_000
_COMPACT_S = 60.0
_IDLE_S = 1.0

logger = logging.getLogger(__name__)


class Kept(Journal, Custody, Protocol):
    """What the journal has to be able to do."""


class LandingState(msgspec.Struct, frozen=True):
    """What a person may want to know: whether the lake answers, what landed since the start, what is still to land."""

    lake: Reconnect
    landed: int
    pending: int


class Landing:
    """Feeds the lake, in a thread.

    Args:
        journal: What lands.
        lake: Where.
        node: This node's name.
        clock: Time.
        random: 0 to 1, for jitter.
        gather_s: Records wait so long for others.
    """

    def __init__(
        self,
        journal: Kept,
        lake: Lake,
        *,
        node: str,
        clock: Clock,
        random: Callable[[], float],
        gather_s: float,
    ) -> None:
        self._journal = journal
        self._lake = lake
        self._node = node
        self._clock = clock
        self._gather_s = gather_s
        self._marks: dict[StreamKey, int] = {}
        self._refused: set[StreamKey] = set()
        self._landed = 0
        self._compact_s = clock.monotonic() + _COMPACT_S
        self._loop = Loop("landing in the lake", serve=self._serve, clock=clock, random=random)
        self._stopping = self._loop.stopping

    def start(self) -> None:
        """Begins."""
        self._loop.start()

    def stop(self) -> None:
        """Ends, after the commit under way."""
        self._loop.stop()

    @property
    def state(self) -> LandingState:
        """What it is at."""
        pending = sum(max(0, each.last - self._marks.get(_name(each), 0)) for each in self._journal.streams())
        return LandingState(self._loop.state, self._landed, pending)

    def _serve(self) -> None:
        self._marks.clear()
        seen = 0
        while not self._stopping.is_set():
            if not self.land():
                fresh = self._journal.news(seen, timeout_s=_IDLE_S)
                if fresh != seen:
                    self._stopping.wait(self._gather_s)
                seen = fresh
            self._loop.connected()
            if self._clock.monotonic() >= self._compact_s:
                self._lake.compact()
                self._compact_s = self._clock.monotonic() + _COMPACT_S

    def land(self) -> bool:
        """Lands one batch; whether there was anything."""
        streams = self._journal.streams()
        self._meet([each for each in streams if _name(each) not in self._marks])
        records: list[Record] = []
        ends: dict[StreamKey, int] = {}
        for each in sorted(streams, key=lambda each: each.last - self._marks.get(_name(each), each.last)):
            mark = self._marks.get(_name(each), each.last)
            if mark >= each.last:
                continue
            found = self._journal.read(self._key(each), after=mark, limit=_BATCH - len(records))
            records += found
            # What is not there any more was told in the ledger; nothing is waited for.
            ends[_name(each)] = found[-1].sequence if len(records) >= _BATCH else each.last
            if len(records) >= _BATCH:
                break
        if records:
            self._lake.take(records)
            self._landed += len(records)
        self._marks |= ends
        self._journal.advance_each(CONSUMER, {self._key_of(name): end for name, end in ends.items()})
        return bool(ends)

    def _meet(self, streams: list[StreamState]) -> None:
        """Asks how far the lake has streams that are new here."""
        if not streams:
            return
        marks = self._lake.marks([_name(each) for each in streams])
        for each in streams:
            name, mark = _name(each), marks[_name(each)]
            if mark > each.last:
                if name not in self._refused:
                    self._refused.add(name)
                    logger.warning("%s", _went_back(each, mark))
                continue
            self._marks[name] = mark
        self._journal.advance_each(
            CONSUMER, {self._key(each): self._marks[_name(each)] for each in streams if _name(each) in self._marks}
        )

    def _key(self, stream: StreamState) -> str:
        return self._key_of(_name(stream))

    def _key_of(self, name: StreamKey) -> str:
        return key_at(*name, own=self._node)


def _name(stream: StreamState) -> StreamKey:
    return stream.node, stream.stream


def _went_back(stream: StreamState, mark: int) -> ConflictError:
    return ConflictError(
        f"The lake has {key_of(stream.node, stream.stream)} up to {mark}, this journal up to {stream.last}: "
        "nothing of it lands",
        hint="Put the newer journal back, or give the node another name.",
    )
