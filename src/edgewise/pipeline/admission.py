"""Which actions may act: in time, once, and not against somebody more binding.

Time. An action names the wall-clock time from which on it is too late, and where it is known the same moment by the
monotonic clock. Late by either is late: a wall clock that jumps ahead makes it refuse, one that is set back revives
nothing. Keys are remembered by the monotonic clock, for longer than any action may be valid, and on disk.

Holds. A command of ``app`` or ``parent`` holds its device for a while: what binds less is overruled until the time is
over or the hold is released. What leads to the device's fail-safe state is never overruled. While the process lives a
hold ends by the monotonic clock; after a restart by the wall clock, and never later than it was granted.
"""

from __future__ import annotations

import itertools
import logging
import threading

import msgspec

from edgewise._lib.clock import Clock
from edgewise.errors import BusyError, EdgewiseError, InputError
from edgewise.pipeline.base import Action, Hold, Origin, Status
from edgewise.pipeline.kinds import MAX_HOLD_S
from edgewise.pipeline.ledger import Ledger

# An action may not ask to stay valid longer than this. It bounds what is remembered, and after a wall clock was set
# back it refuses actions made before, which would look valid for a long time.
MAX_EXPIRY_S = 300.0
# A key is remembered this much longer than any action can be valid, so that a clock set back cannot revive one.
REMEMBER_S = 2 * MAX_EXPIRY_S
# Far more than people and rules produce in ten minutes; a flood beyond it is refused, not forgotten.
_MAX_KEYS = 20_000
_MAX_KEY_LENGTH = 1024

logger = logging.getLogger(__name__)
_HOLDING = frozenset({Origin.APP, Origin.PARENT})


class _Held(msgspec.Struct, frozen=True):
    hold: Hold
    ends_s: float


class Admission:
    """Decides which actions may act. Safe for threads.

    Args:
        clock: Both of its times are used.
        ledger: What survives a crash; of what was used before, every key counts as used now.
    """

    def __init__(self, clock: Clock, ledger: Ledger) -> None:
        self._clock = clock
        self._ledger = ledger
        self._lock = threading.Lock()
        now = clock.monotonic()
        self._seen = dict.fromkeys(ledger.keys(), now)
        self._held = {device: _Held(hold, now + self._left_s(hold)) for device, hold in ledger.holds().items()}

    def admit(self, action: Action, *, hold_s: float, safe: bool) -> Status:
        """``done`` if it may act now, else why not. From then on its key counts as used, and its hold holds.

        Args:
            action: What is wanted.
            hold_s: How long it holds its device.
            safe: It leads to the device's fail-safe state.

        Raises:
            InputError: It has no key, or wants to stay valid too long.
            BusyError: Too many keys are remembered.
            StorageFullError: The disk is full, so it could not be told apart from a repetition after a crash.
        """
        _check(action, hold_s)
        if self._late(action):
            return Status.EXPIRED
        with self._lock:
            now = self._clock.monotonic()
            self._forget(now)
            if action.key in self._seen:
                return Status.REPEATED
            before = self._hold(action.device, now)
            if before and before.origin.outranks(action.origin) and not safe:
                return Status.OVERRULED
            if len(self._seen) >= _MAX_KEYS:
                raise BusyError("Too many commands in ten minutes", limit=_MAX_KEYS)
            self._use(action, now, self._next_hold(action, before, hold_s))
        return Status.DONE

    def expires_ns(self, action: Action) -> int:
        """When an action is too late, by the wall clock of now, which may have been set since."""
        if action.deadline_s is None:
            return action.expires_ns
        left_s = action.deadline_s - self._clock.monotonic()
        return min(action.expires_ns, self._clock.time_ns() + int(left_s * 1e9))

    def release(self, action: Action, before: Hold | None) -> None:
        """An action that was admitted certainly did not act; it may be tried again, and ``before`` holds again."""
        with self._lock:
            self._seen.pop(action.key, None)
            self._ledger.give_back(action.key, device=action.device, hold=before)
            self._set(action.device, before, self._clock.monotonic() + (self._left_s(before) if before else 0))

    def confirm(self, device: str) -> None:
        """A device confirmed what it was told last."""
        try:
            self._ledger.confirm(device)
        except EdgewiseError as error:  # it acted all the same
            logger.warning("after a crash %s is brought where it is safe, though it confirmed: %s", device, error)

    def unconfirmed(self) -> set[str]:
        """Devices that a process before this one may have commanded and that have confirmed nothing since."""
        return self._ledger.unconfirmed()

    def hold(self, device: str) -> Hold | None:
        """Who holds a device now."""
        with self._lock:
            return self._hold(device, self._clock.monotonic())

    def end_hold(self, device: str) -> Hold | None:
        """Nobody holds the device any more; returns who did."""
        with self._lock:
            before = self._hold(device, self._clock.monotonic())
            if self._held.pop(device, None):
                self._ledger.hold(device, None)
            return before

    def _late(self, action: Action) -> bool:
        left_s = (action.expires_ns - self._clock.time_ns()) / 1e9
        if left_s <= 0 or (action.deadline_s is not None and self._clock.monotonic() >= action.deadline_s):
            return True
        if left_s > MAX_EXPIRY_S:
            raise InputError(
                f"An action may stay valid for {MAX_EXPIRY_S:.0f} s at most", limit=MAX_EXPIRY_S, actual=left_s
            )
        return False

    def _next_hold(self, action: Action, before: Hold | None, hold_s: float) -> tuple[Hold | None, float]:
        """Who holds the device once the action is done, and for how long."""
        now = self._clock.monotonic()
        if before and before.origin.outranks(action.origin):
            return before, self._held[action.device].ends_s
        if action.origin not in _HOLDING or hold_s <= 0:
            return None, now
        since_ns = self._clock.time_ns()
        return Hold(action.origin, action.cause, since_ns, since_ns + int(hold_s * 1e9)), now + hold_s

    def _use(self, action: Action, now: float, hold: tuple[Hold | None, float]) -> None:
        self._ledger.use(action.key, self._clock.time_ns(), device=action.device, hold=hold[0])
        self._seen[action.key] = now
        self._set(action.device, *hold)

    def _set(self, device: str, hold: Hold | None, ends_s: float) -> None:
        self._held.pop(device, None)
        if hold is not None:
            self._held[device] = _Held(hold, ends_s)

    def _hold(self, device: str, now: float) -> Hold | None:
        held = self._held.get(device)
        return held.hold if held and held.ends_s > now else None

    def _left_s(self, hold: Hold) -> float:
        granted_s = min((hold.until_ns - hold.since_ns) / 1e9, MAX_HOLD_S)
        return max(0.0, min((hold.until_ns - self._clock.time_ns()) / 1e9, granted_s))

    def _forget(self, now: float) -> None:
        # Keys stand in the order of their time.
        old = list(itertools.takewhile(lambda key: now - self._seen[key] > REMEMBER_S, self._seen))
        if old:
            self._ledger.forget(old)
        for key in old:
            del self._seen[key]


def _check(action: Action, hold_s: float) -> None:
    if not action.key:
        raise InputError("An action needs an idempotency key")
    if len(action.key) > _MAX_KEY_LENGTH:
        raise InputError("The idempotency key is too long", limit=_MAX_KEY_LENGTH, actual=len(action.key))
    if not 0 <= hold_s <= MAX_HOLD_S:
        raise InputError(f"A device may be held for {MAX_HOLD_S:.0f} s at most", limit=MAX_HOLD_S, actual=hold_s)
