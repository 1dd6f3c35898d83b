"""A real node in a process of its own, for tests that kill it, restart it or look at it from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from edgewise.errors import UnavailableError

PATIENCE_S = 60.0
_ADDRESS = re.compile(r"https?://[\w.:\[\]-]+")


class RunningNode:
    """``edgewise up`` as a person starts it. A context manager.

    Args:
        folder: Where it runs, with its ``edgewise.yaml`` if it has one.
        environment: Variables besides those of this process.

    Attributes:
        address: Where it answers, once it is started.
        output: What it has printed, line by line.
    """

    def __init__(self, folder: Path, *, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._ready = threading.Event()
        self.address = ""
        self.output: list[str] = []

    @property
    def pid(self) -> int:
        """Its process."""
        if self._process is None:
            raise UnavailableError("The node is not running")
        return self._process.pid

    def start(self) -> None:
        """Starts it and returns when it answers.

        Raises:
            UnavailableError: It ended instead, or does not answer in time; the message holds what it printed.
        """
        self._ready.clear()
        self.output.clear()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgewise", "up"],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        if not self._ready.wait(PATIENCE_S) or not self.address:
            self.kill()
            raise UnavailableError("The node does not answer:\n" + "\n".join(self.output))

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ends it as a service manager would; returns its exit code."""
        return self._end(signal.SIGTERM)

    def __enter__(self) -> RunningNode:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.output.append(line.rstrip())
                if "is up" in line and (found := _ADDRESS.search(line)):
                    self.address = found[0]
                    self._ready.set()
        self._ready.set()

    def _end(self, number: int) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        try:
            code = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        if self._reader is not None:
            self._reader.join()
        self._process = None
        self.address = ""
        return code
