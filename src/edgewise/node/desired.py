"""Documents as settings: checked with the same words as a settings file, and laid over it. Pure, but for paths.

Of each section the document counts whole where it has one, else the node's own file; and of ``parent`` each key, since
what stands there concerns the two separately. What the node's file does not let its parent change is passed over.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edgewise._lib.documents import decode_yaml, nearest, parse_value
from edgewise.errors import EdgewiseError, InputError, RuleError, SettingsError
from edgewise.fleet.desired import NOTHING, Desired, Document, read, write
from edgewise.link.base import SECTIONS
from edgewise.link.desired import Report
from edgewise.node import settings as node_settings
from edgewise.node.settings import Fault, Settings
from edgewise.pipeline.rules import Location, RuleEngine

# Where a node stands is known there alone; sun times compile wherever that is.
_SOMEWHERE = Location(latitude=0.0, longitude=0.0)
_GIVEN = "the document"
_HINT = f"It may set {', '.join(SECTIONS)}."


def parse(text: str, *, file: str) -> dict[str, Any]:
    """A document from YAML or JSON, checked as far as that is possible away from the node that it is for.

    Raises:
        SettingsError: It is wrong; the facts are those of a settings file's faults.
        TooLargeError: It is too large.
    """
    settings = decode_yaml(text, Settings, file=file, error=SettingsError)
    content = parse_value(text) or {}
    for section in content:
        if section not in SECTIONS:
            fault = Fault(section, "a parent sets nothing of this", _HINT)
            raise node_settings.located(fault, text, file=Path(file))
    if "may_change" in (content.get("parent") or {}):
        fault = Fault("parent.may_change", "what a parent may change only the node's own file says")
        raise node_settings.located(fault, text, file=Path(file))
    pipelines = node_settings.pipeline_faults(settings)
    for found in itertools.chain(_path_faults(settings), pipelines, _rule_faults(settings, _SOMEWHERE)):
        raise node_settings.located(found, text, file=Path(file))
    document = read(write(content))
    try:
        msgspec.convert(document, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"{file}: {error}: it changes on its way as JSON", hint="Write it as it is to arrive.", file=file
        ) from error
    return document


def check(document: Document) -> dict[str, Any]:
    """A document of plain values, checked as by ``parse``.

    Raises:
        InputError: It is wrong; the fact ``field`` says where.
        TooLargeError: It is too large.
    """
    try:
        return parse(write(document), file=_GIVEN)
    except SettingsError as error:  # whoever asks has given it: it is no fault of this node's settings
        message = error.message.removeprefix(f"{_GIVEN}, line 1, ")
        raise InputError(message, hint=error.hint, field=error.facts.get("field", "")) from error


class Combined(NamedTuple):
    """A document laid over a node's own settings.

    Attributes:
        settings: What the node is to do.
        taken: Sections that the document sets.
        refused: Sections that it would set, if the node's file let it.
    """

    settings: Settings
    taken: frozenset[str]
    refused: tuple[str, ...]


def combine(own: Settings, document: str, *, by: str) -> Combined:
    """What a node is to do, by its own settings and a document. Relative paths count from its data folder.

    Args:
        own: The node's settings, as loaded.
        document: JSON, as ``fleet.desired.write`` writes it.
        by: Whose document it is, for messages.

    Raises:
        SettingsError: The document is wrong, or does not fit this node: nothing of it counts.
    """
    content = _read(document, by=by)
    refused = tuple(section for section in content if section not in own.parent.may_change)
    allowed = {section: content[section] for section in content if section not in refused}
    if isinstance(parent := allowed.get("parent"), Mapping):
        allowed["parent"] = {**msgspec.to_builtins(own.parent), **parent, "may_change": own.parent.may_change}
    decoded = _decode(allowed, by=by)
    if allowed:
        sections = {section: getattr(decoded, section) for section in allowed}
        own = node_settings.completed(msgspec.structs.replace(own, **sections), Path(own.node.data))
    verified = node_settings.verify(own)
    rules = _rule_faults(own, own.node.location)
    for fault in itertools.chain(_path_faults(decoded), verified, rules, _source_faults(own, allowed)):
        raise SettingsError(f"The document of {by}, {fault.field}: {fault.problem}", hint=fault.hint, field=fault.field)
    return Combined(own, frozenset(allowed), refused)


def begun(own: Settings, combined: Combined) -> Settings:
    """The settings that a node starts with. Pipelines and models of a document are left out: they come right after, one
    by one, so that one that does not work keeps the node from nothing.
    """
    replaced = {name: getattr(combined.settings, name) for name in ("rules", "parent")}
    nothing: dict[str, Any] = {"pipelines": {}, "models": ()}
    left_out = {name: empty for name, empty in nothing.items() if name in combined.taken}
    return msgspec.structs.replace(own, **replaced, **left_out)


def differences(desired: Desired, report: Report | None) -> tuple[str, ...]:
    """What keeps a node from being as wanted, by its last report, in sentences; none when it is."""
    if report is None:
        return (f"{desired.node} has reported nothing yet",) if desired.document != NOTHING else ()
    found = []
    if report.digest != desired.digest:
        of = f"revision {report.revision} of {report.by}" if report.by else "no document"
        found.append(f"{desired.node} has {of}; wanted is revision {desired.revision} of {desired.by}")
    elif not report.accepted:
        found.append(f"{desired.node} refused revision {report.revision}: what it had before still counts")
    problems = (problem for section in report.sections for problem in section.problems)
    return (*found, *(f"{each.what}: {each.message} ({each.code})" for each in problems))


def _read(document: str, *, by: str) -> dict[str, Any]:
    try:
        content = read(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"The document of {by} cannot be read: {error}") from error
    if unknown := next((section for section in content if section not in SECTIONS), None):
        raise SettingsError(
            f"The document of {by}, {unknown[:64]}: a parent sets nothing of this", hint=_HINT, field=unknown[:64]
        )
    return content


def _decode(content: Mapping[str, Any], *, by: str) -> Settings:
    try:
        return msgspec.convert(content, Settings)
    except (msgspec.ValidationError, RecursionError):
        text = msgspec.json.encode(content).decode()
        return decode_yaml(text, Settings, file=f"the document of {by}", error=SettingsError)


def _rule_faults(settings: Settings, location: Location) -> Iterator[Fault]:
    try:
        RuleEngine(settings.rules, location)
    except RuleError as error:
        names = [rule.name for rule in settings.rules]
        name = error.facts.get("rule")
        number = names.index(name) if isinstance(name, str) and name in names else 0
        yield Fault(f"rules[{number}].{error.facts.get('field', 'name')}", error.message, error.hint)


def _path_faults(settings: Settings) -> Iterator[Fault]:
    """A parent says which model, not where on the node's disk it lies."""
    for number, model in enumerate(settings.models):
        if "/" in model:
            yield Fault(f"models[{number}]", f"{model!r} is a path", "Name a model.")


def _source_faults(settings: Settings, sections: Collection[str]) -> Iterator[Fault]:
    """Sources that rules name and that are no pipelines, where the document says something of either."""
    if not {"rules", "pipelines"} & set(sections):
        return
    for number, field, source in RuleEngine(settings.rules, settings.node.location).sources():
        if source not in settings.pipelines:
            problem = f"rule {settings.rules[number].name!r} looks at {source!r}, which is no pipeline"
            yield Fault(f"rules[{number}].{field}", problem, nearest(source, settings.pipelines))


def told(error: Exception) -> tuple[str, str, str]:
    """Code, message and hint of what went wrong."""
    if isinstance(error, EdgewiseError):
        return error.code, error.message, error.hint
    return "internal", repr(error), "This is a fault of Edgewise; the log tells where."
