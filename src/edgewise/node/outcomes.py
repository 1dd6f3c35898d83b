"""Decisions on their way into the journal: written when all their commands are through, in the order they fell."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import Any

import msgspec

from edgewise.errors import EdgewiseError
from edgewise.node.inbox import Inbox
from edgewise.node.streams import EVENTS, READINGS
from edgewise.pipeline.base import Action, Event, Status
from edgewise.pipeline.rules import READING, TIME, Fault, Firing
from edgewise.types import Entry

_STREAMS = {READING: READINGS, TIME: ""}  # whatever else is an event
# Parts of a decision that the node itself made.
_ALWAYS_TELLABLE = ("rule", "key", "event", "cooldown")


class Ordered:
    """One firing whose commands were given; what became of each stands in its place once it is known."""

    def __init__(self, firing: Firing, now_ns: int) -> None:
        self.firing = firing
        self._now_ns = now_ns
        self._told: list[dict[str, Any] | None] = [None] * len(firing.actions)

    @property
    def through(self) -> bool:
        """Whether all commands are through."""
        return None not in self._told

    @property
    def begun(self) -> bool:
        """Whether any command is through."""
        return any(self._told)

    def tell(self, place: int, told: dict[str, Any]) -> None:
        """What became of a command."""
        self._told[place] = told

    def close(self, error: EdgewiseError) -> None:
        """Commands that were not given will not be."""
        for place, action in enumerate(self.firing.actions):
            if self._told[place] is None:
                self._told[place] = {**asked(action), "status": "failed", "error": facts(error)}

    def entry(self) -> Entry:
        """The record of this decision."""
        firing = self.firing
        actions = [told for told in self._told if told is not None]
        body: dict[str, Any] = {
            "rule": firing.rule,
            "key": firing.key,
            "event": reference(firing.sample),
            "why": dict(firing.why),
            "actions": actions,
            "cooldown": {"source": firing.mark[1], "person": firing.mark[2], "fired_ns": self._now_ns},
        }
        if firing.parts:
            body["parts"] = msgspec.to_builtins(firing.parts)
        if firing.due_ns:
            body["due_ns"] = firing.due_ns
        return Entry(_kind_of({str(told["status"]) for told in actions}), body, blobs=firing.sample.blobs)


class Outcomes:
    """What was decided and is not written yet, oldest first. Guarded by the condition it is made with.

    Args:
        changed: Held while commands tell what became of them.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._queue: deque[_Outcome] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, ordered: list[Ordered], told: list[Entry], *, inbox: Inbox | None, sequence: int) -> None:
        """Takes what followed from one record (or from time alone, without an inbox)."""
        with self._changed:
            if not ordered and not told and inbox is not None:
                behind = next((each for each in reversed(self._queue) if each.inbox is inbox), None)
                if behind is None:
                    inbox.done(sequence)
                else:
                    behind.sequence = sequence
                return
            self._queue.append(_Outcome(ordered, told, inbox, sequence))

    def through(self) -> tuple[int, list[Entry]]:
        """How many of the oldest outcomes are through, with their records; see ``forget``."""
        with self._changed:
            ready = list(itertools.takewhile(lambda outcome: outcome.through, self._queue))
        return len(ready), [entry for outcome in ready for entry in outcome.entries()]

    def forget(self, count: int) -> None:
        """So many of the oldest are written."""
        with self._changed:
            for _ in range(count):
                outcome = self._queue.popleft()
                if outcome.inbox is not None:
                    outcome.inbox.done(outcome.sequence)

    def head_is_through(self) -> bool:
        """Whether something can be written."""
        with self._changed:
            return bool(self._queue) and self._queue[0].through

    def close(self, error: EdgewiseError) -> list[Entry]:
        """What has to be told of the rest, when no more commands are given: that of which a part was done."""
        with self._changed:
            begun = [ordered for outcome in self._queue for ordered in outcome.ordered if ordered.begun]
            for ordered in begun:
                ordered.close(error)
            return [ordered.entry() for ordered in begun]


class _Outcome:
    def __init__(self, ordered: list[Ordered], told: list[Entry], inbox: Inbox | None, sequence: int) -> None:
        self.ordered = ordered
        self.inbox = inbox
        self.sequence = sequence
        self._told = told

    @property
    def through(self) -> bool:
        return all(ordered.through for ordered in self.ordered)

    def entries(self) -> list[Entry]:
        return [ordered.entry() for ordered in self.ordered] + self._told


def failed(error: Exception, sample: Event, *, rule: str = "") -> Entry:
    """The record of a sample that could not be decided, by one rule or by all."""
    key = f"{rule}/{sample.source}/{sample.kind}/{sample.time_ns}/{sample.sequence}"
    return Entry("decision.failed", {"rule": rule, "key": key, "event": reference(sample), "error": facts(error)})


def faulty(fault: Fault) -> Entry:
    """The record of a rule that could not be evaluated."""
    return failed(fault.error, fault.sample, rule=fault.rule)


def untold(entry: Entry, error: Exception) -> Entry:
    """The record of a decision that cannot be stored as it is: that it fell, and why it cannot be told."""
    kept: dict[str, Any] = {name: value for name, value in entry.body.items() if name in _ALWAYS_TELLABLE}
    return Entry("decision.failed", {**kept, "error": facts(error)}, time_ns=entry.time_ns)


def asked(action: Action) -> dict[str, Any]:
    """A command as a record tells it."""
    return {"device": action.device, "command": action.command, "arguments": dict(action.arguments)}


def facts(error: Exception) -> dict[str, str]:
    """An error as a record tells it."""
    if isinstance(error, EdgewiseError):
        return {"code": error.code, "message": error.message, "hint": error.hint}
    return {"code": "internal", "message": repr(error), "hint": "This is a fault of Edgewise; the log tells where."}


def reference(sample: Event) -> dict[str, Any]:
    """Which record a decision is about, and the clip that shows it; of the clock, which time."""
    clip = sample.body.get("clip")
    return {
        "stream": _STREAMS.get(sample.kind, EVENTS),
        "sequence": sample.sequence,
        "kind": sample.kind,
        "source": sample.source,
        "time_ns": sample.time_ns,
        **({"clip": clip} if clip else {}),
    }


def _kind_of(statuses: set[str]) -> str:
    if "failed" in statuses:
        return "decision.failed"
    if statuses in ({Status.EXPIRED.value}, {Status.OVERRULED.value}):
        return f"decision.{statuses.pop()}"
    return "decision.done"
