"""When events were accepted, by the monotonic clock: what follows from them must not act late, whatever the wall clock
says.

A wall clock is set back, starts wrong after a boot, or stands where it was saved at the last shutdown; an event that
was seen before would then look fresh. So a command that follows from an event acts only if this very process accepted
the event, and for no longer than the command is valid, counted from then.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import msgspec

from edgewise._lib.clock import Clock
from edgewise.pipeline.base import Action

# Events of the last minutes; older ones are too late for any command.
_KEPT = 20_000


class Acceptances:
    """Times of the newest events. Safe for threads.

    Args:
        clock: Its monotonic time.
        before: Newest sequence when the process started: what is not newer was seen by another one.
    """

    def __init__(self, clock: Clock, *, before: int) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._times: OrderedDict[int, float] = OrderedDict()
        self._newest = before

    def accept(self, sequences: range) -> None:
        """These were accepted now."""
        now = self._clock.monotonic()
        with self._lock:
            self._times.update(dict.fromkeys(sequences, now))
            self._newest = max(self._newest, sequences[-1])
            while len(self._times) > _KEPT:
                self._times.popitem(last=False)

    def stamp(self, action: Action, *, sequence: int, time_ns: int) -> Action:
        """The action with its deadline: as long after the acceptance as ``expires_ns`` is after the event's time."""
        now = self._clock.monotonic()
        with self._lock:
            # One that is newer than all we know of was appended a moment ago and is about to be told to us.
            accepted = self._times.get(sequence, now if sequence > self._newest else None)
        if accepted is None:
            return msgspec.structs.replace(action, deadline_s=now)
        return msgspec.structs.replace(action, deadline_s=accepted + (action.expires_ns - time_ns) / 1e9)
