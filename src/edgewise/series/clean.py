"""Finding what is wrong in a series, value by value, and what may stand in its place."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

# Turns the median absolute deviation of normal noise into its standard deviation.
MAD_TO_STD = 1.4826

LARGEST = 1e100
"""No sensor measures more; squares and sums of what is beyond would overflow."""


def median(ordered: Sequence[float]) -> float:
    """The median of sorted values."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def spread(ordered: Sequence[float], middle: float) -> float:
    """Robust standard deviation: 1.4826 times the median absolute deviation from ``middle``."""
    return MAD_TO_STD * median(sorted(abs(value - middle) for value in ordered))


class Hampel:
    """Says whether a value is far from those before it (Hampel 1974; Davies and Gather 1993).

    It looks at the last ``window`` values only, so that nothing has to wait, and those go in as they came: after a real
    step the new level is usual once it fills half of the window.

    Args:
        window: Values it remembers.
        deviations: How many robust standard deviations from the median are far.
        least: A deviation up to this is never far, whatever the spread: the sensor's resolution.
    """

    def __init__(self, *, window: int, deviations: float, least: float = 0.0) -> None:
        self._deviations = deviations
        self._least = least
        self._window = window
        self._recent: deque[float] = deque()
        self._ordered: list[float] = []

    def outlier(self, value: float) -> float | None:
        """The median of the values before it when this one is far from it, else None. The value is remembered."""
        found = self._far(value) if len(self._recent) >= max(3, self._window // 2) else None
        self._recent.append(value)
        insort(self._ordered, value)
        if len(self._recent) > self._window:
            del self._ordered[bisect_left(self._ordered, self._recent.popleft())]
        return found

    def _far(self, value: float) -> float | None:
        middle = median(self._ordered)
        limit = max(self._deviations * spread(self._ordered, middle), self._least)
        return middle if abs(value - middle) > limit else None


def between(before: tuple[int, float], after: tuple[int, float], time_ns: int) -> float:
    """The value on the line between two points ``(time_ns, value)``."""
    part = (time_ns - before[0]) / (after[0] - before[0])
    return before[1] + (after[1] - before[1]) * part


def is_number(value: object) -> bool:
    """Whether one can calculate with a value: it is no truth value and no text, not NaN, not beyond ``LARGEST``."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST
