"""``edgewise join`` and ``leave``: becoming a child of another node, and ending it."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, load_settings
from edgewise.errors import EdgewiseError, NotFoundError


def join(
    url: str,
    token: str,
    /,
    *,
    name: Annotated[str, Parameter(help="What the node is called from now on, when node.name is not set.")] = "",
    config: ConfigFile = None,
) -> None:
    """Make this node a child of another: its records go there from then on, also those it has already.

    A running node begins within seconds.

    Parameters
    ----------
    url:
        Where the parent takes children, such as https://192.168.1.10:8471.
    token:
        The line that ``edgewise token create`` printed there.
    """
    from edgewise.node.kin import join_parent
    from edgewise.trust.joining import JoinToken

    membership = join_parent(load_settings(config, **{"node.name": name or None}), url, JoinToken.parse(token))
    output.out().print(f"{membership.node} is a child of {membership.parent} now", markup=False)


def leave(*, config: ConfigFile = None) -> None:
    """End being a child: nothing is sent any more, and what the parent wanted counts no more.

    What was recorded stays here, and what was sent stays there. A running node ends it within seconds. The parent is
    told, so that the name is free there. A parent that is joined later gets all records and pictures that are still
    here.
    """
    from edgewise.node.kin import link_folder

    folder = link_folder(load_settings(config))
    membership = folder.membership
    if membership is None:
        raise NotFoundError("This node is nobody's child", kind="parent")
    try:
        folder.say_goodbye(membership)
    except EdgewiseError as error:
        output.note(
            f"[yellow]{escape(membership.parent)} could not be told[/]: {escape(error.message)}\n"
            f"It has to be done there: edgewise nodes remove {membership.node}"
        )
    folder.leave()
    output.out().print(f"{membership.node} has left {membership.parent}", markup=False)
