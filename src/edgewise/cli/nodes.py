"""``edgewise nodes``: the nodes below this one."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from edgewise._lib.clock import SystemClock
from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings
from edgewise.errors import InputError

if TYPE_CHECKING:
    from edgewise.fleet.wishes import WishStore
    from edgewise.node.settings import Settings

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


@app.command(name="set")
def set_(
    target: str,
    file: Path | None = None,
    /,
    *,
    label: Annotated[str, Parameter(help="Set it for all children with this label, KEY=VALUE, instead of one.")] = "",
    config: ConfigFile = None,
) -> None:
    """Set what a node below this one is to have: edgewise nodes set NODE FILE, or set FILE --label KEY=VALUE.

    The file holds any of the sections pipelines, rules, models and parent of a settings file; each counts whole, in
    place of the node's own. An empty file takes it back. A running node hands it down within a second; one that is away
    gets it when it is back.

    Parameters
    ----------
    target:
        The node; with --label the file.
    file:
        Its document, YAML or JSON.
    """
    from edgewise.fleet.desired import digest_of, write
    from edgewise.node.desired import parse
    from edgewise.node.organs import leave_change, open_account_store
    from edgewise.node.settings import read_text

    if bool(label) == (file is not None):
        raise InputError("It takes a node and a file, or a file and --label", hint="edgewise nodes set NODE FILE.yaml")
    path = file or Path(target)
    document = parse(read_text(path), file=str(path))
    settings = load_settings(config)
    with _wishes(settings) as wishes:
        names: tuple[str, ...] = ()
        if label:
            names = wishes.set_label(label, document)
        else:
            wishes.set_node(target, document)
    store = open_account_store(settings)
    try:
        kind = "label" if label else "node"
        what = {kind: label or target, "digest": digest_of(write(document)), "sections": sorted(document)}
        leave_change(store, settings, f"{kind}s.desired", what)
    finally:
        store.close()
    said = "nothing is wanted of" if not document else f"{', '.join(sorted(document))} set for"
    output.out().print(f"{said} {label or target}" + (f" ({', '.join(names)})" if names else ""), markup=False)


@app.command
def show(name: str, /, *, config: ConfigFile = None, json: JsonFlag = False) -> int:
    """Show what a node below this one is to have, what it made of it, and what is not so.

    Ends with exit code 1 when something is not as wanted.
    """
    import msgspec
    import yaml

    from edgewise.node.desired import differences

    with _wishes(load_settings(config)) as wishes:
        desired, state = wishes.desired(name), wishes.state(name)
    found = differences(desired, state.report if state else None)
    if json:
        output.show_json(
            {
                "node": name,
                "desired": {**msgspec.to_builtins(desired), "document": desired.sections, "digest": desired.digest},
                "reported": state.report if state else None,
                "heard_ns": state.heard_ns if state else 0,
                "differences": found,
            }
        )
        return 1 if found else 0
    if desired.sections:
        output.note(f"[dim]revision {desired.revision} of {desired.by}[/]")
        output.out().print(yaml.safe_dump(desired.sections, sort_keys=False, allow_unicode=True), markup=False)
    else:
        output.note("Nothing is wanted of it.")
    for difference in found:
        output.out().print(difference, markup=False)
    if not found and state:
        at = datetime.datetime.fromtimestamp(state.report.time_ns / 1e9).astimezone()
        output.note(f"[green]It is so[/], since {at:%Y-%m-%d %H:%M:%S}.")
    return 1 if found else 0


@contextlib.contextmanager
def _wishes(settings: Settings) -> Iterator[WishStore]:
    """What is wanted of the nodes below, closed afterwards."""
    from edgewise.node.kin import open_fleet, open_wishes

    fleet = open_fleet(settings, clock=SystemClock())
    try:
        yield open_wishes(settings, fleet, clock=SystemClock())
    finally:
        fleet.close()


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
