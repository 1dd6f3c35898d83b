"""From events to actions: the rules as a consumer of the ``events`` stream.

The decider claims events in order, asks the rules, commands the devices, writes one ``decisions`` record per rule that
fired, and acknowledges. It goes on after a crash where it was: events that already have their decisions are only
acknowledged, and a command that is late by then has expired and does not act. Nothing that goes wrong ends it: an event
that cannot be decided gets a ``decision.failed`` record, and what may pass (a full disk) is tried again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from edgewise.errors import ClosedError, EdgewiseError, NotFoundError, RetryError
from edgewise.journal.base import Consumers, Followable, Journal
from edgewise.node.acceptances import Acceptances
from edgewise.node.patience import append_patiently
from edgewise.pipeline.backoff import Backoff
from edgewise.pipeline.base import Action, Event, Status
from edgewise.pipeline.rules import Decision, Firing, RuleEngine, Situation
from edgewise.types import Entry, Record

if TYPE_CHECKING:
    from edgewise._lib.clock import Clock
    from edgewise.people.store import PeopleStore
    from edgewise.pipeline.devices import Devices

EVENTS = "events"
DECISIONS = "decisions"
CONSUMER = "rules"
_IDLE_S = 3600.0
_BATCH = 32

logger = logging.getLogger(__name__)


class FollowedJournal(Journal, Followable, Consumers, Protocol):
    """A journal with the abilities that deciding needs."""


class Decider:
    """Runs rules on events, in a thread of its own once started. It must be the only consumer of its name.

    Args:
        rules: What to do.
        journal: Where events come from and decisions go.
        devices: What is commanded.
        people: Whom events may name.
        clock: The time that rules see.
        backoff: How long to wait before what failed is tried again.
        acceptances: When this process accepted events; commands then are late by that as well as by the wall clock.
    """

    def __init__(
        self,
        rules: RuleEngine,
        *,
        journal: FollowedJournal,
        devices: Devices,
        people: PeopleStore,
        clock: Clock,
        backoff: Backoff | None = None,
        acceptances: Acceptances | None = None,
    ) -> None:
        self._rules = rules
        self._acceptances = acceptances
        self._journal = journal
        self._devices = devices
        self._people = people
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._memory = rules.memory()
        self._decided = self._last_decided()
        self._stopped = threading.Event()
        self._deciding = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="rules", daemon=True)

    def start(self) -> None:
        """Starts deciding."""
        self._thread.start()

    def stop(self) -> None:
        """Finishes the event under way; when this returns, nothing more is commanded. The journal is closed afterwards,
        which wakes the thread.
        """
        self._stopped.set()
        with self._deciding:
            pass

    def join(self) -> None:
        """Waits for the end, after the journal was closed."""
        if self._thread.is_alive():
            self._thread.join()

    def decide_pending(self) -> int:
        """Decides all events that wait, until it is stopped; returns how many there were."""
        count = 0
        while claim := self._journal.claim(EVENTS, CONSUMER, limit=_BATCH):
            for record in claim.records:
                with self._deciding:
                    if self._stopped.is_set():
                        return count
                    self._decide(record)
                count += 1
            self._journal.ack(EVENTS, CONSUMER, claim.last)
        return count

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow()
            except ClosedError:
                return
            except Exception:
                logger.exception("the rules were interrupted; they go on in a moment")
                self._stopped.wait(self._backoff.next())

    def _follow(self) -> None:
        self._journal.release(EVENTS, CONSUMER)  # what was lent before a crash or a failure is nobody else's
        seen = 0
        while not self._stopped.is_set():
            self.decide_pending()
            self._backoff.reset()
            seen = self._journal.wait(EVENTS, after=seen, timeout_s=_IDLE_S)

    def _decide(self, record: Record) -> None:
        if record.sequence <= self._decided:
            return
        try:
            decision = self._ask(record)
            self._write(self._carry_out_all(decision, record))
        except (RetryError, ClosedError):
            raise
        except Exception as error:
            logger.exception("event %d cannot be decided", record.sequence)
            self._write([Entry("decision.failed", {"rule": "", "event": _reference(record), "error": _facts(error)})])
        self._decided = record.sequence

    def _ask(self, record: Record) -> Decision:
        event = Event(
            record.kind,
            str(record.body.get("source", "")),
            record.time_ns,
            record.body,
            record.blobs,
            sequence=record.sequence,
        )
        return self._rules.decide(event, self._situation(), self._memory)

    def _carry_out_all(self, decision: Decision, record: Record) -> list[Entry]:
        done = [self._carry_out(firing, record) for firing in decision.firings]
        return done + [
            Entry("decision.failed", {"rule": fault.rule, "event": _reference(record), "error": _facts(fault.error)})
            for fault in decision.faults
        ]

    def _write(self, entries: list[Entry]) -> None:
        """What was commanded is told, however long the disk stays full."""
        if entries:
            append_patiently(self._journal, DECISIONS, entries, stopped=self._stopped, backoff=self._backoff)

    def _situation(self) -> Situation:
        return Situation(self._clock.time_ns(), person=self._person, devices=self._devices.states)

    def _person(self, name: str) -> Mapping[str, Any] | None:
        try:
            return {"name": name, "preferences": self._people.get(name).preferences}
        except NotFoundError:
            return None

    def _carry_out(self, firing: Firing, record: Record) -> Entry:
        actions = [self._perform(self._stamped(action, record)) for action in firing.actions]
        return Entry(
            _kind_of({str(action["status"]) for action in actions}),
            {"rule": firing.rule, "event": _reference(record), "why": dict(firing.why), "actions": actions},
            blobs=record.blobs,
        )

    def _stamped(self, action: Action, record: Record) -> Action:
        if self._acceptances is None:
            return action
        return self._acceptances.stamp(action, sequence=record.sequence, time_ns=record.time_ns)

    def _perform(self, action: Action) -> dict[str, Any]:
        told = {"device": action.device, "command": action.command, "arguments": dict(action.arguments)}
        try:
            outcome = self._devices.perform(action)
        except Exception as error:
            logger.warning(
                "%s: %s %s failed: %s",
                *(action.cause, action.device, action.command, error),
                exc_info=not isinstance(error, EdgewiseError),
            )
            return {**told, "status": "failed", "error": _facts(error)}
        return {**told, "status": outcome.status.value, "state": msgspec.to_builtins(outcome.state)}

    def _last_decided(self) -> int:
        """The newest event with a decision; commands that people gave stand between the decisions."""
        before = 0
        while page := self._journal.read(DECISIONS, before=before, newest_first=True):
            for record in page:
                if "event" in record.body:
                    return int(record.body["event"]["sequence"])
            before = page[-1].sequence
        return 0


def _kind_of(statuses: set[str]) -> str:
    if "failed" in statuses:
        return "decision.failed"
    if statuses in ({Status.EXPIRED.value}, {Status.OVERRULED.value}):
        return f"decision.{statuses.pop()}"
    return "decision.done"


def _reference(record: Record) -> dict[str, Any]:
    return {
        "stream": record.stream,
        "sequence": record.sequence,
        "kind": record.kind,
        "source": record.body.get("source"),
    }


def _facts(error: Exception) -> dict[str, str]:
    if isinstance(error, EdgewiseError):
        return {"code": error.code, "message": error.message, "hint": error.hint}
    return {"code": "internal", "message": repr(error), "hint": "This is a fault of Edgewise; the log tells where."}
