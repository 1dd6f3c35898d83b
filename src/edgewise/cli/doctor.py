"""``edgewise doctor``: what this machine can do, and the command that mends what is missing."""

from __future__ import annotations

from rich.markup import escape

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag

MARKS = {"ok": "[green]●[/]", "missing": "[yellow]○[/]", "wrong": "[red]✗[/]"}


def doctor(*, config: ConfigFile = None, json: JsonFlag = False) -> int:
    """Look at machine, runtimes, hardware, cameras, microphones and settings.

    Ends with exit code 1 when something is wrong (what is only missing is not).
    """
    from edgewise.node.doctor import examine

    findings = examine(config)
    if json:
        output.show_json(findings)
    else:
        section = ""
        for finding in findings:
            if finding.section != section:
                section = finding.section
                output.out().print(f"\n[bold]{section}[/]" if finding is not findings[0] else f"[bold]{section}[/]")
            detail = f"  [dim]{escape(finding.detail)}[/]" if finding.detail else ""
            output.out().print(f" {MARKS[finding.state]} {escape(finding.what)}{detail}")
            if finding.mend:
                output.out().print(f"   [cyan]→ {escape(finding.mend)}[/]")
    return 1 if any(finding.state == "wrong" for finding in findings) else 0
