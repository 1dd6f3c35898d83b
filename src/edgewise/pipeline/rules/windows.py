"""Recent history in bounded memory: what ``avg(temperature, "5m")`` and its kin look at.

A series keeps each value by itself as long as there are few; of many, neighbours in time are joined, so that memory
and work are bounded whatever the rate. While a window holds no more than ``EXACT`` values its functions are exact;
beyond, its old edge lies up to 1/256 of the window too far back. A window at time *t* is everything in
``(t - window, t]``, by the time of the samples, in whatever order they came.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

EXACT = 512
_PARTS = 256


class Cell(NamedTuple):
    """One value, or several that were joined: ``mean_ns`` is the mean of their times."""

    start_ns: int
    mean_ns: float
    samples: int
    total: float
    low: float
    high: float
    first: float
    last: float


class Series:
    """The values of one channel, or the events of one kind, over one window.

    Args:
        window_ns: Length of the window.
    """

    __slots__ = ("_cells", "_times", "_window_ns")

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._times: list[int] = []  # the newest time of each cell
        self._cells: list[Cell] = []

    def __len__(self) -> int:
        return len(self._cells)

    def add(self, time_ns: int, value: float) -> None:
        """Takes a value in; one that comes late finds its place."""
        cell = Cell(time_ns, time_ns, 1, value, value, value, value, value)
        if not self._times or time_ns >= self._times[-1]:
            self._times.append(time_ns)
            self._cells.append(cell)
        else:
            place = bisect.bisect_right(self._times, time_ns)
            self._times.insert(place, time_ns)
            self._cells.insert(place, cell)
        if len(self._cells) > EXACT:
            self._compact(time_ns)

    def cells(self, now_ns: int) -> Sequence[Cell]:
        """What lies in the window that ends now."""
        first = bisect.bisect_right(self._times, now_ns - self._window_ns)
        if self._times and self._times[-1] <= now_ns:
            return self._cells[first:]
        return self._cells[first : bisect.bisect_right(self._times, now_ns)]

    def _compact(self, now_ns: int) -> None:
        """Forgets what is past, then joins what lies in one 256th of the window."""
        keep = bisect.bisect_right(self._times, now_ns - self._window_ns)
        quantum = max(1, self._window_ns // _PARTS)
        times: list[int] = []
        cells: list[Cell] = []
        for time_ns, cell in zip(self._times[keep:], self._cells[keep:], strict=True):
            if times and times[-1] // quantum == time_ns // quantum:
                times[-1], cells[-1] = time_ns, _joined(cells[-1], cell)
            else:
                times.append(time_ns)
                cells.append(cell)
        # A clock that jumped may have left values far apart; the newest are the ones that count.
        self._times, self._cells = times[-(_PARTS + 2) :], cells[-(_PARTS + 2) :]


class Latest:
    """The newest value of a channel, and when it last became another one."""

    __slots__ = ("changed", "changed_ns", "time_ns", "value")

    def __init__(self, time_ns: int, value: object) -> None:
        self.time_ns = time_ns
        self.value = value
        self.changed = False
        self.changed_ns: int | None = None

    def add(self, time_ns: int, value: object) -> None:
        """Takes a value in; one that is older than the newest changes nothing."""
        if time_ns < self.time_ns:
            return
        self.changed = value != self.value
        if self.changed:
            self.changed_ns = time_ns
        self.time_ns, self.value = time_ns, value


Reduce: TypeAlias = Callable[[Sequence[Cell]], float | None]


def slope(cells: Sequence[Cell]) -> float | None:
    """Rise a second of the straight line that fits best (least squares); None for fewer than two times."""
    if not cells:
        return None
    origin = cells[0].start_ns
    points = [((cell.mean_ns - origin) / 1e9, cell.total / cell.samples, cell.samples) for cell in cells]
    count = sum(weight for _, _, weight in points)
    middle_t = math.fsum(t * weight for t, _, weight in points) / count
    middle_v = math.fsum(v * weight for _, v, weight in points) / count
    spread = math.fsum(weight * (t - middle_t) ** 2 for t, _, weight in points)
    if spread == 0:
        return None
    return math.fsum(weight * (t - middle_t) * (v - middle_v) for t, v, weight in points) / spread


def count(cells: Sequence[Cell]) -> int:
    """How many values."""
    return sum(cell.samples for cell in cells)


REDUCE: dict[str, Reduce] = {
    "avg": lambda cells: math.fsum(cell.total for cell in cells) / count(cells) if cells else None,
    "min": lambda cells: min((cell.low for cell in cells), default=None),
    "max": lambda cells: max((cell.high for cell in cells), default=None),
    "sum": lambda cells: math.fsum(cell.total for cell in cells),
    "samples": count,
    "slope": slope,
    "delta": lambda cells: cells[-1].last - cells[0].first if cells else None,
}
"""Functions of the values in a window; None where there is no answer, such as the mean of nothing."""


def _joined(one: Cell, other: Cell) -> Cell:
    total = one.samples + other.samples
    return Cell(
        min(one.start_ns, other.start_ns),
        (one.mean_ns * one.samples + other.mean_ns * other.samples) / total,
        total,
        one.total + other.total,
        min(one.low, other.low),
        max(one.high, other.high),
        one.first,
        other.last,
    )
