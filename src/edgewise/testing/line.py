"""A serial line for tests: a pair of pseudo-terminals, a sensor at one end and a port for the node at the other."""

from __future__ import annotations

import contextlib
import os
import threading
import tty
from pathlib import Path
from types import TracebackType

# Often enough that no test waits for it, seldom enough that the port keeps up.
_TALK_S = 0.01


class SerialLine:
    """A port at ``device``, and who writes to it. A context manager.

    A pseudo-terminal has another name each time it is made; ``device`` is a link to it, as ``/dev/serial/by-id`` has
    them.

    Args:
        device: Where the link is made.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._near = self._far = -1
        self._quiet = threading.Event()
        self._talker: threading.Thread | None = None

    def start(self) -> None:
        """Plugs it in."""
        self._near, self._far = os.openpty()
        tty.setraw(self._far)
        Path(self.device).symlink_to(os.ttyname(self._far))

    def talk(self, line: bytes) -> None:
        """The sensor writes this line again and again, until it is hushed."""
        self._quiet.clear()
        self._talker = threading.Thread(target=self._repeat, args=(line,), daemon=True)
        self._talker.start()

    def hush(self) -> None:
        """It writes nothing any more."""
        self._quiet.set()
        if self._talker is not None:
            self._talker.join()
            self._talker = None

    def stop(self) -> None:
        """Pulls it out."""
        self.hush()
        if self._near < 0:
            return
        Path(self.device).unlink()
        os.close(self._near)
        os.close(self._far)
        self._near = self._far = -1

    def write(self, *lines: bytes) -> None:
        """The sensor writes lines, and returns when the port has taken them."""
        for line in lines:
            left = line + b"\n"
            while left:
                left = left[os.write(self._near, left) :]

    def _repeat(self, line: bytes) -> None:
        with contextlib.suppress(OSError):
            while not self._quiet.wait(_TALK_S):
                self.write(line)

    def __enter__(self) -> SerialLine:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
