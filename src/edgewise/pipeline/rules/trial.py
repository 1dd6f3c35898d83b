"""Trying rules on what was recorded: which would have fired, when and why. Time is that of the records.

Devices are stood in for by virtual ones that do what they are told at once, so rules that look at devices see what
earlier firings did. People are known by name, with the preferences that are given.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from edgewise.errors import EdgewiseError, InputError, TooLargeError
from edgewise.pipeline.base import Event
from edgewise.pipeline.kinds import DeviceSettings, parse_command
from edgewise.pipeline.rules.engine import Decision, Firing, RuleEngine, Situation
from edgewise.pipeline.rules.memory import Part
from edgewise.pipeline.rules.schedule import moment
from edgewise.pipeline.rules.settings import READING, Location, RuleSettings
from edgewise.pipeline.sinks.virtual import VirtualDevice

MAX_RECORDS = 5_000_000
# Firings that are told one by one; more are counted.
MAX_TOLD = 10_000
_MAX_TICKS = 1_000_000
_ASKED_EVERY = 100


class Recorded(msgspec.Struct, frozen=True):
    """One line of a file of records: as the journal tells them, or shorter, as people write them.

    Attributes:
        kind: Kind of event, or ``reading``.
        time: When, in ISO 8601 with its zone; or
        time_ns: when, nanoseconds since the Unix epoch.
        source: Whose; that of the body when empty.
        body: Facts of an event.
        values: Values of a reading, by channel.
        sequence: Its place in its stream, where it has one.
    """

    kind: str = READING
    time: datetime.datetime | None = None
    time_ns: int = 0
    source: str = ""
    body: dict[str, Any] = {}
    values: dict[str, Any] | None = None
    sequence: int = 0

    def event(self, number: int) -> Event:
        """As rules see it; ``number`` stands in for a missing sequence.

        Raises:
            InputError: It has no time.
        """
        if self.time is not None and self.time.tzinfo is None:
            raise InputError(f"Record {number}: its time has no zone", hint="Write 2026-11-21T18:00:00Z")
        time_ns = round(self.time.timestamp() * 10**6) * 1000 if self.time else self.time_ns
        if time_ns <= 0:
            raise InputError(f"Record {number} has no time", hint='Write "time": "2026-11-21T18:00:00Z" or time_ns')
        body = self.body if self.values is None else {**self.body, "values": self.values}
        source = self.source or str(body.get("source", ""))
        return Event(self.kind, source, time_ns, {**body, "source": source}, sequence=self.sequence or number)


class Fired(msgspec.Struct, frozen=True):
    """One firing of a rule.

    Attributes:
        rule: Its name.
        time: When.
        source: Of the sample it fired on.
        kind: Of the sample.
        sequence: Of the sample.
        why: What its expressions read.
        parts: What had happened before.
        commands: What it wanted done, as ``device.command``.
        problem: Why a command could not have been given; empty when all could.
    """

    rule: str
    time: datetime.datetime
    source: str
    kind: str
    sequence: int
    why: dict[str, Any]
    parts: tuple[Part, ...]
    commands: tuple[str, ...]
    problem: str = ""


class Failed(msgspec.Struct, frozen=True):
    """A rule that could not be evaluated on a sample."""

    rule: str
    time: datetime.datetime
    sequence: int
    problem: str


class Report(msgspec.Struct, frozen=True):
    """What rules would have done.

    Attributes:
        records: How many were looked at.
        start: Time of the first.
        end: Time of the last.
        fired: The firings, in order; at most ``MAX_TOLD``.
        failed: Rules that could not be evaluated; at most ``MAX_TOLD``.
        counts: How often each rule fired.
        never: Rules that never did.
    """

    records: int
    start: datetime.datetime | None
    end: datetime.datetime | None
    fired: tuple[Fired, ...]
    failed: tuple[Failed, ...]
    counts: dict[str, int]
    never: tuple[str, ...]


class Expected(msgspec.Struct, frozen=True):
    """A firing that should be; what is not given may be anything."""

    rule: str
    time: datetime.datetime | None = None
    source: str | None = None

    def fits(self, fired: Fired) -> bool:
        """Whether it is this firing."""
        return (
            self.rule == fired.rule
            and (self.time is None or abs((self.time - fired.time).total_seconds()) < 1)
            and (self.source is None or self.source == fired.source)
        )


class Expectation(msgspec.Struct, frozen=True):
    """All firings that should be, in the order of time."""

    fired: tuple[Expected, ...]


class Difference(msgspec.Struct, frozen=True):
    """What was expected and is not, and the other way round."""

    missing: tuple[Expected, ...]
    unexpected: tuple[Fired, ...]


def compare(expectation: Expectation, report: Report) -> Difference:
    """Where firings are not as expected: each expected one takes the first that fits it."""
    left = list(report.fired)
    missing = []
    for expected in expectation.fired:
        found = next((fired for fired in left if expected.fits(fired)), None)
        if found is None:
            missing.append(expected)
        else:
            left.remove(found)
    return Difference(tuple(missing), tuple(left))


def try_rules(
    rules: Iterable[RuleSettings],
    records: Iterable[Event],
    *,
    location: Location | None = None,
    devices: Mapping[str, DeviceSettings] | None = None,
    people: Mapping[str, Mapping[str, Any]] | None = None,
    from_ns: int = 0,
    to_ns: int = 0,
    max_records: int = MAX_RECORDS,
    in_time: Callable[[], bool] = lambda: True,
) -> Report:
    """Asks rules about recorded samples, and about the time between them.

    Args:
        rules: To be tried.
        records: In the order of time; those before ``from_ns`` are history that rules look back at.
        location: For schedules and sun times.
        devices: Stood in for by virtual ones.
        people: Preferences by name.
        from_ns: Firings before it are not told; 0 tells all.
        to_ns: Where to end; 0 ends with the last record.
        max_records: More are refused.
        in_time: Asked now and then; when it says no, the trial is given up.

    Raises:
        RuleError: A rule does not compile.
        TooLargeError: There are too many records, or times between them, or it took too long.
    """
    engine = RuleEngine(rules, location)
    return _Trial(engine, devices or {}, people or {}, from_ns, in_time).run(records, to_ns, max_records)


class _Trial:
    def __init__(
        self,
        engine: RuleEngine,
        devices: Mapping[str, DeviceSettings],
        people: Mapping[str, Mapping[str, Any]],
        from_ns: int,
        in_time: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._devices = {name: VirtualDevice(name, settings) for name, settings in devices.items()}
        self._people = people
        self._from_ns = from_ns
        self._in_time = in_time
        self._memory = engine.memory()
        self._fired: list[Fired] = []
        self._failed: list[Failed] = []
        self._counts = dict.fromkeys(engine.names, 0)
        self._ticks = 0
        self._decided = 0

    def run(self, records: Iterable[Event], to_ns: int, max_records: int) -> Report:
        count, first_ns, last_ns = 0, 0, 0
        for event in records:
            if to_ns and event.time_ns > to_ns:
                break
            count += 1
            if count > max_records:
                raise TooLargeError(
                    f"There are more than {max_records} records", hint="Name a shorter time.", limit=max_records
                )
            if not first_ns:
                first_ns = self._from_ns or event.time_ns
                self._tick(min(first_ns, event.time_ns))
            self._pass(event.time_ns)
            self._keep(self._engine.decide(event, self._situation(event.time_ns), self._memory), event.time_ns)
            last_ns = max(last_ns, event.time_ns)
        if to_ns:
            self._pass(to_ns)
        never = tuple(name for name, fired in self._counts.items() if not fired)
        start, end = (moment(first_ns), moment(last_ns)) if count else (None, None)
        return Report(count, start, end, tuple(self._fired), tuple(self._failed), self._counts, never)

    def _pass(self, now_ns: int) -> None:
        """Lets time pass, from one thing that is due to the next."""
        while (due_ns := self._engine.next_due(self._memory)) is not None and due_ns <= now_ns:
            self._tick(due_ns)
            self._ticks += 1
            if self._ticks > _MAX_TICKS:
                raise TooLargeError(
                    f"Rules on time come up more than {_MAX_TICKS} times", hint="Name a shorter time.", limit=_MAX_TICKS
                )

    def _tick(self, now_ns: int) -> None:
        self._keep(self._engine.tick(now_ns, self._situation(now_ns), self._memory), now_ns)

    def _situation(self, now_ns: int) -> Situation:
        return Situation(now_ns, person=self._person, devices=self._states)

    def _person(self, name: str) -> Mapping[str, Any]:
        return {"name": name, "preferences": self._people.get(name, {})}

    def _states(self) -> Mapping[str, Mapping[str, Any]]:
        return {name: device.state for name, device in self._devices.items()}

    def _keep(self, decision: Decision, now_ns: int) -> None:
        self._decided += 1
        if self._decided % _ASKED_EVERY == 0 and not self._in_time():
            raise TooLargeError("It takes too long", hint="Name a shorter time, or fewer rules.")
        for firing in decision.firings:
            at_ns = firing.due_ns or firing.sample.time_ns
            problem = "; ".join(self._perform(firing))
            if at_ns < self._from_ns:
                continue
            self._counts[firing.rule] += 1
            if len(self._fired) < MAX_TOLD:
                self._fired.append(_fired(firing, at_ns, problem))
        for fault in decision.faults:
            if now_ns >= self._from_ns and len(self._failed) < MAX_TOLD:
                self._failed.append(Failed(fault.rule, moment(now_ns), fault.sample.sequence, fault.error.message))

    def _perform(self, firing: Firing) -> Iterator[str]:
        for action in firing.actions:
            device = self._devices.get(action.device)
            if device is None:
                continue  # rules are tried without their devices
            try:
                command = parse_command(device.settings, action.command, action.arguments)
                device.apply(command, key=action.key, expires_ns=action.expires_ns)
            except EdgewiseError as error:
                yield error.message


def _fired(firing: Firing, at_ns: int, problem: str) -> Fired:
    sample = firing.sample
    return Fired(
        rule=firing.rule,
        time=moment(at_ns),
        source=sample.source,
        kind=sample.kind,
        sequence=sample.sequence,
        why=dict(firing.why),
        parts=firing.parts,
        commands=tuple(f"{action.device}.{action.command}" for action in firing.actions),
        problem=problem,
    )
