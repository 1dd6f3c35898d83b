"""``edgewise demo``: the main job on real photographs, on this machine."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter
from rich.markup import escape

from edgewise.cli import output
from edgewise.cli.up import serve

if TYPE_CHECKING:
    from edgewise.node.demos.door import Tally
    from edgewise.node.node import Node

app = cyclopts.App(name="demo", help="See the main job run on real photographs.", result_action="return_value")

ONCE_TIMEOUT_S = 120.0


@app.command
def door(
    *,
    folder: Annotated[Path, Parameter(help="Where the demonstration keeps its things.")] = Path("demo-data"),
    port: Annotated[int | None, Parameter(help="TCP port of the console; 0 takes a free one.")] = None,
    once: Annotated[bool, Parameter(negative="", help="End after both visits; exit code 1 if one went wrong.")] = False,
) -> int:
    """A known person is let in, a stranger raises the alarm; watch it in the console.

    Fetches two models and four photographs the first time; afterwards it needs no network.
    """
    from edgewise.node import settings
    from edgewise.node.demos import door as demo

    with output.err().status("Preparing …") as status:
        file = demo.prepare(folder, tell=status.update)
    loaded = settings.load(file, flags={} if port is None else {"http.port": port})
    passed = True

    tally: demo.Tally

    def on_start(node: Node) -> None:
        nonlocal tally
        demo.enrol(node, folder)
        tally = demo.Tally(node)
        demo.Narrator(node, lambda line: output.note(escape(line))).start()

    def watch(_: Node) -> None:
        nonlocal passed
        passed = _wait_for_both(tally)

    serve(loaded, before_start=on_start, until=watch if once else None)
    return 0 if passed else 1


def _wait_for_both(tally: Tally) -> bool:
    """Waits until the door was opened and the alarm raised; False when that does not come."""
    deadline = time.monotonic() + ONCE_TIMEOUT_S
    while time.monotonic() < deadline:
        done = tally.now()
        if done["unlocked"] and done["alarms"]:
            output.out().print(
                f"Known visitors: {done['known']}, strangers: {done['unknown']}, "
                f"door opened: {done['unlocked']}, alarms: {done['alarms']}"
            )
            return True
        threading.Event().wait(0.2)
    output.note("[red]The door was not opened, or the alarm not raised, in time.[/]")
    return False
