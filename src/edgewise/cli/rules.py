"""``edgewise rules``: try rules on what was recorded."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from edgewise.cli import output
from edgewise.cli.options import JsonFlag
from edgewise.errors import InputError

if TYPE_CHECKING:
    from edgewise.node.settings import Settings
    from edgewise.pipeline.base import Event
    from edgewise.pipeline.rules.trial import Difference, Expected, Fired, Report

app = cyclopts.App(name="rules", help="Try rules on what was recorded.", result_action="return_value")

_SHOWN = 200


@app.command(name="test")
def try_on_records(
    rules: Path,
    /,
    *,
    events: Path | None = None,
    journal: Path | None = None,
    node: str = "",
    start: Annotated[str, Parameter(name="--from")] = "",
    end: Annotated[str, Parameter(name="--to")] = "",
    expect: Path | None = None,
    json: JsonFlag = False,
) -> int:
    """Replay recorded events and readings against rules: which would have fired, when and why, and which never.

    Ends with exit code 1 when --expect is given and the firings are others, or a rule could not be evaluated. Acts on
    nothing. Safe to run beside a running node.

    Parameters
    ----------
    rules:
        A file of rules, or a node's edgewise.yaml; of the latter, its own journal is replayed unless told otherwise.
    events:
        JSON lines, such as {"time": "2026-11-21T18:00:00Z", "kind": "face.known", "source": "door"}.
    journal:
        The data folder of a node, whose journal is replayed.
    node:
        The node's name, when it is not that of the settings.
    start:
        First time, ISO 8601; what is recorded before is only looked back at.
    end:
        Last time, ISO 8601.
    expect:
        What should fire: YAML or JSON such as fired: [{rule: NAME, time: 2026-11-21T18:00:00Z, source: door}].
    """
    from edgewise.node.trials import horizon_ns, load_expectation, load_rules
    from edgewise.pipeline.rules.trial import compare, try_rules

    file, settings = load_rules(rules)
    zone = file.location.timezone
    from_ns, to_ns = _nanoseconds(start, "--from", zone), _nanoseconds(end, "--to", zone)
    expectation = load_expectation(expect) if expect else None
    with _Records(events, journal, settings, node=node) as records:
        report = try_rules(
            file.rules,
            records.between(from_ns and from_ns - horizon_ns(file), to_ns),
            location=file.location,
            devices=file.devices,
            people=file.people,
            from_ns=from_ns,
            to_ns=to_ns,
        )
    difference = compare(expectation, report) if expectation else None
    right = not report.failed and (difference is None or not (difference.missing or difference.unexpected))
    if json:
        output.show_json({"right": right, "report": report, "difference": difference})
    else:
        _show(report, difference)
    return 0 if right or (difference is None and not report.failed) else 1


class _Records:
    """Where records come from, closed afterwards."""

    def __init__(self, events: Path | None, journal: Path | None, settings: Settings | None, *, node: str) -> None:
        from edgewise.node.organs import read_journal
        from edgewise.node.settings import NodeSettings, Settings

        if events and journal:
            raise InputError("--events and --journal exclude each other", hint="Name one of them.")
        if not events and not journal and settings is None:
            raise InputError("Nothing to replay is named", hint="Add --events FILE, or --journal DATA of a node.")
        self._events = events
        self._journal: Any = None
        if not events:
            own = settings.node if settings else NodeSettings()
            where = NodeSettings(name=node or own.name, data=str(journal or own.data))
            self._journal = read_journal(Settings(node=where))

    def __enter__(self) -> _Records:
        return self

    def __exit__(self, *_: object) -> None:
        if self._journal is not None:
            self._journal.close()

    def between(self, from_ns: int, to_ns: int) -> Iterable[Event]:
        """The records to replay."""
        from edgewise.node.trials import journal_records, read_records

        if self._events:
            return read_records(self._events)
        return journal_records(self._journal, from_ns=max(0, from_ns), to_ns=to_ns)


def _show(report: Report, difference: Difference | None) -> None:
    if report.records:
        output.note(f"[dim]{output.counted(report.records, 'record')}, {_time(report.start)} to {_time(report.end)}[/]")
    else:
        output.note("[yellow]There are no records in that time.[/]")
    if report.fired:
        output.show_table(
            ("time", "rule", "on", "commands", "why"),
            [(_short(f.time), f.rule, _sample(f), _commands(f), _why(f)) for f in report.fired[:_SHOWN]],
        )
    if (hidden := sum(report.counts.values()) - _SHOWN) > 0:
        output.note(f"[dim]and {output.counted(hidden, 'more firing')}; --json tells up to 10,000[/]")
    if report.failed:
        rows = [(_time(f.time), f.rule, f.sequence, f.problem) for f in report.failed[:_SHOWN]]
        output.show_table(("time", "rule", "record", "could not be evaluated"), rows, title="Faults")
    fired = [(name, count) for name, count in report.counts.items() if count]
    if fired:
        output.show_table(("rule", "fired"), fired, title="Rules")
    if report.never:
        output.note(f"[yellow]Never fired:[/] {', '.join(report.never)}")
    if difference is not None:
        _show_difference(difference)


def _show_difference(difference: Difference) -> None:
    missing, unexpected = difference.missing, difference.unexpected
    rows = [("missing", _expected_time(e), e.rule, e.source or "") for e in missing]
    rows += [("unexpected", _time(f.time), f.rule, f.source) for f in unexpected]
    if rows:
        output.show_table(("", "time", "rule", "source"), rows[:_SHOWN], title="Not as expected")
        output.note(f"[red]{len(missing)} missing, {len(unexpected)} unexpected.[/]")
    else:
        output.note("[green]As expected.[/]")


def _expected_time(expected: Expected) -> str:
    return _time(expected.time) if expected.time else "any"


def _sample(fired: Fired) -> str:
    return f"{fired.source} {fired.kind} #{fired.sequence}" if fired.source else fired.kind


def _commands(fired: Fired) -> str:
    return ", ".join(fired.commands) + (f" ({fired.problem})" if fired.problem else "")


def _why(fired: Fired) -> str:
    told = [f"{part.kind} #{part.sequence}" for part in fired.parts]
    values = [f"{name} = {_value(value)}" for name, value in fired.why.items()]
    return ", ".join(([f"after {' and '.join(told)}"] if told else []) + values)


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _time(at: datetime.datetime | None) -> str:
    return "" if at is None else at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _short(at: datetime.datetime) -> str:
    """A time that fits a narrow column; which year it is stands above."""
    return f"{at:%m-%d %H:%M:%SZ}"


def _nanoseconds(text: str, option: str, zone: str) -> int:
    """A time; without a zone of its own it is meant by the clock of the rules."""
    if not text:
        return 0
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{option}: {text!r} is no time", hint="Write 2026-11-21T18:00:00Z") from error
    return int((at if at.tzinfo else at.replace(tzinfo=zoneinfo.ZoneInfo(zone))).timestamp() * 1e9)
