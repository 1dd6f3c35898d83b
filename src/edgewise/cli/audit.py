"""``edgewise audit``: prove that nobody touched the node's decisions; ``edgewise audit log``: who changed what."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings
from edgewise.node.streams import AUDIT

if TYPE_CHECKING:
    from edgewise.journal.reader import DiskReader
    from edgewise.types import Record


app = cyclopts.App(
    name="audit",
    help="Prove that nobody touched the decisions; show who changed what.",
    result_action="return_value",
)
_PAGE = 500


@app.default
def audit(*, config: ConfigFile = None, json: JsonFlag = False) -> int:
    """Follow the chain of decisions and find every record that was edited, removed or moved.

    Ends with exit code 1 when something is wrong. Safe to run beside a running node.
    """
    from edgewise.node.organs import check_decisions, read_journal

    settings = load_settings(config)
    journal = read_journal(settings)
    try:
        report = check_decisions(settings, journal)
    finally:
        journal.close()
    if json:
        output.show_json({"intact": report.intact, "report": report})
        return 0 if report.intact else 1
    if not report.key:
        output.note("This node has sealed no decision yet.")
        return 0
    kept = f", numbers {report.first} to {report.last}" if report.sealed else ""
    output.out().print(f"{report.sealed} decisions sealed with key {report.key[:16]}…{kept}")
    if report.faults:
        output.show_table(
            ("decision", "what is wrong"),
            [(fault.sequence or "(the end)", fault.problem) for fault in report.faults],
        )
    output.note("[green]Intact.[/]" if report.intact else "[red]Not intact.[/]")
    return 0 if report.intact else 1


@app.command
def log(
    *,
    kind: Annotated[str, Parameter(help="Only of this kind; may be a pattern such as accounts.*")] = "*",
    limit: Annotated[int, Parameter(help="So many at most.")] = 50,
    config: ConfigFile = None,
    json: JsonFlag = False,
) -> None:
    """Show who changed what, from where, and what came of it, newest first. Safe to run beside a running node."""
    from edgewise.node.organs import read_journal

    journal = read_journal(load_settings(config))
    try:
        found = _newest(journal, kind, limit)
    finally:
        journal.close()
    if json:
        output.show_json(found)
        return
    if not found:
        output.note("Nothing of that kind was changed yet.")
        return
    output.show_table(("time", "what", "who", "from", "outcome", "facts"), [_row(record) for record in found])


def _newest(journal: DiskReader, kind: str, limit: int) -> list[Record]:
    found: list[Record] = []
    before = 0
    while len(found) < limit:
        records = journal.read(AUDIT, before=before, limit=_PAGE, newest_first=True)
        found += [record for record in records if fnmatchcase(record.kind, kind)]
        if len(records) < _PAGE or records[-1].sequence <= 1:
            break
        before = records[-1].sequence
    return found[:limit]


def _row(record: Record) -> tuple[str, ...]:
    body = record.body
    who = str(body.get("who") or body.get("via") or "")
    facts = ", ".join(f"{key}={value}" for key, value in dict(body.get("what", {})).items())
    moment = output.moment(record.time_ns)
    return moment, record.kind, who, str(body.get("from", "")), str(body.get("outcome", "")), facts
