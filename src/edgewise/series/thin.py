"""Thinning a series so that what is left out can be rebuilt within a stated bound.

A *thinner* takes the points of one channel in the order of time and gives those to be kept:

* ``DeadBand`` keeps a point that differs from the last kept one by more than the bound; rebuilt as steps.
* ``SwingingDoor`` keeps the corners of a line that passes every point within the bound (after E. H. Bristol, Swinging
  Door Trending: Adaptive Trend Recording, ISA National Conf. 1990); rebuilt by straight lines between kept points.

``rebuild`` is the decoder of both. At every time that was measured it differs from the measurement by at most the
bound, rounding included. Bristol's door alone promises only twice that for the point it ends on; here a point may end
a line only if that line passes all points before it within the bound.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

Method: TypeAlias = Literal["dead_band", "swinging_door"]

# Rounding errors of the cone test and of rebuilding together stay below this many units in the last place of the
# largest value of a line; the cone is narrower by as much.
_ROUNDING = 16 * 2.0**-52
# Below this, slopes lose digits (they would be subnormal): a smaller bound keeps all but flat stretches.
_LEAST_BOUND = 1e-280


class Point(NamedTuple):
    """A value at a time; None where it was missing."""

    time_ns: int
    value: float | None


class Thinner(Protocol):
    """Keeps some of a channel's points. Times must grow from call to call."""

    def add(self, time_ns: int, value: float | None) -> list[Point]:
        """Takes a point; the points that are to be kept now, in the order of time, not always this one."""
        ...

    def flush(self) -> list[Point]:
        """The point that must be kept because nothing follows."""
        ...


class DeadBand:
    """Keeps what differs from the last kept value by more than the bound.

    Args:
        bound: Largest error, in the channel's unit.
        max_gap_ns: A point is kept at the latest so long after the one before; 0 for no limit.
    """

    def __init__(self, bound: float, *, max_gap_ns: int = 0) -> None:
        self._bound = bound
        self._max_gap_ns = max_gap_ns
        self._kept: Point | None = None

    def add(self, time_ns: int, value: float | None) -> list[Point]:
        """See ``Thinner``."""
        kept = self._kept
        soon = kept is not None and (not self._max_gap_ns or time_ns - kept.time_ns < self._max_gap_ns)
        if kept is not None and soon and self._stands_for(kept, value):
            return []
        self._kept = Point(time_ns, value)
        return [self._kept]

    def flush(self) -> list[Point]:
        """See ``Thinner``; nothing is ever held back."""
        return []

    def _stands_for(self, kept: Point, value: float | None) -> bool:
        if kept.value is None or value is None:
            return kept.value is value
        return kept.value == value or abs(value - kept.value) <= self._bound


class SwingingDoor:
    """Keeps the corners of a line that passes every point within the bound.

    The line starts at the last kept point, the *pivot*. Every later point leaves a cone of slopes that pass it within
    the bound; while the next point lies inside the cone of all before it, a line can end there.

    Args:
        bound: Largest error, in the channel's unit.
        max_gap_ns: Longest line, where points come so often; 0 for no limit.
    """

    def __init__(self, bound: float, *, max_gap_ns: int = 0) -> None:
        self._bound = bound if bound > _LEAST_BOUND else 0.0
        self._max_gap_ns = max_gap_ns
        self._pivot: Point | None = None
        self._last: Point | None = None
        self._open(None)

    def add(self, time_ns: int, value: float | None) -> list[Point]:
        """See ``Thinner``."""
        point = Point(time_ns, value)
        pivot = self._pivot
        if pivot is None or (pivot.value is None) != (value is None):
            kept = [*self.flush(), point]
            self._open(point)
            return kept
        if value is None:
            return []
        if self._may_end_at(point):
            self._narrow(point)
            return []
        last = self._last  # the line ends at the point before, and the next one starts there
        self._open(last)
        if last is None or not self._may_end_at(point):
            kept = [] if last is None else [last]
            self._open(point)
            return [*kept, point]
        self._narrow(point)
        return [last]

    def flush(self) -> list[Point]:
        """See ``Thinner``."""
        last, self._last = self._last, None
        self._pivot = last or self._pivot
        return [] if last is None else [last]

    def _open(self, pivot: Point | None) -> None:
        self._pivot = pivot
        self._last = None
        self._low, self._high = -math.inf, math.inf
        self._flat = True
        self._largest = abs(pivot.value) if pivot and pivot.value is not None else 0.0

    def _may_end_at(self, point: Point) -> bool:
        start, value = self._pivot, point.value
        if start is None or start.value is None or value is None:
            return False
        length = point.time_ns - start.time_ns
        if length <= 0 or (self._max_gap_ns and length > self._max_gap_ns and self._last is not None):
            return False
        if self._flat and value == start.value:
            return True
        slope = (value - start.value) / length
        return math.isfinite(slope) and self._low <= slope <= self._high

    def _narrow(self, point: Point) -> None:
        start, value = self._pivot, point.value
        if start is None or start.value is None or value is None:
            return
        self._last = point
        self._flat = self._flat and value == start.value
        self._largest = max(self._largest, abs(value))
        room = self._bound - _ROUNDING * (self._largest + self._bound)
        length = point.time_ns - start.time_ns
        self._low = max(self._low, (value - room - start.value) / length)
        self._high = min(self._high, (value + room - start.value) / length)


def thinner(method: Method, bound: float, *, max_gap_ns: int = 0) -> Thinner:
    """A thinner by its name."""
    kind = DeadBand if method == "dead_band" else SwingingDoor
    return kind(bound, max_gap_ns=max_gap_ns)


def thin(points: Iterable[Point], method: Method, bound: float, *, max_gap_ns: int = 0) -> list[Point]:
    """The points of a whole series that are kept."""
    keeper = thinner(method, bound, max_gap_ns=max_gap_ns)
    kept = [point for time_ns, value in points for point in keeper.add(time_ns, value)]
    return kept + keeper.flush()


def rebuild(kept: Sequence[Point], times_ns: Iterable[int], method: Method) -> list[float | None]:
    """The series at the given times, from what was kept; None where it was missing or nothing is known yet."""
    starts = [point.time_ns for point in kept]
    return [_value(kept, bisect_right(starts, time_ns) - 1, time_ns, method) for time_ns in times_ns]


def _value(kept: Sequence[Point], place: int, time_ns: int, method: Method) -> float | None:
    if place < 0:
        return None
    before = kept[place]
    if method == "dead_band" or before.time_ns == time_ns or before.value is None or place + 1 == len(kept):
        return before.value
    after = kept[place + 1]
    if after.value is None:
        return before.value
    part = (time_ns - before.time_ns) / (after.time_ns - before.time_ns)
    return before.value + (after.value - before.value) * part
