"""``/v1/rules``: the rules in force, and trying rules on what was recorded."""

from __future__ import annotations

import datetime
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import JSONBody
from msgspec import Meta

from edgewise.api.rest.context import Injected, blocking
from edgewise.errors import InputError
from edgewise.node.trials import RuleFile, horizon_ns, journal_records
from edgewise.pipeline.base import Event
from edgewise.pipeline.rules import Location, RuleSettings
from edgewise.pipeline.rules.trial import Difference, Expectation, Recorded, Report, compare, try_rules

_TAGS = ["rules"]
MAX_RULES = 1000
MAX_RECORDS = 50_000
MAX_S = 10.0
_DAY_S = 86400


class RuleList(msgspec.Struct, frozen=True):
    """The rules of a node, in order, and where it stands."""

    rules: list[RuleSettings]
    location: Location


class TrialRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules to try, and on what.

    Attributes:
        rules: To be tried; those in force when there are none.
        records: Events and readings; the node's own journal when there are none.
        start: First time; without records the last day, when none is given.
        end: Last time.
        expect: What should fire.
    """

    rules: Annotated[tuple[RuleSettings, ...], Meta(max_length=MAX_RULES)] = ()
    records: Annotated[tuple[Recorded, ...], Meta(max_length=MAX_RECORDS)] = ()
    start: datetime.datetime | None = None
    end: datetime.datetime | None = None
    expect: Expectation | None = None


class TrialAnswer(msgspec.Struct, frozen=True):
    """What the rules would have done; ``right`` is false when a rule failed or the firings are not as expected."""

    right: bool
    report: Report
    difference: Difference | None


@get("/v1/rules", tags=_TAGS)
@blocking
def list_rules(context: Injected) -> RuleList:
    """The rules in force."""
    settings = context.node.settings
    return RuleList(list(settings.rules), settings.node.location)


@post("/v1/rules/test", tags=_TAGS, status_code=200)
@blocking
def try_on_records(data: JSONBody[TrialRequest], context: Injected) -> TrialAnswer:
    """Replays recorded events and readings against rules; acts on nothing. At most 50,000 records, and ten
    seconds.
    """
    node = context.node
    file = RuleFile(data.rules or node.settings.rules, node.settings.node.location, node.settings.devices)
    from_ns, to_ns = _nanoseconds(data.start), _nanoseconds(data.end)
    if data.records:
        events = (record.event(number) for number, record in enumerate(data.records, start=1))
        records: list[Event] = sorted(events, key=lambda event: event.time_ns)
    else:
        from_ns = from_ns or (to_ns or node.clock.time_ns()) - _DAY_S * 10**9
        found = journal_records(node.journal, from_ns=from_ns - horizon_ns(file), to_ns=to_ns)
        records = [event for event, _ in zip(found, range(MAX_RECORDS + 1), strict=False)]
    until = node.clock.monotonic() + MAX_S
    people = {person.name: person.preferences for person in node.people.list()}
    report = try_rules(
        file.rules,
        records,
        location=file.location,
        devices=file.devices,
        people=people,
        from_ns=from_ns,
        to_ns=to_ns,
        max_records=MAX_RECORDS,
        in_time=lambda: node.clock.monotonic() < until,
    )
    difference = compare(data.expect, report) if data.expect else None
    right = not report.failed and (difference is None or not (difference.missing or difference.unexpected))
    return TrialAnswer(right, report, difference)


def _nanoseconds(at: datetime.datetime | None) -> int:
    if at is None:
        return 0
    if at.tzinfo is None:
        raise InputError("A time has no zone", hint="Write 2026-11-21T18:00:00Z")
    return int(at.timestamp() * 1e9)


HANDLERS = (list_rules, try_on_records)
