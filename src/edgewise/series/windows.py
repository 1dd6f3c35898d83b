"""Windows over readings in event time, and what can be said about the numbers in one.

A window ``[end - size, end)`` ends at a multiple of ``every`` since the epoch. It is closed once a reading came whose
time is ``lateness`` past its end: readings may come out of order by so much. One that comes later still is counted; it
stands only in windows that are open. What is said of a window is said at its end: nothing later is in it.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

# So many readings running that are late for every window mean that the clock behind them was set back (or one reading
# came from the future): what was open is closed and windows start anew, instead of nothing ever counting again.
_SET_BACK = 100


class Window(NamedTuple):
    """A closed window: per channel the times (nanoseconds since the Unix epoch) and values, in the order of time."""

    start_ns: int
    end_ns: int
    times_ns: dict[str, list[int]]
    values: dict[str, list[float]]


class Windows:
    """Puts readings into windows.

    Args:
        size_ns: Length of a window.
        every_ns: From one window's end to the next; at most ``size_ns``.
        lateness_ns: How much later than a newer reading an older one may come.
        max_readings: Readings kept at most; the oldest make room.

    Attributes:
        late: Readings that missed a window they belong to.
        dropped: Readings that made room for newer ones.
    """

    def __init__(self, *, size_ns: int, every_ns: int, lateness_ns: int = 0, max_readings: int = 100_000) -> None:
        self._size_ns = size_ns
        self._every_ns = every_ns
        self._lateness_ns = lateness_ns
        self._max_readings = max_readings
        self._kept: list[tuple[int, Mapping[str, float]]] = []
        self._newest_ns: int | None = None
        self._closed_ns: int | None = None
        self._late_running = 0
        self.late = 0
        self.dropped = 0

    def add(self, time_ns: int, values: Mapping[str, float]) -> list[Window]:
        """Takes a reading; the windows that it closes, oldest first. Windows without a reading are left out."""
        before: list[Window] = []
        if self._closed_ns is not None and self._first_end(time_ns) <= self._closed_ns:
            self.late += 1
            if self._last_end(time_ns) <= self._closed_ns:
                self._late_running += 1
                if self._late_running < _SET_BACK:
                    return []
                before = self._start_anew()
        self._late_running = 0
        insort(self._kept, (time_ns, values), key=itemgetter(0))
        if len(self._kept) > self._max_readings:
            del self._kept[0]
            self.dropped += 1
        self._newest_ns = time_ns if self._newest_ns is None else max(self._newest_ns, time_ns)
        return before + self._close(until_ns=self._newest_ns - self._lateness_ns)

    def flush(self) -> list[Window]:
        """Closes all windows that hold a reading, as at the end of a source."""
        return self._close(until_ns=None)

    def _first_end(self, time_ns: int) -> int:
        return (time_ns // self._every_ns + 1) * self._every_ns

    def _last_end(self, time_ns: int) -> int:
        return (time_ns + self._size_ns) // self._every_ns * self._every_ns

    def _start_anew(self) -> list[Window]:
        closed = self.flush()
        self._closed_ns = self._newest_ns = None
        return closed

    def _close(self, *, until_ns: int | None) -> list[Window]:
        closed = []
        while self._kept:
            end_ns = self._first_end(self._kept[0][0])
            if self._closed_ns is not None:
                end_ns = max(end_ns, self._closed_ns + self._every_ns)
            if until_ns is not None and end_ns > until_ns:
                break
            if window := self._window(end_ns):
                closed.append(window)
            self._closed_ns = end_ns
            self._forget(end_ns + self._every_ns - self._size_ns)
        if until_ns is not None:  # windows without a reading are closed too
            passed_ns = until_ns // self._every_ns * self._every_ns
            self._closed_ns = passed_ns if self._closed_ns is None else max(self._closed_ns, passed_ns)
        return closed

    def _window(self, end_ns: int) -> Window | None:
        start_ns = end_ns - self._size_ns
        times: dict[str, list[int]] = {}
        values: dict[str, list[float]] = {}
        for time_ns, reading in self._kept:
            if time_ns >= end_ns:
                break
            if time_ns >= start_ns:
                for name, value in reading.items():
                    times.setdefault(name, []).append(time_ns)
                    values.setdefault(name, []).append(value)
        return Window(start_ns, end_ns, times, values) if values else None

    def _forget(self, before_ns: int) -> None:
        place = 0
        while place < len(self._kept) and self._kept[place][0] < before_ns:
            place += 1
        del self._kept[:place]


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return math.fsum(values) / len(values)


def std(values: Sequence[float]) -> float:
    """Standard deviation of the values themselves (divided by n)."""
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / len(values))


def rms(values: Sequence[float]) -> float:
    """Root of the mean square."""
    return math.sqrt(math.fsum(value * value for value in values) / len(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """Value below which that part of the values lies; linear between neighbours, as ``numpy.percentile``."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def slope(times_ns: Sequence[int], values: Sequence[float]) -> float:
    """Change a second, by the line of least squares; 0 where all were measured at once."""
    middle_s = mean([(time_ns - times_ns[0]) / 1e9 for time_ns in times_ns])
    away = [(time_ns - times_ns[0]) / 1e9 - middle_s for time_ns in times_ns]
    spread = math.fsum(part * part for part in away)
    middle = mean(values)
    return (
        math.fsum(part * (value - middle) for part, value in zip(away, values, strict=True)) / spread if spread else 0.0
    )


_OF_VALUES: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": mean,
    "min": min,
    "max": max,
    "std": std,
    "rms": rms,
    "count": len,
    "sum": math.fsum,
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
}

STATISTIC = r"^(mean|min|max|std|rms|count|sum|slope|first|last|p([1-9]?\d|100))$"
"""Names of statistics: ``p95`` is the 95th percentile."""


def statistic(name: str, times_ns: Sequence[int], values: Sequence[float]) -> float:
    """One statistic of the values of a channel in a window.

    Args:
        name: Matches ``STATISTIC``.
        times_ns: When they were measured, nanoseconds since the Unix epoch.
        values: In the order of time, at least one.
    """
    if name == "slope":
        return slope(times_ns, values)
    if name in _OF_VALUES:
        return _OF_VALUES[name](values)
    return percentile(values, float(name[1:]))
