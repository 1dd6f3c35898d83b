"""What transforms of readings share: names of channels, bounds of times, and what a transform holds back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from edgewise.pipeline.base import Observation, Reading, Sample, Value
from edgewise.series.clean import is_number

Channel: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
Channels: TypeAlias = Annotated[tuple[Channel, ...], Meta(max_length=1024)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0.001, le=366 * 86400)]
SecondsOrNone: TypeAlias = Annotated[float, Meta(ge=0, le=366 * 86400)]
MaxReadings: TypeAlias = Annotated[int, Meta(ge=2, le=1_000_000)]


# Windows that a reading may stand in, or new readings between two: more take the processor away from all else.
MAX_STEPS = 10_000


def check_steps(long_s: float, short_s: float, *, long: str, short: str) -> None:
    """Refuses settings by which one reading would cause too much work; ``short_s`` may be 0 for not set.

    Raises:
        ValueError: They are such, or ``short_s`` is longer than ``long_s``.
    """
    if short_s > long_s:
        raise ValueError(f"{short} is longer than {long}")
    if short_s and long_s / short_s > MAX_STEPS:
        raise ValueError(f"{long} is more than {MAX_STEPS} times {short}")


def numbers(reading: Reading, channels: Collection[str] = ()) -> dict[str, float]:
    """The numbers of a reading, of these channels (all when empty). Truth values, texts and missing ones are none."""
    return {
        name: float(value)
        for name, value in reading.values.items()
        if (not channels or name in channels) and is_number(value) and isinstance(value, int | float)
    }


def with_values(reading: Reading, values: Mapping[str, Value]) -> Reading:
    """The reading with other values."""
    return msgspec.structs.replace(reading, values=values)


def with_readings(observation: Observation, readings: Sequence[Reading], **facts: object) -> Observation:
    """The observation with other readings and more facts."""
    merged = {**observation.facts, **facts} if facts else observation.facts
    return msgspec.structs.replace(observation, readings=tuple(readings), facts=merged)


def held(sample: Sample | None, readings: Sequence[Reading]) -> Observation | None:
    """What was held back, as ``Flushing`` gives it out; None when nothing was."""
    return Observation(sample, readings=tuple(readings)) if sample is not None and readings else None


def nanoseconds(seconds: float) -> int:
    """A time of the settings as times of samples count."""
    return round(seconds * 1e9)
