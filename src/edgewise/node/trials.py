"""What rules are tried on: files of rules and of records, and the journal of a node."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import yaml

from edgewise._lib.documents import decode_yaml
from edgewise.errors import DecodeError, InputError, NotFoundError, RuleError, SettingsError
from edgewise.node import settings as node_settings
from edgewise.node.recall import event_of
from edgewise.node.streams import EVENTS, READINGS
from edgewise.pipeline.base import Event
from edgewise.pipeline.kinds import DeviceSettings
from edgewise.pipeline.rules import Location, Name, RuleEngine, RuleSettings
from edgewise.pipeline.rules.trial import MAX_RECORDS, Expectation, Recorded
from edgewise.types import Record

_PAGE = 1000


class RuleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules in a file of their own.

    Attributes:
        rules: To be tried.
        location: For schedules and sun times.
        devices: Stood in for by virtual ones, so that rules may look at their states.
        people: Preferences by name.
    """

    rules: tuple[RuleSettings, ...]
    location: Location = Location()
    devices: dict[Name, DeviceSettings] = {}
    people: dict[str, dict[str, Any]] = {}


class Readable(Protocol):
    """A journal that is read."""

    def read(
        self, stream: str, *, after: int = 0, before: int = 0, limit: int = 100, newest_first: bool = False
    ) -> list[Record]:
        """See ``edgewise.journal.base.Journal``."""
        ...


def load_rules(path: Path) -> tuple[RuleFile, node_settings.Settings | None]:
    """Rules from a file: of rules alone, or a node's whole ``edgewise.yaml``, whose settings come along.

    Raises:
        SettingsError: Something in it is wrong; with its line.
    """
    text = _text(path)
    try:
        keys = set(yaml.safe_load(text) or ())
    except (yaml.YAMLError, TypeError):
        keys = set()  # what is wrong with it is told below, with its line
    if keys <= set(RuleFile.__struct_fields__):
        file = decode_yaml(text, RuleFile, file=str(path), error=SettingsError)
        _check(file, text, path)
        return file, None
    settings = node_settings.load(path)
    file = RuleFile(settings.rules, settings.node.location, settings.devices)
    _check(file, text, path)
    return file, settings


def horizon_ns(file: RuleFile) -> int:
    """How far back before the first time its rules look."""
    return RuleEngine(file.rules, file.location).horizon_ns


def load_expectation(path: Path) -> Expectation:
    """What should fire, from YAML or JSON.

    Raises:
        SettingsError: It is not in the form of ``fired: [{rule: NAME}]``.
    """
    return decode_yaml(_text(path), Expectation, file=str(path), error=SettingsError)


def read_records(path: Path) -> list[Event]:
    """Records from a file of JSON lines, in the order of time.

    Raises:
        DecodeError: A line is no record.
        NotFoundError: There is no such file.
    """
    decoder = msgspec.json.Decoder(Recorded)
    found: list[Event] = []
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    found.append(decoder.decode(line).event(number))
                except (msgspec.DecodeError, InputError) as error:
                    hint = 'Such as {"time": "2026-11-21T18:00:00Z", "kind": "face.known", "source": "door"}'
                    raise DecodeError(f"{path}, line {number}: {error}", hint=hint, line=number) from error
                if len(found) > MAX_RECORDS:
                    raise InputError(f"{path} holds more than {MAX_RECORDS} records", limit=MAX_RECORDS)
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file {path}", kind="file", name=str(path)) from error
    return sorted(found, key=lambda event: event.time_ns)


def journal_records(journal: Readable, *, from_ns: int, to_ns: int) -> Iterator[Event]:
    """The events and readings of a journal between two times, in the order of time."""
    pages = [_read(journal, stream, from_ns, to_ns) for stream in (EVENTS, READINGS)]
    return map(event_of, heapq.merge(*pages, key=lambda record: record.time_ns))


def _read(journal: Readable, stream: str, from_ns: int, to_ns: int) -> Iterator[Record]:
    try:
        after = _start(journal, stream, from_ns)
        while page := journal.read(stream, after=after, limit=_PAGE):
            after = page[-1].sequence
            yield from (each for each in page if from_ns <= each.time_ns and (not to_ns or each.time_ns <= to_ns))
            if to_ns and page[0].time_ns > to_ns:
                return
    except NotFoundError:
        return


def _start(journal: Readable, stream: str, from_ns: int) -> int:
    """The sequence behind which records from a time on lie: found by halving, since time follows sequence nearly."""
    oldest, newest = journal.read(stream, limit=1), journal.read(stream, limit=1, newest_first=True)
    if not oldest or not from_ns:
        return 0
    low, high = oldest[0].sequence - 1, newest[0].sequence
    while high - low > _PAGE:
        middle = (low + high) // 2
        found = journal.read(stream, after=middle, limit=1)
        low, high = (middle, high) if found and found[0].time_ns < from_ns else (low, middle)
    return max(0, low - _PAGE)


def _check(file: RuleFile, text: str, path: Path) -> None:
    for number, rule in enumerate(file.rules):
        try:
            RuleEngine([rule], file.location)
        except RuleError as error:
            fault = node_settings.Fault(f"rules[{number}].{error.facts['field']}", error.message, error.hint)
            raise node_settings.located(fault, text, file=path) from error
    RuleEngine(file.rules, file.location)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file {path}", kind="file", name=str(path)) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is no UTF-8 text", hint="Write it as UTF-8.") from error
