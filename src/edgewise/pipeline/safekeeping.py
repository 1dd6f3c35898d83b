"""Brings devices where they are safe: locks that are due to lock again, devices that did not confirm a command, and
what a node that died left somewhere else.

Each device has at most one thing due; it is tried until the device confirms it. Devices do not wait for each other.
"""

from __future__ import annotations

import enum
import itertools
import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise._lib.clock import Clock
from edgewise.errors import EdgewiseError, EngineError
from edgewise.pipeline.kinds import Command, Lock, LockSettings, confirms, fail_safe, found_at_start, state_of

if TYPE_CHECKING:
    from edgewise.pipeline.devices import Device

# A device that did not confirm where it should be is asked again this soon.
_RETRY_S = 1.0
# Devices that are waited for at once.
_WAITING = 16
# A command that was not confirmed may still act this long after it expired (devices that know no expiry).
_SUSPECT_S = 60.0

logger = logging.getLogger(__name__)


class Reason(enum.StrEnum):
    """Why the node commands a device by itself."""

    RELOCK = "relock"
    UNCONFIRMED = "unconfirmed"
    START = "start"
    STOP = "stop"


class Safety(msgspec.Struct, frozen=True):
    """What the node did with a device by itself; ``error`` says why it is not there yet."""

    device: str
    command: str
    reason: Reason
    state: dict[str, Any]
    error: EdgewiseError | None = None


class _Due(msgspec.Struct, frozen=True):
    at_s: float
    reason: Reason
    command: Command


class Safekeeping:
    """Knows what is due and does it, in threads of its own once started.

    Args:
        devices: All, by name.
        busy: For each the lock that whoever commands it holds.
        clock: For what is due when.
        held: Whether somebody holds a device: then a start leaves it where that one wants it, unless it is a lock.
        done: Called with the device when the node has brought it somewhere: nobody holds it any more.
        told: Called with what was done, and once with what could not be done at first.
    """

    def __init__(
        self,
        devices: Mapping[str, Device],
        busy: Mapping[str, threading.Lock],
        *,
        clock: Clock,
        held: Callable[[str], bool],
        done: Callable[[str], object],
        told: Callable[[Safety], None],
    ) -> None:
        self._devices = devices
        self._busy = busy
        self._clock = clock
        self._held = held
        self._done = done
        self._told = told
        self._changed = threading.Condition()
        self._due: dict[str, _Due] = {}
        self._trying: set[str] = set()
        self._stuck: set[str] = set()
        self._unseen = set(devices)
        self._suspect_until: dict[str, float] = {}
        # What was confirmed since: an older command may still overtake it, and would leave the device elsewhere.
        self._accepted: dict[str, Command] = {}
        self._ending = False
        self._closed = False
        # The next process may count from one at the very time that a clock set back shows again.
        self._run_id = secrets.token_hex(8)
        self._count = itertools.count(1)
        self._pool = ThreadPoolExecutor(_WAITING, thread_name_prefix="device")
        self._thread = threading.Thread(target=self._keep, name="devices", daemon=True)

    @property
    def ending(self) -> bool:
        """Whether the node stops: nobody else commands devices any more."""
        return self._ending

    def start(self) -> None:
        """Looks at every device, and goes on by itself."""
        for name, device in self._devices.items():
            self.look(name, device.state)
        self._thread.start()

    def close(self) -> None:
        """Ends the threads; states stay as they are."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown(cancel_futures=True)

    def due(self, name: str) -> str:
        """Why a device is about to be brought somewhere; empty when it is not."""
        with self._changed:
            return self._due[name].reason.value if name in self._due else ""

    def commanded(self, device: Device, *, unlocks: bool) -> None:
        """A command is about to leave: where the device was found at the start does not matter any more."""
        with self._changed:
            self._unseen.discard(device.name)
        settings = device.settings
        if unlocks and isinstance(settings, LockSettings) and settings.relock_s:
            self._schedule(device.name, settings.relock_s, Reason.RELOCK, Lock())

    def confirmed(self, device: Device, command: Command) -> None:
        """A device confirmed a command, so nothing else is to be done with it; an unlocked one is still due."""
        with self._changed:
            self._accepted[device.name] = command
            due = self._due.get(device.name)
            if due and (due.reason is not Reason.RELOCK or isinstance(command, Lock)):
                del self._due[device.name]
            self._stuck.discard(device.name)

    def unconfirmed(self, device: Device, *, left_s: float) -> bool:
        """A command may have left and was not confirmed. Returns whether the device is brought somewhere now.

        Args:
            device: Which.
            left_s: How long the command is still valid.
        """
        safe = fail_safe(device.settings)
        if safe is None:
            return False
        self._accepted.pop(device.name, None)
        self._suspect_until[device.name] = self._clock.monotonic() + max(0.0, left_s) + _SUSPECT_S
        self._schedule(device.name, 0.0, Reason.UNCONFIRMED, safe)
        return True

    def look(self, name: str, facts: Mapping[str, Any]) -> None:
        """Looks at what a device tells: whether it is where a node that died left it, or acts late."""
        state = state_of({key: value for key, value in facts.items() if key not in {"available", "problem"}})
        if state is None:
            return
        settings = self._devices[name].settings
        with self._changed:
            first = name in self._unseen
            self._unseen.discard(name)
        wanted = found_at_start(settings)
        # Who set a light or a heating may have meant it for longer than the node lived; a door is never left open.
        meant = not isinstance(settings, LockSettings) and self._held(name)
        if first and wanted and not confirms(state, wanted) and not meant:
            relock_s = settings.relock_s if isinstance(settings, LockSettings) else 0.0
            self._schedule(name, relock_s, Reason.START, wanted)
        safe = fail_safe(settings)
        late = self._suspect_until.get(name, 0.0) > self._clock.monotonic()
        accepted = self._accepted.get(name)
        fine = any(command and confirms(state, command) for command in (safe, accepted))
        if safe and late and not fine and not self._busy[name].locked():
            self._schedule(name, 0.0, Reason.UNCONFIRMED, safe)

    def run(self) -> None:
        """Does what is due now, one device after the other."""
        for name in self._take_due():
            self._attempt(name)

    def stop(self) -> list[EdgewiseError]:
        """Brings every device to its fail-safe state, where it stays; returns what did not answer. Once is enough."""
        if self._ending:
            return []
        self._ending = True
        wanted = [device for device in self._devices.values() if fail_safe(device.settings)]
        return [error for error in self._pool.map(self._bring_to_rest, wanted) if error]

    def _bring_to_rest(self, device: Device) -> EdgewiseError | None:
        command = fail_safe(device.settings)
        assert command is not None  # noqa: S101, they were chosen by it
        with self._busy[device.name]:
            return self._command(device, command, Reason.STOP)

    def _command(self, device: Device, command: Command, reason: Reason) -> EdgewiseError | None:
        """A command of the node itself: never a repetition, and valid for as long as a confirmation may take."""
        now_ns = self._clock.time_ns()
        key = f"{reason}/{device.name}/{self._run_id}/{next(self._count)}"
        problem: EdgewiseError | None = None
        try:
            device.apply(command, key=key, expires_ns=now_ns + int(device.settings.confirm_s * 1e9))
            self._done(device.name)
        except EdgewiseError as error:
            problem = error
        except Exception as error:  # whatever it is, the device may be where it should not
            logger.exception("%s failed", device.name)
            problem = EngineError(f"{device.name} failed: {error!r}", device=device.name)
        self._tell(Safety(device.name, type(command).__name__.lower(), reason, device.state, problem))
        return problem

    def _tell(self, safety: Safety) -> None:
        if safety.error and safety.device in self._stuck:
            return
        if safety.error:
            logger.warning("%s: %s; it is asked until it does", safety.device, safety.error)
            self._stuck.add(safety.device)
        try:
            self._told(safety)
        except Exception:
            logger.exception("what was done with %s could not be told", safety.device)

    def _schedule(self, name: str, after_s: float, reason: Reason, command: Command) -> None:
        with self._changed:
            if not self._ending:
                self._due[name] = _Due(self._clock.monotonic() + after_s, reason, command)
                self._changed.notify_all()

    def _take_due(self) -> list[str]:
        """Devices that have something due and that nobody brings there yet."""
        with self._changed:
            now = self._clock.monotonic()
            taken = [name for name, due in self._due.items() if due.at_s <= now and name not in self._trying]
            self._trying.update(taken)
            return taken

    def _attempt(self, name: str) -> None:
        try:
            with self._busy[name]:
                due = self._due.get(name)
                now = self._clock.monotonic()
                if due is None or due.at_s > now or self._ending:  # it was commanded meanwhile
                    return
                failed = self._command(self._devices[name], due.command, due.reason)
                with self._changed:
                    if failed:
                        self._due[name] = msgspec.structs.replace(due, at_s=self._clock.monotonic() + _RETRY_S)
                    else:
                        self._accepted[name] = due.command
                        self._due.pop(name, None)
                        self._stuck.discard(name)
        finally:
            with self._changed:
                self._trying.discard(name)
                self._changed.notify_all()

    def _keep(self) -> None:
        while True:
            for name in self._take_due():
                self._pool.submit(self._attempt, name)
            with self._changed:
                if self._closed:
                    return
                waiting = [due.at_s for name, due in self._due.items() if name not in self._trying]
                wait_s = max(0.0, min(waiting) - self._clock.monotonic()) if waiting else None
                self._changed.wait(wait_s)
