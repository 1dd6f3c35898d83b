"""``edgewise capacity``: how many more cameras fit."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter, validators
from rich.markup import escape

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings


def capacity(
    *,
    config: ConfigFile = None,
    seconds: Annotated[float, Parameter(validator=validators.Number(gte=1, lte=600))] = 8.0,
    json: JsonFlag = False,
) -> int:
    """Measure what each camera of the settings costs here, and say how many more of its kind fit.

    Run it while the node is stopped: what else runs on the machine is measured with it. Ends with exit code 1 when the
    settings ask for more than there is.

    Parameters
    ----------
    seconds:
        For how long each kind is run.
    """
    from edgewise.node import capacity as measuring
    from edgewise.node.organs import open_tools

    settings = load_settings(config)
    with open_tools(settings) as tools:
        found = measuring.measure(
            settings, tools=tools, seconds=seconds, told=lambda what: output.note(f"[dim]measuring {escape(what)}[/]")
        )
    fits = found.used <= measuring.USABLE
    if json:
        output.show_json(found)
        return 0 if fits else 1
    output.show_table(
        ("camera", "pictures a second", "processor time each", "of the budget", "more of its kind"),
        [
            (
                cost.pipeline,
                f"{cost.fps:.1f}",
                f"{cost.cpu_ms:.1f} ms",
                f"{cost.share:.0%}",
                max(0, found.more[cost.pipeline]),
            )
            for cost in found.costs
        ],
    )
    slow = [cost.pipeline for cost in found.costs if not cost.at_full_speed]
    if slow:
        output.note(f"[dim]Live, so measured at their own pace: {escape(', '.join(slow))}[/]")
    if fits:
        output.note(f"[green]{found.used:.0%} of {output.counted(found.cores, 'core')} are taken.[/]")
    else:
        output.note(
            f"[red]Too much: {found.used:.0%} of {output.counted(found.cores, 'core')}.[/] "
            "Have fewer pictures a second, a motion gate, or a lighter model."
        )
    return 0 if fits else 1
