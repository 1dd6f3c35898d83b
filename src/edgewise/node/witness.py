"""What a decision rests on, put into its record before it is sealed: the rule as it was, and the event's evidence."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.errors import EdgewiseError
from edgewise.pipeline.rules import RuleSettings
from edgewise.trust.chain import canonical_digest
from edgewise.types import Entry, Record

if TYPE_CHECKING:
    from edgewise.node.sealing import Readable

# Facts about a decision's event that the decision repeats, so that it stands for itself when the event is gone.
_REPEATED = ("input", "steps", "still", "reading")


class DecisionWitness:
    """Completes records of decisions. Safe for threads.

    Args:
        journal: Where the events are that decisions are about.
        rules: The rules as set.
    """

    def __init__(self, journal: Readable, rules: Iterable[RuleSettings]) -> None:
        self._journal = journal
        self.set_rules(rules)

    def set_rules(self, rules: Iterable[RuleSettings]) -> None:
        """Other rules are in force from now on."""
        self._rules = {rule.name: version_of(rule) for rule in rules}

    def complete(self, entry: Entry) -> Entry:
        """The entry with its rule and evidence; as it is when it is no decision of a rule."""
        known = self._rules.get(str(entry.body.get("rule", "")))
        if known is None:
            return entry
        version, text = known
        body = {**entry.body, "rule_version": version, "rule_text": text}
        record = self._record(entry.body.get("event"))
        if record is not None:
            body["evidence"] = {"event": event_digest(record), **_evidence(record)}
        return Entry(entry.kind, body, entry.blobs, entry.time_ns)

    def _record(self, reference: object) -> Record | None:
        if not isinstance(reference, Mapping) or not reference.get("stream") or not reference.get("sequence"):
            return None
        sequence = int(reference["sequence"])
        try:
            found = self._journal.read(str(reference["stream"]), after=sequence - 1, limit=1)
        except EdgewiseError:  # a decision is told also when its event cannot be read any more
            return None
        return found[0] if found and found[0].sequence == sequence else None


def version_of(rule: RuleSettings) -> tuple[str, dict[str, Any]]:
    """The digest of a rule as it is set, and the rule itself, without what is left at its default."""
    text = {name: value for name, value in msgspec.to_builtins(rule).items() if value != _defaults().get(name)}
    return canonical_digest(text), text


@functools.cache
def _defaults() -> Mapping[str, Any]:
    info = msgspec.structs.fields(RuleSettings)
    return {field.name: msgspec.to_builtins(field.default) for field in info if field.default is not msgspec.NODEFAULT}


def event_digest(record: Record) -> str:
    """The digest of a record: all that it says, but not where it is kept."""
    return canonical_digest([record.kind, record.time_ns, record.body, list(record.blobs)])


def _evidence(record: Record) -> dict[str, Any]:
    evidence = record.body.get("evidence")
    if not isinstance(evidence, Mapping):
        return {}
    return {name: evidence[name] for name in _REPEATED if name in evidence}
