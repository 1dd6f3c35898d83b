"""What is usual for a channel, learned from a stretch of its own past, and how far from it a value is.

The usual value is a median, the usual spread 1.4826 times the median absolute deviation, so that faults in the stretch
that is learned from do little harm as long as they are rare. Where a channel follows another one (the power of a
turbine follows the wind), both are learned by bins of that other channel: the method of bins, as IEC 61400-12-1 takes
it for power curves, with medians for means.
"""

from __future__ import annotations

import math
import random

import msgspec

from edgewise.series.clean import median, spread

# Values kept of a bin. A median of so many is off by 0.08 standard deviations at most, nearly always.
_SAMPLES = 1000
# A bin with fewer says nothing.
_LEAST = 20


class Bin(msgspec.Struct, frozen=True):
    """What is usual in one bin."""

    median: float
    spread: float
    count: int


class Usual(msgspec.Struct, frozen=True):
    """What is usual: by bins of ``width`` of another channel, or in one bin (0) when the width is 0."""

    width: float
    bins: dict[int, Bin]

    def at(self, driver: float) -> tuple[float, float] | None:
        """Median and spread where the other channel has this value, linear between the middles of bins.

        None where too little was learned.
        """
        if not self.width:
            found = self.bins.get(0)
            return (found.median, found.spread) if found else None
        place = driver / self.width - 0.5
        low = math.floor(place)
        below, above = self.bins.get(low), self.bins.get(low + 1)
        if below is None or above is None:
            nearest = self.bins.get(math.floor(driver / self.width))
            return (nearest.median, nearest.spread) if nearest else None
        part = place - low
        return (
            below.median + (above.median - below.median) * part,
            below.spread + (above.spread - below.spread) * part,
        )


class Learner(msgspec.Struct):
    """Learns what is usual. Keeps an even sample of each bin (Vitter 1985, algorithm R), so its size is bounded.

    Attributes:
        width: Of a bin of the other channel; 0 for one bin.
        samples: Values by bin.
        seen: How many there were.
    """

    width: float
    samples: dict[int, list[float]] = {}
    seen: dict[int, int] = {}

    def add(self, value: float, driver: float = 0.0) -> None:
        """Takes a value, and that of the other channel at the same time."""
        place = math.floor(driver / self.width) if self.width else 0
        kept = self.samples.setdefault(place, [])
        self.seen[place] = count = self.seen.get(place, 0) + 1
        if len(kept) < _SAMPLES:
            kept.append(value)
        elif (chosen := random.Random(count * 2654435761 + place).randrange(count)) < _SAMPLES:  # noqa: S311, a sample
            kept[chosen] = value

    def usual(self) -> Usual:
        """What was learned so far; bins with little in them are left out."""
        bins = {}
        for place, kept in self.samples.items():
            if len(kept) >= _LEAST:
                ordered = sorted(kept)
                middle = median(ordered)
                bins[place] = Bin(middle, spread(ordered, middle), self.seen[place])
        return Usual(self.width, bins)


class Ewma:
    """Exponentially weighted moving average of what comes at any times (Roberts 1959).

    Args:
        constant_s: Time after which what was has lost two thirds of its weight; 0 takes each value as it is.
    """

    def __init__(self, constant_s: float) -> None:
        self._constant_ns = constant_s * 1e9
        self._time_ns: int | None = None
        self.value = 0.0

    def add(self, time_ns: int, value: float) -> float:
        """Takes a value; the new average. It starts at 0, and one value never has more than half of the weight."""
        if not self._constant_ns:
            self.value = value
            return value
        passed = 0 if self._time_ns is None else max(0, time_ns - self._time_ns)
        self._time_ns = time_ns
        self.value += min(0.5, 1 - math.exp(-passed / self._constant_ns)) * (value - self.value)
        return self.value
