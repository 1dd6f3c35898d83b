"""Nodes of a tree, each in a folder and a process of its own, for tests that kill them and cut the ways between."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from edgewise.errors import UnavailableError
from edgewise.testing.flaky import FlakyLink
from edgewise.testing.node import RunningNode

PATIENCE_S = 240.0
# Below what systems hand out by themselves.
_PORTS = 15_000, 30_000

T = TypeVar("T")
M = TypeVar("M", bound="Member")


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


def at_once(*steps: Callable[[], object]) -> None:
    """Takes steps side by side (most of each is a process that starts); raises what one of them raised."""
    with ThreadPoolExecutor(len(steps)) as pool:
        for taken in [pool.submit(step) for step in steps]:
            taken.result()


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

    @property
    def journal(self) -> Path:
        """The folder of its journal."""
        return self.folder / "data" / "journal"

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


class Tree(Generic[M]):
    """A device below a gateway below a center; the ways between them can fail. A context manager.

    Args:
        center: The highest.
        gateway: Its child.
        device: The gateway's child.
        lives: After how many bytes a connection is cut while the tree is flaky.

    Attributes:
        members: All three, the highest first.
        upper: The way from the gateway to the center.
        lower: The way from the device to the gateway.
        flaky: Whether connections that are made now are cut.
    """

    def __init__(self, center: M, gateway: M, device: M, *, lives: Callable[[], int | None] = lambda: None) -> None:
        self.center = center
        self.gateway = gateway
        self.device = device
        self.members = (center, gateway, device)
        self.flaky = False
        self._open = contextlib.ExitStack()

        def life() -> int | None:
            return lives() if self.flaky else None

        self.upper = FlakyLink(center.https, lives=life)
        self.lower = FlakyLink(gateway.https, lives=life)

    def start(self) -> None:
        """Starts all."""
        at_once(*(member.node.start for member in self.members))

    def join(self, *labels: str) -> None:
        """Makes the gateway, which gets these labels, and the device children of the one above them."""
        at_once(
            lambda: self.gateway.join(self.center, *labels, port=self.upper.port),
            lambda: self.device.join(self.gateway, port=self.lower.port),
        )

    def __enter__(self) -> Self:
        for link in (self.upper, self.lower):
            self._open.enter_context(link)
        for member in self.members:
            self._open.callback(member.node.kill)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
