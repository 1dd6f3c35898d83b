"""The decider: every event is decided once, in order, and nothing that goes wrong ends it or goes untold."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise._lib.clock import ManualClock
from edgewise.errors import StorageFullError, UnavailableError
from edgewise.journal.base import StreamSettings
from edgewise.journal.memory import MemoryJournal
from edgewise.node.decider import CONSUMER, Decider
from edgewise.node.streams import DECISIONS, EVENTS, READINGS
from edgewise.people.store import PeopleStore
from edgewise.pipeline.backoff import Backoff
from edgewise.pipeline.devices import Devices
from edgewise.pipeline.kinds import AlarmSettings, Command, LightSettings, LockSettings
from edgewise.pipeline.rules import Do, RuleEngine, RuleSettings, Step
from edgewise.pipeline.sinks.virtual import VirtualDevice
from edgewise.types import Entry, Record

PATIENCE_S = 10.0


class Soon(Backoff):
    def next(self) -> float:
        return 0.001


class Listening(VirtualDevice):
    """A device that keeps what it was told, and does first what a test wants."""

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        self.told: list[Command] = []
        self.first: Callable[[], object] = lambda: None

    def apply(self, command: Command, *, key: str, expires_ns: int) -> None:
        self.told.append(command)
        self.first()
        super().apply(command, key=key, expires_ns=expires_ns)


class FullFor(MemoryJournal):
    """A journal whose disk is full for the next few appends of decisions."""

    full = 0

    def append(self, stream: str, entries: Sequence[Entry]) -> range:
        if stream == DECISIONS and self.full:
            self.full -= 1
            raise StorageFullError("no space left")
        return super().append(stream, entries)


class House:
    """A journal, a door, a light and a siren, with rules between them; ``restart`` is a crash and what follows it."""

    def __init__(self, *rules: RuleSettings) -> None:
        self.clock = ManualClock()
        self.journal = FullFor(node="home", streams=dict.fromkeys((EVENTS, READINGS, DECISIONS), StreamSettings()))
        self.people = PeopleStore(None, clock=self.clock)
        self.rules = rules
        self.restart()

    def restart(self) -> None:
        self.door = Listening("door", LockSettings(relock_s=0))
        self.hall = Listening("hall", LightSettings())
        self.siren = Listening("siren", AlarmSettings())
        self.devices = Devices([self.door, self.hall, self.siren], clock=self.clock)
        self.decider = Decider(
            RuleEngine(self.rules),
            journal=self.journal,
            decisions=self.journal,
            devices=self.devices,
            people=self.people,
            clock=self.clock,
            backoff=Soon(),
        )

    def happens(self, kind: str = "face.known", **body: Any) -> None:
        self.journal.append(EVENTS, [Entry(kind, {"source": "porch", **body}, time_ns=self.clock.time_ns())])

    def reads(self, source: str = "boiler", **values: Any) -> None:
        entry = Entry("reading", {"source": source, "values": values}, time_ns=self.clock.time_ns())
        self.journal.append(READINGS, [entry])

    def decisions(self) -> list[Record]:
        return self.journal.read(DECISIONS)

    def told(self) -> list[tuple[str, list[str]]]:
        """Kind of each decision with what became of its actions."""
        return [(record.kind, [action["status"] for action in record.body["actions"]]) for record in self.decisions()]

    def pending(self) -> int:
        return sum(line.pending for line in self.journal.audit() if line.consumer == CONSUMER)


def rule(name: str, *do: Do, on: str = "face.known", **fields: Any) -> RuleSettings:
    return RuleSettings(name, on, do, **fields)


OPEN = rule("open", Do("door", "unlock"))
ALARM = rule("alarm", Do("siren", "raise"), on="face.unknown")


@pytest.fixture
def start() -> Iterator[Callable[[House], None]]:
    """Starts the decider of a house, and ends it afterwards as a node does."""
    started: list[House] = []

    def begin(house: House) -> None:
        house.decider.start()
        started.append(house)

    yield begin
    for house in started:
        house.decider.stop()
        house.journal.close()
        house.decider.join()


def test_events_are_decided_in_order_and_told_with_what_they_led_to() -> None:
    house = House(OPEN, ALARM)
    house.happens(name="Ada")
    house.happens("face.unknown")
    house.happens("other")
    assert house.decider.decide_pending() == 3
    known, unknown = house.decisions()
    assert (known.kind, known.body["rule"], known.body["event"]["sequence"]) == ("decision.done", "open", 1)
    assert (unknown.body["rule"], unknown.body["event"]["sequence"]) == ("alarm", 2)
    assert house.pending() == 0


def test_two_people_in_one_frame_both_get_what_their_rule_does() -> None:
    house = House(rule("light", Do("hall", "turn_on", {"brightness": "=event.body.wish"})))
    house.happens(name="Ada", wish=10)
    house.happens(name="Bob", wish=90)
    house.decider.decide_pending()
    assert house.told() == [("decision.done", ["done"]), ("decision.done", ["done"])]
    assert house.hall.state["brightness"] == 90


def test_after_a_crash_between_decision_and_acknowledgement_nothing_acts_again() -> None:
    house = House(OPEN)
    house.happens()
    acknowledge, house.journal.ack = house.journal.ack, lambda *_: None  # type: ignore[method-assign]
    house.decider.decide_pending()
    assert len(house.door.told) == 1
    house.journal.ack = acknowledge  # type: ignore[method-assign]
    house.journal.append(DECISIONS, [Entry("device.command", {"device": "hall"})])  # a person's, not the rules'
    house.restart()
    house.journal.release(EVENTS, CONSUMER)
    assert house.decider.decide_pending() == 1
    assert house.door.told == []
    assert len(house.decisions()) == 2


def test_after_a_crash_the_lease_of_the_dead_does_not_hold_the_living_up(start: Callable[[House], None]) -> None:
    house = House(OPEN)
    house.happens()
    assert house.journal.claim(EVENTS, CONSUMER) is not None
    house.restart()
    start(house)
    assert house.journal.wait(DECISIONS, after=0, timeout_s=PATIENCE_S) == 1


def test_what_is_late_after_a_crash_has_expired_and_says_so() -> None:
    house = House(OPEN)
    house.happens()
    house.clock.advance(6)
    house.decider.decide_pending()
    assert house.told() == [("decision.expired", ["expired"])]
    assert house.door.told == []


@pytest.mark.parametrize("error", [UnavailableError("no answer"), ValueError("a fault of ours")])
def test_a_device_that_fails_is_told_and_holds_up_no_other(error: Exception) -> None:
    def fail() -> None:
        raise error

    house = House(rule("welcome", Do("hall", "turn_on"), Do("door", "unlock")))
    house.hall.first = fail
    house.happens()
    house.happens("other")
    assert house.decider.decide_pending() == 2
    assert house.told() == [("decision.failed", ["failed", "done"])]
    assert house.door.state["state"] == "unlocked"


def test_a_rule_that_cannot_be_evaluated_is_told_and_the_others_act() -> None:
    house = House(rule("broken", Do("hall", "turn_on"), when="event.body.missing > 1"), OPEN)
    house.happens()
    house.decider.decide_pending()
    done, failed = house.decisions()
    assert (done.kind, done.body["rule"]) == ("decision.done", "open")
    assert (failed.kind, failed.body["rule"], failed.body["error"]["code"]) == (
        "decision.failed",
        "broken",
        "rule_invalid",
    )


def test_an_event_that_cannot_be_decided_is_told_and_the_next_one_is_decided(
    start: Callable[[House], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(OPEN)
    ask = house.decider._rules.decide

    def fail_on_the_first(event: Any, *others: Any) -> Any:
        if event.sequence == 1:
            raise ZeroDivisionError("nobody thought of this")
        return ask(event, *others)

    monkeypatch.setattr(house.decider._rules, "decide", fail_on_the_first)
    house.happens()
    house.happens()
    start(house)
    assert house.journal.wait(DECISIONS, after=1, timeout_s=PATIENCE_S) == 2
    failed, done = house.decisions()
    assert (failed.kind, failed.body["error"]["code"], failed.body["event"]["sequence"]) == (
        "decision.failed",
        "internal",
        1,
    )
    assert done.kind == "decision.done"


def test_a_full_disk_delays_the_record_but_repeats_no_command(start: Callable[[House], None]) -> None:
    house = House(rule("open", Do("door", "unlock"), cooldown_s=60))
    house.journal.full = 20
    house.happens()
    start(house)
    assert house.journal.wait(DECISIONS, after=0, timeout_s=PATIENCE_S) == 1
    assert house.told() == [("decision.done", ["done"])]
    assert len(house.door.told) == 1


def test_a_journal_that_fails_for_a_while_interrupts_the_rules_but_does_not_end_them(
    start: Callable[[House], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(OPEN)
    ack = house.journal.ack
    failures = iter([OSError("the disk"), StorageFullError("no space left")])

    def fail_twice(*arguments: Any) -> None:
        for failure in failures:
            raise failure
        ack(*arguments)
        acknowledged.set()

    acknowledged = threading.Event()
    monkeypatch.setattr(house.journal, "ack", fail_twice)
    house.happens()
    start(house)
    assert acknowledged.wait(PATIENCE_S)
    assert house.pending() == 0
    assert len(house.door.told) == 1


def test_stopping_finishes_the_event_under_way_and_begins_no_other(start: Callable[[House], None]) -> None:
    house = House(OPEN)
    busy, go = threading.Event(), threading.Event()

    def wait() -> None:
        busy.set()
        assert go.wait(PATIENCE_S)

    house.door.first = wait
    house.happens()
    house.happens()
    start(house)
    assert busy.wait(PATIENCE_S)
    stopping = threading.Thread(target=house.decider.stop)
    stopping.start()
    stopping.join(0.05)
    assert stopping.is_alive()
    go.set()
    stopping.join(PATIENCE_S)
    assert len(house.door.told) == 1
    assert len(house.decisions()) == 1
    assert house.pending() == 2  # the next start goes on from here


HOT = rule("hot", Do("siren", "raise"), on="reading", when='avg(heat, "5m") > 80', cooldown_s=600)


def test_readings_are_decided_with_what_was_read_before_also_before_a_restart() -> None:
    house = House(HOT)
    for heat in (90, 60, 70):
        house.reads(heat=heat)
        house.clock.advance(1)
        house.decider.decide_pending()
    assert house.told() == [("decision.done", ["done"])]
    assert house.decisions()[0].body["why"] == {'avg(heat, "5m")': 90.0}
    assert house.decisions()[0].body["event"]["stream"] == READINGS
    house.clock.advance(250)
    house.restart()
    house.reads(heat=130)
    house.decider.decide_pending()
    assert len(house.decisions()) == 1  # the cooldown survives
    house.clock.advance(360)
    house.restart()
    house.reads(heat=100)
    house.decider.decide_pending()
    assert house.decisions()[1].body["why"] == {'avg(heat, "5m")': 100.0}
    assert house.pending() == 0


def test_a_window_is_rebuilt_from_the_journal_after_a_restart() -> None:
    house = House(rule("flood", Do("siren", "raise"), on="face.unknown", when='count("face.unknown", "1m") == 3'))
    for _ in range(2):
        house.happens("face.unknown")
        house.decider.decide_pending()
        house.clock.advance(1)
        house.restart()
    house.happens("face.unknown")
    house.decider.decide_pending()
    assert [record.body["why"] for record in house.decisions()] == [{'count("face.unknown", "1m")': 3}]


@pytest.mark.parametrize("decided", [0, 1, 2])
def test_a_restart_between_steps_forgets_none_and_counts_none_twice(decided: int) -> None:
    """The node dies when so many of three events were decided, and none was acknowledged."""
    house = House(
        rule("left", Do("siren", "raise"), on="left", after=(Step("came"), Step("took")), within_s=60.0),
        rule("count", Do("hall", "turn_on"), on="left", when='count("*", "1m") == 3'),
    )
    acknowledge, house.journal.ack = house.journal.ack, lambda *_: None  # type: ignore[method-assign]
    for number, kind in enumerate(("came", "took", "left")):
        if number == decided:
            house.decider.decide_pending()
        house.happens(kind)
        house.clock.advance(1)
    house.journal.ack = acknowledge  # type: ignore[method-assign]
    house.restart()
    house.decider.decide_pending()
    told = [
        (record.body["rule"], [part["kind"] for part in record.body.get("parts", [])]) for record in house.decisions()
    ]
    assert told == [("left", ["came", "took"]), ("count", [])]


def test_a_cooldown_survives_a_restart() -> None:
    house = House(rule("open", Do("door", "unlock"), cooldown_s=60))
    house.happens(name="Ada")
    house.decider.decide_pending()
    house.clock.advance(30)
    house.restart()
    house.happens(name="Ada")
    house.happens(name="Bob")
    house.decider.decide_pending()
    assert len(house.decisions()) == 2
    house.clock.advance(31)
    house.restart()
    house.happens(name="Ada")
    house.decider.decide_pending()
    assert len(house.decisions()) == 3


def test_what_does_not_happen_is_told_once_also_over_a_restart() -> None:
    house = House(rule("left-open", Do("siren", "raise"), on="door.opened", unless=(Step("door.shut"),), for_s=60.0))
    house.happens("door.opened")
    house.decider.decide_pending()
    house.clock.advance(30)
    house.restart()
    house.decider.decide_pending()
    assert house.decisions() == []
    house.clock.advance(31)
    house.decider.decide_pending()
    assert house.told() == [("decision.done", ["done"])]
    house.restart()
    house.decider.decide_pending()
    assert len(house.decisions()) == 1


def test_what_waits_in_the_journal_comes_before_what_the_clock_says() -> None:
    house = House(rule("left-open", Do("siren", "raise"), on="door.opened", unless=(Step("door.shut"),), for_s=60.0))
    house.happens("door.opened")
    house.decider.decide_pending()
    house.clock.advance(30)
    house.happens("door.shut")
    house.clock.advance(300)  # nobody decided meanwhile
    house.restart()
    house.decider.decide_pending()
    assert house.decisions() == []


def test_readings_that_wait_come_before_what_the_clock_says_too() -> None:
    broken = rule(
        "broken",
        Do("siren", "raise"),
        on="reading",
        channel="fell",
        unless=(Step("reading", channel="rose"),),
        for_s=60.0,
    )
    house = House(broken)
    house.reads(fell=1)
    house.clock.advance(30)
    for number in range(400):  # more than is taken at once
        house.reads(heat=number)
    house.reads(rose=1)
    house.clock.advance(300)
    house.decider.decide_pending()
    assert house.decisions() == []


def test_a_rule_on_time_acts_at_its_time_and_once_also_when_the_node_restarts_then() -> None:
    house = House(rule("lamp", Do("hall", "turn_on"), on="time", at="22:15"))
    house.decider.decide_pending()  # 22:13:20
    house.clock.advance(99)
    house.decider.decide_pending()
    assert house.decisions() == []
    house.restart()
    house.clock.advance(2)
    house.restart()
    house.decider.decide_pending()
    house.restart()
    house.decider.decide_pending()
    assert house.told() == [("decision.done", ["done"])]
    body = house.decisions()[0].body
    assert (body["event"]["kind"], body["event"]["stream"]) == ("time", "")
    assert body["due_ns"] == 1_700_000_100 * 10**9


def test_a_started_decider_follows_the_clock_by_itself(start: Callable[[House], None]) -> None:
    house = House(rule("lamp", Do("hall", "turn_on"), on="time", every_s=60.0))
    house.decider.decide_pending()
    start(house)
    house.clock.advance(60)
    assert house.journal.wait(DECISIONS, after=0, timeout_s=PATIENCE_S) == 1


def test_a_device_that_does_not_confirm_holds_up_no_other_device(start: Callable[[House], None]) -> None:
    house = House(OPEN, ALARM)
    release = threading.Event()
    raised = threading.Event()
    house.door.first = lambda: release.wait(PATIENCE_S)
    house.siren.first = raised.set
    start(house)
    house.happens(name="Ada")
    house.happens("face.unknown")
    assert raised.wait(PATIENCE_S)
    assert house.decisions() == []  # in the order in which they fell
    release.set()
    assert house.journal.wait(DECISIONS, after=1, timeout_s=PATIENCE_S) == 2
    assert [record.body["rule"] for record in house.decisions()] == ["open", "alarm"]


def test_events_are_read_ahead_while_a_claim_is_under_way(start: Callable[[House], None]) -> None:
    house = House(OPEN, ALARM)
    release, busy, raised = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        busy.set()
        release.wait(PATIENCE_S)

    house.door.first = hold
    house.siren.first = raised.set
    house.happens(name="Ada")
    start(house)
    assert busy.wait(PATIENCE_S)
    house.happens("face.unknown")  # behind what is claimed
    assert raised.wait(PATIENCE_S)
    release.set()
    assert house.journal.wait(DECISIONS, after=1, timeout_s=PATIENCE_S) == 2


def test_commands_to_one_device_keep_their_order() -> None:
    house = House(rule("light", Do("hall", "turn_on", {"brightness": "=event.body.wish"})))
    for wish in range(1, 41):
        house.happens(wish=wish)
    house.decider.decide_pending()
    assert [command.brightness for command in house.hall.told] == list(range(1, 41))  # type: ignore[attr-defined]
    assert [record.body["actions"][0]["arguments"]["brightness"] for record in house.decisions()] == list(range(1, 41))


def test_a_rule_that_looks_at_a_device_waits_for_what_is_on_its_way_to_it() -> None:
    house = House(
        rule("alarm", Do("siren", "raise"), on="face.unknown"),
        rule("calm", Do("siren", "clear"), when="devices.siren.state == 'raised'"),
    )
    house.happens("face.unknown")
    house.happens()
    house.decider.decide_pending()
    assert house.siren.state["state"] != "raised"
    assert [record.body["rule"] for record in house.decisions()] == ["alarm", "calm"]


def test_alarms_go_before_a_flood_of_readings() -> None:
    house = House(rule("hot", Do("hall", "turn_on"), on="reading", when="values.heat > 210"), ALARM)
    for heat in range(300):
        house.reads(heat=heat)
    house.happens("face.unknown")
    assert house.decider.decide_pending() == 301
    assert [record.body["rule"] for record in house.decisions()] == ["alarm", *["hot"] * 89]


def test_readings_do_not_wait_for_events_that_were_done_before_the_restart(start: Callable[[House], None]) -> None:
    house = House(rule("hot", Do("hall", "turn_on"), on="reading"), ALARM)
    house.happens("face.unknown")
    house.decider.decide_pending()
    house.restart()
    start(house)
    with house.decider._changed:  # its follower has told it what the newest event is
        assert house.decider._changed.wait_for(lambda: house.decider._newest.get(EVENTS) == 1, PATIENCE_S)
    house.reads(heat=1)
    assert house.journal.wait(DECISIONS, after=1, timeout_s=PATIENCE_S) == 2


def test_rules_that_look_at_no_readings_leave_no_one_waiting_for_them() -> None:
    house = House(HOT)
    house.reads(heat=1)
    house.decider.decide_pending()
    house.rules = (OPEN,)
    house.restart()
    house.decider.decide_pending()
    assert {line.stream for line in house.journal.audit() if line.consumer == CONSUMER} == {EVENTS}


SEEN = rule("seen", Do("hall", "turn_on", {"brightness": "=event.body.wish"}), on="came")
PAIR = rule("pair", Do("siren", "raise"), on="left", after=(Step("came"),), within_s=30.0)
WARM = rule("warm", Do("door", "unlock"), on="reading", when="avg(heat, '20s') > 50", cooldown_s=5)
# Time passes eight seconds at once at most, so what is due meanwhile is not too late yet.
SILENT = rule("silent", Do("siren", "clear", expires_s=10.0), on="came", unless=(Step("left"),), for_s=7.0)
happenings = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["came", "left"]), st.integers(1, 100)),
        st.tuples(st.just("heat"), st.integers(0, 100)),
        st.tuples(st.just("waits"), st.integers(1, 8)),
        st.tuples(st.sampled_from(["decides", "decides, unacknowledged", "restarts"]), st.just(0)),
    ),
    max_size=30,
)


def lived(happened: list[tuple[str, int]], *, troubled: bool) -> House:
    """A house to which this happened; without trouble it decides at once and never restarts."""
    house = House(SEEN, PAIR, WARM, SILENT)
    acknowledge = house.journal.ack
    for what, value in happened:
        if what == "heat":
            house.reads(heat=float(value))
        elif what in {"came", "left"}:
            house.happens(what, wish=value)
        elif what == "waits":
            house.decider.decide_pending()  # what is late would differ
            house.clock.advance(value)
            house.decider.decide_pending()
        elif troubled and what == "restarts":
            house.restart()
        elif troubled and what == "decides, unacknowledged":
            house.journal.ack = lambda *_: None  # type: ignore[method-assign]
            house.decider.decide_pending()
            house.restart()
            house.journal.ack = acknowledge  # type: ignore[method-assign]
        if not troubled or what == "decides":
            house.decider.decide_pending()
    house.decider.decide_pending()
    return house


def fired(house: House) -> list[tuple[str, str]]:
    records = house.journal.read(DECISIONS, limit=1000)
    assert {record.kind for record in records} <= {"decision.done"}
    return sorted((record.body["rule"], record.body["key"]) for record in records)


@settings(deadline=None, max_examples=60)
@given(happenings)
def test_nothing_fires_twice_or_not_at_all_whenever_the_node_dies(happened: list[tuple[str, int]]) -> None:
    # Readings go after the events that wait, so both houses must be asked in the same order.
    happened = [step for each in happened for step in (each, ("decides", 0)) if each[0] != "decides"]
    calm, troubled = lived(happened, troubled=False), lived(happened, troubled=True)
    assert fired(troubled) == fired(calm)
    assert len(fired(calm)) == len(set(fired(calm)))
    assert troubled.pending() == 0


class Picky:
    """Takes decisions for a journal, but not those of one rule."""

    def __init__(self, journal: Any, rule: str) -> None:
        self._journal = journal
        self._rule = rule

    def append(self, stream: str, entries: Sequence[Entry]) -> range:
        if any(entry.body.get("rule") == self._rule and "actions" in entry.body for entry in entries):
            raise TypeError("this cannot be encoded")
        return self._journal.append(stream, entries)


def test_a_decision_that_cannot_be_told_is_told_as_such_and_holds_nothing_up() -> None:
    house = House(rule("odd", Do("door", "unlock")), rule("even", Do("door", "unlock")))
    house.decider._decisions = Picky(house.journal, "odd")
    house.happens()
    house.happens()
    house.decider.decide_pending()
    told = [(record.body["rule"], record.kind) for record in house.decisions()]
    assert sorted(told) == [("even", "decision.done")] * 2 + [("odd", "decision.failed")] * 2
    assert house.pending() == 0


def test_other_rules_take_over_between_two_records() -> None:
    house = House(OPEN)
    house.happens(name="Ada")
    house.decider.decide_pending()
    adopted: list[int] = []
    house.decider.swap(RuleEngine([ALARM]), lambda: adopted.append(len(house.decisions())))
    house.happens(name="Ada")
    house.happens("face.unknown")
    house.decider.decide_pending()
    assert [record.body["rule"] for record in house.decisions()] == ["open", "alarm"]
    assert adopted == [1]  # what the rules before led to was written by then
    assert house.pending() == 0


def test_a_rule_that_stays_keeps_its_cooldown_and_what_it_looks_back_at() -> None:
    again = rule("again", Do("siren", "raise"), when='count("face.known", "5m") == 3')
    cool = rule("cool", Do("door", "unlock"), cooldown_s=60)
    house = House(cool, again)
    for _ in range(2):
        house.happens(name="Ada")
        house.clock.advance(1)
    house.decider.decide_pending()
    house.decider.swap(RuleEngine([again, cool, ALARM]))
    house.happens(name="Ada")
    house.decider.decide_pending()
    assert [record.body["rule"] for record in house.decisions()] == ["cool", "again"]


def test_a_rule_on_time_that_is_new_begins_now_and_one_that_stays_misses_nothing() -> None:
    stays = rule("stays", Do("hall", "turn_on"), on="time", every_s=60)
    house = House(stays)
    house.decider.decide_pending()
    house.clock.advance(5)
    house.decider.decide_pending()
    new = rule("new", Do("siren", "raise"), on="time", every_s=60)
    house.decider.swap(RuleEngine([stays, new]))
    house.clock.advance(40)  # a minute ended before the new rules took over
    house.decider.decide_pending()
    assert [record.body["rule"] for record in house.decisions()] == ["stays"]
    house.clock.advance(60)
    house.decider.decide_pending()
    assert [record.body["rule"] for record in house.decisions()] == ["stays", "stays", "new"]


def test_rules_that_begin_to_look_at_readings_leave_the_old_ones_alone() -> None:
    hot = rule("hot", Do("siren", "raise"), on="reading", when="values.t > 90.0")
    house = House(OPEN)
    house.reads(t=99.0)
    house.decider.decide_pending()
    house.decider.swap(RuleEngine([hot]))
    house.decider.decide_pending()
    assert house.decisions() == []
    house.reads(t=98.0)
    house.decider.decide_pending()
    assert [record.body["event"]["sequence"] for record in house.decisions()] == [2]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["known", "unknown", "swap", "decide", "crash"]), max_size=25))
def test_whatever_is_swapped_when_each_event_is_decided_once(moves: list[str]) -> None:
    sets = [(OPEN, ALARM), (ALARM, OPEN), (OPEN, ALARM, rule("dark", Do("hall", "turn_off"), on="dark"))]
    house = House(*sets[0])
    events = 0
    for place, move in enumerate(moves):
        if move in ("known", "unknown"):
            events += 1
            house.happens(f"face.{move}")
        elif move == "swap":
            house.rules = sets[place % 3]
            house.decider.swap(RuleEngine(house.rules))
        elif move == "decide":
            house.decider.decide_pending()
        else:
            house.restart()
    house.decider.decide_pending()
    assert [record.body["event"]["sequence"] for record in house.decisions()] == list(range(1, events + 1))


def test_rules_are_taken_over_while_nothing_happens(start: Callable[[House], None]) -> None:
    house = House(OPEN)
    start(house)
    adopted = threading.Event()
    house.decider.swap(RuleEngine([ALARM]), adopted.set)
    assert adopted.wait(PATIENCE_S)
    house.happens("face.unknown")
    assert house.journal.wait(DECISIONS, after=0, timeout_s=PATIENCE_S) == 1
