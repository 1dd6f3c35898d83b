"""The uplink against a parent that answers, loses answers, restarts, is full, or was put back from a copy."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgewise._lib.clock import ManualClock, SystemClock
from edgewise.errors import ConflictError, EdgewiseError, StorageFullError, UnavailableError
from edgewise.journal.base import StreamSettings, StreamState, WhenFull
from edgewise.journal.custody import key_of
from edgewise.journal.memory import MemoryJournal
from edgewise.link.base import Hello, Records, UplinkSettings
from edgewise.link.budget import Budget, BudgetSettings
from edgewise.link.intake import Intake
from edgewise.link.spending import Spending
from edgewise.link.uplink import Uplink, UplinkState, plan
from edgewise.testing.journal import entries, numbers
from edgewise.types import Entry


class AnyRoster:
    """Everybody may speak for everybody."""

    def check_speaks(self, caller: str, node: str) -> None:
        """Fine."""

    def check_journal(self, child: str, journal: str) -> None:
        """Fine."""

    def announce(self, child: str, nodes: list[str], *, alone: bool = False) -> tuple[str, ...]:
        """Fine."""
        return ()


class Wire:
    """What a ``Client`` is to the uplink: it carries each request to the parent, and back unless it is lost."""

    def __init__(self, parent: MemoryJournal, clock: ManualClock) -> None:
        self.parent = parent
        self.intake = Intake(parent, AnyRoster(), node="center", clock=clock, heard=lambda *_: None)
        self.sent = self.received = 0
        self.spent: Callable[[int], None] = lambda _: None
        self.lose: Callable[[], str] = lambda: ""
        self.requests: list[Any] = []

    def ask(self, method: str, path: str, content: Any, kind: type) -> Any:
        lost = self.lose()
        if lost == "request":
            raise UnavailableError("cut before")
        size = len(msgspec.msgpack.encode(content))
        self.sent += size
        self.spent(size)
        answer: Any
        if path == "/hello":
            answer = self.intake.greet("door", msgspec.convert(content, Hello))
        else:
            self.requests.append(content)
            answer = self.intake.take("door", msgspec.convert(content, Records).batches)
        if lost == "answer":
            raise UnavailableError("cut after")
        size = len(msgspec.msgpack.encode(answer))
        self.received += size
        self.spent(size)
        return answer

    def hear(self, time_s: float) -> None:
        """The clock is right."""

    def close(self) -> None:
        """Nothing is open."""

    def end(self) -> None:
        """Nobody waits here."""


def journal(node: str, *streams: str, **settings: Any) -> MemoryJournal:
    return MemoryJournal(node=node, streams={name: StreamSettings() for name in streams}, **settings)


def uplink_of(child: MemoryJournal, clock: ManualClock, **wishes: Any) -> Uplink:
    options: dict[str, Any] = {
        "node": "door",
        "version": "1",
        "connect": lambda: None,
        "brings": lambda node: node == "lamp",
        "below": lambda: ("lamp",),
        "settings": UplinkSettings(gather_s=0),
        "clock": clock,
        "random": random.Random(1).random,
    }
    options |= wishes
    spending = Spending(options["settings"].budget, budget=Budget(), keep=lambda _: None, clock=clock)
    return Uplink(child, **options, spending=spending)


def drain(uplink: Uplink, wire: Any) -> None:
    """What the thread does with a connection, until there is nothing to send."""
    uplink._greet(wire)
    while uplink._send(wire):
        pass


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def wire(clock: ManualClock) -> Wire:
    return Wire(journal("center", "events"), clock)


def test_everything_goes_up_once_and_is_acknowledged(wire: Wire, clock: ManualClock) -> None:
    child = journal("door", "events", "readings")
    child.append("events", entries(1, 2))
    child.append("readings", entries(3))
    uplink = uplink_of(child, clock)
    drain(uplink, wire)
    child.append("events", entries(4))
    drain(uplink, wire)
    assert numbers(wire.parent.read("door/events")) == [1, 2, 4]
    assert numbers(wire.parent.read("door/readings")) == [3]
    assert {(b.stream, b.consumer): b.pending for b in child.audit() if b.consumer} == {
        ("events", "parent"): 0,
        ("readings", "parent"): 0,
    }
    state: UplinkState = uplink.state
    assert (state.pending, state.sent_records) == (0, 4)
    assert state.sent_bytes == wire.sent


def test_what_is_urgent_overtakes_a_long_past(wire: Wire, clock: ManualClock) -> None:
    child = journal("door", "readings", "events", "alarms")
    for _ in range(50):
        child.append("readings", entries(*range(100), size=2000))
    uplink = uplink_of(child, clock)
    uplink._greet(wire)
    child.append("events", entries(1))
    child.append("alarms", entries(2))
    uplink._send(wire)
    assert [batch.stream for batch in wire.requests[0].batches] == ["alarms", "events", "readings"]


def test_an_event_does_not_wait_for_readings_to_be_gathered(wire: Wire) -> None:
    child = journal("door", "readings", "events")
    uplink = uplink_of(
        child,
        SystemClock(),
        settings=UplinkSettings(gather_s=600),
        connect=lambda: wire,  # type: ignore[arg-type]
    )
    uplink.start()
    child.append("readings", entries(1))
    wire.parent.news(wire.parent.news(0, timeout_s=0), timeout_s=0.5)
    child.append("events", entries(2))
    seen = 0
    deadline = time.monotonic() + 30
    while not wire.parent.mark("door", "events") and time.monotonic() < deadline:
        seen = wire.parent.news(seen, timeout_s=1)
    uplink.stop()
    assert wire.parent.mark("door", "events") == 1


def test_only_what_is_told_to_goes_up(wire: Wire, clock: ManualClock) -> None:
    child = journal("door", "events", "audit", "secret")
    for stream in ("events", "audit", "secret"):
        child.append(stream, entries(1))
    drain(uplink_of(child, clock, settings=UplinkSettings(streams=("events",))), wire)
    assert {state.stream for state in wire.parent.streams() if state.node == "door"} == {"events"}


def gateway_with(*children: str) -> MemoryJournal:
    """A journal that has taken an event of each child."""
    gateway = journal("door", "events")
    for name in children:
        child = journal(name, "events")
        child.append("events", entries(1))
        batch = child.give("events", "parent", after=0, max_bytes=1000)
        assert batch
        gateway.take([batch])
    return gateway


class Heard:
    """A roster that keeps what it is told, and refuses some nodes."""

    def __init__(self, wire: Wire, clock: ManualClock) -> None:
        self.told: list[list[str]] = []
        self.refuses: set[str] = set()
        wire.intake = Intake(wire.parent, self, node="center", clock=clock, heard=lambda *_: None)

    def check_speaks(self, caller: str, node: str) -> None:
        assert node not in self.refuses

    def check_journal(self, child: str, journal: str) -> None:
        """Fine."""

    def announce(self, child: str, nodes: list[str], *, alone: bool = False) -> tuple[str, ...]:
        assert alone
        self.told.append(nodes)
        return tuple(sorted(self.refuses.intersection(nodes)))


def test_what_a_child_brought_goes_up_also_when_it_has_left_and_then_it_is_released(
    wire: Wire, clock: ManualClock
) -> None:
    heard, uplink = Heard(wire, clock), uplink_of(gateway_with("lamp", "left"), clock)
    drain(uplink, wire)
    assert {state for state in wire.parent.streams() if state.last} == {
        StreamState("lamp", "events", 1),
        StreamState("left", "events", 1),
    }
    assert uplink._has_news()
    drain(uplink, wire)
    assert heard.told == [["lamp", "left"], ["lamp"]]
    assert not uplink._has_news()


def test_a_child_that_came_from_another_gateway_goes_on_where_that_one_got(wire: Wire, clock: ManualClock) -> None:
    lamp = journal("lamp", "events")
    lamp.append("events", entries(1, 2, 3))
    batch = lamp.give("events", "parent", after=0, max_bytes=1000)
    assert batch
    wire.parent.take([batch])
    gateway = gateway_with("lamp")  # it has the first of them so far
    gateway.append("events", entries(7))
    uplink = uplink_of(gateway, clock)
    drain(uplink, wire)
    assert numbers(wire.parent.read("door/events")) == [7]
    assert not uplink._has_news()
    lamp.append("events", entries(4))
    rest = lamp.give("events", "gateway", after=1, max_bytes=1000)
    assert rest
    gateway.take([rest])
    drain(uplink, wire)
    assert numbers(wire.parent.read("lamp/events")) == [1, 2, 3, 4]
    assert {balance.pending for balance in gateway.audit() if balance.consumer == "parent"} == {0}


def test_a_node_that_is_somebody_elses_holds_up_nobody_and_is_asked_for_again(wire: Wire, clock: ManualClock) -> None:
    heard, gateway = Heard(wire, clock), gateway_with("lamp", "moved")
    gateway.append("events", entries(1))
    uplink = uplink_of(gateway, clock, brings=lambda node: node != "door", below=lambda: ("lamp", "moved"))
    heard.refuses = {"moved"}
    drain(uplink, wire)
    assert {state.node for state in wire.parent.streams() if state.last} == {"door", "lamp"}
    assert uplink.state.pending == 1
    assert not uplink._has_news()
    clock.advance(61)
    assert uplink._has_news()
    heard.refuses = set()
    drain(uplink, wire)
    assert {state.node for state in wire.parent.streams() if state.last} == {"door", "lamp", "moved"}
    assert uplink.state.pending == 0


def test_a_budget_that_is_used_up_keeps_readings_at_home_but_not_events(wire: Wire, clock: ManualClock) -> None:
    child = journal("door", "events", "readings")
    uplink = uplink_of(child, clock, settings=UplinkSettings(gather_s=0, budget=BudgetSettings(bytes_per_day=2000)))
    wire.spent = uplink._spending.spend
    uplink._greet(wire)
    for number in range(40):
        child.append("readings", entries(number, size=300))
        uplink._send(wire)
    assert 0 < wire.parent.mark("door", "readings") < 40
    child.append("events", entries(1))
    uplink._send(wire)
    assert wire.parent.mark("door", "events") == 1
    clock.advance(86_400)
    drain(uplink, wire)
    assert wire.parent.mark("door", "readings") > 0


def test_a_parent_that_was_put_back_is_given_again_what_it_lost(wire: Wire, clock: ManualClock) -> None:
    child = journal("door", "events")
    child.append("events", entries(1, 2))
    uplink = uplink_of(child, clock)
    drain(uplink, wire)
    wire.__init__(journal("center", "events"), clock)  # type: ignore[misc]
    child.append("events", entries(3))
    drain(uplink, wire)
    assert numbers(wire.parent.read("door/events")) == [1, 2, 3]


def test_a_journal_that_went_back_is_told_and_sends_nothing(wire: Wire, clock: ManualClock) -> None:
    newer = journal("door", "events")
    newer.append("events", entries(*range(10)))
    drain(uplink_of(newer, clock), wire)
    older = journal("door", "events")
    older.append("events", entries(99))
    with pytest.raises(ConflictError, match="put back from a copy"):
        drain(uplink_of(older, clock), wire)
    assert 99 not in numbers(wire.parent.read("door/events"))


def test_a_stream_without_room_at_the_parent_holds_up_no_other(wire: Wire, clock: ManualClock) -> None:
    held = {"readings": StreamSettings(max_bytes=200_000, when_full=WhenFull.BLOCK)}
    wire.__init__(  # type: ignore[misc]
        journal("center", "events", held=lambda stream: held.get(stream, StreamSettings(when_full=WhenFull.BLOCK))),
        clock,
    )
    child = journal("door", "readings", "events")
    uplink = uplink_of(child, clock)
    uplink._greet(wire)  # type: ignore[arg-type]

    def go_on() -> None:
        for _ in range(30):
            try:
                if not uplink._send(wire):  # type: ignore[arg-type]
                    return
            except StorageFullError:
                uplink._give_way()

    for number in range(400):
        child.append("readings", [Entry("k", {"x": random.Random(number).randbytes(500).hex()})])
    go_on()
    taken = wire.parent.mark("door", "readings")
    assert taken < 400
    child.append("events", entries(1))
    go_on()
    assert wire.parent.mark("door", "events") == 1
    assert uplink.state.held_off == ("readings",)
    wire.parent.follow("door/readings", "lake")
    while wire.parent.mark("door", "readings") < 400:
        if mark := wire.parent.mark("door", "readings"):
            wire.parent.advance("door/readings", "lake", mark)
        clock.advance(20)
        go_on()
    assert wire.parent.losses() == []


def test_streams_that_lag_little_do_not_wait_for_the_one_that_lags_much() -> None:
    streams = [StreamState("a", "readings", 1000), StreamState("b", "readings", 10), StreamState("c", "events", 500)]
    marks = {"c/events": 500}
    assert [each.node for each in plan(streams, marks, key=lambda each: key_of(each.node, each.stream))] == ["b", "a"]


class UplinkMachine(RuleBasedStateMachine):
    """Any order of appending, sending, losing, restarting and delivering: the parent has a prefix, exactly."""

    @initialize()
    def begin(self) -> None:
        self.clock = ManualClock()
        self.child = MemoryJournal(node="door", streams={"events": StreamSettings(), "readings": StreamSettings()})
        held = StreamSettings(max_bytes=4000, when_full=WhenFull.BLOCK)
        self.wire = Wire(journal("center", "events", held=lambda _: held, held_bytes=6000), self.clock)
        self.uplink = uplink_of(self.child, self.clock)
        self.produced = {"events": 0, "readings": 0}
        self.greeted = False

    @rule(stream=st.sampled_from(["events", "readings"]), count=st.integers(1, 4), size=st.sampled_from([0, 400]))
    def append(self, stream: str, count: int, size: int) -> None:
        first = self.produced[stream] + 1
        self.child.append(stream, entries(*range(first, first + count), size=size))
        self.produced[stream] += count

    @rule(lost=st.sampled_from(["", "request", "answer"]))
    def greet(self, lost: str) -> None:
        self.wire.lose = lambda: lost
        try:
            self.uplink._greet(self.wire)  # type: ignore[arg-type]
        except UnavailableError:
            return
        self.greeted = True

    @precondition(lambda self: self.greeted)
    @rule(lost=st.sampled_from(["", "", "request", "answer"]))
    def send(self, lost: str) -> None:
        self.wire.lose = lambda: lost
        try:
            self.uplink._send(self.wire)  # type: ignore[arg-type]
        except EdgewiseError:
            self.greeted = False  # whatever it was, the thread says hello again

    @rule()
    def restart_child(self) -> None:
        self.uplink = uplink_of(self.child, self.clock)
        self.greeted = False

    @rule(stream=st.sampled_from(["events", "readings"]))
    def land(self, stream: str) -> None:
        if mark := self.wire.parent.mark("door", stream):
            self.wire.parent.advance(f"door/{stream}", "lake", mark)

    @invariant()
    def the_parent_has_a_prefix(self) -> None:
        for stream, produced in self.produced.items():
            mark = self.wire.parent.mark("door", stream)
            assert mark <= produced
            if mark:
                found = self.wire.parent.read(f"door/{stream}", limit=10_000)
                assert numbers(found) == [record.sequence for record in found]
                assert not [x for x in self.wire.parent.losses() if x.stream == stream]

    @invariant()
    def nothing_is_acknowledged_that_is_not_there(self) -> None:
        for balance in self.child.audit():
            assert balance.balanced
            if balance.consumer:
                assert balance.delivered <= self.wire.parent.mark("door", balance.stream)

    def teardown(self) -> None:
        self.wire.lose = lambda: ""
        for _ in range(100):
            for stream in self.produced:
                self.land(stream)
            try:
                drain(self.uplink, self.wire)
            except EdgewiseError:
                continue
            break
        assert {stream: self.wire.parent.mark("door", stream) for stream in self.produced} == self.produced


TestUplinkMachine = UplinkMachine.TestCase
TestUplinkMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
