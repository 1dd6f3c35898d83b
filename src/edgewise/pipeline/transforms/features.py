"""What a piece of a series looks like: statistics and spectrum over windows, as readings of their own."""

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

Band = Annotated[tuple[float, float], Meta(description="From (inclusive) and to (exclusive), Hz.")]


class FeaturesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="features"):
    """Which windows, and which features.

    Attributes:
        size_s: Length of a window.
        rate_hz: Values a second that the spectrum is taken of; the series is brought to it by straight lines.
        every_s: From one window to the next; as long as a window (they do not overlap) when 0.
        stats: As of the transform ``window``.
        bands: Frequencies, by name, whose part of the energy is given (``vibration.band.NAME``).
        channels: Which channels; all numbers when empty.
        keep_raw: Whether the readings themselves go on as well.
        lateness_s: How much later than a newer reading an older one may come and still count.
        max_readings: Readings kept at most; the oldest make room, and are counted.
    """

    size_s: Seconds
    rate_hz: Annotated[float, Meta(gt=0, le=1e6)]
    every_s: SecondsOrNone = 0.0
    stats: Annotated[tuple[Annotated[str, Meta(pattern=STATISTIC)], ...], Meta(max_length=32)] = ("mean", "std", "rms")
    bands: Annotated[dict[str, tuple[float, float]], Meta(max_length=32)] = {}
    channels: Channels = ()
    keep_raw: bool = False
    lateness_s: SecondsOrNone = 0.0
    max_readings: MaxReadings = 100_000

    def __post_init__(self) -> None:
        from edgewise.series.spectrum import MIN_VALUES

        check_steps(self.size_s, self.every_s, long="size_s", short="every_s")
        if not MIN_VALUES <= self.size_s * self.rate_hz <= 1_000_000:
            raise ValueError(f"size_s x rate_hz must give {MIN_VALUES} to 1000000 values")
        for name, (low, high) in self.bands.items():
            if not 0 <= low < high:
                raise ValueError(f"band {name}: {low} Hz is not below {high} Hz")
            if low >= self.rate_hz / 2:
                raise ValueError(f"band {name}: a rate of {self.rate_hz} Hz says nothing above {self.rate_hz / 2} Hz")


class Features:
    """Keeps the ``Transform`` seam, ``Flushing`` and ``Counting``. A reading stands at the end of its window.

    A channel that fills less than half of a window's grid gets statistics, but no spectrum.
    """

    takes = frozenset({Gives.READING})
    Settings = FeaturesSettings
    name = "features"

    def __init__(self, settings: FeaturesSettings, tools: Tools | None = None) -> None:  # noqa: ARG002, it needs none
        self._settings = settings
        self._count = round(settings.size_s * settings.rate_hz)
        self._windows = Windows(
            size_ns=nanoseconds(settings.size_s),
            every_ns=nanoseconds(settings.every_s or settings.size_s),
            lateness_ns=nanoseconds(settings.lateness_s),
            max_readings=settings.max_readings,
        )
        self._sample: Sample | None = None

    def apply(self, observation: Observation) -> Observation:
        """Adds the features of the windows that the readings closed."""
        self._sample = observation.sample
        ready = list(observation.readings) if self._settings.keep_raw else []
        for reading in observation.readings:
            if values := numbers(reading, self._settings.channels):
                ready += [self._say(window, reading) for window in self._windows.add(reading.time_ns, values)]
        return with_readings(observation, ready)

    def flush(self) -> Observation | None:
        """The features of windows that the source's end closes."""
        if not isinstance(self._sample, Reading):
            return None
        return held(self._sample, [self._say(window, self._sample) for window in self._windows.flush()])

    def counts(self) -> Mapping[str, int]:
        """Readings that came too ``late`` for a window of theirs, and that were ``pushed_out`` of a full one."""
        return {"late": self._windows.late, "pushed_out": self._windows.dropped}

    def _say(self, window: Window, last: Reading) -> Reading:
        values: dict[str, float] = {}
        for channel, found in window.values.items():
            times = window.times_ns[channel]
            values |= {f"{channel}.{name}": statistic(name, times, found) for name in self._settings.stats}
            if len(found) >= max(2, self._count / 2):
                values |= {f"{channel}.{name}": value for name, value in self._spectrum(window, channel).items()}
        return Reading(last.source, last.number, window.end_ns, values)

    def _spectrum(self, window: Window, channel: str) -> dict[str, float]:
        from edgewise.series.spectrum import describe, evenly

        rate = self._settings.rate_hz
        even = evenly(
            window.times_ns[channel], window.values[channel], rate_hz=rate, end_ns=window.end_ns, count=self._count
        )
        return describe(even, rate, self._settings.bands)
