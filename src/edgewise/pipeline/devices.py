"""The devices of a node, and the one way commands reach them.

``Devices.perform`` keeps three promises for every action, whoever asks: a key acts once, an expired action never acts,
and an action that is reported done was confirmed by the device. Commands to one device are carried out in order;
different devices do not wait for each other. Which device is virtual and which is real does not matter here.

Locks with ``relock_s`` lock again after each unlocking here, and when they are found unlocked at the start: the node
may have died before it could lock them. Once ``fail_safe`` was called nothing else is commanded.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from edgewise._lib.clock import Clock
from edgewise._lib.documents import nearest
from edgewise.errors import (
    BusyError,
    ClosedError,
    EdgewiseError,
    EngineError,
    InputError,
    NotFoundError,
    UnavailableError,
)
from edgewise.pipeline.base import Action, Outcome, Status
from edgewise.pipeline.kinds import Command, DeviceSettings, Lock, LockSettings, Unlock, fail_safe, parse_command

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Connection", "Device", "DeviceSettings", "Devices", "Guard"]

# An action may not ask to stay valid longer than this. It bounds what the guard remembers, and after a wall clock was
# set back it refuses actions made before, which would look valid for a long time.
MAX_EXPIRY_S = 300.0
# A key is remembered this much longer than any action can be valid, so that a clock set back cannot revive one.
_REMEMBER_S = 2 * MAX_EXPIRY_S
# Far more than people and rules produce in ten minutes; a flood beyond it is refused, not forgotten.
_MAX_KEYS = 20_000
# A lock that did not confirm that it is locked again is asked again this soon.
_RELOCK_RETRY_S = 1.0

logger = logging.getLogger(__name__)
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


class Guard:
    """Remembers which keys acted: of all actions with one key, one is admitted. Safe for threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}

    def admit(self, action: Action) -> Status:
        """``done`` if it may act now, else why not; from then on its key counts as used.

        Raises:
            InputError: It has no key, or wants to stay valid too long.
            BusyError: Too many keys are remembered.
        """
        if not action.key:
            raise InputError("An action needs an idempotency key")
        left_s = (action.expires_ns - self._clock.time_ns()) / 1e9
        if left_s <= 0:
            return Status.EXPIRED
        if left_s > MAX_EXPIRY_S:
            raise InputError(
                f"An action may stay valid for {MAX_EXPIRY_S:.0f} s at most", limit=MAX_EXPIRY_S, actual=left_s
            )
        with self._lock:
            now = self._clock.monotonic()
            self._forget(now)
            if action.key in self._seen:
                return Status.REPEATED
            if len(self._seen) >= _MAX_KEYS:
                raise BusyError("Too many commands in ten minutes", limit=_MAX_KEYS)
            self._seen[action.key] = now
        return Status.DONE

    def release(self, key: str) -> None:
        """The action with this key certainly did not act; it may be tried again."""
        with self._lock:
            self._seen.pop(key, None)

    def _forget(self, now: float) -> None:
        # Keys stand in the order of their time.
        old = itertools.takewhile(lambda key: now - self._seen[key] > _REMEMBER_S, self._seen)
        for key in list(old):
            del self._seen[key]


class Devices:
    """All devices of a node. Keeps the ``Sink`` seam.

    Args:
        devices: In the order they are shown.
        clock: For expiries and for locking again.
        connections: What devices share; started and closed with them.
    """

    def __init__(self, devices: Iterable[Device], *, clock: Clock, connections: Iterable[Connection] = ()) -> None:
        self._devices = {device.name: device for device in devices}
        self._connections = tuple(connections)
        self._busy = {name: threading.Lock() for name in self._devices}
        self._clock = clock
        self._guard = Guard(clock)
        self._relock_at: dict[str, float] = {}
        self._changed = threading.Condition()
        self._unseen = set(self._devices)
        self._stuck: set[str] = set()
        self._ending = False
        self._closed = False
        self._count = itertools.count(1)
        self._thread = threading.Thread(target=self._keep_relocking, name="devices", daemon=True)
        for device in self._devices.values():
            device.subscribe(self._watch)

    def start(self) -> None:
        """Starts the connections, and the thread that locks locks again."""
        for connection in self._connections:
            connection.start()
        self._thread.start()

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
            UnavailableError: The device does not answer or did not confirm in time.
            ClosedError: The node is stopping.
        """
        device = self.get(action.device)
        command = parse_command(device.settings, action.command, action.arguments)
        with self._busy[device.name]:
            if self._ending:
                raise ClosedError("The node is stopping; it commands no device any more", device=device.name)
            status = self._guard.admit(action)
            if status is Status.DONE:
                with self._released_unless_sent(action.key):
                    self._apply(device, command, key=action.key, expires_ns=action.expires_ns)
            return Outcome(device.name, status, device.state)

    def fail_safe(self) -> list[EdgewiseError]:
        """Brings every device to its fail-safe state, where it stays; returns what did not answer."""
        self._ending = True
        failures: list[EdgewiseError] = []
        for device in self._devices.values():
            command = fail_safe(device.settings)
            if command is None:
                continue
            try:
                with self._busy[device.name]:
                    self._own(device, command, reason="fail-safe")
            except UnavailableError as error:
                failures.append(error)
            except Exception as error:  # the other devices have to get there too
                logger.exception("%s failed", device.name)
                failures.append(EngineError(f"{device.name} failed: {error!r}", device=device.name))
        return failures

    def relock(self) -> None:
        """Locks the locks whose time has come; one that does not answer is asked again soon."""
        for name in list(self._relock_at):
            with self._busy[name]:
                now = self._clock.monotonic()
                if self._ending or self._relock_at.get(name, math.inf) > now:
                    continue
                try:
                    self._own(self._devices[name], Lock(), reason="relock")
                except Exception as error:  # whatever it is, the lock may be open
                    if name not in self._stuck:
                        ours = isinstance(error, EdgewiseError)
                        logger.warning("%s did not lock; it is asked until it does: %s", name, error, exc_info=not ours)
                    self._stuck.add(name)
                    self._relock_at[name] = now + _RELOCK_RETRY_S

    def close(self) -> None:
        """Ends the thread and closes every device; states stay as they are."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        for device in self._devices.values():
            device.close()
        for connection in self._connections:
            connection.close()

    def _own(self, device: Device, command: Command, *, reason: str) -> None:
        """A command of the node itself: never a repetition, and valid for as long as a confirmation may take."""
        now_ns = self._clock.time_ns()
        key = f"{reason}/{device.name}/{now_ns}/{next(self._count)}"
        self._apply(device, command, key=key, expires_ns=now_ns + int(device.settings.confirm_s * 1e9))

    def _apply(self, device: Device, command: Command, *, key: str, expires_ns: int) -> None:
        # A lock that may have opened must lock again, also when it did not confirm that it opened.
        if isinstance(command, Unlock):
            self._relock_later(device, again=True)
        device.apply(command, key=key, expires_ns=expires_ns)
        if isinstance(command, Lock):
            with self._changed:
                self._relock_at.pop(device.name, None)
                self._stuck.discard(device.name)

    def _watch(self, name: str, state: dict[str, Any]) -> None:
        """Looks at the first state that is known of each device."""
        if name in self._unseen and state.get("state") != "unknown":
            self._unseen.discard(name)
            if state.get("state") == "unlocked":
                self._relock_later(self._devices[name], again=False)

    def _relock_later(self, device: Device, *, again: bool) -> None:
        """Sets the time to lock; one that is set already stands unless ``again``."""
        if self._ending or not isinstance(device.settings, LockSettings) or not device.settings.relock_s:
            return
        due = self._clock.monotonic() + device.settings.relock_s
        with self._changed:
            self._relock_at[device.name] = due if again else self._relock_at.get(device.name, due)
            self._changed.notify_all()

    @contextmanager
    def _released_unless_sent(self, key: str) -> Iterator[None]:
        try:
            yield
        except UnavailableError as error:
            if error.facts.get("sent") is False:
                self._guard.release(key)
            raise

    def _keep_relocking(self) -> None:
        while True:
            self.relock()
            with self._changed:
                if self._closed:
                    return
                due = min(self._relock_at.values(), default=None)
                self._changed.wait(None if due is None else max(0.0, due - self._clock.monotonic()))
