"""``edgewise token``: letting other nodes join this one."""

from __future__ import annotations

import contextlib
import datetime
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings, seconds
from edgewise.errors import InputError

if TYPE_CHECKING:
    from edgewise.fleet.store import FleetStore

app = cyclopts.App(name="token", help="Tokens with which other nodes join this one.", result_action="return_value")


@app.command
def create(
    *,
    name: Annotated[str, Parameter(help="The name that the node has to take; it may choose when there is none.")] = "",
    valid: Annotated[str, Parameter(help="How long it may be used: 30m, 12h, 7d.")] = "1h",
    label: Annotated[list[str] | None, Parameter(help="A label of the node as KEY=VALUE; may be repeated.")] = None,
    config: ConfigFile = None,
    json: JsonFlag = False,
) -> None:
    """Make a token with which one node may join, once.

    It holds the fingerprint of this node's authority, so the other node knows whom it joins; and a secret, so this one
    knows whom it lets in. Give it to the other node over a way that nobody reads along.
    """
    from edgewise._lib.clock import SystemClock
    from edgewise.node.kin import authority_folder, open_fleet
    from edgewise.trust.authority import Authority

    settings = load_settings(config)
    folder = authority_folder(settings)
    clock = SystemClock()
    valid_s = seconds(valid)
    fleet = open_fleet(settings, clock=clock)
    try:
        authority = Authority(folder, time_ns=clock.time_ns())
        token = fleet.invite(
            authority.fingerprint, random=secrets.token_bytes, valid_s=valid_s, node=name, labels=_labels(label or [])
        )
    finally:
        fleet.close()
    if json:
        output.show_json({"token": token.text, "fingerprint": authority.fingerprint, "valid_s": valid_s})
        return
    output.out().print(token.text, markup=False, soft_wrap=True)
    until = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=valid_s)
    port = (settings.https and settings.https.port) or "PORT"
    output.note(
        f"Once, until {until:%Y-%m-%d %H:%M}. On the other node: edgewise join https://THIS-MACHINE:{port} TOKEN"
    )


def _labels(words: list[str]) -> dict[str, str]:
    labels = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"{word!r} is no label", hint="Write KEY=VALUE, such as site=hall.")
        labels[name] = value
    return labels


@app.command(name="list")
def list_(*, config: ConfigFile = None, json: JsonFlag = False) -> None:
    """List the join tokens that are out and those used not long ago, but for their secrets."""
    with opened_fleet(config) as fleet:
        invitations = fleet.invitations()
    if json:
        output.show_json(
            [
                {
                    "id": each.id,
                    "node": each.node,
                    "labels": each.labels,
                    "expires_ns": each.expires_ns,
                    "used": bool(each.used_by),
                }
                for each in invitations
            ]
        )
        return
    if not invitations:
        output.note("No token is out: edgewise token create")
        return
    output.show_table(
        ("id", "node", "labels", "until", "used"),
        [
            (
                each.id,
                each.node or "any",
                ", ".join(f"{name}={value}" for name, value in sorted(each.labels.items())),
                output.moment(each.expires_ns),
                "yes" if each.used_by else "",
            )
            for each in invitations
        ],
    )


@app.command
def revoke(token_id: str, /, *, config: ConfigFile = None) -> None:
    """Make a join token worth nothing, by its id. A node that joined with it stays: edgewise nodes remove."""
    with opened_fleet(config) as fleet:
        gone = fleet.withdraw(token_id)
    output.out().print(f"The token {gone.id} is worth nothing now", markup=False)


@contextlib.contextmanager
def opened_fleet(config: Path | None) -> Iterator[FleetStore]:
    """The node's children, closed afterwards."""
    from edgewise._lib.clock import SystemClock
    from edgewise.node.kin import open_fleet

    fleet = open_fleet(load_settings(config), clock=SystemClock())
    try:
        yield fleet
    finally:
        fleet.close()
