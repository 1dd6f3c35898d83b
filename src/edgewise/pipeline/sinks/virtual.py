"""Devices that exist in the node only: for trying things out, and shown in the console."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.pipeline.kinds import KINDS, Command, DeviceSettings, transition

if TYPE_CHECKING:
    from edgewise.pipeline.devices import Listener


class VirtualDevice:
    """A device that does what it is told at once. Keeps the ``Device`` seam."""

    def __init__(self, name: str, settings: DeviceSettings) -> None:
        self.name = name
        self.settings = settings
        self._state = KINDS[type(settings)].initial
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []

    @property
    def state(self) -> dict[str, Any]:
        """Always available."""
        return {**msgspec.to_builtins(self._state), "available": True}

    def apply(self, command: Command, *, key: str, expires_ns: int) -> None:  # noqa: ARG002, the guard has checked them
        """Changes the state."""
        with self._lock:
            before, self._state = self._state, transition(self._state, command)
            changed = before != self._state
        if changed:
            for listener in self._listeners:
                listener(self.name, self.state)

    def subscribe(self, listener: Listener) -> None:
        """Calls it after every change."""
        self._listeners.append(listener)

    def close(self) -> None:
        """Nothing to release."""
