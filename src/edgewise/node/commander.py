"""Commands on their way: those to one device in order, those to different devices at once, a bounded number of them.

A device that does not confirm holds up what is for it, and nothing else.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

# Devices that are commanded at once. A thread waits for each; more than this that do not answer hold up the others.
MAX_AT_ONCE = 16


class Commander:
    """Runs commands in threads of its own, made when they are needed.

    Args:
        changed: Notified whenever a device has no command under way any more, and after each command.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._waiting: dict[str, deque[Callable[[], None]]] = {}
        self._executor = ThreadPoolExecutor(MAX_AT_ONCE, thread_name_prefix="command")
        self._stopped = False

    def submit(self, device: str, command: Callable[[], None]) -> None:
        """Runs a command after those for the same device that were given before; it must not raise."""
        with self._changed:
            if self._stopped:
                return
            if device in self._waiting:
                self._waiting[device].append(command)
                return
            self._waiting[device] = deque([command])
            self._executor.submit(self._run, device)

    def idle(self, devices: Iterable[str] | None) -> bool:
        """Whether no command for any of these devices (None: for any at all) is under way or waits."""
        with self._changed:
            return not self._waiting if devices is None else self._waiting.keys().isdisjoint(devices)

    def stop(self) -> None:
        """Finishes the commands that have begun, and begins no other."""
        with self._changed:
            self._stopped = True
        self._executor.shutdown(wait=True)

    def _run(self, device: str) -> None:
        while True:
            with self._changed:
                if self._stopped or not self._waiting[device]:
                    del self._waiting[device]
                    self._changed.notify_all()
                    return
                command = self._waiting[device].popleft()
            command()
            with self._changed:
                self._changed.notify_all()
