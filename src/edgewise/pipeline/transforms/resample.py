"""Readings at fixed times, whatever times they came at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgewise.pipeline.base import Gives, Observation, Reading, Sample, Tools
from edgewise.pipeline.readings import (
    Channels,
    MaxReadings,
    Seconds,
    SecondsOrNone,
    check_steps,
    held,
    nanoseconds,
    numbers,
    with_readings,
)
from edgewise.series.clean import between
from edgewise.series.windows import Windows, statistic


class ResampleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="resample"):
    """The new interval, and how values get there.

    Attributes:
        interval_s: Readings stand at its multiples since the epoch.
        method: ``mean``, ``last``, ``max`` or ``min`` of the interval that ends there, or ``linear`` between the
            values before and after.
        channels: Which channels; all numbers when empty. Others do not go on.
        lateness_s: How much later than a newer reading an older one may come and still count; not with ``linear``.
        max_gap_s: With ``linear``: no line is drawn between values further apart.
        max_readings: Readings kept at most; the oldest make room, and are counted.
    """

    interval_s: Seconds
    method: Literal["mean", "last", "max", "min", "linear"] = "mean"
    channels: Channels = ()
    lateness_s: SecondsOrNone = 0.0
    max_gap_s: Annotated[float, Meta(gt=0, le=366 * 86400)] = 3600.0
    max_readings: MaxReadings = 100_000

    def __post_init__(self) -> None:
        if self.method == "linear":
            check_steps(self.max_gap_s, self.interval_s, long="max_gap_s", short="interval_s")


class Resample:
    """Keeps the ``Transform`` seam, ``Flushing`` and ``Counting``."""

    takes = frozenset({Gives.READING})
    Settings = ResampleSettings
    name = "resample"

    def __init__(self, settings: ResampleSettings, tools: Tools | None = None) -> None:  # noqa: ARG002, it needs none
        self._settings = settings
        self._interval_ns = nanoseconds(settings.interval_s)
        self._windows = Windows(
            size_ns=self._interval_ns,
            every_ns=self._interval_ns,
            lateness_ns=nanoseconds(settings.lateness_s),
            max_readings=settings.max_readings,
        )
        self._before: dict[str, tuple[int, float]] = {}
        self._counts = {"late": 0, "gap": 0}
        self._sample: Sample | None = None

    def apply(self, observation: Observation) -> Observation:
        """The readings at the new times that are known now."""
        self._sample = observation.sample
        take = self._line if self._settings.method == "linear" else self._gather
        return with_readings(observation, [new for reading in observation.readings for new in take(reading)])

    def flush(self) -> Observation | None:
        """The interval that the source's end closes."""
        if not isinstance(self._sample, Reading):
            return None
        return held(self._sample, self._close(self._sample, None))

    def counts(self) -> Mapping[str, int]:
        """Readings that came too ``late``, were ``pushed_out`` of a full interval, and each ``gap`` left open."""
        late = self._counts["late"] + self._windows.late
        return {"late": late, "pushed_out": self._windows.dropped, "gap": self._counts["gap"]}

    def _gather(self, reading: Reading) -> list[Reading]:
        values = numbers(reading, self._settings.channels)
        return self._close(reading, values) if values else []

    def _close(self, last: Reading, values: Mapping[str, float] | None) -> list[Reading]:
        closed = self._windows.flush() if values is None else self._windows.add(last.time_ns, values)
        return [
            Reading(
                last.source,
                last.number,
                window.end_ns,
                {
                    channel: statistic(self._settings.method, window.times_ns[channel], found)
                    for channel, found in window.values.items()
                },
            )
            for window in closed
        ]

    def _line(self, reading: Reading) -> list[Reading]:
        """Values at the multiples of the interval between the values before and these."""
        at: dict[int, dict[str, float]] = {}
        for channel, value in numbers(reading, self._settings.channels).items():
            after = (reading.time_ns, value)
            before = self._before.get(channel)
            if before is not None and reading.time_ns <= before[0]:
                self._counts["late"] += 1
                continue
            self._before[channel] = after
            if before is None or reading.time_ns - before[0] > nanoseconds(self._settings.max_gap_s):
                self._counts["gap"] += before is not None
                if reading.time_ns % self._interval_ns == 0:
                    at.setdefault(reading.time_ns, {})[channel] = value
                continue
            first = (before[0] // self._interval_ns + 1) * self._interval_ns
            for time_ns in range(first, reading.time_ns + 1, self._interval_ns):
                at.setdefault(time_ns, {})[channel] = between(before, after, time_ns)
        return [Reading(reading.source, reading.number, time_ns, values) for time_ns, values in sorted(at.items())]
