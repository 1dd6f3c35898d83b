"""A stretch of a series as one file: columns packed without loss, or thinned within bounds first. What that costs and
saves is measured on the way.

Layout: ``EWS1``, the length of the head (4 bytes, little endian), the head (MessagePack: method, and bound by channel),
then a block of ``edgewise._lib.columns``. Of a thinned channel it holds the kept values, and beside it, under the
channel's name and ``?``, which those are; all times are there, so that ``unpack`` gives a value for each.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import msgspec

from edgewise._lib.columns import Block, Value, decode, encode
from edgewise.errors import CorruptError, InputError, NotFoundError
from edgewise.series.clean import is_number
from edgewise.series.thin import Method, Point, rebuild, thin

MAGIC = b"EWS1"
_LENGTH = struct.Struct("<4sI")
_MASK = "?"


class Channel(msgspec.Struct, frozen=True):
    """What became of one channel.

    Attributes:
        name: Of the channel.
        values: Values that it had, missing ones not counted.
        kept: Values that are stored.
        bound: Largest error that was allowed; 0 where nothing was thinned.
        error: Largest error that unpacking makes, measured.
    """

    name: str
    values: int
    kept: int
    bound: float
    error: float


class Packed(msgspec.Struct, frozen=True):
    """A packed stretch with what was measured.

    Attributes:
        content: The file.
        rows: Times.
        plain_bytes: What 8 bytes for each time and value take.
        channels: Each channel.
    """

    content: bytes
    rows: int
    plain_bytes: int
    channels: tuple[Channel, ...]

    @property
    def ratio(self) -> float:
        """How many times smaller than plain."""
        return self.plain_bytes / len(self.content)


class _Head(msgspec.Struct, frozen=True):
    method: Method
    bounds: dict[str, float]


def pack(
    times_ns: Sequence[int],
    columns: Mapping[str, Sequence[Value]],
    *,
    bounds: Mapping[str, float] | None = None,
    method: Method = "swinging_door",
) -> Packed:
    """Packs a stretch, unpacks it again and compares.

    Args:
        times_ns: Nanoseconds since the Unix epoch; growing where something is thinned.
        columns: Per channel a value for each time.
        bounds: Largest error of channels that are thinned first; the others lose nothing.
        method: How they are thinned.

    Raises:
        InputError: A channel to be thinned holds something else than numbers, or times do not grow.
        NotFoundError: A bound is for no channel.
    """
    bounds = bounds or {}
    stored: dict[str, Sequence[Value]] = {}
    for name, values in columns.items():
        if name in bounds:
            stored[name], stored[name + _MASK] = _thinned(name, times_ns, values, bounds[name], method)
        else:
            stored[name] = values
    for name in bounds:
        if name not in columns:
            raise NotFoundError(f"There is no channel {name!r}", hint=f"Channels: {', '.join(columns)}.", name=name)
    head = msgspec.msgpack.encode(_Head(method, dict(bounds)))
    content = _LENGTH.pack(MAGIC, len(head)) + head + encode(times_ns, stored)
    found = unpack(content)
    channels = tuple(
        Channel(
            name,
            values=sum(value is not None for value in values),
            kept=sum(value is not None for value in stored[name]),
            bound=bounds.get(name, 0.0),
            error=_error(values, found.columns[name]),
        )
        for name, values in columns.items()
    )
    return Packed(content, len(times_ns), 8 * len(times_ns) * (1 + len(columns)), channels)


def unpack(content: bytes) -> Block:
    """A stretch from what ``pack`` made: exact, or within the bounds.

    Raises:
        CorruptError: It is no such file, or was damaged.
    """
    try:
        magic, length = _LENGTH.unpack_from(content)
        head = msgspec.msgpack.decode(content[_LENGTH.size : _LENGTH.size + length], type=_Head)
    except (struct.error, msgspec.MsgspecError) as error:
        raise CorruptError(f"This is no packed series: {error}", hint="They begin with EWS1.") from error
    if magic != MAGIC:
        raise CorruptError("This is no packed series", hint="They begin with EWS1.")
    block = decode(content[_LENGTH.size + length :])
    for name in head.bounds:
        values, mask = block.columns.get(name), block.columns.pop(name + _MASK, None)
        if values is None or mask is None:
            raise CorruptError(f"Channel {name!r} of this packed series is not whole")
        kept = [
            Point(time_ns, None if value is None else float(value))
            for time_ns, value, keep in zip(block.times_ns, values, mask, strict=True)
            if keep
        ]
        block.columns[name] = list(rebuild(kept, block.times_ns, head.method))
    return block


def _thinned(
    name: str, times_ns: Sequence[int], values: Sequence[Value], bound: float, method: Method
) -> tuple[list[Value], list[Value]]:
    """Kept values with None for the others, and which are kept."""
    points: list[Point] = []
    for time_ns, value in zip(times_ns, values, strict=True):
        if points and time_ns <= points[-1].time_ns:
            raise InputError("Times do not grow", hint="Sort the rows, and leave out those of the same time.")
        if value is not None and not is_number(value):
            raise InputError(f"Channel {name!r} holds {value!r}, which is no number", hint="Thin numbers only.")
        points.append(Point(time_ns, None if value is None else float(value)))
    keep = {point.time_ns for point in thin(points, method, bound)}
    mask: list[Value] = [time_ns in keep for time_ns in times_ns]
    return [point.value if point.time_ns in keep else None for point in points], mask


def _error(values: Sequence[Value], found: Sequence[Value]) -> float:
    """Largest difference of numbers; infinite where something else than a number differs."""
    worst = 0.0
    for value, other in zip(values, found, strict=True):
        if value is other or value == other or (value != value and other != other):
            continue
        both = isinstance(value, int | float) and isinstance(other, int | float)
        worst = max(worst, abs(value - other) if both else float("inf"))  # type: ignore[operator]
    return worst
