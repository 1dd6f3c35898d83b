"""``edgewise up``: start a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, load_settings

if TYPE_CHECKING:
    from edgewise.node.settings import Settings


def up(
    *,
    config: ConfigFile = None,
    host: Annotated[str | None, Parameter(help="Address to listen on.")] = None,
    port: Annotated[int | None, Parameter(help="TCP port; 0 takes a free one.")] = None,
    data: Annotated[str | None, Parameter(help="Folder for journal, snapshots and people.")] = None,
) -> None:
    """Start a node: its pipelines, its API and its console. Ctrl-C stops it.

    Works without a settings file too: then it serves models and the console only.
    """
    serve(load_settings(config, **{"http.host": host, "http.port": port, "node.data": data}))


def serve(settings: Settings) -> None:
    """Runs a node until it is interrupted."""
    from edgewise.api.server import run
    from edgewise.node.node import Node

    node = Node(settings)
    node.start()
    try:
        run(node, on_ready=_announce)
    finally:
        node.stop()


def _announce(address: str) -> None:
    output.note(f"[bold green]Edgewise is up.[/]  Console: [link={address}]{address}[/link]   API: {address}/schema")
    output.note("[dim]Ctrl-C stops it.[/]")
