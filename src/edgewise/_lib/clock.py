"""Time as a value that is passed in, so that tests set it."""

import time
from typing import Protocol


class Clock(Protocol):
    """What a component needs to know of time."""

    def time_ns(self) -> int:
        """Wall clock: nanoseconds since the Unix epoch, UTC. May jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def time_ns(self) -> int:
        """Wall clock, nanoseconds since the Unix epoch."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is told to move. For tests and simulators."""

    def __init__(self, time_ns: int = 1_700_000_000_000_000_000) -> None:
        self._time_ns = time_ns
        self._monotonic = 0.0

    def time_ns(self) -> int:
        """The time it was set to."""
        return self._time_ns

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Moves both clocks forward."""
        self._time_ns += int(seconds * 1e9)
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Sets the wall clock forward or back; the monotonic one does not notice."""
        self._time_ns += int(seconds * 1e9)
