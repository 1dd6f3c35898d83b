"""``edgewise why``: why something was decided, and whether it would be decided again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter, validators
from rich.markup import escape

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings

if TYPE_CHECKING:
    from edgewise.node.why import DecisionTold, Explanation, Repetition

_SHOWN = {"same": "[green]the same[/]", "different": "[red]different[/]", "not_repeated": "[dim]not repeated[/]"}


def why(
    event: Annotated[int, Parameter(validator=validators.Number(gte=1))],
    /,
    *,
    config: ConfigFile = None,
    json: JsonFlag = False,
) -> int:
    """Explain an event and do it again: the models on the very picture, the rules on what they read.

    Ends with exit code 1 when something comes out otherwise. Nothing is commanded; safe to run beside a running node.

    Parameters
    ----------
    event:
        The event's sequence, as the console shows it.
    """
    from edgewise.node.organs import open_explainer

    with open_explainer(load_settings(config)) as explainer:
        explanation = explainer.explain(event)
    if json:
        output.show_json(explanation)
    else:
        _show(explanation)
    return 0 if explanation.same else 1


def _show(explanation: Explanation) -> None:
    record = explanation.event
    out = output.out()
    facts = {name: value for name, value in record.body.items() if name not in {"evidence", "source"}}
    out.print(f"[bold]{record.kind}[/] at {output.moment(record.time_ns)} from {record.body.get('source', '?')}")
    out.print(f"  {escape(_line(facts))}")
    out.print("[bold]Seen with[/]")
    for step in explanation.seen:
        out.print(f"  {_repetition(step)}")
    for decision in explanation.decisions:
        _show_decision(decision)
    if not explanation.decisions:
        out.print("No rule fired on it.")
    output.note(
        "[green]Everything that was done again is the same.[/]" if explanation.same else "[red]Not the same.[/]"
    )


def _show_decision(decision: DecisionTold) -> None:
    out = output.out()
    out.print(
        f"[bold]Rule {escape(decision.rule)}[/] ({decision.record.kind}): {_repetition(decision.again, name=False)}"
    )
    for path, value in decision.why.items():
        out.print(f"  because {escape(path)} was {escape(_line(value))}")
    for action in decision.actions:
        arguments = _line(action["arguments"]) if action.get("arguments") else ""
        out.print(f"  {action['device']}: {action['command']} {escape(arguments)} → {action.get('status', '?')}")
    for remark in decision.remarks:
        out.print(f"  [yellow]{escape(remark)}[/]")


def _repetition(step: Repetition, *, name: bool = True) -> str:
    models = f" by {', '.join(step.models)}" if step.models else ""
    note = f": {escape(step.note)}" if step.note else ""
    return f"{step.what if name else 'again'}{models} — {_SHOWN[step.verdict]}{note}"


def _line(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()
