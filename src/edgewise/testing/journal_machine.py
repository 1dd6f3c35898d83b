"""A hypothesis state machine that holds any journal against a simple model: plain sets of sequences.

The model does not predict what retention drops. It checks that nothing is unaccounted for: at every moment each record
that a consumer was due is exactly one of acknowledged, still there, or in the ledger, and the audit counts the same.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgewise.errors import StorageFullError
from edgewise.journal.base import Balance, Loss, Reason, StreamSettings, WhenFull
from edgewise.testing.journal import JumpyClock, Opener, entries, numbers
from edgewise.types import Record

_LEASE_S = 60.0
_MAX_AGE_S = 100.0
_MAX_ATTEMPTS = 3
STREAMS = {
    "roomy": StreamSettings(lease_s=_LEASE_S, max_attempts=_MAX_ATTEMPTS),
    "aging": StreamSettings(lease_s=_LEASE_S, max_attempts=_MAX_ATTEMPTS, max_age_s=_MAX_AGE_S),
    **{
        policy.value: StreamSettings(
            lease_s=_LEASE_S, max_attempts=_MAX_ATTEMPTS, max_bytes=1500, when_full=policy, block_timeout_s=0
        )
        for policy in WhenFull
    },
}

_consumers = st.sampled_from(["lake", "link"])


class _Consumer:
    """What the model knows of one consumer."""

    def __init__(self, visible: set[int]) -> None:
        self.due = visible  # all it is to get, or to be told of
        self.done: set[int] = set()  # what it acknowledged
        self.acked = 0
        self.lent: list[int] = []
        self.lease_until = 0.0
        self.led: dict[int, int] = {}  # how often each record stood first in a claim


class _Stream:
    """What the model knows of one stream."""

    def __init__(self) -> None:
        self.bodies: dict[int, int] = {}
        self.accepted_at: dict[int, float] = {}
        self.consumers: dict[str, _Consumer] = {}


class JournalMachine(RuleBasedStateMachine):
    """Appends, claims, acknowledges, waits, reopens. Subclass it, or use ``journal_machine``."""

    open: Opener
    durable: bool

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = JumpyClock()
        self.jumped = False
        self.streams = {name: _Stream() for name in STREAMS}
        self.count = 0
        self.journal = type(self).open(self.folder, streams=STREAMS, clock=self.clock)

    @initialize(stream=st.sampled_from(sorted(STREAMS)))
    def choose(self, stream: str) -> None:
        """Each run is about one stream, so that much happens to it."""
        self.stream = stream

    def teardown(self) -> None:
        """Closes the journal and removes its folder."""
        self.journal.close()
        shutil.rmtree(self.folder)

    @rule(count=st.integers(1, 4), size=st.integers(0, 200))
    def append(self, count: int, size: int) -> None:
        """A producer appends; only a blocking stream may refuse, and then accepts nothing."""
        stream = self.stream
        fresh = list(range(self.count, self.count + count))
        self.count += count
        model = self.streams[stream]
        try:
            accepted = self.journal.append(stream, entries(*fresh, size=size))
        except StorageFullError:
            assert STREAMS[stream].when_full is WhenFull.BLOCK
            return
        assert list(accepted) == list(range(len(model.bodies) + 1, len(model.bodies) + count + 1))
        model.bodies.update(zip(accepted, fresh, strict=True))
        model.accepted_at.update(dict.fromkeys(accepted, self.clock.monotonic()))
        for consumer in model.consumers.values():
            consumer.due.update(accepted)

    @rule(name=_consumers, limit=st.integers(1, 6))
    def claim(self, name: str, limit: int) -> None:
        """A consumer claims: it gets the next records there are, unless its lease runs."""
        stream = self.stream
        kept = self.kept(stream)
        model = self.streams[stream].consumers.get(name)
        claim = self.journal.claim(stream, name, limit=limit)
        if model is None:
            model = self.streams[stream].consumers[name] = _Consumer(set(kept))
        open_records = sorted(n for n in kept if n > model.acked and n not in self.dead(stream, name))
        leased = self.clock.monotonic() < model.lease_until and any(n > model.acked for n in model.lent)
        if claim is None:
            assert leased or self.jumped or not open_records
            return
        assert not leased
        got = [record.sequence for record in claim.records]
        assert got == open_records[: len(got)]
        assert numbers(claim.records) == [self.streams[stream].bodies[number] for number in got]
        assert len(got) <= limit
        assert claim.attempts <= _MAX_ATTEMPTS
        model.led[got[0]] = model.led.get(got[0], 0) + 1
        model.lent = got
        model.lease_until = self.clock.monotonic() + _LEASE_S

    @rule(name=_consumers, part=st.floats(0, 1))
    def acknowledge(self, name: str, part: float) -> None:
        """A consumer acknowledges what it was lent, or a part."""
        stream = self.stream
        model = self.streams[stream].consumers.get(name)
        if model is None or not model.lent:
            return
        through = model.lent[round(part * (len(model.lent) - 1))]
        self.journal.ack(stream, name, through)
        if through > model.acked:
            model.done |= {n for n in self.kept(stream) if model.acked < n <= through} - self.dead(stream, name)
            model.acked = through
            rest = [number for number in model.lent if number > through and number in self.kept(stream)]
            model.lease_until = self.clock.monotonic() + _LEASE_S if rest else 0.0

    @rule(name=_consumers, limit=st.integers(1, 6), count=st.integers(1, 4), size=st.integers(0, 200))
    def work(self, name: str, limit: int, count: int, size: int) -> None:
        """What happens most: something is claimed, more is appended meanwhile, the claim is acknowledged."""
        self.claim(name, limit)
        self.append(count, size)
        self.acknowledge(name, 1.0)

    @rule(name=_consumers)
    def release(self, name: str) -> None:
        """A consumer gives its claim back."""
        stream = self.stream
        self.journal.release(stream, name)
        if model := self.streams[stream].consumers.get(name):
            model.lease_until = 0.0

    @rule(name=_consumers)
    def forget(self, name: str) -> None:
        """A consumer is gone for good, or comes back as new."""
        stream = self.stream
        self.journal.forget(stream, name)
        self.streams[stream].consumers.pop(name, None)

    @rule(seconds=st.floats(1, 70))
    def pass_time(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)

    @rule(seconds=st.floats(-1e9, -1))
    def set_the_clock_back(self, seconds: float) -> None:
        """Somebody sets the wall clock back."""
        self.jumped = True
        self.clock.jump(seconds)

    @rule()
    def retain(self) -> None:
        """The node does its upkeep: what is too old goes."""
        self.journal.retain()
        horizon = self.clock.monotonic() - _MAX_AGE_S
        times = self.streams["aging"].accepted_at
        assert self.jumped or all(times[number] > horizon for number in self.kept("aging"))

    @precondition(lambda self: self.durable)
    @rule()
    def reopen(self) -> None:
        """The node restarts."""
        self.journal.close()
        self.journal = type(self).open(self.folder, streams=STREAMS, clock=self.clock)

    @invariant()
    def every_record_is_accounted_for(self) -> None:
        """The model's sets, the stored records, the ledger and the audit agree."""
        stream, model, kept = self.stream, self.streams[self.stream], self.kept(self.stream)
        audit = {balance.consumer: balance for balance in self.journal.audit() if balance.stream == stream}
        self.check_stream(stream, model, kept, audit.pop(""))
        for name, consumer in model.consumers.items():
            self.check_consumer(stream, name, consumer, kept, audit.pop(name))
        assert not audit

    @invariant()
    def nothing_young_expires(self) -> None:
        """Only records older than the bound are dropped for their age."""
        horizon = self.clock.monotonic() - _MAX_AGE_S + 1e-3
        times = self.streams["aging"].accepted_at
        for loss in self.journal.losses():
            if loss.reason is Reason.EXPIRED:
                assert loss.stream == "aging"
                assert all(times[number] <= horizon for number in _span(loss))

    def check_stream(self, stream: str, model: _Stream, kept: set[int], balance: Balance) -> None:
        """The stream's own line of the audit."""
        lost = _spans(self.lines(stream, ""))
        assert not lost & kept
        assert balance.balanced
        assert (balance.produced, balance.pending, balance.dropped) == (len(model.bodies), len(kept), len(lost))
        if stream == "roomy":
            assert len(kept) == len(model.bodies)

    def check_consumer(self, stream: str, name: str, model: _Consumer, kept: set[int], balance: Balance) -> None:
        """A consumer's line of the audit: acknowledged, pending and lost are disjoint, and are all it was due."""
        lost = _spans(self.lines(stream, name))
        pending = {number for number in kept & model.due if number > max(model.acked, 0)} - self.dead(stream, name)
        assert not lost & model.done
        assert model.done | lost | pending == model.due
        assert balance.balanced
        assert (balance.produced, balance.delivered) == (len(model.due), len(model.done))
        assert (balance.pending, balance.dropped) == (len(pending), len(lost))
        for loss in self.lines(stream, name):
            if loss.reason is Reason.DEAD_LETTER:
                assert all(model.led[number] >= _MAX_ATTEMPTS for number in _span(loss))

    def kept(self, stream: str) -> set[int]:
        """What the stream stores."""
        records: list[Record] = self.journal.read(stream, limit=10**6)
        return {record.sequence for record in records}

    def lines(self, stream: str, consumer: str) -> list[Loss]:
        """The ledger of one consumer, record by record, so that joined lines do not matter."""
        return [
            Loss(loss.node, loss.stream, loss.consumer, number, number, 1, loss.reason, loss.time_ns)
            for loss in self.journal.losses(stream)
            if loss.consumer == consumer
            for number in _span(loss)
        ]

    def dead(self, stream: str, consumer: str) -> set[int]:
        """Records that were given up for a consumer."""
        return {loss.first for loss in self.lines(stream, consumer) if loss.reason is Reason.DEAD_LETTER}


def journal_machine(opener: Opener, *, durable: bool) -> Any:
    """A test case (for pytest) that runs the machine against one adapter."""

    class Machine(JournalMachine):
        open = staticmethod(opener)

    Machine.durable = durable
    return Machine.TestCase


def _span(loss: Loss) -> range:
    assert loss.count == loss.last - loss.first + 1
    return range(loss.first, loss.last + 1)


def _spans(losses: list[Loss]) -> set[int]:
    return {number for loss in losses for number in _span(loss)}
