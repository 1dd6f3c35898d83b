"""Whether what comes through the broker comes at once.

Home Assistant gives its commands no time. So the node sends itself a beat through the same broker every second: while
the newest beat is old, or beats took long, something between here and there was held up (the broker, the connection,
this process), and a command that comes then may be as old.
"""

from __future__ import annotations

from edgewise._lib.clock import Clock

BEAT_S = 1.0
# A few beats may be late on a machine that is busy.
_OLDEST_S = 4.0
_SLOWEST_S = 2.0
# After a beat that took long, what was held up with it still comes for a moment.
_SETTLE_S = 3.0


class Pulse:
    """Beats that were sent and came back. ``take`` and ``fresh`` are called by the connection's thread.

    Args:
        clock: Its monotonic time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sent = float("-inf")
        self._settled = float("-inf")

    def beat(self) -> bytes:
        """What to send now."""
        return repr(self._clock.monotonic()).encode()

    def take(self, payload: bytes) -> None:
        """A beat came back."""
        now = self._clock.monotonic()
        try:
            sent = float(payload)
        except ValueError:  # somebody else's
            return
        if not 0 <= now - sent <= _SLOWEST_S:
            self._settled = now + _SETTLE_S
        if sent <= now:
            self._sent = max(self._sent, sent)

    def fresh(self) -> bool:
        """Whether what comes now was sent a moment ago."""
        now = self._clock.monotonic()
        return now - self._sent <= _OLDEST_S and now >= self._settled
