"""``edgewise authority``: by what the nodes below know this one, and putting another in its place."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from edgewise._lib.clock import SystemClock
from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings, seconds
from edgewise.cli.token import opened_fleet

if TYPE_CHECKING:
    from edgewise.node.succession import Standing

app = cyclopts.App(
    name="authority",
    help="The certificate authority by which the nodes below know this one.",
    result_action="return_value",
)


@app.command
def show(*, config: ConfigFile = None, json: JsonFlag = False) -> None:
    """Show the authority: its fingerprint, since when it is, and which children have not followed it yet."""
    from edgewise.node.kin import authority_folder
    from edgewise.node.succession import look

    settings = load_settings(config)
    folder = authority_folder(settings)
    with opened_fleet(config) as fleet:
        standing = look(folder, fleet, clock=SystemClock())
    if json:
        output.show_json(standing)
        return
    rows = [("fingerprint", standing.fingerprint), ("since", output.moment(standing.since_ns))]
    if standing.until_ns:
        rows += [("children follow until", output.moment(standing.until_ns))]
    output.show_table(("authority", ""), rows)
    _tell_behind(standing)


@app.command
def rotate(
    *,
    overlap: Annotated[str, Parameter(help="How long children may take to follow: 12h, 30d.")] = "30d",
    config: ConfigFile = None,
    json: JsonFlag = False,
) -> None:
    """Put another authority in this one's place, also while the node runs. Nothing has to be restarted.

    Children that are connected follow within a minute, others when they are back. Who stays away for longer than the
    overlap has to join again. The old authority's key is destroyed at once.
    """
    from edgewise.node import succession
    from edgewise.node.kin import authority_folder
    from edgewise.node.organs import leave_change, open_account_store

    settings = load_settings(config)
    folder, overlap_s = authority_folder(settings), int(seconds(overlap))
    with opened_fleet(config) as fleet:
        standing = succession.rotate(folder, fleet, clock=SystemClock(), overlap_s=overlap_s)
    with contextlib.closing(open_account_store(settings)) as store:
        what = {"fingerprint": standing.fingerprint, "until_ns": standing.until_ns}
        leave_change(store, settings, "authority.rotated", what)
    if json:
        output.show_json(standing)
        return
    output.out().print(f"The authority is {standing.fingerprint} now", markup=False)
    _tell_behind(standing)


def _tell_behind(standing: Standing) -> None:
    if not standing.behind:
        return
    names = ", ".join(standing.behind)
    if standing.until_ns:
        output.note(f"These follow until {output.moment(standing.until_ns)}: {names}")
    else:
        output.note(f"These did not follow, and have to join again (there: edgewise leave, edgewise join): {names}")
