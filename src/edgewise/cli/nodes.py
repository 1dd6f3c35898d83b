"""``edgewise nodes``: the nodes below this one."""

from __future__ import annotations

import datetime

import cyclopts

from edgewise._lib.clock import SystemClock
from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings

app = cyclopts.App(name="nodes", help="The nodes below this one.", result_action="return_value")


@app.command(name="list")
def list_(*, config: ConfigFile = None, json: JsonFlag = False) -> None:
    """List the children, with the nodes that they bring."""
    from edgewise.node.kin import open_fleet

    fleet = open_fleet(load_settings(config), clock=SystemClock())
    try:
        children = fleet.children()
        below = {child.name: [node for node in fleet.below(child.name) if node != child.name] for child in children}
    finally:
        fleet.close()
    if json:
        output.show_json(
            [
                {
                    "name": child.name,
                    "labels": dict(child.labels),
                    "joined_ns": child.joined_ns,
                    "key": child.key,
                    "below": below[child.name],
                }
                for child in children
            ]
        )
        return
    if not children:
        output.note("Nobody has joined yet: edgewise token create")
        return
    output.show_table(
        ("name", "below it", "labels", "joined"),
        [
            (
                child.name,
                ", ".join(below[child.name]),
                ", ".join(f"{name}={value}" for name, value in sorted(child.labels.items())),
                f"{datetime.datetime.fromtimestamp(child.joined_ns / 1e9).astimezone():%Y-%m-%d %H:%M}",
            )
            for child in children
        ],
    )


@app.command
def remove(name: str, /, *, config: ConfigFile = None) -> None:
    """Take nothing from a child any more. What it sent stays; to come back it needs a new token.

    A running node refuses it within seconds.
    """
    from edgewise.node.kin import open_fleet

    fleet = open_fleet(load_settings(config), clock=SystemClock())
    try:
        gone = fleet.remove(name)
    finally:
        fleet.close()
    also = f", and with it {', '.join(sorted(set(gone) - {name}))}" if len(gone) > 1 else ""
    output.out().print(f"{name} is removed{also}", markup=False)
