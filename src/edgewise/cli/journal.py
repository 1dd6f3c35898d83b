"""``edgewise journal``: prove that nothing was lost, and make the key it is sealed with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter
from rich.markup import escape

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings

if TYPE_CHECKING:
    from edgewise.fleet.proof import Line

app = cyclopts.App(name="journal", help="Look into the node's journal.", result_action="return_value")


@app.command
def audit(
    *,
    tree: Annotated[bool, Parameter(negative="", help="Of this node and all below it.")] = False,
    config: ConfigFile = None,
    json: JsonFlag = False,
) -> int:
    """Count every stream anew and prove: produced = delivered + pending + dropped.

    With --tree: of every node below this one, that what it produced is here, on its way, or in a ledger. What nodes
    below hold is as they counted it with their newest report, which the running node writes down every half minute.

    Ends with exit code 1 when a stream does not balance. Safe to run beside a running node.
    """
    from edgewise.node.organs import read_journal

    if tree:
        return _audit_tree(config, json=json)
    journal = read_journal(load_settings(config))
    try:
        balances, losses = journal.audit(), journal.losses()
    finally:
        journal.close()
    balanced = all(balance.balanced for balance in balances)
    if json:
        output.show_json({"balanced": balanced, "streams": balances, "losses": losses})
        return 0 if balanced else 1
    output.show_table(
        ("stream", "consumer", "produced", "delivered", "pending", "dropped", "balanced"),
        [
            (
                b.stream,
                b.consumer or "(kept here)",
                b.produced,
                b.delivered,
                b.pending,
                b.dropped,
                "yes" if b.balanced else "NO",
            )
            for b in balances
        ],
    )
    if losses:
        output.show_table(
            ("dropped", "consumer", "sequences", "count", "reason"),
            [
                (loss.stream, loss.consumer or "(kept here)", f"{loss.first}..{loss.last}", loss.count, loss.reason)
                for loss in losses
            ],
            title="Loss ledger",
        )
    output.note("[green]Balanced.[/]" if balanced else "[red]Not balanced.[/]")
    return 0 if balanced else 1


def _audit_tree(config: Path | None, *, json: bool) -> int:
    from edgewise._lib.clock import SystemClock
    from edgewise.node.kin import prove_tree

    proof = prove_tree(load_settings(config), clock=SystemClock())
    if json:
        output.show_json(
            {
                "balanced": proof.balanced,
                "lines": [{**_facts(line), "balanced": line.balanced} for line in proof.lines],
                "unheard": proof.unheard,
            }
        )
        return 0 if proof.balanced else 1
    output.show_table(
        ("node", "stream", "produced", "here", "in the lake", "on its way", "dropped", "counted", "balanced"),
        [
            (
                line.node,
                line.stream,
                line.produced if line.counted else f"{line.produced} or more",
                line.here,
                "" if line.landed is None else line.landed,
                f"{line.pending} at {', '.join(hop.node for hop in line.at)}" if line.at else 0,
                line.dropped,
                f"{line.age_s:.0f} s ago" if line.counted else "never",
                "yes" if line.balanced else "NO",
            )
            for line in proof.lines
            if line.produced
        ],
    )
    for line in proof.lines:
        for problem in line.problems:
            output.note(f"[red]{line.node}/{line.stream}[/]: {escape(problem)}")
    if proof.unheard:
        output.note(f"[yellow]What these hold is not known[/]: {', '.join(proof.unheard)} never counted anything.")
    output.note("[green]Balanced.[/]" if proof.balanced else "[red]Not balanced.[/]")
    return 0 if proof.balanced else 1


def _facts(line: Line) -> dict[str, object]:
    return {name: getattr(line, name) for name in line.__struct_fields__}


@app.command
def key(file: Path, /, *, json: JsonFlag = False) -> None:
    """Make a key that snapshots and clips are sealed with, in a file that you alone can read.

    The node seals with it once journal.key_file names the file. Without the key nobody reads them again, the node
    included: keep a copy elsewhere. An existing file is never overwritten.

    Parameters
    ----------
    file
        Where the key is written, such as on a stick or a mount for secrets.
    """
    from edgewise.journal.cipher import make_key

    made = make_key(file)
    if json:
        output.show_json({"file": str(file), "key": made})
        return
    output.out().print(f"Key {made} is in {file}. Keep a copy of it elsewhere.")
    output.note(f"Seal with it: journal: {{key_file: {file}}}")
