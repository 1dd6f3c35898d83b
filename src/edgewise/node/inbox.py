"""A stream as its one consumer works through it, with several records under way.

Records are handed out in order, each once while the process lives; what is done is acknowledged. While a record takes
its time (a device that does not confirm), those behind it are handed out already, by reading ahead of the claim.
"""

from __future__ import annotations

from typing import Protocol

from edgewise._lib.clock import Clock
from edgewise.journal.base import Claim, Consumers, Followable, Journal
from edgewise.types import Record


class Skippable(Protocol):
    """The part of ``journal.base.Custody`` by which a consumer begins later than at the oldest record."""

    def follow(self, stream: str, consumer: str) -> int:
        """Registers a follower; returns how far it got."""
        ...

    def advance(self, stream: str, consumer: str, through: int) -> None:
        """Acknowledges all records up to ``through``."""
        ...


class FollowedJournal(Journal, Followable, Consumers, Skippable, Protocol):
    """A journal with the abilities that deciding needs."""


class Inbox:
    """One stream of a consumer, which must be the only one of its name. One thread at a time.

    Args:
        journal: Whose stream.
        stream: Which.
        consumer: Who.
        batch: Records handed out at once.
        clock: Its monotonic time.
        acknowledge_s: Acknowledges this often at most: each time costs a sync of the disk, and what is not acknowledged
            is only looked at again after a crash.

    Attributes:
        stream: Which.
        taken: The newest record that was handed out.
    """

    def __init__(
        self,
        journal: FollowedJournal,
        stream: str,
        consumer: str,
        *,
        batch: int,
        clock: Clock,
        acknowledge_s: float = 0.0,
    ) -> None:
        self.stream = stream
        self.taken = 0
        self._journal = journal
        self._consumer = consumer
        self._batch = batch
        self._clock = clock
        self._acknowledge_s = acknowledge_s
        self._acknowledged_at = -acknowledge_s
        self._claim: Claim | None = None
        self._done = 0
        self._acknowledged = 0

    def open(self) -> int:
        """Takes back what was lent before a crash; returns the first record that is not done, there or not."""
        newest = self._journal.read(self.stream, limit=1, newest_first=True)
        self.recover()
        self._claim = self._journal.claim(self.stream, self._consumer, limit=self._batch)
        if self._claim is not None:
            return self._claim.records[0].sequence
        return newest[0].sequence + 1 if newest else 1

    def begin(self) -> None:
        """Leaves out what is there by now."""
        newest = self._journal.read(self.stream, limit=1, newest_first=True)
        through = newest[0].sequence if newest else 0
        if self._journal.follow(self.stream, self._consumer) < through:
            self._journal.advance(self.stream, self._consumer, through)
        self.taken = self._done = self._acknowledged = through

    def recover(self) -> None:
        """Takes back what may have been lent by a call that failed."""
        if self._claim is None:
            self._journal.release(self.stream, self._consumer)

    def take(self) -> list[Record]:
        """The next records; empty when there are none."""
        self.acknowledge()
        if self._claim is None:
            self._claim = self._journal.claim(self.stream, self._consumer, limit=self._batch)
        if self._claim is None:
            return []
        records = [record for record in self._claim.records if record.sequence > self.taken]
        if not records:
            records = self._journal.read(self.stream, after=self.taken, limit=self._batch)
        if records:
            self.taken = records[-1].sequence
        return records

    def untake(self, after: int) -> None:
        """Records behind this one were handed out, but nothing was done with them; they come again."""
        self.taken = after

    def done(self, sequence: int) -> None:
        """All records up to this one are done."""
        self._done = max(self._done, sequence)

    @property
    def behind(self) -> bool:
        """Whether something is done that is not acknowledged."""
        return self._done > self._acknowledged

    def acknowledge(self, *, now: bool = False) -> None:
        """Acknowledges what is done, claim by claim; while a part of one is under way, the whole of it waits.

        Args:
            now: However short a time ago it was done last.
        """
        at = self._clock.monotonic()
        if not self.behind or (not now and at - self._acknowledged_at < self._acknowledge_s):
            return
        self._acknowledged_at = at
        while self._claim is None or self._done >= self._claim.last:
            if self._claim is not None:
                self._journal.ack(self.stream, self._consumer, self._claim.last)
                self._acknowledged, self._claim = self._claim.last, None
            if self._done <= self._acknowledged:
                return
            self._claim = self._journal.claim(self.stream, self._consumer, limit=self._batch)
            if self._claim is None:
                return
