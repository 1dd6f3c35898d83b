"""Statistics of readings over windows, as readings of their own: ``temperature`` becomes ``temperature.mean``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

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
from edgewise.series.windows import STATISTIC, Window, Windows, statistic

Statistic = Annotated[str, Meta(pattern=STATISTIC)]


class WindowSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="window"):
    """Which windows, and what is said of them.

    Attributes:
        size_s: Length of a window.
        every_s: From one window to the next; as long as a window (they do not overlap) when 0.
        stats: ``mean``, ``min``, ``max``, ``std``, ``rms``, ``count``, ``sum``, ``slope`` (a second), ``first``,
            ``last``, ``p0`` to ``p100`` (percentiles).
        channels: Which channels; all numbers when empty.
        keep_raw: Whether the readings themselves go on as well.
        lateness_s: How much later than a newer reading an older one may come and still count.
        min_count: Values that a channel must have in a window to be spoken of.
        max_readings: Readings kept at most; the oldest make room, and are counted.
    """

    size_s: Seconds
    stats: Annotated[tuple[Statistic, ...], Meta(min_length=1, max_length=32)]
    every_s: SecondsOrNone = 0.0
    channels: Channels = ()
    keep_raw: bool = False
    lateness_s: SecondsOrNone = 0.0
    min_count: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    max_readings: MaxReadings = 100_000

    def __post_init__(self) -> None:
        check_steps(self.size_s, self.every_s, long="size_s", short="every_s")


class WindowTransform:
    """Keeps the ``Transform`` seam, ``Flushing`` and ``Counting``. A reading stands at the end of its window."""

    takes = frozenset({Gives.READING})
    Settings = WindowSettings
    name = "window"

    def __init__(self, settings: WindowSettings, tools: Tools | None = None) -> None:  # noqa: ARG002, it needs none
        self._settings = settings
        self._windows = Windows(
            size_ns=nanoseconds(settings.size_s),
            every_ns=nanoseconds(settings.every_s or settings.size_s),
            lateness_ns=nanoseconds(settings.lateness_s),
            max_readings=settings.max_readings,
        )
        self._sample: Sample | None = None

    def apply(self, observation: Observation) -> Observation:
        """Adds what is to be said of the windows that the readings closed."""
        self._sample = observation.sample
        ready = list(observation.readings) if self._settings.keep_raw else []
        for reading in observation.readings:
            if values := numbers(reading, self._settings.channels):
                closed = self._windows.add(reading.time_ns, values)
                ready += [said for window in closed if (said := self._say(window, reading))]
        return with_readings(observation, ready)

    def flush(self) -> Observation | None:
        """What is to be said of windows that the source's end closes."""
        if not isinstance(self._sample, Reading):
            return None
        closed = self._windows.flush()
        return held(self._sample, [said for window in closed if (said := self._say(window, self._sample))])

    def counts(self) -> Mapping[str, int]:
        """Readings that came too ``late`` for a window of theirs, and that were ``pushed_out`` of a full one."""
        return {"late": self._windows.late, "pushed_out": self._windows.dropped}

    def _say(self, window: Window, last: Reading) -> Reading | None:
        values = {
            f"{channel}.{name}": statistic(name, window.times_ns[channel], found)
            for channel, found in window.values.items()
            if len(found) >= self._settings.min_count
            for name in self._settings.stats
        }
        return Reading(last.source, last.number, window.end_ns, values) if values else None
