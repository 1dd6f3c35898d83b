"""Readings without what is wrong in them: duplicates, values out of range, outliers, gaps. What was changed is counted.

Whatever is wrong becomes a missing value; ``missing`` says what stands in its place. Only numbers are looked at.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgewise.pipeline.base import Gives, Observation, Reading, Sample, Tools, Value
from edgewise.pipeline.readings import Channel, Channels, SecondsOrNone, held, nanoseconds, with_readings, with_values
from edgewise.series.clean import Hampel, between, is_number

# Readings whose times are remembered to know a duplicate by: senders repeat what was not acknowledged, soon.
_REMEMBERED = 256
# Readings that wait for the other end of a gap at most; more of them, and the oldest go on without the value.
_MAX_WAITING = 10_000


class OutlierSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a value is an outlier: far from the median of those before it (Hampel's rule).

    Attributes:
        window: Values before it that it is compared with.
        deviations: How many robust standard deviations (1.4826 times the median absolute deviation) are too far.
        least: A deviation up to this is none, in the channel's unit, by channel; such as the sensor's resolution.
    """

    window: Annotated[int, Meta(ge=3, le=1001)] = 11
    deviations: Annotated[float, Meta(gt=0, le=1000)] = 5.0
    least: dict[Channel, Annotated[float, Meta(ge=0)]] = {}


class CleanSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="clean"):
    """What is wrong, and what is done about it.

    Attributes:
        channels: Which channels; all when empty.
        duplicates: ``time``: a reading of the same time and channels as one before is left out; ``value``: one whose
            values all equal those of the reading before is left out, for ``max_gap_s`` at most.
        tolerance: How far apart equal values may be.
        range: Least and largest possible value by channel.
        outliers: When a value is an outlier; never when not set.
        missing: ``keep`` leaves missing values missing, ``drop`` removes the channel from the reading, ``hold`` puts
            the last good value there, ``linear`` waits for the next good value and draws a line.
        max_gap_s: Longest gap that is held or drawn over; a longer one is removed.
    """

    channels: Channels = ()
    duplicates: tuple[Literal["time", "value"], ...] = ("time",)
    tolerance: Annotated[float, Meta(ge=0)] = 0.0
    range: dict[Channel, tuple[float, float]] = {}
    outliers: OutlierSettings | None = None
    missing: Literal["keep", "drop", "hold", "linear"] = "keep"
    max_gap_s: SecondsOrNone = 60.0

    def __post_init__(self) -> None:
        for channel, (low, high) in self.range.items():
            if not low < high:
                raise ValueError(f"range of {channel}: {low} is not below {high}")


class _Waiting(msgspec.Struct):
    """A reading that waits for the values of the channels in ``gaps``."""

    reading: Reading
    values: dict[str, Value]
    gaps: set[str]


class Clean:
    """Keeps the ``Transform`` seam, ``Flushing`` and ``Counting``."""

    takes = frozenset({Gives.READING})
    Settings = CleanSettings
    name = "clean"

    def __init__(self, settings: CleanSettings, tools: Tools | None = None) -> None:  # noqa: ARG002, it needs none
        self._settings = settings
        self._max_gap_ns = nanoseconds(settings.max_gap_s)
        self._hampel: dict[str, Hampel] = {}
        self._good: dict[str, tuple[int, float]] = {}
        self._seen: deque[tuple[int, frozenset[str]]] = deque(maxlen=_REMEMBERED)
        self._before: Reading | None = None
        self._waiting: deque[_Waiting] = deque()
        self._counts: Counter[str] = Counter()
        self._sample: Sample | None = None

    def apply(self, observation: Observation) -> Observation:
        """Cleans the readings; the fact ``clean`` says what was changed in them, by channel and kind."""
        before = self._counts.copy()
        self._sample = observation.sample
        readings = [clean for reading in observation.readings for clean in self._take(reading)]
        changed = self._counts - before
        return with_readings(observation, readings, **({self.name: dict(changed)} if changed else {}))

    def flush(self) -> Observation | None:
        """Readings that wait for a value that will not come, without it."""
        return held(self._sample, self._release(until_ns=None))

    def counts(self) -> Mapping[str, int]:
        """What was found wrong and what was done, such as ``temperature.outlier`` and ``temperature.held``."""
        return dict(self._counts)

    def _take(self, reading: Reading) -> list[Reading]:
        if self._duplicate(reading):
            self._counts.update(f"{channel}.duplicate" for channel in reading.values)
            return []
        values = dict(reading.values)
        gaps: set[str] = set()
        for channel, value in reading.values.items():
            if self._settings.channels and channel not in self._settings.channels:
                continue
            wrong = self._wrong(channel, value)
            if wrong:
                self._counts[f"{channel}.{wrong}"] += 1
                self._replace(channel, values, gaps, reading.time_ns)
            elif is_number(value) and isinstance(value, int | float):
                self._accept(channel, float(value), reading.time_ns)
        self._waiting.append(_Waiting(reading, values, gaps))
        return self._release(until_ns=reading.time_ns - self._max_gap_ns)

    def _duplicate(self, reading: Reading) -> bool:
        key = (reading.time_ns, frozenset(reading.values))
        if "time" in self._settings.duplicates and key in self._seen:
            return True
        self._seen.append(key)
        before = self._before
        if "value" in self._settings.duplicates and before is not None:
            near = 0 <= reading.time_ns - before.time_ns <= self._max_gap_ns
            if near and self._equal(before.values, reading.values):
                return True
        self._before = reading
        return False

    def _equal(self, one: Mapping[str, Value], other: Mapping[str, Value]) -> bool:
        if one.keys() != other.keys():
            return False
        for channel, value in one.items():
            with_it = other[channel]
            if value == with_it:
                continue
            both = isinstance(value, int | float) and isinstance(with_it, int | float)
            if not both or abs(value - with_it) > self._settings.tolerance:  # type: ignore[operator]
                return False
        return True

    def _wrong(self, channel: str, value: Value) -> str:
        """What is wrong with a value: ``missing``, ``range``, ``outlier`` or nothing."""
        if value is None or (isinstance(value, float) and not is_number(value)):
            return "missing"
        if not is_number(value) or not isinstance(value, int | float):
            return ""
        low, high = self._settings.range.get(channel, (value, value))
        if not low <= value <= high:
            return "range"
        if (how := self._settings.outliers) is None:
            return ""
        if channel not in self._hampel:
            least = how.least.get(channel, 0.0)
            self._hampel[channel] = Hampel(window=how.window, deviations=how.deviations, least=least)
        return "" if self._hampel[channel].outlier(value) is None else "outlier"

    def _replace(self, channel: str, values: dict[str, Value], gaps: set[str], time_ns: int) -> None:
        """Puts something in the place of a wrong value, or notes that it must be waited for."""
        good = self._good.get(channel)
        near = good is not None and 0 <= time_ns - good[0] <= self._max_gap_ns
        values[channel] = None
        if self._settings.missing == "hold" and good is not None and near:
            values[channel] = good[1]
            self._counts[f"{channel}.held"] += 1
        elif self._settings.missing == "linear" and near:
            gaps.add(channel)
        elif self._settings.missing != "keep":
            self._drop(channel, values)

    def _drop(self, channel: str, values: dict[str, Value]) -> None:
        del values[channel]
        self._counts[f"{channel}.dropped"] += 1

    def _accept(self, channel: str, value: float, time_ns: int) -> None:
        """A good value: it is the other end of the gaps that wait for one."""
        before, after = self._good.get(channel), (time_ns, value)
        self._good[channel] = after
        if before is None:
            return
        for waiting in self._waiting:
            if channel in waiting.gaps:
                waiting.gaps.remove(channel)
                if before[0] < waiting.reading.time_ns < time_ns <= before[0] + self._max_gap_ns:
                    waiting.values[channel] = between(before, after, waiting.reading.time_ns)
                    self._counts[f"{channel}.interpolated"] += 1
                else:
                    self._drop(channel, waiting.values)

    def _release(self, *, until_ns: int | None) -> list[Reading]:
        """Readings that need not wait longer, in the order they came; those with nothing left in them vanish."""
        ready = []
        while self._waiting:
            first = self._waiting[0]
            patient = until_ns is not None and first.reading.time_ns >= until_ns and len(self._waiting) <= _MAX_WAITING
            if first.gaps and patient:
                break
            self._waiting.popleft()
            for channel in sorted(first.gaps):
                self._drop(channel, first.values)
            if first.values:
                ready.append(with_values(first.reading, first.values))
        return ready
