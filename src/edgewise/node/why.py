"""Why something was decided: the event, what it was seen with, the rules that fired, and all of it done again.

What can be repeated from the record is repeated: the models look at the very picture again, the rules are evaluated on
the values they read. What cannot (conclusions from many pictures, commands) is told. Nothing is written, nobody is
commanded.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from edgewise.errors import EdgewiseError, NotFoundError
from edgewise.node.streams import DECISIONS, EVENTS
from edgewise.node.witness import event_digest, version_of
from edgewise.pipeline.base import Frame, Observation
from edgewise.pipeline.catalog import make_transform
from edgewise.pipeline.evidence import MAX_OBJECTS, Evidence, Step, describe
from edgewise.pipeline.rules import Location, RuleSettings
from edgewise.pipeline.rules.replay import redo
from edgewise.pipeline.settings import TransformSettings
from edgewise.types import Record

if TYPE_CHECKING:
    from edgewise.models.model import Model
    from edgewise.node.repository import ModelRepository
    from edgewise.pipeline.base import People

_PAGE = 500
_MAX_SCANNED = 100_000
# Another processor may round otherwise: boxes within a tenth of a pixel and scores within a thousandth are the same.
_TOLERANCE = {"score": 1e-3, "similarity": 1e-3}
_BOX_TOLERANCE_PX = 0.1
# What is known from many pictures only.
_NOT_FOUND_IN_ONE = ("track", "said")
# A clock is set back by no more than this while decisions about one event fall.
_CLOCK_BACK_NS = 2 * 3600 * 10**9
# What a record of an older release, or a damaged one, may do to those who read it.
_UNREADABLE = (EdgewiseError, msgspec.ValidationError, KeyError, TypeError, ValueError)
_CHANGED = "the event's record was changed since"


class Verdict(enum.StrEnum):
    """What came of doing something again."""

    SAME = "same"
    DIFFERENT = "different"
    NOT_REPEATED = "not_repeated"


class Repetition(msgspec.Struct, frozen=True):
    """One part that was done again, or not.

    Attributes:
        what: The transform or rule.
        verdict: What came of it.
        note: Why it was not repeated, or what is different.
        models: The models in it, as ``NAME VERSION``.
    """

    what: str
    verdict: Verdict
    note: str = ""
    models: tuple[str, ...] = ()


class DecisionTold(msgspec.Struct, frozen=True):
    """One rule's decision on the event.

    Attributes:
        record: As it stands in the journal.
        rule: Its name.
        why: What the rule read.
        actions: What was commanded, and what came of it.
        again: The rule evaluated again on what it read.
        remarks: What has changed since: the event's record, the rule.
    """

    record: Record
    rule: str
    why: Mapping[str, Any]
    actions: tuple[Mapping[str, Any], ...]
    again: Repetition
    remarks: tuple[str, ...] = ()


class Explanation(msgspec.Struct, frozen=True):
    """Everything about one event.

    Attributes:
        event: Its record.
        seen: The steps that led to it, done again where that is possible.
        decisions: What followed.
        same: Whether nothing that was done again came out otherwise, and the event's record is the one that was decided
            on. Whether anybody touched the decisions, ``edgewise audit`` tells.
    """

    event: Record
    seen: tuple[Repetition, ...]
    decisions: tuple[DecisionTold, ...]
    same: bool


class Readable(Protocol):
    """The reading side of a journal."""

    def read(
        self, stream: str, *, after: int = 0, before: int = 0, limit: int = 100, newest_first: bool = False
    ) -> list[Record]:
        """See ``journal.base.Journal``."""
        ...


class Explainer:
    """Explains events of one node.

    Args:
        journal: Its records.
        blob: The content of a blob by its digest.
        repository: Its models.
        people: Whom it knows.
        rules: Its rules as they are now.
        location: Where it is.
    """

    def __init__(
        self,
        journal: Readable,
        *,
        blob: Callable[[str], bytes],
        repository: ModelRepository,
        people: People,
        rules: Iterable[RuleSettings],
        location: Location | None = None,
    ) -> None:
        self._journal = journal
        self._blob = blob
        self._repository = repository
        self._people = people
        self._versions = {rule.name: version_of(rule)[0] for rule in rules}
        self._location = location

    def explain(self, sequence: int) -> Explanation:
        """Explains an event.

        Args:
            sequence: Its place in the stream ``events``.

        Raises:
            NotFoundError: The journal holds no such event (any more).
        """
        event = self._event(sequence)
        seen = tuple(self._see(event))
        decisions = tuple(self._told(record, event) for record in self._decisions(sequence, event.time_ns))
        verdicts = [each.verdict for each in seen] + [each.again.verdict for each in decisions]
        changed = any(_CHANGED in each.remarks for each in decisions)
        return Explanation(event, seen, decisions, same=Verdict.DIFFERENT not in verdicts and not changed)

    def _event(self, sequence: int) -> Record:
        found = self._journal.read(EVENTS, after=sequence - 1, limit=1)
        if not found or found[0].sequence != sequence:
            raise NotFoundError(
                f"The journal holds no event {sequence}",
                hint="Sequences stand in the console, and in GET /v1/events.",
                kind="event",
                name=str(sequence),
            )
        return found[0]

    def _decisions(self, sequence: int, time_ns: int) -> list[Record]:
        """Decisions about an event, oldest first; all of them fell after it, but for a clock that was set back."""
        found: list[Record] = []
        before = scanned = 0
        while page := self._journal.read(DECISIONS, before=before, limit=_PAGE, newest_first=True):
            for record in page:
                reference = record.body.get("event")
                if not isinstance(reference, Mapping) or reference.get("stream") != EVENTS:
                    continue
                if reference.get("sequence") == sequence:
                    found.append(record)
            if page[-1].time_ns < time_ns - _CLOCK_BACK_NS:
                break
            before, scanned = page[-1].sequence, scanned + len(page)
            if scanned >= _MAX_SCANNED:
                break
        return found[::-1]

    # Seeing again.

    def _see(self, event: Record) -> Iterator[Repetition]:
        if "evidence" not in event.body:
            yield Repetition("evidence", Verdict.NOT_REPEATED, "the event keeps no evidence: no rule listened to it")
            return
        try:
            evidence = msgspec.convert(event.body["evidence"], Evidence)
        except msgspec.ValidationError as error:
            yield Repetition("evidence", Verdict.DIFFERENT, f"it cannot be read: {error}")
            return
        observation, missing = self._observation(event, evidence)
        for step in evidence.steps:
            names = tuple(" ".join(str(used.get(part, "?")) for part in ("name", "version")) for used in step.models)
            if not step.repeatable or observation is None:
                reason = missing if step.repeatable else "it concludes from many samples"
                yield Repetition(step.kind, Verdict.NOT_REPEATED, reason, names)
                continue
            try:
                observation = self._apply(step, observation)
            except _UNREADABLE as error:
                yield Repetition(step.kind, Verdict.NOT_REPEATED, _said(error), names)
                observation, missing = None, "a step before it was not repeated"
                continue
            note = _difference(evidence, observation, step)
            yield Repetition(step.kind, Verdict.DIFFERENT if note else Verdict.SAME, note, names)

    def _observation(self, event: Record, evidence: Evidence) -> tuple[Observation | None, str]:
        """The sample as it was; None with the reason when it cannot be had."""
        from edgewise.media.images import decode

        if evidence.still:
            return None, "nothing moved in this picture: what was found stood in an earlier one"
        if not evidence.input:
            return None, evidence.missing or "it was no picture"
        try:
            image = decode(self._blob(evidence.input))
        except EdgewiseError as error:
            return None, f"its picture is gone: {error.message}"
        return Observation(Frame(str(event.body.get("source", "")), 1, event.time_ns, image)), ""

    def _apply(self, step: Step, observation: Observation) -> Observation:
        settings: TransformSettings = msgspec.convert({**step.settings, "kind": step.kind}, TransformSettings)
        lent = _AsItWas(self._repository, self._people, step.models)
        return make_transform(settings, lent).apply(observation)

    # Deciding again.

    def _told(self, record: Record, event: Record) -> DecisionTold:
        body = record.body
        actions = tuple(body.get("actions", ()))
        rule = str(body.get("rule", ""))
        return DecisionTold(
            record=record,
            rule=rule,
            why=body.get("why", {}),
            actions=actions,
            again=self._decide(rule, body, actions),
            remarks=tuple(self._remarks(rule, body, event)),
        )

    def _decide(self, rule: str, body: Mapping[str, Any], actions: Sequence[Mapping[str, Any]]) -> Repetition:
        if "rule_text" not in body:
            return Repetition(rule, Verdict.NOT_REPEATED, "the record does not hold the rule")
        if not actions:
            return Repetition(rule, Verdict.NOT_REPEATED, "it failed before it commanded anything")
        try:
            settings = msgspec.convert(body["rule_text"], RuleSettings)
            again = redo(settings, body.get("why", {}), self._location)
        except _UNREADABLE as error:
            return Repetition(rule, Verdict.NOT_REPEATED, _said(error))
        if not again.holds:
            return Repetition(rule, Verdict.DIFFERENT, "its condition does not hold of what it read")
        wanted = [{name: told.get(name) for name in ("device", "command", "arguments")} for told in actions]
        if wanted != [dict(each) for each in again.actions]:
            return Repetition(rule, Verdict.DIFFERENT, f"it would command {list(again.actions)}")
        return Repetition(rule, Verdict.SAME)

    def _remarks(self, rule: str, body: Mapping[str, Any], event: Record) -> Iterator[str]:
        evidence = body.get("evidence")
        if isinstance(evidence, Mapping) and evidence.get("event") != event_digest(event):
            yield _CHANGED
        version = body.get("rule_version")
        if version and rule not in self._versions:
            yield "the node has no such rule any more"
        elif version and self._versions[rule] != version:
            yield "the rule is another one now"


class _AsItWas:
    """Lends a transform the very models that it had."""

    def __init__(self, repository: ModelRepository, people: People, models: Sequence[Mapping[str, Any]]) -> None:
        self._repository = repository
        self._known = {str(used["name"]): used for used in models}
        self.people = people

    def model(self, name: str) -> Model:
        """The model of that name, if it is the one that was used then."""
        used = self._known.get(name)
        if used is None:
            raise NotFoundError(f"The record names no model {name!r}", kind="model", name=name)
        model = self._repository.get(name, str(used["version"])).model
        now = describe(model)
        for part in ("artifact", "manifest", "variant"):
            if now[part] != used[part]:
                raise NotFoundError(
                    f"{name} {used['version']} is not what it was: its {part} is another one", kind="model", name=name
                )
        return model

    def folder(self, name: str) -> Path:
        """Repeatable transforms learn nothing."""
        raise NotFoundError(f"{name} learns, so it cannot be repeated", kind="folder", name=name)


def _said(error: Exception) -> str:
    return error.message if isinstance(error, EdgewiseError) else f"the record cannot be read: {error}"


def _difference(evidence: Evidence, observation: Observation, step: Step) -> str:
    """What came out otherwise; empty when nothing did."""
    if step.kind in evidence.facts:
        now = msgspec.to_builtins(observation.facts.get(step.kind))
        return (
            "" if _alike(evidence.facts[step.kind], now) else f"found {now}, recorded was {evidence.facts[step.kind]}"
        )
    later = [other.kind for other in evidence.steps if other.repeatable and other.kind != "classify"]
    if later and later[-1] != step.kind:
        return ""  # compared when all that find objects have done so
    found = [_comparable(msgspec.to_builtins(each)) for each in observation.objects[:MAX_OBJECTS]]
    recorded = [_comparable(each) for each in evidence.objects]
    if len(found) != len(recorded):
        return f"found {len(found)} objects, recorded were {len(recorded)}"
    for number, (old, new) in enumerate(zip(recorded, found, strict=True), start=1):
        if not _alike(old, new):
            return f"object {number} is {new}, recorded was {old}"
    return ""


def _comparable(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in _NOT_FOUND_IN_ONE}


def _alike(old: Any, new: Any, *, tolerance: float = _BOX_TOLERANCE_PX) -> bool:
    """Equal but for what another processor may round otherwise."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(
            _alike(value, new[name], tolerance=_TOLERANCE.get(name, tolerance)) for name, value in old.items()
        )
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return len(old) == len(new) and all(
            _alike(one, other, tolerance=tolerance) for one, other in zip(old, new, strict=True)
        )
    if isinstance(old, float) and isinstance(new, float | int):
        return abs(old - new) <= tolerance
    return bool(old == new)
