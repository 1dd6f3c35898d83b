"""Expressions of rules: CEL, the Common Expression Language, with functions of recent history.

An expression is compiled once. Calls such as ``avg(temperature, "5m")`` are found then: what they look at is written
down (so that only that is remembered), and a value takes their place when the expression is evaluated. Names that
nobody knows are found when rules are loaded, not at night at the door.
"""

from __future__ import annotations

import datetime
import functools
import importlib.machinery
import importlib.util
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, NoReturn, Protocol, cast

from edgewise._lib.documents import nearest
from edgewise.errors import RuleError
from edgewise.pipeline.rules.durations import nanoseconds
from edgewise.pipeline.rules.windows import REDUCE

VARIABLES = ("event", "reading", "values", "person", "devices", "now", "sun")
# What the CEL library brings.
FUNCTIONS = (
    *("size", "contains", "startsWith", "endsWith", "matches"),
    *("int", "uint", "double", "string", "bytes", "timestamp", "duration", "dyn", "type"),
    *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
    *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
)
OF_WINDOWS = tuple(REDUCE)
OF_LATEST = ("last", "changed", "stale")
COUNT = "count"
HISTORY = (*OF_WINDOWS, *OF_LATEST, COUNT)

MIN_WINDOW_NS = 10**8
MAX_WINDOW_NS = 7 * 86400 * 10**9

# Where cel says an expression is wrong.
_POSITION = re.compile(r"ERROR: <input>:(\d+):(\d+): ([^\n]+)")
# Names that a macro such as ``list.all(x, ...)`` binds.
_BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\(\s*([A-Za-z_]\w*)\s*,")
_TEXT = r""" "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' """
# String literals are skipped; what a call is made on counts, the called name does not.
_CHAIN = re.compile(
    rf"""{_TEXT}
    | (?<![\w.]) (?P<chain> (?:{"|".join(VARIABLES)}) \b
        (?: \. [A-Za-z_]\w* (?! \w | \s*\( ) | \["[^"]*"\] | \['[^']*'\] )* )
    """,
    re.VERBOSE,
)
_KEY = re.compile(r"""[A-Za-z_]\w*|"[^"]*"|'[^']*'""")
_CALL = re.compile(rf"""{_TEXT} | (?<![\w.]) (?P<name>{"|".join(HISTORY)}) \s* \( """, re.VERBOSE)
_ARGUMENTS = re.compile(
    rf"""\s* (?P<subject> {_TEXT} | [A-Za-z_]\w*(?:\.[A-Za-z_]\w*)* ) \s*
    (?: , \s* (?P<window> {_TEXT} ) \s* )? (?: , \s* (?P<same> {_TEXT} ) \s* )? \)""",
    re.VERBOSE,
)
_KIND = re.compile(r"^(?:[a-z0-9_]+\.)*(?:[a-z0-9_]+|\*)$")
_VALUE = "window__"
_MISSING = object()


class Past(NamedTuple):
    """One look at recent history.

    Attributes:
        function: Such as ``avg``.
        source: Whose channel; empty for the source that the rule is asked about.
        channel: Which channel; of ``count`` the kind of event.
        window_ns: How far back; 0 for the newest value alone.
        same: What events counted must have in common with the one at hand; empty for nothing.
        text: As it was written.
    """

    function: str
    source: str
    channel: str
    window_ns: int
    same: str
    text: str


class Scope(Protocol):
    """What an expression is evaluated in."""

    def context(self, values: list[Any]) -> Any:
        """A CEL context; ``values`` stand in for the looks at history, in their order."""
        ...

    def variable(self, name: str) -> Any:
        """The value of a variable."""
        ...

    def recall(self, past: Past) -> Any:
        """The value of a look at history; None when it has none."""
        ...


class Expression:
    """One compiled expression.

    Args:
        source: CEL.
        rule: Whose it is.
        field: Where it stands in the rule.
        variables: What it may read.
        own: Whose channel ``avg(temperature, ...)`` means: a source, or empty for that of each sample; None where it
            means nothing.

    Attributes:
        pasts: Its looks at history.
        names: The variables it reads.
        devices: The devices it reads; None when that cannot be told from its text.

    Raises:
        RuleError: It does not compile, or names what nobody knows.
    """

    def __init__(self, source: str, *, rule: str, field: str, variables: Iterable[str], own: str | None = None) -> None:
        self._source = source
        self._rule = rule
        self._field = field
        self._compiled(source)  # faults with the places of the text as written
        rewritten, self.pasts = self._extract(own)
        self._program = self._compiled(rewritten)
        self._check_names(tuple(variables))
        self.names = frozenset(self._program.variables()) & frozenset(VARIABLES)
        self._paths = _paths(rewritten)
        self.devices = self._devices(rewritten)

    def evaluate(self, scope: Scope, why: dict[str, Any]) -> Any:
        """The value; what it read goes into ``why``.

        Raises:
            RuleError: It cannot be evaluated. The fact ``unknown`` is true when that is because a look at history
                found nothing.
        """
        values = [scope.recall(past) for past in self.pasts]
        value = self._run(scope, values)
        self._explain(scope, values, why)
        return value

    def holds(self, scope: Scope, why: dict[str, Any]) -> bool:
        """The value, which must be true or false. What would need a value that history does not have is false. What
        was read goes into ``why`` when it is true.
        """
        values = [scope.recall(past) for past in self.pasts]
        try:
            value = self._run(scope, values)
        except RuleError as error:
            if error.facts["unknown"]:
                return False
            raise
        if value is True:
            self._explain(scope, values, why)
            return True
        if value is False:
            return False
        raise RuleError(
            f"Rule {self._rule!r}, {self._field}: the result is {value!r}, expected true or false",
            rule=self._rule,
            field=self._field,
        )

    def _run(self, scope: Scope, values: list[Any]) -> Any:
        try:
            return self._program.execute(scope.context(values))
        except KeyError as error:
            problem = f"there is no {error.args[0]!r}; test with has(...) first"
        except (TypeError, ValueError, RuntimeError, ArithmeticError, IndexError) as error:
            problem = str(error)
        raise RuleError(
            f"Rule {self._rule!r}, {self._field}: {problem}",
            rule=self._rule,
            field=self._field,
            unknown=None in values,
        )

    def _explain(self, scope: Scope, values: list[Any], why: dict[str, Any]) -> None:
        """Writes down what was read."""
        for past, value in zip(self.pasts, values, strict=True):
            why[past.text] = value
        for path, (name, *keys) in self._paths.items():
            value = functools.reduce(_member, keys, cast("Any", scope.variable(name)))
            if value is not _MISSING:
                why[path] = _plain(value)

    def _compiled(self, source: str) -> Any:
        try:
            return cel().compile(source)
        except ValueError as error:
            found = _POSITION.search(str(error))
            line, column, problem = (
                (int(found[1]), int(found[2]), found[3]) if found else (1, 1, str(error).splitlines()[0])
            )
            raise self._error(problem, line=line, column=column) from error

    def _extract(self, own: str | None) -> tuple[str, tuple[Past, ...]]:
        """The text with a call of ``window__`` for each look at history, and those looks."""
        pasts: list[Past] = []
        parts: list[str] = []
        end = 0
        for call in _CALL.finditer(self._source):
            if call["name"] is None or call.start() < end:
                continue
            found = _ARGUMENTS.match(self._source, call.end())
            if not found:
                self._refuse(call.start(), f"{call['name']} takes a channel or kind, and a window", _example(call))
            past = self._past(call, found, own)
            if past not in pasts:
                pasts.append(past)
            parts += [self._source[end : call.start()], f"{_VALUE}({pasts.index(past)})"]
            end = found.end()
        return "".join([*parts, self._source[end:]]), tuple(pasts)

    def _past(self, call: re.Match[str], found: re.Match[str], own: str | None) -> Past:
        name = call["name"]
        text = self._source[call.start() : found.end()]
        window_ns = 0
        if found["window"] is not None:
            window_ns = nanoseconds(_unquoted(found["window"])) or 0
            if not MIN_WINDOW_NS <= window_ns <= MAX_WINDOW_NS:
                self._refuse(found.start("window"), f"{found['window']} is no window; from 100ms to 7d", _example(call))
        elif name not in {"last", "changed"}:
            self._refuse(call.start(), f"{name} needs a window", _example(call))
        subject = _unquoted(found["subject"])
        if name == COUNT:
            if not _KIND.match(subject):
                self._refuse(found.start("subject"), f"{subject!r} is no kind of event", _example(call))
            return Past(name, "", subject, window_ns, _unquoted(found["same"] or '""'), text)
        if found["same"] is not None:
            self._refuse(found.start("same"), f"{name} takes a channel and a window only", _example(call))
        source, dot, channel = subject.partition(".")
        if not dot:
            source, channel = own or "", subject
            if own is None:
                problem = f"{channel!r}: whose channel is not told"
                self._refuse(found.start("subject"), problem, f'Name its source: {name}(boiler.{channel}, "5m")')
        return Past(name, source, channel, window_ns, "", text)

    def _check_names(self, variables: tuple[str, ...]) -> None:
        for name in self._program.functions():
            known = (*FUNCTIONS, *HISTORY)
            if name.isidentifier() and not name.startswith("_") and name not in known and name != _VALUE:
                self._unknown("function", name, known)
        bound = set(_BOUND.findall(self._source))
        for name in self._program.variables():
            if name not in variables and name not in bound:
                self._unknown("variable", name, variables)

    def _devices(self, source: str) -> frozenset[str] | None:
        if "devices" not in self.names:
            return frozenset()
        chains = [keys for name, *keys in self._paths.values() if name == "devices"]
        named = len(re.findall(r"(?<![\w.])devices\b", re.sub(_TEXT, '""', source, flags=re.VERBOSE)))
        if not all(chains) or named != len([m for m in _CHAIN.finditer(source) if (m["chain"] or "")[:7] == "devices"]):
            return None
        return frozenset(keys[0] for keys in chains)

    def _unknown(self, what: str, name: str, known: tuple[str, ...]) -> NoReturn:
        found = re.search(rf"(?<!\w){re.escape(name)}\b", self._source)
        problem = f"{what} {name!r} is not known"
        self._refuse(found.start() if found else 0, f"{problem}{_elsewhere(name)}", nearest(name, known))

    def _refuse(self, place: int, problem: str, hint: str) -> NoReturn:
        before = self._source[:place]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise self._error(problem, line=line, column=column, hint=hint)

    def _error(self, problem: str, *, line: int, column: int, hint: str = "") -> RuleError:
        where = f"Rule {self._rule!r}, {self._field}, line {line}, column {column}"
        return RuleError(f"{where}: {problem}", hint=hint, rule=self._rule, field=self._field, line=line, column=column)


@functools.cache
def cel() -> Any:
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


def make_context(variables: Mapping[str, Any], values: list[Any]) -> Any:
    """A CEL context; ``values`` may be changed in place between evaluations."""
    context = cel().Context()
    for name, value in variables.items():
        context.add_variable(name, value)
    context.add_function(_VALUE, lambda index: values[index])
    return context


def _example(call: re.Match[str]) -> str:
    name = call["name"]
    examples = {"last": "last(boiler.temperature)", "changed": "changed(boiler.state)"}
    window = f'{name}("face.unknown", "10m")' if name == COUNT else f'{name}(boiler.temperature, "5m")'
    return f"Write {examples.get(name, window)}"


def _elsewhere(name: str) -> str:
    where = {
        "event": " in a rule on readings or time",
        "person": " in a rule on readings or time",
        "reading": " in a rule that is not on readings",
        "values": " in a rule that is not on readings",
        "sun": " without a location (node.location: {latitude: 52.5, longitude: 13.4})",
    }
    return where.get(name, "")


def _unquoted(text: str) -> str:
    return text[1:-1] if text[:1] in {'"', "'"} else text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value.isoformat() if isinstance(value, datetime.datetime) else value


def chain_of(path: str) -> tuple[str, ...]:
    """The keys of a member chain as it stands in ``why``; none when it is something else."""
    found = _CHAIN.fullmatch(path)
    return tuple(key.strip("\"'") for key in _KEY.findall(path)) if found and found["chain"] else ()


def _paths(source: str) -> dict[str, tuple[str, ...]]:
    """What an expression reads: its member chains that start at a variable, as written, with their keys."""
    chains = [match["chain"] for match in _CHAIN.finditer(source) if match["chain"]]
    return {chain: tuple(key.strip("\"'") for key in _KEY.findall(chain)) for chain in chains}


def _member(value: Any, key: str) -> Any:
    return value.get(key, _MISSING) if isinstance(value, Mapping) else _MISSING
