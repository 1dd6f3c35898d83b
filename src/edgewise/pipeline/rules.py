"""Rules: which events lead to which actions. Expressions are CEL, the Common Expression Language.

``RuleEngine.decide`` is pure: an event and a situation in, firings with their actions out, and the caller keeps the
new cooldowns. Expressions are compiled once, when the engine is made, and rules are found by the kind of event they
listen to. What an expression sees:

* ``event``: ``kind``, ``source``, ``time`` (timestamp) and ``body``, as in the journal;
* ``person``: ``name`` and ``preferences`` of the person the event names, else ``null``;
* ``devices``: the state of every device by its name, such as ``devices.hall.brightness``;
* ``now``: the time, as a timestamp (UTC).
"""

from __future__ import annotations

import datetime
import fnmatch
import functools
import importlib.machinery
import importlib.util
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeAlias, cast

import msgspec
from msgspec import Meta

from edgewise._lib.documents import nearest
from edgewise.errors import RuleError
from edgewise.pipeline.base import Action, Event

Name = Annotated[str, Meta(pattern=r"^[a-z0-9]+(?:[-_][a-z0-9]+)*$", max_length=64)]
KindPattern = Annotated[str, Meta(pattern=r"^(?:[a-z0-9_]+\.)*(?:[a-z0-9_]+|\*)$", max_length=128)]

# Rule, source, and person (empty for none): what a cooldown belongs to.
Mark: TypeAlias = tuple[str, str, str]

VARIABLES = ("event", "person", "devices", "now")
# What the CEL library brings; an unknown name is found when rules are loaded, not at night at the door.
FUNCTIONS = (
    *("size", "contains", "startsWith", "endsWith", "matches"),
    *("int", "uint", "double", "string", "bytes", "timestamp", "duration", "dyn", "type"),
    *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
    *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
)

# Where cel says an expression is wrong.
_POSITION = re.compile(r"ERROR: <input>:(\d+):(\d+): ([^\n]+)")
# Names that a macro such as ``list.all(x, ...)`` binds.
_BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\(\s*([A-Za-z_]\w*)\s*,")
# String literals are skipped; what a call is made on counts, the called name does not.
_CHAIN = re.compile(
    r"""
    "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*'
    | (?<![\w.]) (?P<chain> (?:event|person|devices|now) \b
        (?: \. [A-Za-z_]\w* (?! \w | \s*\( ) | \["[^"]*"\] | \['[^']*'\] )* )
    """,
    re.VERBOSE,
)
_KEY = re.compile(r"""[A-Za-z_]\w*|"[^"]*"|'[^']*'""")
_MISSING = object()


class Do(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One command of a rule.

    Attributes:
        device: Which device.
        command: Which of its commands.
        arguments: Its arguments; a string that starts with ``=`` is a CEL expression (``==`` writes a plain ``=``).
        expires_s: Seconds after the event when the command is too late and never acts.
    """

    device: str
    command: str
    arguments: dict[str, Any] = {}
    expires_s: Annotated[float, Meta(gt=0, le=300)] = 5.0


class RuleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule.

    Attributes:
        name: Unique.
        on: Kind of event it listens to, such as ``face.known``; ``*`` as the last word stands for any rest.
        when: CEL expression that must be true; empty is true.
        cooldown_s: It does not fire again so soon for the same source and person.
        do: What it commands, in order.
    """

    name: Name
    on: KindPattern
    do: Annotated[tuple[Do, ...], Meta(min_length=1, max_length=32)]
    when: str = ""
    cooldown_s: Annotated[float, Meta(ge=0, le=86400)] = 0.0


class Situation(msgspec.Struct, frozen=True):
    """What rules may look at beside the event.

    Attributes:
        now_ns: The time, nanoseconds since the Unix epoch.
        person: ``{"name", "preferences"}`` of the person the event names; None for nobody.
        devices: State of every device by its name.
        fired: When each rule last fired, by ``(rule, source, person)``; the ``fired`` of the decision before.
    """

    now_ns: int
    person: Mapping[str, Any] | None = None
    devices: Mapping[str, Mapping[str, Any]] = {}
    fired: Mapping[Mark, int] = {}


class Firing(msgspec.Struct, frozen=True):
    """One rule fired.

    Attributes:
        rule: Its name.
        actions: What it wants done.
        why: Each value that its expressions read, by its path, such as ``event.body.similarity``.
    """

    rule: str
    actions: tuple[Action, ...]
    why: Mapping[str, Any]


class Fault(msgspec.Struct, frozen=True):
    """One rule could not be evaluated on this event; the others were."""

    rule: str
    error: RuleError


class Decision(msgspec.Struct, frozen=True):
    """What follows from one event; ``fired`` goes into the next situation."""

    firings: tuple[Firing, ...]
    faults: tuple[Fault, ...]
    fired: Mapping[Mark, int]

    @property
    def actions(self) -> tuple[Action, ...]:
        """The actions of all firings, in the order of the rules."""
        return tuple(action for firing in self.firings for action in firing.actions)


class RuleEngine:
    """A set of compiled rules.

    Args:
        rules: In order; their names are unique.

    Raises:
        RuleError: An expression does not compile or reads an unknown variable. Facts: ``rule``, ``field``,
            ``line``, ``column``.
    """

    def __init__(self, rules: Iterable[RuleSettings]) -> None:
        compiled = [_CompiledRule(rule) for rule in rules]
        names = [rule.name for rule in compiled]
        for name in names:
            if names.count(name) > 1:
                raise RuleError(f"Two rules are named {name!r}", rule=name, field="name")
        self._exact: dict[str, list[tuple[int, _CompiledRule]]] = {}
        self._globs: list[tuple[int, _CompiledRule]] = []
        self._cooldown_ns = {rule.name: rule.cooldown_ns for rule in compiled}
        for place, rule in enumerate(compiled):
            bucket = self._globs if rule.on.endswith("*") else self._exact.setdefault(rule.on, [])
            bucket.append((place, rule))

    def decide(self, event: Event, situation: Situation) -> Decision:
        """Which rules fire on an event. Pure."""
        fired = dict(situation.fired)
        firings: list[Firing] = []
        faults: list[Fault] = []
        rules = self._listening(event.kind)
        variables = _variables(event, situation) if rules else {}
        for rule in rules:
            mark = (rule.name, event.source, str(event.body.get("name", "")))
            if mark in fired and 0 <= situation.now_ns - fired[mark] < rule.cooldown_ns:
                continue
            try:
                firing = rule.fire(event, variables)
            except RuleError as error:
                faults.append(Fault(rule.name, error))
                continue
            if firing is not None:
                firings.append(firing)
                fired[mark] = situation.now_ns
        return Decision(tuple(firings), tuple(faults), self._still_cooling(fired, situation.now_ns))

    def _listening(self, kind: str) -> list[_CompiledRule]:
        found = self._exact.get(kind, []) + [item for item in self._globs if fnmatch.fnmatchcase(kind, item[1].on)]
        return [rule for _, rule in sorted(found, key=lambda item: item[0])]

    def _still_cooling(self, fired: Mapping[Mark, int], now_ns: int) -> dict[Mark, int]:
        return {
            mark: time_ns
            for mark, time_ns in fired.items()
            if 0 <= now_ns - time_ns < self._cooldown_ns.get(mark[0], 0)
        }


class _CompiledRule:
    def __init__(self, rule: RuleSettings) -> None:
        self.name = rule.name
        self.on = rule.on
        self.cooldown_ns = int(rule.cooldown_s * 1e9)
        self._when = _Expression(rule.when, rule=rule.name, field="when") if rule.when.strip() else None
        self._do = tuple(
            (do, {name: self._argument(value, f"do[{index}].arguments.{name}") for name, value in do.arguments.items()})
            for index, do in enumerate(rule.do)
        )

    def _argument(self, value: Any, field: str) -> Any:
        if not isinstance(value, str) or not value.startswith("="):
            return value
        return value[1:] if value.startswith("==") else _Expression(value[1:], rule=self.name, field=field)

    def fire(self, event: Event, variables: dict[str, Any]) -> Firing | None:
        why: dict[str, Any] = {}
        if self._when is not None and not self._when.holds(variables, why):
            return None
        actions = tuple(
            Action(
                device=do.device,
                command=do.command,
                arguments={
                    name: value.evaluate(variables, why) if isinstance(value, _Expression) else value
                    for name, value in arguments.items()
                },
                key=f"{self.name}/{event.source}/{event.kind}/{event.time_ns}/{event.sequence}/{index}",
                expires_ns=event.time_ns + int(do.expires_s * 1e9),
                cause=self.name,
            )
            for index, (do, arguments) in enumerate(self._do)
        )
        return Firing(self.name, actions, why)


@functools.cache
def _cel() -> Any:
    """The compiled CEL library, loaded when the first rule needs it.

    Not by ``import cel``: its ``__init__`` also loads an interactive shell: half a second of a node's start.
    """
    package = importlib.util.find_spec("cel")
    folders = (package and package.submodule_search_locations) or []
    spec = importlib.machinery.PathFinder.find_spec("cel.cel", folders)
    if spec is None or spec.loader is None:
        raise ImportError("common-expression-language is not installed", name="cel")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Expression:
    """One compiled CEL expression, with the paths it reads."""

    def __init__(self, source: str, *, rule: str, field: str) -> None:
        self._source = source
        self._rule = rule
        self._field = field
        try:
            self._program = _cel().compile(source)
        except ValueError as error:
            raise self._syntax_error(str(error)) from error
        self._check_names()
        self._paths = _paths(source)

    def evaluate(self, variables: dict[str, Any], why: dict[str, Any]) -> Any:
        """The value; what it read goes into ``why``."""
        for path, keys in self._paths.items():
            value: Any = functools.reduce(_member, keys, cast(Any, variables))
            if value is not _MISSING:
                why[path] = value.isoformat() if isinstance(value, datetime.datetime) else value
        try:
            return self._program.execute(variables)
        except KeyError as error:
            problem = f"there is no {error.args[0]!r}; test with has(...) first"
        except (TypeError, ValueError, RuntimeError, ArithmeticError, IndexError) as error:
            problem = str(error)
        raise RuleError(f"Rule {self._rule!r}, {self._field}: {problem}", rule=self._rule, field=self._field)

    def holds(self, variables: dict[str, Any], why: dict[str, Any]) -> bool:
        """The value, which must be true or false."""
        value = self.evaluate(variables, why)
        if not isinstance(value, bool):
            raise RuleError(
                f"Rule {self._rule!r}, {self._field}: the result is {value!r}, expected true or false",
                rule=self._rule,
                field=self._field,
            )
        return value

    def _syntax_error(self, text: str) -> RuleError:
        found = _POSITION.search(text)
        line, column, problem = (int(found[1]), int(found[2]), found[3]) if found else (1, 1, text.splitlines()[0])
        return self._error(problem, line=line, column=column)

    def _check_names(self) -> None:
        bound = set(_BOUND.findall(self._source))
        for name in self._program.variables():
            if name not in VARIABLES and name not in bound:
                raise self._unknown("variable", name, VARIABLES)
        for name in self._program.functions():
            if name.isidentifier() and not name.startswith("_") and name not in FUNCTIONS:
                raise self._unknown("function", name, FUNCTIONS)

    def _unknown(self, what: str, name: str, known: tuple[str, ...]) -> RuleError:
        before = self._source[: self._source.find(name)]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return self._error(f"{what} {name!r} is not known", line=line, column=column, hint=nearest(name, known))

    def _error(self, problem: str, *, line: int, column: int, hint: str = "") -> RuleError:
        where = f"Rule {self._rule!r}, {self._field}, line {line}, column {column}"
        return RuleError(f"{where}: {problem}", hint=hint, rule=self._rule, field=self._field, line=line, column=column)


def _variables(event: Event, situation: Situation) -> dict[str, Any]:
    return {
        "event": {
            "kind": event.kind,
            "source": event.source,
            "time": _timestamp(event.time_ns),
            "body": dict(event.body),
        },
        "person": dict(situation.person) if situation.person is not None else None,
        "devices": {name: dict(state) for name, state in situation.devices.items()},
        "now": _timestamp(situation.now_ns),
    }


def _timestamp(time_ns: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time_ns / 1e9, tz=datetime.UTC)


def _paths(source: str) -> dict[str, tuple[str, ...]]:
    """What an expression reads: its member chains that start at a variable, as written, with their keys."""
    chains = [match["chain"] for match in _CHAIN.finditer(source) if match["chain"]]
    return {chain: tuple(key.strip("\"'") for key in _KEY.findall(chain)) for chain in chains}


def _member(value: Any, key: str) -> Any:
    return value.get(key, _MISSING) if isinstance(value, Mapping) else _MISSING
