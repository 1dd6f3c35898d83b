"""From events to actions: the rules as a consumer of the ``events`` stream.

The decider claims events in order, asks the rules, commands the devices, writes one ``decisions`` record per rule that
fired, and acknowledges. It goes on after a crash where it was: events that already have their decisions are only
acknowledged, and a command that is late by then has expired and does not act.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.errors import ClosedError, EdgewiseError, NotFoundError
from edgewise.pipeline.base import Action, Event
from edgewise.pipeline.rules import Firing, Mark, RuleEngine, Situation
from edgewise.types import Entry, Record

if TYPE_CHECKING:
    from edgewise._lib.clock import Clock
    from edgewise.journal.sqlite import SqliteJournal
    from edgewise.people.store import PeopleStore
    from edgewise.pipeline.devices import Devices

EVENTS = "events"
DECISIONS = "decisions"
CONSUMER = "rules"
_IDLE_S = 3600.0

logger = logging.getLogger(__name__)


class Decider:
    """Runs rules on events, in a thread of its own once started."""

    def __init__(
        self, rules: RuleEngine, *, journal: SqliteJournal, devices: Devices, people: PeopleStore, clock: Clock
    ) -> None:
        self._rules = rules
        self._journal = journal
        self._devices = devices
        self._people = people
        self._clock = clock
        self._fired: Mapping[Mark, int] = {}
        self._decided = self._last_decided()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rules", daemon=True)

    def start(self) -> None:
        """Starts deciding."""
        self._thread.start()

    def stop(self) -> None:
        """Finishes the event under way. The journal is closed afterwards, which wakes the thread."""
        self._stopped.set()

    def join(self) -> None:
        """Waits for the end, after the journal was closed."""
        if self._thread.is_alive():
            self._thread.join()

    def decide_pending(self) -> int:
        """Decides all events that wait; returns how many there were."""
        count = 0
        while not self._stopped.is_set() and (claim := self._journal.claim(EVENTS, CONSUMER, limit=32)):
            for record in claim.records:
                self._decide(record)
            self._journal.ack(EVENTS, CONSUMER, claim.last)
            count += len(claim.records)
        return count

    def _run(self) -> None:
        try:
            seen = 0
            while not self._stopped.is_set():
                self.decide_pending()
                seen = self._journal.wait(EVENTS, after=seen, timeout_s=_IDLE_S)
        except ClosedError:
            pass

    def _decide(self, record: Record) -> None:
        if record.sequence <= self._decided:
            return
        event = Event(record.kind, str(record.body.get("source", "")), record.time_ns, record.body, record.blobs)
        decision = self._rules.decide(event, self._situation(event))
        self._fired = decision.fired
        entries = [self._carry_out(firing, record) for firing in decision.firings]
        entries += [
            Entry("decision.failed", {"rule": fault.rule, "event": _reference(record), "error": _facts(fault.error)})
            for fault in decision.faults
        ]
        if entries:
            self._journal.append(DECISIONS, entries)
        self._decided = record.sequence

    def _situation(self, event: Event) -> Situation:
        name = str(event.body.get("name", ""))
        return Situation(
            now_ns=self._clock.time_ns(),
            person=self._person(name) if name else None,
            devices=self._devices.states(),
            fired=self._fired,
        )

    def _person(self, name: str) -> Mapping[str, Any] | None:
        try:
            return {"name": name, "preferences": self._people.get(name).preferences}
        except NotFoundError:
            return None

    def _carry_out(self, firing: Firing, record: Record) -> Entry:
        actions = [self._perform(action) for action in firing.actions]
        failed = any(action["status"] == "failed" for action in actions)
        return Entry(
            "decision.failed" if failed else "decision.done",
            {"rule": firing.rule, "event": _reference(record), "why": dict(firing.why), "actions": actions},
            blobs=record.blobs,
        )

    def _perform(self, action: Action) -> dict[str, Any]:
        told = {"device": action.device, "command": action.command, "arguments": dict(action.arguments)}
        try:
            outcome = self._devices.perform(action)
        except EdgewiseError as error:
            logger.warning("%s: %s %s failed: %s", action.cause, action.device, action.command, error)
            return {**told, "status": "failed", "error": _facts(error)}
        return {**told, "status": outcome.status.value, "state": msgspec.to_builtins(outcome.state)}

    def _last_decided(self) -> int:
        newest = self._journal.read(DECISIONS, limit=1, newest_first=True)
        return int(newest[0].body["event"]["sequence"]) if newest and "event" in newest[0].body else 0


def _reference(record: Record) -> dict[str, Any]:
    return {
        "stream": record.stream,
        "sequence": record.sequence,
        "kind": record.kind,
        "source": record.body.get("source"),
    }


def _facts(error: EdgewiseError) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "hint": error.hint}
