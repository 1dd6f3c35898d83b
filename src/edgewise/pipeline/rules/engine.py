"""The rule engine: samples and the time in, firings with their actions out.

It does no I/O and reads no clock: all that it knows stands in the sample, the ``Situation`` and the ``Memory``, and the
same three give the same decision again. Expressions are compiled once, when the engine is made, and rules are found by
what they listen to, so that rules that do not listen cost nothing.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from edgewise.errors import RuleError
from edgewise.pipeline.base import Action, Event
from edgewise.pipeline.rules.compiled import CompiledRule, Listener, Needs, Scope
from edgewise.pipeline.rules.memory import Holding, Key, Mark, Memory, Part, bounded
from edgewise.pipeline.rules.schedule import Place
from edgewise.pipeline.rules.settings import READING, TIME, Location, RuleSettings

# A fault of a rule on readings is told once in this time: they come by the thousand.
_TELL_AGAIN_NS = 60 * 10**9
# A clock that was set back by more than this was wrong before: times that it already showed count again. For a mere
# rhythm that is soon (but past what devices remember of commands), for a time of day it is more than a day.
_WRONG_RHYTHM_NS = 15 * 60 * 10**9
_WRONG_CLOCK_NS = 25 * 3600 * 10**9
_NO_DEVICES: Mapping[str, Mapping[str, Any]] = {}


class Situation(msgspec.Struct, frozen=True):
    """What rules may look at beside the sample. The functions are called when a rule reads what they tell.

    Attributes:
        now_ns: The time, nanoseconds since the Unix epoch.
        person: ``{"name", "preferences"}`` of a person by name; None for nobody.
        devices: State of every device by its name.
    """

    now_ns: int
    person: Callable[[str], Mapping[str, Any] | None] = lambda _: None
    devices: Callable[[], Mapping[str, Mapping[str, Any]]] = lambda: _NO_DEVICES


class Firing(msgspec.Struct, frozen=True):
    """One rule fired.

    Attributes:
        rule: Its name.
        key: Names this firing; the same sample gives the same key again.
        actions: What it wants done.
        why: Each value that its expressions read, by its path, such as ``event.body.similarity``, and each look at
            history, as it was written.
        sample: What it fired on; of a rule on time, a sample of kind ``time``.
        parts: What had happened before, of a rule with ``after``.
        due_ns: When it was due, of a firing that the clock brought about; else 0.
    """

    rule: str
    key: str
    actions: tuple[Action, ...]
    why: Mapping[str, Any]
    sample: Event
    parts: tuple[Part, ...] = ()
    due_ns: int = 0

    @property
    def mark(self) -> Mark:
        """What its cooldown belongs to."""
        return _mark(self.rule, self.sample)


class Fault(msgspec.Struct, frozen=True):
    """One rule could not be evaluated on this sample; the others were."""

    rule: str
    error: RuleError
    sample: Event


class Decision(msgspec.Struct, frozen=True):
    """What follows from one sample, or from time that passed."""

    firings: tuple[Firing, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def actions(self) -> tuple[Action, ...]:
        """The actions of all firings, in the order of the rules."""
        return tuple(action for firing in self.firings for action in firing.actions)


class _Bundle(NamedTuple):
    """All that listens to one sort of sample, in the order of the rules, and what it needs to know."""

    listeners: tuple[Listener, ...]
    needs: Needs


_NOTHING = Decision()


class RuleEngine:
    """A set of compiled rules.

    Args:
        rules: In order; their names are unique.
        location: For schedules and sun times.

    Raises:
        RuleError: An expression does not compile or reads an unknown variable. Facts: ``rule``, ``field``,
            ``line``, ``column``.
    """

    def __init__(self, rules: Iterable[RuleSettings], location: Location | None = None) -> None:
        self._place = Place(location or Location())
        self._rules = [CompiledRule(rule, number, self._place) for number, rule in enumerate(rules)]
        seen: set[str] = set()
        for rule in self._rules:
            if rule.name in seen:
                raise RuleError(f"Two rules are named {rule.name!r}", rule=rule.name, field="name")
            seen.add(rule.name)
        self._cooldowns_ns = {rule.name: rule.cooldown_ns for rule in self._rules}
        self._scheduled = [(rule, rule.schedule) for rule in self._rules if rule.schedule]
        self._exact: dict[tuple[str, str, str], list[Listener]] = {}
        self._patterns: list[Listener] = []
        for rule in self._rules:
            for listener in rule.listeners():
                if listener.is_exact:
                    self._exact.setdefault(listener.place, []).append(listener)
                else:
                    self._patterns.append(listener)
        self._bundle = functools.lru_cache(maxsize=4096)(self._bundle_of)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rules, in order."""
        return tuple(rule.name for rule in self._rules)

    @property
    def horizon_ns(self) -> int:
        """How far back a memory reaches: what has to be decided again after a restart."""
        return max((rule.horizon_ns for rule in self._rules), default=0)

    @property
    def longest_cooldown_ns(self) -> int:
        """The longest cooldown of a rule."""
        return max(self._cooldowns_ns.values(), default=0)

    @property
    def on_readings(self) -> bool:
        """Whether any rule looks at readings."""
        return any(rule.on_readings for rule in self._rules)

    @property
    def remembers_events(self) -> bool:
        """Whether any rule looks back at events."""
        return any(rule.remembers_events for rule in self._rules)

    @property
    def reads_in_time(self) -> frozenset[str] | None:
        """Devices whose state the rules look at that fire as time passes; None when that cannot be told."""
        return Needs.union(rule.needs for rule in self._rules if rule.schedule or rule.for_ns).devices

    def reads(self, event: Event) -> frozenset[str] | None:
        """Devices whose state the rules look at when they decide on a sample; None when that cannot be told."""
        return self._bundle_for(event).needs.devices

    def hears(self, event: Event) -> bool:
        """Whether any rule listens to such a sample."""
        return bool(self._bundle_for(event).listeners)

    def sources(self) -> Iterator[tuple[int, str, str]]:
        """Each source that a rule names: the rule's number, the field, the name."""
        for rule in self._rules:
            yield from rule.sources()

    def memory(self) -> Memory:
        """A new memory, which knows nothing yet."""
        return Memory(frozenset(past for rule in self._rules for past in rule.pasts))

    def decide(self, event: Event, situation: Situation, memory: Memory | None = None) -> Decision:
        """Which rules fire on a sample, and on the time that passed until it.

        Args:
            event: What happened; a reading is an event of kind ``reading`` with ``values`` in its body.
            situation: What else rules may look at.
            memory: What came before; changed by this. A new one when None.
        """
        memory = self.memory() if memory is None else memory
        # A sensor whose clock is ahead does not make the time pass.
        due = self._due_timers(min(event.time_ns, situation.now_ns), situation, memory) if memory.timers else ()
        passed = self._attempt(due, event.time_ns)
        memory.remember(event)
        bundle = self._bundle_for(event)
        if not bundle.listeners:
            return passed
        firings, faults = list(passed.firings), list(passed.faults)
        scope = Scope(event, event.time_ns, situation, memory, self._place, bundle.needs)
        for listener in bundle.listeners:
            try:
                firing = self._hear(listener, scope)
            except RuleError as error:
                if self._to_be_told(listener.rule, event, memory):
                    faults.append(Fault(listener.rule.name, error, event))
                continue
            if firing is not None:
                firings.append(firing)
        if not firings and not faults:
            return _NOTHING
        memory.forget_cooldowns(situation.now_ns, self._cooldowns_ns)
        return Decision(tuple(firings), tuple(faults))

    def tick(self, now_ns: int, situation: Situation, memory: Memory) -> Decision:
        """Which rules fire because time passed: schedules whose time came, conditions that held long enough.

        Called with times in any order: what the clock showed before brings nothing about a second time.
        """
        timers = self._due_timers(now_ns, situation, memory)
        return self._attempt((*timers, *self._due_times(now_ns, situation, memory)), now_ns)

    def _attempt(self, due: Iterable[Callable[[], Firing | None]], now_ns: int) -> Decision:
        firings: list[Firing] = []
        faults: list[Fault] = []
        for attempt in due:
            try:
                if (firing := attempt()) is not None:
                    firings.append(firing)
            except RuleError as error:
                faults.append(Fault(str(error.facts["rule"]), error, _time_event(now_ns)))
        return Decision(tuple(firings), tuple(faults)) if firings or faults else _NOTHING

    def next_due(self, memory: Memory) -> int | None:
        """The next time at which ``tick`` may have something to do, as far as the last one knew; None for never."""
        due = [at for at in memory.upcoming.values() if at is not None]
        return min([memory.timers[0][0], *due] if memory.timers else due, default=None)

    def resume_schedules(self, memory: Memory, now_ns: int) -> None:
        """Lets times count that passed just before now: as long ago as the rule's commands are still valid."""
        for rule, _ in self._scheduled:
            memory.handled[rule.name] = now_ns - rule.valid_ns
            memory.upcoming.pop(rule.name, None)

    def _hear(self, listener: Listener, scope: Scope) -> Firing | None:
        rule, event = listener.rule, scope.event
        if listener.role.is_trigger:
            return self._trigger(rule, scope)
        if not rule.step_holds(listener, scope):
            return None
        if listener.role.is_unless:
            self._take_back(rule, event, scope.memory)
        else:
            self._step(rule, listener.role.step, scope)
        return None

    def _trigger(self, rule: CompiledRule, scope: Scope) -> Firing | None:
        event, memory = scope.event, scope.memory
        parts: tuple[Part, ...] = ()
        if rule.steps:
            found = self._chain(rule, event, memory)
            if found is None:
                return None
            parts = found
        if rule.for_ns:
            self._hold(rule, scope, parts)
            return None
        if not rule.active(scope.time_ns) or self._cools(rule, event, scope.situation.now_ns, memory):
            return None
        why: dict[str, Any] = {}
        if not rule.holds(scope, why):
            return None
        if rule.steps:
            memory.chains.pop((rule.number, rule.key(event)), None)
        return self._fire(rule, scope, why, parts=parts)

    def _fire(
        self, rule: CompiledRule, scope: Scope, why: dict[str, Any], *, parts: tuple[Part, ...] = (), due_ns: int = 0
    ) -> Firing:
        event = scope.event
        key = f"{rule.name}/{event.source}/{event.kind}/{event.time_ns}/{event.sequence}"
        actions = rule.actions(scope, why, key=key, from_ns=due_ns or event.time_ns)
        firing = Firing(rule.name, key, actions, why, event, parts, due_ns)
        if rule.cooldown_ns:
            scope.memory.fired[firing.mark] = scope.situation.now_ns
        return firing

    def _cools(self, rule: CompiledRule, event: Event, now_ns: int, memory: Memory) -> bool:
        if not rule.cooldown_ns:
            return False
        last = memory.fired.get(_mark(rule.name, event))
        return last is not None and 0 <= now_ns - last < rule.cooldown_ns

    def _chain(self, rule: CompiledRule, event: Event, memory: Memory) -> tuple[Part, ...] | None:
        """What happened before, when all steps did, in order and not too long ago."""
        chain = memory.chains.get((rule.number, rule.key(event)))
        parts = chain[-1] if chain else ()
        if not parts or event.time_ns < parts[-1].time_ns or event.time_ns - parts[0].time_ns > rule.within_ns:
            return None
        return parts

    def _step(self, rule: CompiledRule, step: int, scope: Scope) -> None:
        """Goes one step on from the newest way to the step before: whatever it allows, an older one allows too."""
        event, chains = scope.event, scope.memory.chains
        key = (rule.number, rule.key(event))
        if key not in chains:
            if step:
                return
            for _ in bounded(chains):
                pass
            chains[key] = [()] * len(rule.steps)
        ways = chains[key]
        before = ways[step - 1] if step else ()
        if step and (not before or event.time_ns < before[-1].time_ns):
            return
        way = (*before, Part(event.kind, event.source, event.time_ns, event.sequence))
        if not ways[step] or way[0].time_ns >= ways[step][0].time_ns:
            ways[step] = way

    def _hold(self, rule: CompiledRule, scope: Scope, parts: tuple[Part, ...]) -> None:
        memory, event = scope.memory, scope.event
        key = (rule.number, rule.holding_key(event))
        if not rule.active(scope.time_ns) or not rule.holds(scope, {}):
            memory.holding.pop(key, None)
            return
        if key in memory.holding:
            return
        for _ in bounded(memory.holding):
            pass
        memory.holding[key] = Holding(event.time_ns, event, parts)
        heapq.heappush(memory.timers, (event.time_ns + rule.for_ns, *key, event.time_ns))

    def _take_back(self, rule: CompiledRule, event: Event, memory: Memory) -> None:
        wanted = rule.key(event) if rule.same else None
        for key, holding in list(memory.holding.items()):
            mine = key[0] == rule.number and (wanted is None or rule.key(holding.sample) == wanted)
            if mine and event.time_ns >= holding.since_ns:
                del memory.holding[key]

    def _due_timers(self, now_ns: int, situation: Situation, memory: Memory) -> Iterator[Callable[[], Firing | None]]:
        while memory.timers and memory.timers[0][0] <= now_ns:
            due_ns, number, key, since_ns = heapq.heappop(memory.timers)
            holding = memory.holding.get((number, key))
            if holding is not None and holding.since_ns == since_ns and not holding.fired:
                yield functools.partial(self._held, (number, key), holding, due_ns, situation, memory)

    def _held(
        self, key: tuple[int, Key], holding: Holding, due_ns: int, situation: Situation, memory: Memory
    ) -> Firing | None:
        """A condition has held long enough, if it still does."""
        if holding.fired or memory.holding.get(key) is not holding:
            return None  # taken back and begun anew in one instant, it has two timers
        rule = self._rules[key[0]]
        scope = Scope(holding.sample, due_ns, situation, memory, self._place, rule.needs)
        why: dict[str, Any] = {}
        if rule.momentary:
            memory.holding.pop(key, None)
        if not rule.active(due_ns) or not rule.holds(scope, why):
            memory.holding.pop(key, None)
            return None
        holding.fired = True
        if self._cools(rule, holding.sample, situation.now_ns, memory):
            return None
        return self._fire(rule, scope, why, parts=holding.parts, due_ns=due_ns)

    def _due_times(self, now_ns: int, situation: Situation, memory: Memory) -> Iterator[Callable[[], Firing | None]]:
        for rule, schedule in self._scheduled:
            handled = memory.handled.setdefault(rule.name, now_ns)
            if now_ns < handled:  # the clock was set back
                wrong_ns = max(schedule.every_ns, _WRONG_RHYTHM_NS) if schedule.every_ns else _WRONG_CLOCK_NS
                if handled - now_ns > wrong_ns:
                    memory.handled[rule.name] = handled = now_ns
                    memory.upcoming.pop(rule.name, None)
            if rule.name not in memory.upcoming:
                memory.upcoming[rule.name] = schedule.next(handled, self._place)
            due = memory.upcoming[rule.name]
            if due is None or now_ns < due:
                continue
            at = schedule.latest(handled, now_ns, self._place)
            memory.handled[rule.name] = now_ns
            memory.upcoming[rule.name] = schedule.next(now_ns, self._place)
            if at is not None:
                yield functools.partial(self._time_came, rule, at, situation, memory)

    def _time_came(self, rule: CompiledRule, at_ns: int, situation: Situation, memory: Memory) -> Firing | None:
        event = _time_event(at_ns)
        scope = Scope(event, at_ns, situation, memory, self._place, rule.needs)
        if not rule.active(at_ns) or self._cools(rule, event, situation.now_ns, memory):
            return None
        why: dict[str, Any] = {}
        return self._fire(rule, scope, why, due_ns=at_ns) if rule.holds(scope, why) else None

    def _to_be_told(self, rule: CompiledRule, event: Event, memory: Memory) -> bool:
        if event.kind != READING:
            return True
        last = memory.told.get(rule.name)
        if last is not None and 0 <= event.time_ns - last < _TELL_AGAIN_NS:
            return False
        memory.told[rule.name] = event.time_ns
        return True

    def _bundle_for(self, event: Event) -> _Bundle:
        channels: tuple[str, ...] = ()
        if event.kind == READING and isinstance(values := event.body.get("values"), Mapping):
            channels = tuple(values)
        return self._bundle(event.kind, event.source, channels)

    def _bundle_of(self, kind: str, source: str, channels: tuple[str, ...]) -> _Bundle:
        found = {
            listener
            for named in {source, ""}
            for channel in {*channels, ""}
            for listener in self._exact.get((kind, named, channel), ())
        }
        found.update(listener for listener in self._patterns if listener.hears(kind, source, channels))
        ordered = tuple(sorted(found, key=lambda listener: listener.order))
        return _Bundle(ordered, Needs.union(listener.rule.needs for listener in ordered))


def _mark(rule: str, event: Event) -> Mark:
    return (rule, event.source, str(event.body.get("name", "")))


def _time_event(at_ns: int) -> Event:
    return Event(TIME, "", at_ns, {})
