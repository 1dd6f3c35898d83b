"""A hypothesis state machine that holds two journals with custody against a simple model: a child whose stream
overflows, a parent with little room, and a wire between them that loses, doubles and delays what is sent.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgewise._lib.clock import ManualClock
from edgewise.errors import ConflictError, StorageFullError
from edgewise.journal.base import Batch, StreamSettings, WhenFull
from edgewise.testing.custody import LINK, CustodyJournal, CustodyOpener
from edgewise.testing.journal import entries, unbalanced


class CustodyMachine(RuleBasedStateMachine):
    """Produces, sends, loses, doubles, restarts. Subclass it, or use ``custody_machine``."""

    open: ClassVar[CustodyOpener]
    durable: ClassVar[bool]
    when_full: ClassVar[WhenFull]

    @initialize()
    def begin(self) -> None:
        """Both begin empty."""
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.child = self.opened("child")
        self.parent = self.opened("parent")
        self.produced: dict[int, int] = {}
        self.wire: list[Batch] = []
        self.told: list[int] = []

    def opened(self, node: str) -> CustodyJournal:
        """The journal of one of the two, on what is in its folder."""
        return type(self).open(
            Path(self.folder.name) / node,
            node=node,
            streams={"events": StreamSettings(max_bytes=3000, when_full=self.when_full)},
            clock=self.clock,
            held_bytes=6000,
        )

    @rule(count=st.integers(1, 5), size=st.sampled_from([0, 100, 900]))
    def produce(self, count: int, size: int) -> None:
        """The child writes records."""
        first = len(self.produced) + 1
        made = entries(*range(first, first + count), size=size if count == 1 else 0)
        for sequence in self.child.append("events", made):
            self.produced[sequence] = sequence

    @rule(back=st.integers(0, 3), max_bytes=st.sampled_from([1, 500, 100_000]))
    def send(self, back: int, max_bytes: int) -> None:
        """The child puts a batch on the wire, maybe one that was sent before."""
        after = max(0, self.parent.mark("child", "events") - back)
        self.child.follow("events", LINK)
        if batch := self.child.give("events", LINK, after=after, max_bytes=max_bytes):
            self.wire.append(batch)

    @precondition(lambda self: self.wire)
    @rule(which=st.integers(0, 9), again=st.booleans())
    def arrive(self, which: int, again: bool) -> None:
        """Some batch arrives, maybe not for the last time."""
        batch = self.wire[which % len(self.wire)]
        if not again:
            self.wire.remove(batch)
        try:
            self.parent.take([batch])
        except (ConflictError, StorageFullError):
            return
        self.told.append(batch.last)

    @precondition(lambda self: self.told)
    @rule(which=st.integers(0, 9))
    def hear(self, which: int) -> None:
        """The child hears of something that was taken."""
        self.child.advance("events", LINK, self.told.pop(which % len(self.told)))

    @rule()
    def deliver(self) -> None:
        """The parent is done with what it has."""
        mark = self.parent.mark("child", "events")
        if mark:
            self.parent.advance("child/events", "lake", mark)

    @precondition(lambda self: self.durable)
    @rule(node=st.sampled_from(["child", "parent"]))
    def restart(self, node: str) -> None:
        """One of the two is started anew."""
        getattr(self, node).close()
        setattr(self, node, self.opened(node))

    @invariant()
    def what_the_parent_has_is_what_was_produced(self) -> None:
        """In order, each once, and nothing else."""
        if mark := self.parent.mark("child", "events"):
            found = self.parent.read("child/events", limit=10_000)
            assert [record.body["n"] for record in found] == [record.sequence for record in found]
            assert found == sorted(found, key=lambda record: record.sequence)
            assert mark <= len(self.produced)

    @invariant()
    def everything_is_accounted_for(self) -> None:
        """On both sides."""
        assert not unbalanced(self.child)
        assert not unbalanced(self.parent)
        assert all(standing.balanced for standing in self.child.standings(["events"], LINK))

    @invariant()
    def the_child_lets_go_only_of_what_it_tells(self) -> None:
        """What the parent does not have is kept or in the ledger."""
        lost = {
            sequence
            for loss in self.child.losses("events")
            if loss.consumer == LINK
            for sequence in range(loss.first, loss.last + 1)
        }
        kept = {record.sequence for record in self.child.read("events", limit=10_000)}
        mark = self.parent.mark("child", "events")
        if self.child.follow("events", LINK):
            assert set(range(mark + 1, len(self.produced) + 1)) <= lost | kept

    def teardown(self) -> None:
        """Closes both and removes their folder."""
        for journal in (self.child, self.parent):
            journal.close()
        self.folder.cleanup()


def custody_machine(opener: CustodyOpener, *, durable: bool, when_full: WhenFull = WhenFull.DROP_OLDEST) -> Any:
    """A test case (for pytest) that runs the machine against one adapter."""

    class Machine(CustodyMachine):
        open = staticmethod(opener)

    Machine.durable = durable
    Machine.when_full = when_full
    return Machine.TestCase
