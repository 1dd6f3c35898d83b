"""From events, readings and the clock to actions: the rules as a consumer of the journal.

The decider takes records in order, asks the rules, gives commands, writes one ``decisions`` record per rule that fired,
and acknowledges. Events come first: readings wait while there are any, and are taken a few at a time. Commands to
different devices run at once, and what is decided next does not wait for them, unless a rule looks at the state of a
device that is being commanded; decisions are written in the order in which they fell.

It goes on after a crash where it was: what stands in ``decisions`` is not decided again, and a command that is late by
then has expired and does not act. Nothing that goes wrong ends it: a record that cannot be decided gets a
``decision.failed`` record, and what may pass (a full disk) is tried again.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.errors import ClosedError, EdgewiseError, NotFoundError, RetryError
from edgewise.node import recall
from edgewise.node.acceptances import Acceptances
from edgewise.node.commander import Commander
from edgewise.node.inbox import FollowedJournal, Inbox
from edgewise.node.outcomes import Ordered, Outcomes, asked, facts, failed, faulty, untold
from edgewise.node.patience import Appendable, append_patiently
from edgewise.node.streams import DECISIONS, EVENTS, READINGS
from edgewise.pipeline.backoff import Backoff
from edgewise.pipeline.base import Action
from edgewise.pipeline.rules import READING, Decision, Firing, Memory, RuleEngine, Situation
from edgewise.types import Entry, Record

if TYPE_CHECKING:
    from edgewise._lib.clock import Clock
    from edgewise.people.store import PeopleStore
    from edgewise.pipeline.devices import Devices

CONSUMER = "rules"
_IDLE_S = 3600.0
# While something is due at a time, the wall clock is looked at this often: it may jump.
_LOOK_S = 0.5
# Readings are acknowledged this often at most, so that a flood of them does not keep the disk from the alarms.
_ACKNOWLEDGE_S = 0.5
_EVENTS_AT_ONCE = 32
_READINGS_AT_ONCE = 256
# Decisions whose commands are under way; past it the next record waits.
_MAX_OPEN = 256

logger = logging.getLogger(__name__)


class Decider:
    """Runs rules, in a thread of its own once started. It must be the only consumer of its name.

    Args:
        rules: What to do.
        journal: Where events and readings come from.
        decisions: Where decisions go.
        devices: What is commanded.
        people: Whom events may name.
        clock: The time that rules see.
        backoff: How long to wait before what failed is tried again.
        acceptances: When this process accepted records, by stream; commands then are late by that as well as by the
            wall clock.
    """

    def __init__(
        self,
        rules: RuleEngine,
        *,
        journal: FollowedJournal,
        decisions: Appendable,
        devices: Devices,
        people: PeopleStore,
        clock: Clock,
        backoff: Backoff | None = None,
        acceptances: Mapping[str, Acceptances] | None = None,
    ) -> None:
        self._rules = rules
        self._acceptances = acceptances or {}
        self._journal = journal
        self._decisions = decisions
        self._devices = devices
        self._people = people
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._changed = threading.Condition()
        self._commander = Commander(self._changed)
        self._outcomes = Outcomes(self._changed)
        self._events = Inbox(journal, EVENTS, CONSUMER, batch=_EVENTS_AT_ONCE, clock=clock)
        self._readings = self._inbox_of_readings() if rules.on_readings else None
        self._first: dict[str, int] = {}
        self._next: tuple[RuleEngine, Callable[[], None]] | None = None
        self._newest: dict[str, int] = {}
        self._memory = rules.memory()
        self._fired_before: frozenset[str] = frozenset()
        self._remembers = False
        self._stopped = threading.Event()
        self._deciding = threading.Lock()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="rules", daemon=True)
        self._followers = [self._follower(inbox.stream) for inbox in self._inboxes()]

    def start(self) -> None:
        """Starts deciding."""
        for follower in self._followers:
            follower.start()
        self._thread.start()

    def swap(self, rules: RuleEngine, adopted: Callable[[], None] = lambda: None) -> None:
        """Gives it other rules; returns at once.

        Between two records, once all that the rules before led to is written, the new ones take over and ``adopted`` is
        called, in the deciding thread. They begin as after a restart: with what the journal tells of the past, and with
        nothing decided again. Rules of schedules that were there before miss no time and repeat none; new ones begin
        now. Of several swaps that wait the newest counts.
        """
        with self._changed:
            self._next = rules, adopted
            self._changed.notify_all()

    def stop(self) -> None:
        """Finishes the commands under way; when this returns, nothing more is commanded. The journal is closed
        afterwards, which wakes the threads.
        """
        with self._deciding, self._changed:
            self._stopped.set()
            self._changed.notify_all()
        self._commander.stop()
        try:
            self._settle(now=True)
            with self._writing:
                self._write(self._outcomes.close(ClosedError("The node stopped before it gave this command")))
        except Exception as error:
            known = isinstance(error, EdgewiseError)
            logger.warning("the last decisions could not be written: %s", error, exc_info=not known)

    def join(self) -> None:
        """Waits for the end, after the journal was closed."""
        for thread in (self._thread, *self._followers):
            if thread.is_alive():
                thread.join()

    def decide_pending(self) -> int:
        """Decides all that waits and what the clock brought about, until it is stopped; returns how many records that
        were, when their commands are through and their decisions written.
        """
        self._remember()
        count = 0
        while not self._stopped.is_set() and (taken := self._round()):
            count += taken
        self._wait_for(lambda: not len(self._outcomes))
        self._settle(now=True)
        return count

    def _adopt(self) -> None:
        """Lets rules that were given take over."""
        following = self._next
        if following is None:
            return
        self._wait_for(lambda: not len(self._outcomes))
        if self._stopped.is_set():
            return
        self._settle(now=True)
        rules, adopted = following
        if rules.on_readings and self._readings is None:
            readings = self._inbox_of_readings()
            readings.begin()
            self._readings = readings
            follower = self._follower(READINGS)
            self._followers.append(follower)
            if self._thread.is_alive():
                follower.start()
        before = {inbox.stream: max(self._first.get(inbox.stream, 1), inbox.taken + 1) for inbox in self._inboxes()}
        memory, fired_before = self._recalled(rules, before)
        memory.handled |= {name: at for name, at in self._memory.handled.items() if name in rules.names}
        with self._deciding, self._changed:
            self._rules, self._memory, self._fired_before = rules, memory, fired_before
            if self._next is following:
                self._next = None
        adopted()

    def _inbox_of_readings(self) -> Inbox:
        return Inbox(
            self._journal,
            READINGS,
            CONSUMER,
            batch=_READINGS_AT_ONCE,
            clock=self._clock,
            acknowledge_s=_ACKNOWLEDGE_S,
        )

    def _follower(self, stream: str) -> threading.Thread:
        return threading.Thread(target=self._follow, args=(stream,), name=f"rules-{stream}", daemon=True)

    def _inboxes(self) -> tuple[Inbox, ...]:
        return (self._events, self._readings) if self._readings else (self._events,)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._remember()
                for inbox in self._inboxes():
                    inbox.recover()
                while not self._stopped.is_set():
                    seen = dict(self._newest)
                    while self._round():
                        pass
                    self._backoff.reset()
                    self._rest(seen)
            except ClosedError:
                return
            except Exception:
                logger.exception("the rules were interrupted; they go on in a moment")
                self._stopped.wait(self._backoff.next())

    def _follow(self, stream: str) -> None:
        """Wakes the decider when a stream grows."""
        seen = 0
        while not self._stopped.is_set():
            try:
                seen = self._journal.wait(stream, after=seen, timeout_s=_IDLE_S)
            except ClosedError:
                return
            except Exception:
                logger.exception("%s cannot be followed; it is tried again in a moment", stream)
                self._stopped.wait(1.0)
            with self._changed:
                self._newest[stream] = seen
                self._changed.notify_all()

    def _rest(self, seen: Mapping[str, int]) -> None:
        """Waits until there is something to do."""
        due_ns = self._rules.next_due(self._memory)
        timeout_s = _IDLE_S
        if due_ns is not None:
            timeout_s = min(_LOOK_S, max(0.001, (due_ns - self._clock.time_ns()) / 1e9))
        if self._readings is not None and self._readings.behind:
            timeout_s = min(_ACKNOWLEDGE_S, timeout_s)
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._stopped.is_set()
                    or self._next is not None
                    or self._newest != seen
                    or self._outcomes.head_is_through()
                ),
                timeout_s,
            )

    def _remember(self) -> None:
        """Takes up where it was, once."""
        if self._remembers:
            return
        if self._readings is None:
            self._forget_readings()
        before = self._first = {inbox.stream: inbox.open() for inbox in self._inboxes()}
        memory, self._fired_before = self._recalled(self._rules, before)
        self._rules.resume_schedules(memory, self._clock.time_ns())
        self._memory = memory
        self._remembers = True

    def _recalled(self, rules: RuleEngine, before: dict[str, int]) -> tuple[Memory, frozenset[str]]:
        """What rules remember, and the keys of what fired, from the journal."""
        situation = self._situation()
        memory = rules.memory()
        recall.refresh(memory, rules, journal=self._journal, before=before, situation=situation)
        fired = recall.firings(memory, rules, journal=self._journal, stream=DECISIONS, now_ns=situation.now_ns)
        return memory, fired

    def _forget_readings(self) -> None:
        """Rules that looked at readings once and do not any more need not be waited for."""
        try:
            self._journal.forget(READINGS, CONSUMER)
        except NotFoundError:
            logger.debug("there is no stream of readings")

    def _round(self) -> int:
        """Decides some records, events before readings, then what the clock brought about; how many records."""
        self._adopt()
        looked = self._newest.get(EVENTS, 0)
        events = self._events.take()
        for record in events:
            self._decide(record, self._events)
        if events:
            return len(events)
        now_ns = self._clock.time_ns()
        count, through_ns = self._decide_readings(self._readings, looked) if self._readings else (0, now_ns)
        self._tick(min(now_ns, through_ns))
        self._settle()
        return count

    def _decide_readings(self, inbox: Inbox, looked: int) -> tuple[int, int]:
        """Decides readings until events newer than ``looked`` come; how many, and through which time all is decided
        that was there.
        """
        count, through_ns = 0, self._clock.time_ns()
        for record in inbox.take():
            if self._newest.get(EVENTS, 0) > looked:
                inbox.untake(record.sequence - 1)
                break
            self._decide(record, inbox)
            # More may wait: what they tell comes before what the clock tells.
            count, through_ns = count + 1, record.time_ns
        return count, through_ns

    def _decide(self, record: Record, inbox: Inbox) -> None:
        sample = recall.event_of(record)
        self._wait_for(lambda: self._commander.idle(self._rules.reads(sample)))
        with self._deciding:
            if self._stopped.is_set():
                return
            try:
                decision = self._rules.decide(sample, self._situation(), self._memory)
            except Exception as error:
                logger.exception("%s %d cannot be decided", record.stream, record.sequence)
                entry = failed(error, sample)
                told = [] if entry.body["key"] in self._fired_before else [entry]
                self._outcomes.add([], told, inbox=inbox, sequence=record.sequence)
                return
            self._carry_out(decision, inbox=inbox, sequence=record.sequence)
        self._wait_for(lambda: len(self._outcomes) < _MAX_OPEN)

    def _tick(self, now_ns: int) -> None:
        due_ns = self._rules.next_due(self._memory)
        if due_ns is not None and now_ns >= due_ns:
            self._wait_for(lambda: self._commander.idle(self._rules.reads_in_time))
        with self._deciding:
            if not self._stopped.is_set():
                self._carry_out(self._rules.tick(now_ns, self._situation(), self._memory), inbox=None, sequence=0)

    def _carry_out(self, decision: Decision, *, inbox: Inbox | None, sequence: int) -> None:
        now_ns = self._clock.time_ns()
        ordered = [Ordered(firing, now_ns) for firing in decision.firings if firing.key not in self._fired_before]
        told = [entry for entry in map(faulty, decision.faults) if entry.body["key"] not in self._fired_before]
        if ordered or told or inbox is not None:
            self._outcomes.add(ordered, told, inbox=inbox, sequence=sequence)
        for each in ordered:
            for place, action in enumerate(each.firing.actions):
                self._commander.submit(action.device, functools.partial(self._command, each, place, action))

    def _command(self, ordered: Ordered, place: int, action: Action) -> None:
        told = self._perform(ordered.firing, action)
        with self._changed:
            ordered.tell(place, told)

    def _settle(self, *, now: bool = False) -> None:
        """Writes the decisions that are through, and acknowledges what led to them, all of it ``now`` or in a while."""
        with self._writing:
            if self._outcomes.head_is_through():
                count, entries = self._outcomes.through()
                self._write(entries)
                self._outcomes.forget(count)
            for inbox in self._inboxes():
                inbox.acknowledge(now=now)

    def _write(self, entries: list[Entry]) -> None:
        """What was commanded is told, however long the disk stays full; what cannot be told as it is, as a failure."""
        if not entries:
            return
        try:
            append_patiently(self._decisions, DECISIONS, entries, stopped=self._stopped, backoff=self._backoff)
        except (RetryError, ClosedError):
            raise
        except Exception as error:
            if len(entries) > 1:
                for entry in entries:
                    self._write([entry])
                return
            logger.exception("a decision cannot be told")
            told = untold(entries[0], error)
            append_patiently(self._decisions, DECISIONS, [told], stopped=self._stopped, backoff=self._backoff)

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        """Waits until something holds, writing meanwhile what comes through; less long when the node stops."""
        while True:
            self._settle()
            with self._changed:
                if condition() or self._stopped.is_set():
                    return
                self._changed.wait_for(
                    lambda: condition() or self._stopped.is_set() or self._outcomes.head_is_through()
                )

    def _situation(self) -> Situation:
        return Situation(self._clock.time_ns(), person=self._person, devices=self._devices.states)

    def _person(self, name: str) -> Mapping[str, Any] | None:
        try:
            return {"name": name, "preferences": self._people.get(name).preferences}
        except NotFoundError:
            return None

    def _stamped(self, firing: Firing, action: Action) -> Action:
        """The action with its deadline by the monotonic clock."""
        sample = firing.sample
        acceptances = None if firing.due_ns else self._acceptances.get(READINGS if sample.kind == READING else EVENTS)
        if acceptances is not None:
            return acceptances.stamp(action, sequence=sample.sequence, time_ns=sample.time_ns)
        left_ns = action.expires_ns - max(self._clock.time_ns(), firing.due_ns)
        return msgspec.structs.replace(action, deadline_s=self._clock.monotonic() + left_ns / 1e9)

    def _perform(self, firing: Firing, action: Action) -> dict[str, Any]:
        try:
            outcome = self._devices.perform(self._stamped(firing, action))
        except Exception as error:
            logger.warning(
                "%s: %s %s failed: %s",
                *(action.cause, action.device, action.command, error),
                exc_info=not isinstance(error, EdgewiseError),
            )
            return {**asked(action), "status": "failed", "error": facts(error)}
        return {**asked(action), "status": outcome.status.value, "state": msgspec.to_builtins(outcome.state)}
