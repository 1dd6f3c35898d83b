"""Fewer readings that say the same within a stated bound: dead band, or swinging door. ``edgewise.series.thin``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from edgewise.pipeline.base import Gives, Observation, Reading, Sample, Tools, Value
from edgewise.pipeline.readings import Channel, SecondsOrNone, held, nanoseconds, with_readings, with_values
from edgewise.series.clean import is_number
from edgewise.series.thin import Method, Point, Thinner, thinner

Bound = Annotated[float, Meta(ge=0, le=1e12)]


class ThinSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="thin"):
    """How exact what is kept must be.

    Attributes:
        bounds: Largest error by channel, in its unit. Channels that are not named go on as they are.
        method: ``dead_band`` keeps what changed by more than the bound; ``swinging_door`` keeps the corners of a line
            within the bound, which is fewer where a series rises and falls, but comes a corner late.
        max_gap_s: At the latest so long after a kept value the next one is kept; 0 for no limit.
    """

    bounds: Annotated[dict[Channel, Bound], Meta(min_length=1, max_length=1024)]
    method: Method = "swinging_door"
    max_gap_s: SecondsOrNone = 3600.0


class Thin:
    """Keeps the ``Transform`` seam, ``Flushing`` and ``Counting``.

    What is kept of a channel goes on in the order of time and with its own time, which with ``swinging_door`` is
    earlier than the sample's. A value that is not later than the one before is left out and counted: the bound holds
    for values in order.
    """

    takes = frozenset({Gives.READING})
    Settings = ThinSettings
    name = "thin"

    def __init__(self, settings: ThinSettings, tools: Tools | None = None) -> None:  # noqa: ARG002, it needs none
        gap_ns = nanoseconds(settings.max_gap_s)
        self._thinners: dict[str, Thinner] = {
            channel: thinner(settings.method, bound, max_gap_ns=gap_ns) for channel, bound in settings.bounds.items()
        }
        self._newest_ns: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._sample: Sample | None = None

    def apply(self, observation: Observation) -> Observation:
        """Keeps what must be kept."""
        self._sample = observation.sample
        readings = [kept for reading in observation.readings for kept in self._take(reading)]
        return with_readings(observation, readings)

    def flush(self) -> Observation | None:
        """The ends of the lines."""
        if not isinstance(self._sample, Reading):
            return None
        ends = {channel: keeper.flush() for channel, keeper in self._thinners.items()}
        return held(self._sample, self._joined(self._sample, ends, {}))

    def counts(self) -> Mapping[str, int]:
        """Values ``taken`` and ``kept`` by channel, and those that came too ``late``."""
        return dict(self._counts)

    def _take(self, reading: Reading) -> list[Reading]:
        plain: dict[str, Value] = {}
        kept: dict[str, list[Point]] = {}
        for channel, value in reading.values.items():
            keeper = self._thinners.get(channel)
            number = float(value) if is_number(value) and isinstance(value, int | float) else None
            if keeper is None or (number is None and value is not None):
                plain[channel] = value
                continue
            self._counts[f"{channel}.taken"] += 1
            if reading.time_ns <= self._newest_ns.get(channel, reading.time_ns - 1):
                self._counts[f"{channel}.late"] += 1
                continue
            self._newest_ns[channel] = reading.time_ns
            kept[channel] = keeper.add(reading.time_ns, number)
        return self._joined(reading, kept, plain)

    def _joined(self, last: Reading, kept: Mapping[str, list[Point]], plain: dict[str, Value]) -> list[Reading]:
        """One reading for each time."""
        at: dict[int, dict[str, Value]] = {last.time_ns: plain} if plain else {}
        for channel, points in kept.items():
            self._counts[f"{channel}.kept"] += len(points)
            for point in points:
                at.setdefault(point.time_ns, {})[channel] = point.value
        return [
            with_values(msgspec.structs.replace(last, time_ns=time_ns), values)
            for time_ns, values in sorted(at.items())
        ]
