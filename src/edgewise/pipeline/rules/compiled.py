"""One rule, compiled: its expressions, what it listens to, what it needs to know."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from edgewise.errors import RuleError
from edgewise.pipeline.base import Action, Event
from edgewise.pipeline.rules import expression
from edgewise.pipeline.rules.expression import Expression, Past, make_context
from edgewise.pipeline.rules.memory import Key, Memory, field_of, matches
from edgewise.pipeline.rules.schedule import Place, Schedule, moment, needs_sun, parse_at, parse_between, parse_days
from edgewise.pipeline.rules.settings import READING, TIME, RuleSettings, Step

if TYPE_CHECKING:
    from edgewise.pipeline.rules.engine import Situation

_ALWAYS = ("devices", "now")
_A_LEAP_YEAR_NS = 1_704_067_200 * 10**9
_VARIABLES = {READING: ("reading", "values", *_ALWAYS), TIME: _ALWAYS}


class Needs(NamedTuple):
    """What expressions read: names of variables, and of devices (None for all of them)."""

    names: frozenset[str]
    devices: frozenset[str] | None

    @classmethod
    def union(cls, needs: Iterable[Needs]) -> Needs:
        """All that any of them reads."""
        names: set[str] = set()
        devices: set[str] | None = set()
        for need in needs:
            names |= need.names
            devices = None if devices is None or need.devices is None else devices | need.devices
        return cls(frozenset(names), None if devices is None else frozenset(devices))


class Scope:
    """What the expressions of rules see of one sample. Variables are made when they are read, once.

    Args:
        event: The sample.
        time_ns: The end of all windows.
        situation: What else there is to see.
        memory: Recent history.
        place: For the sun.
        needs: What any of the expressions reads.

    Attributes:
        event: The sample.
        time_ns: The end of all windows.
        situation: What else there is to see.
        memory: Recent history.
    """

    def __init__(
        self, event: Event, time_ns: int, situation: Situation, memory: Memory, place: Place, needs: Needs
    ) -> None:
        self.event = event
        self.time_ns = time_ns
        self.situation = situation
        self.memory = memory
        self._place = place
        self._needs = needs
        self._variables: dict[str, Any] = {}
        self._values: list[Any] = []
        self._context: Any = None

    def context(self, values: list[Any]) -> Any:
        """See ``expression.Scope``."""
        self._values[:] = values
        if self._context is None:
            self._context = make_context({name: self.variable(name) for name in self._needs.names}, self._values)
        return self._context

    def variable(self, name: str) -> Any:
        """See ``expression.Scope``."""
        if name not in self._variables:
            self._variables[name] = _MAKERS[name](self)
        return self._variables[name]

    def recall(self, past: Past) -> Any:
        """See ``expression.Scope``."""
        return self.memory.recall(past, self.event, self.time_ns)

    def _event(self) -> Any:
        event = self.event
        return {"kind": event.kind, "source": event.source, "time": moment(event.time_ns), "body": dict(event.body)}

    def _reading(self) -> Any:
        event = self.event
        return {"source": event.source, "time": moment(event.time_ns), "values": self.variable("values")}

    def _values_of(self) -> Any:
        values = self.event.body.get("values")
        return dict(values) if isinstance(values, Mapping) else {}

    def _person(self) -> Any:
        name = str(self.event.body.get("name", ""))
        person = self.situation.person(name) if name else None
        return None if person is None else dict(person)

    def _devices(self) -> Any:
        states = self.situation.devices()
        wanted = states if self._needs.devices is None else self._needs.devices & states.keys()
        return {name: dict(states[name]) for name in wanted}

    def _now(self) -> Any:
        return moment(self.situation.now_ns)

    def _sun(self) -> Any:
        at = self.situation.now_ns
        times = self._place.sun_times(self._place.local(at).date())
        return {"up": self._place.sun_is_up(at), **{name: time for name, time in times.items() if time is not None}}


class Role(NamedTuple):
    """As what a rule listens: to its trigger, to a step before it, or to what takes it back."""

    step: int = -1
    is_unless: bool = False

    @property
    def is_trigger(self) -> bool:
        """Whether it is what the rule fires on."""
        return self.step < 0


class Listener(NamedTuple):
    """One thing that a rule listens to."""

    rule: CompiledRule
    role: Role
    kind: str
    source: str
    channel: str

    @property
    def place(self) -> tuple[str, str, str]:
        """Where an index finds it."""
        return (self.kind, self.source, self.channel)

    @property
    def is_exact(self) -> bool:
        """Whether it names what it listens to, without ``*``."""
        return not set("*?") & set(self.kind + self.source)

    @property
    def order(self) -> tuple[int, int]:
        """Rules in their order; the trigger before the steps and later steps first, so one sample is never two."""
        return (self.rule.number, -1 if self.role.is_trigger else (100 if self.role.is_unless else 50 - self.role.step))

    def hears(self, kind: str, source: str, channels: tuple[str, ...]) -> bool:
        """Whether it listens to a sort of sample."""
        return (
            matches(self.kind, kind)
            and (not self.source or fnmatch.fnmatchcase(source, self.source))
            and (not self.channel or self.channel in channels)
        )


class CompiledRule:
    """A rule whose every part was looked at.

    Args:
        rule: As in the settings.
        number: Its place among the rules.
        place: Where the node is.

    Raises:
        RuleError: Something in it does not compile, or does not go together.
    """

    def __init__(self, rule: RuleSettings, number: int, place: Place) -> None:
        self.name = rule.name
        self.number = number
        self.steps = rule.after
        self.same = rule.same
        self.cooldown_ns = int(rule.cooldown_s * 1e9)
        self.within_ns = int(rule.within_s * 1e9)
        self.for_ns = int(rule.for_s * 1e9)
        self.valid_ns = int(max(do.expires_s for do in rule.do) * 1e9)
        self._rule = rule
        self._place = place
        self._check_fit()
        self.schedule = self._schedule()
        self._when = self._expression(rule.when, "when", rule)
        self._step_when = {
            (field, index): self._expression(step.when, f"{field}[{index}].when", step)
            for field, steps in (("after", rule.after), ("unless", rule.unless))
            for index, step in enumerate(steps)
        }
        self._do = tuple(
            (do, {name: self._argument(value, f"do[{index}].arguments.{name}") for name, value in do.arguments.items()})
            for index, do in enumerate(rule.do)
        )
        expressions = list(self._expressions())
        self.pasts = tuple(past for expression in expressions for past in expression.pasts)
        self.needs = Needs.union(Needs(each.names, each.devices) for each in expressions)

    @property
    def momentary(self) -> bool:
        """Whether what it holds for is over when it has fired: an absence, not a state."""
        return bool(self._rule.unless)

    @property
    def on_readings(self) -> bool:
        """Whether it looks at readings."""
        steps = (*self._rule.after, *self._rule.unless)
        return READING in {self._rule.on, *(step.on for step in steps)} or any(
            past.function != "count" for past in self.pasts
        )

    @property
    def remembers_events(self) -> bool:
        """Whether it looks back at events."""
        counts = any(past.function == "count" for past in self.pasts)
        return counts or bool(self.steps) or (self.for_ns > 0 and self._rule.on != READING)

    @property
    def horizon_ns(self) -> int:
        """How far back it looks."""
        return max(self.within_ns + self.for_ns, *(past.window_ns for past in self.pasts), 0, 0)

    def sources(self) -> Iterator[tuple[int, str, str]]:
        """Each source it names: its own number, the field, the name."""
        named = [("source", self._rule.source)]
        for field, steps in (("after", self._rule.after), ("unless", self._rule.unless)):
            named += [(f"{field}[{index}].source", step.source) for index, step in enumerate(steps)]
        named += [("when", past.source) for past in self.pasts]
        for field, name in named:
            if name and not set("*?") & set(name):
                yield self.number, field, name

    def listeners(self) -> Iterator[Listener]:
        """What it listens to; a rule on time listens to nothing."""
        rule = self._rule
        if rule.on != TIME:
            yield Listener(self, Role(), rule.on, rule.source, rule.channel)
        for index, step in enumerate(rule.after):
            yield Listener(self, Role(index), step.on, step.source, step.channel)
        for index, step in enumerate(rule.unless):
            yield Listener(self, Role(index, is_unless=True), step.on, step.source, step.channel)

    def key(self, event: Event) -> Key:
        """What the steps of one sequence have in common."""
        return tuple(field_of(event, name) for name in self.same)

    def holding_key(self, event: Event) -> Key:
        """For what a condition holds: what is the same, else the source and the person."""
        return self.key(event) if self.same else (event.source, str(event.body.get("name", "")))

    def active(self, time_ns: int) -> bool:
        """Whether the rule is in force at a time."""
        return self._between is None or self._between.holds(time_ns, self._place)

    def holds(self, scope: expression.Scope, why: dict[str, Any]) -> bool:
        """Whether its condition is true."""
        return self._when is None or self._when.holds(scope, why)

    def step_holds(self, listener: Listener, scope: Scope) -> bool:
        """Whether a step's condition is true of a sample."""
        when = self._step_when["unless" if listener.role.is_unless else "after", listener.role.step]
        return when is None or when.holds(scope, {})

    def actions(self, scope: expression.Scope, why: dict[str, Any], *, key: str, from_ns: int) -> tuple[Action, ...]:
        """What it wants done."""
        return tuple(
            Action(
                device=do.device,
                command=do.command,
                arguments={
                    name: value.evaluate(scope, why) if isinstance(value, Expression) else value
                    for name, value in arguments.items()
                },
                key=f"{key}/{index}",
                expires_ns=from_ns + int(do.expires_s * 1e9),
                cause=self.name,
            )
            for index, (do, arguments) in enumerate(self._do)
        )

    def _expressions(self) -> Iterator[Expression]:
        for each in (self._when, *self._step_when.values()):
            if each is not None:
                yield each
        for _, arguments in self._do:
            yield from (value for value in arguments.values() if isinstance(value, Expression))

    def _expression(self, source: str, field: str, at: Step | RuleSettings) -> Expression | None:
        if not source.strip():
            return None
        variables = _VARIABLES.get(at.on, ("event", "person", *_ALWAYS))
        if self._place.knows_the_sun:
            variables = (*variables, "sun")
        own = None
        if at.on == READING:
            own = "" if set("*?") & set(at.source) else at.source
        return Expression(source, rule=self.name, field=field, variables=variables, own=own)

    def _argument(self, value: Any, field: str) -> Any:
        if not isinstance(value, str) or not value.startswith("="):
            return value
        if value.startswith("=="):
            return value[1:]
        if not value[1:].strip():
            raise self._error("the expression behind = is missing", field, "Write == for a plain =")
        return self._expression(value[1:], field, self._rule)

    def _schedule(self) -> Schedule | None:
        rule = self._rule
        try:
            field = "days"
            days = parse_days(rule.days)
            field = "between"
            # Times have their days already; after midnight, sunset + 8h still belongs to the day before.
            between_days = parse_days("") if rule.at else days
            needed = rule.between or (rule.days and not rule.at)
            self._between = parse_between(rule.between, between_days) if needed else None
            field = "at"
            times = (rule.at,) if isinstance(rule.at, str) else rule.at
            at = [parse_at(text) for text in times if text.strip()]
        except ValueError as error:
            raise self._error(str(error), field) from error
        for field, texts in (("at", times), ("between", (rule.between,))):
            if needs_sun(*texts) and not self._place.knows_the_sun:
                hint = "Add node.location: {latitude: 52.5, longitude: 13.4, timezone: Europe/Berlin}"
                raise self._error("sun times need to know where the node stands", field, hint)
        if rule.on != TIME:
            return None
        schedule = Schedule(at, every_s=rule.every_s, days=days)
        if schedule.next(_A_LEAP_YEAR_NS, self._place) is None:
            raise self._error("this time never comes", "at")
        return schedule

    def _check_fit(self) -> None:
        """Parts that mean nothing without each other."""
        rule = self._rule
        on_time = rule.on == TIME
        timed = bool(rule.every_s) + bool(rule.at)
        if on_time and timed != 1:
            raise self._error("a rule on time needs at or every_s, one of them", "on", "Write at: '22:00'")
        if timed and not on_time:
            raise self._error("only a rule on time has times", "at" if rule.at else "every_s", "Write on: time")
        if 0 < rule.every_s < 1:
            raise self._error("it comes every second at most", "every_s")
        for field in ("source", "channel", "after", "unless", "same", "for_s"):
            if on_time and getattr(rule, field):
                raise self._error("a rule on time listens to nothing else", field)
        if bool(rule.after) != bool(rule.within_s):
            raise self._error("after and within_s belong together", "after" if rule.after else "within_s")
        if rule.unless and not rule.for_s:
            raise self._error("unless needs for_s: how long to wait for it", "unless", "Add for_s: 30")
        if rule.same and not (rule.after or rule.unless or rule.for_s):
            raise self._error("same says what after, unless or for_s go by; there is none", "same")
        self._check_steps(("", rule), *((f"after[{n}].", step) for n, step in enumerate(rule.after)))
        self._check_steps(*((f"unless[{n}].", step) for n, step in enumerate(rule.unless)))

    def _check_steps(self, *steps: tuple[str, Step | RuleSettings]) -> None:
        for prefix, step in steps:
            if step.channel and step.on != READING:
                raise self._error("only readings have channels", f"{prefix}channel", "Write on: reading")
            if prefix and step.on == TIME:
                raise self._error("time is no step", f"{prefix}on", "Use between, or a rule on time")

    def _error(self, problem: str, field: str, hint: str = "") -> RuleError:
        return RuleError(f"Rule {self.name!r}, {field}: {problem}", hint=hint, rule=self.name, field=field)


_MAKERS = {
    "event": Scope._event,
    "reading": Scope._reading,
    "values": Scope._values_of,
    "person": Scope._person,
    "devices": Scope._devices,
    "now": Scope._now,
    "sun": Scope._sun,
}
