"""Nodes of a tree, each in a folder and a process of its own, for tests that kill them and cut the ways between."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgewise.errors import UnavailableError
from edgewise.testing.node import RunningNode

PATIENCE_S = 240.0
# Below what systems hand out by themselves.
_PORTS = 15_000, 30_000

T = TypeVar("T")


def free_port() -> int:
    """A TCP port that nobody listens on now, and that the system gives to nobody who asks for any."""
    while True:
        port = random.randrange(*_PORTS)  # noqa: S311, chance and no secret
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def until(condition: Callable[[], T], *, patience_s: float = PATIENCE_S, every_s: float = 0.05) -> T:
    """Waits for something that other processes do; what it is, once it is true.

    Raises:
        UnavailableError: It did not happen in time.
    """
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(every_s)
    raise UnavailableError("It did not happen in time")


class Member:
    """A node that takes children.

    Args:
        folder: Made for it.
        name: Its name.
        sections: More of its settings.
        parent: What its settings say of the way to a parent.
        data: Its data folder, and what else its section ``node`` says.

    Attributes:
        https: The port where children call.
        node: The process.
    """

    def __init__(
        self, folder: Path, name: str, *, sections: str = "", parent: str = "{gather_s: 0.05}", data: str = "./data"
    ) -> None:
        folder.mkdir()
        self.name = name
        self.folder = folder
        self.https = free_port()
        (folder / "edgewise.yaml").write_text(
            f"node: {{name: {name}, data: {data}}}\nhttp: {{port: 0}}\n"
            f"https: {{host: 127.0.0.1, port: {self.https}}}\nparent: {parent}\n{sections}"
        )
        self.node = RunningNode(folder)

    def command(self, *words: str, answer: int = 0) -> str:
        """What ``edgewise WORDS`` prints.

        Raises:
            UnavailableError: It ended with another code than ``answer``; the message holds what it printed.
        """
        done = subprocess.run(
            [sys.executable, "-m", "edgewise", *words], cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode != answer:
            raise UnavailableError(done.stdout + done.stderr)
        return done.stdout.strip()

    def join(self, parent: Member, *labels: str, port: int = 0) -> None:
        """Makes it a child; ``port`` is where the way to the parent begins, if not at the parent itself."""
        token = parent.command("token", "create", *(word for label in labels for word in ("--label", label)))
        self.command("join", f"https://127.0.0.1:{port or parent.https}", token)
