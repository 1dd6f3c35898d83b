"""``edgewise audit``: prove that nobody touched the node's decisions."""

from __future__ import annotations

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings


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
