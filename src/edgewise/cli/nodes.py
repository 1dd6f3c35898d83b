"""``edgewise nodes``: the nodes below this one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter
from rich.markup import escape

from edgewise._lib.clock import SystemClock
from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings
from edgewise.cli.token import opened_fleet
from edgewise.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgewise.fleet.census import NodeState
    from edgewise.fleet.wishes import WishStore
    from edgewise.link.reports import Report
    from edgewise.node.settings import Settings

app = cyclopts.App(name="nodes", help="The nodes below this one.", result_action="return_value")

_DOTS = {"ok": "green", "late": "yellow", "failing": "red", "gone": "bright_black"}
Where = Annotated[str, Parameter(help="Only nodes with these labels, such as site=hall,role!=camera.")]


@app.command(name="list")
def list_(*, where: Where = "", config: ConfigFile = None, json: JsonFlag = False) -> None:
    """List all nodes below this one, how they are, and what is on its way up.

    It shows what the running node wrote last, half a minute ago at most.
    """
    nodes = _selected(config, where)
    if json:
        output.show_json([_facts(node) for node in nodes])
        return
    if not nodes:
        output.note("No node has these labels" if where else "Nobody has joined yet: edgewise token create")
        return
    output.show_table(
        ("name", "child of", "status", "last seen", "version", "pending", "labels"),
        [
            (
                node.name,
                node.parent,
                node.health.status.value,
                _seen(node),
                node.report.version if node.report else "",
                node.report.journal.pending if node.report else "",
                _labels(node),
            )
            for node in nodes
        ],
    )
    for node in nodes:
        for reason in node.health.reasons:
            output.note(
                f"[{_DOTS[node.health.status]}]●[/] {node.name}{escape(_of(reason.what))}: {escape(reason.message)}"
            )


@app.command
def show(name: str, /, *, config: ConfigFile = None, json: JsonFlag = False) -> None:
    """Show a node: how it is, what it runs and what it uses, by its newest report."""
    node = next((node for node in _selected(config, "") if node.name == name), None)
    if node is None:
        raise NotFoundError(f"No node is named {name!r}", hint="See: edgewise nodes list", kind="node", name=name[:64])
    if json:
        output.show_json({**_facts(node), "report": node.report})
        return
    rows = [("child of", node.parent), ("status", node.health.status.value), ("last seen", _seen(node))]
    rows += [(f"  {reason.what or reason.why.value}", reason.message) for reason in node.health.reasons]
    rows += [("labels", _labels(node))]
    rows += [("joined", output.moment(node.joined_ns))] if node.joined_ns else []
    output.show_table((node.name, ""), [*rows, *(_described(node.report) if node.report else [])])
    if node.report and node.report.pipelines:
        output.show_table(
            ("pipeline", "phase", "rate", "problem"),
            [(each.name, each.phase, f"{each.rate:.1f}/s", each.problem) for each in node.report.pipelines],
            title="",
        )


@app.command
def tree(*, where: Where = "", config: ConfigFile = None) -> None:
    """Draw the tree of nodes, with how each is. With a selector, the others are drawn faintly."""
    from rich.tree import Tree

    from edgewise.fleet.selector import parse

    selector = parse(where)
    settings = load_settings(config)
    nodes = _selected(config, "")
    drawn: dict[str, Tree] = {settings.node.name: Tree(f"[bold]{settings.node.name}[/]")}
    waiting = list(nodes)
    while waiting:  # parents before their children
        ready = [node for node in waiting if node.parent in drawn]
        for node in ready:
            drawn[node.name] = drawn[node.parent].add(_line(node, faint=not selector.matches(node.labels)))
        waiting = [node for node in waiting if node.name not in drawn]
        if not ready:
            break
    output.out().print(drawn[settings.node.name])


@app.command
def label(name: str, /, *labels: str, config: ConfigFile = None) -> None:
    """Label a node below this one, also one further down: KEY=VALUE sets a label, KEY- removes it.

    What is said here counts over what nodes further down say, key by key; also that a key is not there.

    Parameters
    ----------
    name:
        The node.
    labels:
        Such as site=hall role=camera old-
    """
    if not labels:
        raise InputError("Which labels?", hint=f"edgewise nodes label {name} site=hall old-")
    changes = dict(map(_change, labels))
    with opened_fleet(config) as fleet:
        now = fleet.label(name, changes)
    written = ", ".join(f"{key}={value}" for key, value in sorted(now.items()))
    output.out().print(f"{name}: {written or 'no labels'}", markup=False)


@app.command(name="set")
def set_(
    target: str,
    file: Path | None = None,
    /,
    *,
    label: Annotated[
        str, Parameter(help="Set it for all nodes below with this label, KEY=VALUE, instead of one.")
    ] = "",
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
def desired(name: str, /, *, config: ConfigFile = None, json: JsonFlag = False) -> int:
    """Show what a node below this one is to have, what it made of it, and what is not so.

    Ends with exit code 1 when something is not as wanted.
    """
    import msgspec
    import yaml

    from edgewise.node.desired import differences

    with _wishes(load_settings(config)) as wishes:
        wanted, state = wishes.desired(name), wishes.state(name)
    found = differences(wanted, state.report if state else None)
    if json:
        output.show_json(
            {
                "node": name,
                "desired": {**msgspec.to_builtins(wanted), "document": wanted.sections, "digest": wanted.digest},
                "reported": state.report if state else None,
                "heard_ns": state.heard_ns if state else 0,
                "differences": found,
            }
        )
        return 1 if found else 0
    if wanted.sections:
        output.note(f"[dim]revision {wanted.revision} of {wanted.by}[/]")
        output.out().print(yaml.safe_dump(wanted.sections, sort_keys=False, allow_unicode=True), markup=False)
    else:
        output.note("Nothing is wanted of it.")
    for difference in found:
        output.out().print(difference, markup=False)
    if not found and state:
        output.note(f"[green]It is so[/], since {output.moment(state.report.time_ns)}.")
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

    A running node refuses it within seconds. A node further down is forgotten, until its parent brings it again.
    """
    from edgewise.node.parenting import remove as take_out

    with opened_fleet(config) as fleet:
        gone = take_out(fleet, name)
    also = f", and with it {', '.join(sorted(set(gone) - {name}))}" if len(gone) > 1 else ""
    output.out().print(f"{name} is removed{also}", markup=False)


def _selected(config: Path | None, where: str) -> list[NodeState]:
    from edgewise.fleet.selector import parse
    from edgewise.node.kin import read_census

    selector = parse(where)
    return [node for node in read_census(load_settings(config), clock=SystemClock()) if selector.matches(node.labels)]


def _facts(node: NodeState) -> dict[str, object]:
    report = node.report
    return {
        "name": node.name,
        "parent": node.parent,
        "labels": dict(node.labels),
        "joined_ns": node.joined_ns,
        "status": node.health.status,
        "reasons": node.health.reasons,
        "age_s": round(node.age_s, 1) if node.age_s >= 0 else None,
        "version": report.version if report else "",
        "pending": report.journal.pending if report else None,
        "dropped": report.journal.dropped if report else None,
    }


def _described(report: Report) -> Sequence[tuple[str, str]]:
    use = report.resources
    machine = f", machine {100 * use.machine_cpu:.0f} %" if use.machine_cpu is not None else ""
    rows = [
        ("version", report.version),
        ("running for", _long(report.uptime_s)),
        ("processor", f"{100 * use.cpu:.1f} % of a core{machine}"),
        ("memory", output.human_bytes(use.rss_bytes) if use.rss_bytes is not None else "unknown"),
        ("disk free", output.human_bytes(use.disk_free_bytes) if use.disk_free_bytes is not None else "unknown"),
        ("journal", f"{output.human_bytes(report.journal.bytes)}, {report.journal.dropped} records dropped"),
        ("on its way up", output.counted(report.journal.pending, "record")),
        ("link used today", output.human_bytes(report.link.used_today)),
        ("clock", f"{report.clock_ahead_s:+.1f} s against its parent's"),
        ("models", ", ".join(report.models)),
        ("rules", str(report.rules)),
    ]
    if use.temperature_c is not None:
        rows.insert(5, ("temperature", f"{use.temperature_c:.0f} °C"))
    return rows


def _line(node: NodeState, *, faint: bool) -> str:
    status = node.health.status.value
    words = [f"[{_DOTS[status]}]●[/] {node.name}", f"[dim]{status}, {_seen(node)}[/]"]
    if node.report and node.report.journal.pending:
        words.append(f"[yellow]{node.report.journal.pending} on the way[/]")
    if labels := _labels(node):
        words.append(f"[cyan]{escape(labels)}[/]")
    line = "  ".join(words)
    return f"[dim]{line}[/]" if faint else line


def _seen(node: NodeState) -> str:
    return f"{_long(node.age_s)} ago" if node.age_s >= 0 else "never"


def _long(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _labels(node: NodeState) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(node.labels.items()))


def _of(what: str) -> str:
    return f" ({what})" if what else ""


def _change(word: str) -> tuple[str, str | None]:
    key, equals, value = word.partition("=")
    if equals:
        return key, value
    if word.endswith("-") and len(word) > 1:
        return word.removesuffix("-"), None
    raise InputError(f"{word!r} is no change of a label", hint="Write KEY=VALUE, or KEY- to remove it.")
