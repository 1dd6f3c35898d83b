"""The devices of a node, and the one way commands reach them.

``Devices.perform`` keeps its promises for every action, whoever asks: a key acts once, an expired action never acts,
what binds less never acts against somebody who holds the device, and an action that is reported done was confirmed by
the device. Commands to one device are carried out in order; different devices do not wait for each other. Which device
is virtual and which is real does not matter here.

A device that may have got a command and does not confirm it is brought to its fail-safe state. Locks with ``relock_s``
lock again after each unlocking here. What is not where it is safe at the start is brought there, unless somebody holds
it: the node may have died before it could. So is, whoever held it, what had not confirmed a command when the node died.
Once ``fail_safe`` was called nothing else is commanded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from edgewise._lib.clock import Clock
from edgewise._lib.documents import nearest
from edgewise.errors import ClosedError, EdgewiseError, NotFoundError, UnavailableError
from edgewise.pipeline.admission import MAX_EXPIRY_S, Admission
from edgewise.pipeline.base import Action, Hold, Outcome, Status
from edgewise.pipeline.kinds import (
    KINDS,
    Command,
    DeviceSettings,
    Unlock,
    confirms,
    fail_safe,
    found_at_start,
    hold_s,
    parse_command,
    transition,
)
from edgewise.pipeline.ledger import Ledger
from edgewise.pipeline.safekeeping import Safekeeping, Safety

__all__ = ["Connection", "Device", "DeviceSettings", "Devices"]

Listener = Callable[[str, dict[str, Any]], None]


class Device(Protocol):
    """One device. Safe for threads, but ``apply`` is called by one thread at a time.

    Attributes:
        name: Its name in the settings.
        settings: Its kind and bounds.
    """

    name: str
    settings: DeviceSettings

    @property
    def state(self) -> dict[str, Any]:
        """What is known of it, JSON-compatible: ``kind``, ``available`` and the fields of its kind's state."""
        ...

    def apply(self, command: Command, *, key: str, expires_ns: int) -> None:
        """Carries a command out and returns once the device has confirmed it.

        Raises:
            UnavailableError: It does not answer, or did not confirm in time. The fact ``sent`` is False when the
                command certainly never left.
        """
        ...

    def subscribe(self, listener: Listener) -> None:
        """Calls ``listener(name, state)`` after every change, from any thread."""
        ...

    def close(self) -> None:
        """Releases what it holds."""
        ...


class Connection(Protocol):
    """What several devices share, such as the connection to a broker."""

    def start(self) -> None:
        """Starts it."""
        ...

    def close(self) -> None:
        """Ends it."""
        ...


class Devices:
    """All devices of a node. Keeps the ``Sink`` seam.

    Args:
        devices: In the order they are shown.
        clock: For expiries, holds and locking again.
        connections: What devices share; started and closed with them.
        ledger: What has to be known after a crash; in memory when None. Closed with them.
        told: Called with what the node does with a device by itself, from any thread.
    """

    def __init__(
        self,
        devices: Iterable[Device],
        *,
        clock: Clock,
        connections: Iterable[Connection] = (),
        ledger: Ledger | None = None,
        told: Callable[[Safety], None] = lambda _: None,
    ) -> None:
        self._devices = {device.name: device for device in devices}
        self._connections = tuple(connections)
        self._busy = {name: threading.Lock() for name in self._devices}
        self._clock = clock
        self._ledger = ledger or Ledger()
        self._admission = Admission(clock, self._ledger)
        self._keeping = Safekeeping(
            self._devices,
            self._busy,
            clock=clock,
            held=lambda name: self._admission.hold(name) is not None,
            done=self._admission.end_hold,
            told=told,
        )
        for device in self._devices.values():
            device.subscribe(self._keeping.look)
        self._suspect(self._admission.unconfirmed())

    def start(self) -> None:
        """Starts the connections, and what brings devices where they are safe."""
        for connection in self._connections:
            connection.start()
        self._keeping.start()

    def names(self) -> list[str]:
        """In the order of the settings."""
        return list(self._devices)

    def get(self, name: str) -> Device:
        """One device.

        Raises:
            NotFoundError: No device has that name.
        """
        if name not in self._devices:
            raise NotFoundError(
                f"No device is named {name!r}", hint=nearest(name, self._devices), kind="device", name=name
            )
        return self._devices[name]

    def states(self) -> dict[str, dict[str, Any]]:
        """The state of every device by its name."""
        return {name: device.state for name, device in self._devices.items()}

    def hold(self, name: str) -> Hold | None:
        """Who holds a device now.

        Raises:
            NotFoundError: No device has that name.
        """
        return self._admission.hold(self.get(name).name)

    def release(self, name: str) -> Hold | None:
        """Ends the hold of a device; returns who held it.

        Raises:
            NotFoundError: No device has that name.
        """
        return self._admission.end_hold(self.get(name).name)

    def due(self, name: str) -> str:
        """Why the node is about to bring a device somewhere by itself; empty when it is not."""
        return self._keeping.due(self.get(name).name)

    def subscribe(self, listener: Listener) -> None:
        """Calls ``listener(name, state)`` after every change of any device, from any thread."""
        for device in self._devices.values():
            device.subscribe(listener)

    def perform(self, action: Action) -> Outcome:
        """Carries an action out once; see ``Sink``.

        Raises:
            NotFoundError: No device or command has that name.
            InputError: The arguments do not fit.
            BusyError: Too many commands.
            StorageFullError: The disk is full.
            UnavailableError: The device does not answer or did not confirm in time. The fact ``fail_safe`` is True
                when it is therefore brought to its fail-safe state.
            ClosedError: The node is stopping.
        """
        device = self.get(action.device)
        command = parse_command(device.settings, action.command, action.arguments)
        held_s = hold_s(device.settings) if action.hold_s is None else action.hold_s
        with self._busy[device.name]:
            if self._keeping.ending:
                raise ClosedError("The node is stopping; it commands no device any more", device=device.name)
            before = self._admission.hold(device.name)
            status = self._admission.admit(action, hold_s=held_s, safe=_is_safe(device, command))
            if status is Status.DONE:
                with self._made_safe_unless_confirmed(device, action, before):
                    self._keeping.commanded(device, unlocks=isinstance(command, Unlock))
                    device.apply(command, key=action.key, expires_ns=self._admission.expires_ns(action))
                self._keeping.confirmed(device, command)
                self._admission.confirm(device.name)
            return Outcome(device.name, status, device.state, self._admission.hold(device.name))

    def fail_safe(self) -> list[EdgewiseError]:
        """Brings every device to its fail-safe state, where it stays; returns what did not answer."""
        return self._keeping.stop()

    def keep_safe(self) -> None:
        """Does now what is due: locks that have to lock again, devices that have to go where they are safe. The thread
        that ``start`` starts does it by itself.
        """
        self._keeping.run()

    def close(self) -> None:
        """Ends the threads and closes every device; states stay as they are."""
        self._keeping.close()
        for device in self._devices.values():
            device.close()
        for connection in self._connections:
            connection.close()
        self._ledger.close()

    def _suspect(self, names: Iterable[str]) -> None:
        """What a process before this one told a device may act yet; when that expires is not known here."""
        for name in names:
            device = self._devices.get(name)
            # A start opens no door.
            if device is not None and found_at_start(device.settings) == fail_safe(device.settings):
                self._keeping.unconfirmed(device, left_s=MAX_EXPIRY_S)

    @contextmanager
    def _made_safe_unless_confirmed(self, device: Device, action: Action, before: Hold | None) -> Iterator[None]:
        """What was not confirmed may have acted, or act late: the device goes where it is safe, and nobody holds it."""
        try:
            yield
        except Exception as error:
            ours = isinstance(error, UnavailableError)
            if isinstance(error, UnavailableError) and error.facts.get("sent") is False:
                self._admission.release(action, before)
                raise
            self._admission.end_hold(device.name)
            left_s = (action.expires_ns - self._clock.time_ns()) / 1e9
            if not self._keeping.unconfirmed(device, left_s=left_s) or not ours:
                raise
            raise UnavailableError(
                f"{error}; it is brought to its fail-safe state",
                hint=getattr(error, "hint", ""),
                **{**getattr(error, "facts", {}), "fail_safe": True},
            ) from error


def _is_safe(device: Device, command: Command) -> bool:
    """Whether a command leads to the device's fail-safe state."""
    safe = fail_safe(device.settings)
    return safe is not None and confirms(transition(KINDS[type(device.settings)].initial, command), safe)
