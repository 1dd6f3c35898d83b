"""``edgewise up``: start a node."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, load_settings

if TYPE_CHECKING:
    from edgewise.node.node import Node
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


def serve(
    settings: Settings,
    *,
    before_start: Callable[[Node], None] | None = None,
    until: Callable[[Node], None] | None = None,
) -> None:
    """Runs a node until Ctrl-C or SIGTERM, both of which are the ordinary way to end it.

    Args:
        settings: Of the node.
        before_start: Called with the node before its pipelines run.
        until: Called with the running node in a thread, once it listens; when it returns, the node ends.
    """
    from edgewise.api.server import run
    from edgewise.node.node import Node

    def on_ready(address: str) -> None:
        _announce(address, node)
        if until:
            threading.Thread(target=_end_after, args=(until, node), name="until", daemon=True).start()

    signal.signal(signal.SIGTERM, _interrupt)
    node = Node(settings)
    try:
        if before_start:
            before_start(node)
        node.start()
        run(node, on_ready=on_ready)
    except KeyboardInterrupt:
        output.note("Stopping …")
    finally:
        node.stop()


def _end_after(until: Callable[[Node], None], node: Node) -> None:
    try:
        until(node)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _announce(address: str, node: Node) -> None:
    output.note(f"[bold green]Edgewise is up.[/]  Console: [link={address}]{address}[/link]   API: {address}/schema")
    if node.parenting and (https := node.settings.https):
        output.note(f"Takes children at https://{https.host}:{node.parenting.port}")
    output.note("[dim]Ctrl-C stops it.[/]")
