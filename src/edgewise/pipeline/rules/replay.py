"""Deciding again what was decided: a rule as it was, on what its expressions read then.

The record of a decision holds every value that the rule's expressions read, looks at history included. So the rule's
condition and arguments can be evaluated again without the node, its devices or its memory. What led up to the moment
(steps before it, how long it held, cooldowns, schedules) is not in these values: the record tells it.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec

from edgewise.errors import RuleError
from edgewise.pipeline.rules.compiled import CompiledRule
from edgewise.pipeline.rules.expression import Past, chain_of, make_context
from edgewise.pipeline.rules.schedule import Place
from edgewise.pipeline.rules.settings import Location, RuleSettings

# Variables of which a missing one is null, not an object without members.
_NULLABLE = ("person",)
_TIMES = {("now",), ("event", "time"), ("reading", "time")}


class Redone(msgspec.Struct, frozen=True):
    """What a rule says of the recorded values.

    Attributes:
        holds: Whether its condition is true of them.
        actions: What it then commands: device, command, arguments.
    """

    holds: bool
    actions: tuple[Mapping[str, Any], ...]


def redo(rule: RuleSettings, why: Mapping[str, Any], location: Location | None = None) -> Redone:
    """Evaluates a rule again.

    Args:
        rule: As it was.
        why: What its expressions read, from the record.
        location: Where the node is, for rules with schedules.

    Raises:
        RuleError: The rule does not compile, or cannot be evaluated on these values.
    """
    compiled = CompiledRule(rule, 0, Place(location or Location()))
    scope = Recorded(why, compiled.needs.names)
    read: dict[str, Any] = {}
    if not compiled.holds(scope, read):
        return Redone(holds=False, actions=())
    actions = compiled.actions(scope, read, key="redone", from_ns=0)
    told = tuple(
        {"device": each.device, "command": each.command, "arguments": dict(each.arguments)} for each in actions
    )
    return Redone(holds=True, actions=told)


class Recorded:
    """What expressions see: the values of a record. Keeps ``expression.Scope``."""

    def __init__(self, why: Mapping[str, Any], names: frozenset[str]) -> None:
        self._why = why
        self._variables = {name: self._variable(name) for name in names}

    def context(self, values: list[Any]) -> Any:
        """See ``expression.Scope``."""
        return make_context(self._variables, values)

    def variable(self, name: str) -> Any:
        """See ``expression.Scope``."""
        return self._variables[name]

    def recall(self, past: Past) -> Any:
        """See ``expression.Scope``."""
        if past.text not in self._why:
            raise RuleError(f"The record does not tell {past.text}", field="why", unknown=False)
        return self._why[past.text]

    def _variable(self, name: str) -> Any:
        built: Any = None if name in _NULLABLE else {}
        for path, value in self._why.items():
            keys = chain_of(path)
            if keys[:1] == (name,):
                built = _put(built, keys[1:], _timed(keys, value))
        return built


def _put(into: Any, keys: tuple[str, ...], value: Any) -> Any:
    """``into`` with a value at a path."""
    if not keys:
        return value if not isinstance(into, Mapping) or not isinstance(value, Mapping) else {**value, **into}
    members = dict(into) if isinstance(into, Mapping) else {}
    members[keys[0]] = _put(members.get(keys[0], {}), keys[1:], value)
    return members


def _timed(keys: tuple[str, ...], value: Any) -> Any:
    """Times stand as text in a record."""
    if isinstance(value, str) and (keys in _TIMES or keys[0] == "sun"):
        return datetime.datetime.fromisoformat(value)
    if isinstance(value, Mapping):
        return {name: _timed((*keys, name), member) for name, member in value.items()}
    return value
