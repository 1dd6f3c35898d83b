"""``edgewise journal``: prove that nothing was lost, and make the key it is sealed with."""

from __future__ import annotations

from pathlib import Path

import cyclopts

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings

app = cyclopts.App(name="journal", help="Look into the node's journal.", result_action="return_value")


@app.command
def audit(*, config: ConfigFile = None, json: JsonFlag = False) -> int:
    """Count every stream anew and prove: produced = delivered + pending + dropped.

    Ends with exit code 1 when a stream does not balance. Safe to run beside a running node.
    """
    from edgewise.node.organs import read_journal

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
