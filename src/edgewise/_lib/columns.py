"""Readings as compressed columns: the codec in which a stretch of a series is kept or sent. Lossless, bit for bit.

Layout of a block: ``EWC1``, the CRC-32 of all that follows and the length of the head (4 bytes each, little endian),
the head (MessagePack), then the parts of all columns, each a zstd frame. Per column the cheapest of a few transforms is
taken:

* whole numbers: as they are, differences, or differences of differences, in zigzag, as few bytes as they need;
* floats: decimals that are exact after scaling (ALP, Afroozeh, Kuffó and Boncz 2023, doi:10.1145/3626717), with the
  few that are not beside them; their ranks among the values that occur, which stay close where values do; or their
  bits, XORed with the value before (Gorilla, Pelkonen et al. 2015) or not;
* bytes of equal weight stand together (shuffle), which is what lets zstd find them.

Missing values are a bit each. NaN is a value, with its payload.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from edgewise.errors import CorruptError, InputError, TooLargeError

Value: TypeAlias = float | int | bool | str | None

MAGIC = b"EWC1"
MAX_ROWS = 1 << 24
"""Rows of a block at most."""

MAX_COLUMNS = 4096
"""Channels of a block at most."""

MAX_BYTES = 1 << 30
"""What a block may take in memory, unpacked, unless the caller allows less."""

_LEVEL = 12
_MAX_STEPS = 2
# A value in a list, and its place there, about.
_VALUE_BYTES = 40
_START = struct.Struct("<4sII")
_LENGTH = struct.Struct("<I")
_MAX_HEAD_BYTES = 1 << 20
# Decimals worth trying: a sensor gives six, coordinates seven, what was once a float32 eight.
_DECIMALS = range(9)
# A scaled decimal beyond it would not be exact in a double.
_EXACT = float(1 << 53)
# More decimals that do not fit than this part, and their places cost more than the bits as they are.
_EXCEPTIONS = 0.2
# More different values than this part, and a table of them costs more than it saves.
_RANKED = 0.8
_INT64 = range(-(1 << 63), 1 << 63)

_Words: TypeAlias = npt.NDArray[np.uint64]


class Block(NamedTuple):
    """Readings: times (nanoseconds since the Unix epoch) and, per channel, one value for each time."""

    times_ns: list[int]
    columns: dict[str, list[Value]]


class _Part(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a column: ``steps`` differences were taken, each number is ``width`` bytes wide."""

    size: int
    count: int
    width: int
    steps: int = 0


class _Column(msgspec.Struct, frozen=True, array_like=True):
    """A column: how its values are written, and its parts in the order they stand."""

    name: str
    kind: Literal["int", "decimal", "rank", "bits", "bool", "mixed"]
    parts: tuple[_Part, ...]
    masked: bool = False
    decimals: int = 0


class _Head(msgspec.Struct, frozen=True, array_like=True):
    rows: int
    times: tuple[_Part, ...]
    columns: tuple[_Column, ...]
    ragged: bool = False


def encode(
    times_ns: Sequence[int], columns: Mapping[str, Sequence[Value]], *, level: int = _LEVEL, ragged: bool = False
) -> bytes:
    """Packs readings.

    Args:
        times_ns: Nanoseconds since the Unix epoch, in any order.
        columns: Per channel as many values as there are times.
        level: Of zstd: 3 takes a third of the time of the default and some bytes more.
        ragged: Channels may have fewer values than there are times; the caller knows which times they belong to.

    Raises:
        InputError: Columns differ in length, or a number is beyond 64 bits.
        TooLargeError: More than ``MAX_ROWS`` or ``MAX_COLUMNS``.
    """
    rows = len(times_ns)
    if rows > MAX_ROWS or len(columns) > MAX_COLUMNS:
        raise TooLargeError("Too much for one block", limit=MAX_ROWS, actual=rows)
    for name, values in columns.items():
        if len(values) > rows or (len(values) < rows and not ragged):
            raise InputError(f"Column {name!r} has {len(values)} values for {rows} times")
    writer = _Writer(level)
    with_times, body = writer.whole(np.asarray(times_ns, np.int64))
    described = []
    for name, values in columns.items():
        column, parts = writer.column(name, values)
        described.append(column)
        body += parts
    head = msgspec.msgpack.encode(_Head(rows, with_times, tuple(described), ragged))
    content = b"".join((_LENGTH.pack(len(head)), head, *body))
    return MAGIC + _LENGTH.pack(zlib.crc32(content)) + content


def decode(block: bytes, *, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> Block:
    """Unpacks what ``encode`` packed.

    Args:
        block: What was packed.
        max_rows: Times at most.
        max_bytes: What it may take in memory, about.

    Raises:
        CorruptError: It is no such block, or was damaged.
        TooLargeError: It claims more than it may.
    """
    try:
        head, start = _read_head(block, max_rows)
        reader = _Reader(block, start, rows=head.rows, budget=max_bytes)
        times = [int(time) for time in reader.whole(head.times).tolist()]
        columns = {column.name: _values(column, reader) for column in head.columns}
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError, IndexError, struct.error) as error:
        raise CorruptError(f"This is no intact block of readings: {error}", hint="Fetch it again.") from error
    lengths = {len(values) for values in columns.values() if not head.ragged or len(values) > head.rows}
    if len(times) != head.rows or lengths - {head.rows}:
        raise CorruptError("This is no intact block of readings: its columns differ in length", hint="Fetch it again.")
    return Block(times, columns)


def _read_head(block: bytes, max_rows: int) -> tuple[_Head, int]:
    if block[:4] != MAGIC:
        raise CorruptError("This is no block of readings", hint="They begin with EWC1.")
    _, checksum, length = _START.unpack_from(block)
    if zlib.crc32(memoryview(block)[8:]) != checksum:
        raise CorruptError("This block of readings is damaged: its checksum is wrong", hint="Fetch it again.")
    if length > _MAX_HEAD_BYTES:
        raise TooLargeError("The head of this block is too large", limit=_MAX_HEAD_BYTES, actual=length)
    head = msgspec.msgpack.decode(block[_START.size : _START.size + length], type=_Head)
    if not 0 <= head.rows <= max_rows or len(head.columns) > MAX_COLUMNS:
        raise TooLargeError("This block claims too many readings", limit=max_rows, actual=head.rows)
    return head, _START.size + length


class _Writer:
    """Writes columns, each in the cheapest way."""

    def __init__(self, level: int) -> None:
        self._compressor = zstandard.ZstdCompressor(level=level)

    def column(self, name: str, values: Sequence[Value]) -> tuple[_Column, list[bytes]]:
        """The cheapest way to write a column, and its parts."""
        present = [value for value in values if value is not None]
        masked = len(present) < len(values)
        mask, bits = self._mask(values) if masked else ((), [])
        kinds = {type(value) for value in present}
        ways: list[tuple[str, int, tuple[_Part, ...], list[bytes]]]
        if kinds == {float}:
            ways = self._floats(np.asarray(present, np.float64))
        elif kinds == {bool}:
            ways = [("bool", 0, *self.whole(np.asarray(present, np.int64)))]
        elif kinds == {int} and all(value in _INT64 for value in present):
            ways = [("int", 0, *self.whole(np.asarray(present, np.int64)))]
        else:
            ways = [("mixed", 0, *self._mixed(name, present))]
        kind, decimals, parts, body = min(ways, key=lambda way: sum(map(len, way[3])))
        return _Column(name, kind, mask + parts, masked, decimals), bits + body  # type: ignore[arg-type]

    def _mask(self, values: Sequence[Value]) -> tuple[tuple[_Part, ...], list[bytes]]:
        packed = np.packbits(np.fromiter((value is None for value in values), bool, len(values)))
        content = self._press(packed.tobytes())
        return (_Part(len(content), len(packed), 1),), [content]

    def _mixed(self, name: str, values: Sequence[Value]) -> tuple[tuple[_Part, ...], list[bytes]]:
        try:
            plain = msgspec.msgpack.encode(values)
        except (OverflowError, TypeError) as error:
            raise InputError(f"Column {name!r} has a value that cannot be packed: {error}") from error
        content = self._press(plain)
        return (_Part(len(content), len(plain), 1),), [content]

    def _floats(self, values: npt.NDArray[np.float64]) -> list[tuple[str, int, tuple[_Part, ...], list[bytes]]]:
        bits = values.view(np.uint64)
        mixed = bits.copy()
        mixed[1:] ^= bits[:-1]
        ways = [("bits", steps, *self._words(words, 8, steps=steps)) for steps, words in ((0, bits), (1, mixed))]
        occurring, ranks = np.unique(_ordered(bits), return_inverse=True)
        if len(occurring) <= _RANKED * len(values):
            parts, body = self.whole(ranks.astype(np.int64))
            table, rows = self.whole(occurring)
            ways.append(("rank", 0, parts + table, body + rows))
        found = _scaled(values)
        if found is not None:
            decimals, numbers, wrong = found
            parts, body = self.whole(numbers)
            places, where = self.whole(wrong.astype(np.int64))
            raw, what = self._words(bits[wrong], 8)
            ways.append(("decimal", decimals, parts + places + raw, body + where + what))
        return ways

    def whole(self, numbers: npt.NDArray[np.int64]) -> tuple[tuple[_Part, ...], list[bytes]]:
        """Whole numbers with as many differences taken as pays. Differences wrap around, and so does their sum."""
        ways = []
        taken = numbers
        for steps in range(3):
            zigzag = ((taken << 1) ^ (taken >> 63)).view(np.uint64)
            width = max(1, math.ceil(int(zigzag.max(initial=0)).bit_length() / 8))
            ways.append(self._words(zigzag, width, steps=steps))
            with np.errstate(over="ignore"):
                taken = np.concatenate([taken[:1], taken[1:] - taken[:-1]])
        return min(ways, key=lambda way: len(way[1][0]))

    def _words(self, words: _Words, width: int, *, steps: int = 0) -> tuple[tuple[_Part, ...], list[bytes]]:
        planes = words.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width]
        content = self._press(np.ascontiguousarray(planes.T).tobytes())
        return (_Part(len(content), len(words), width, steps),), [content]

    def _press(self, content: bytes) -> bytes:
        return self._compressor.compress(content)


def _ordered(bits: _Words) -> npt.NDArray[np.int64]:
    """The bits of floats as whole numbers in the order of the floats; its own inverse, up to the type."""
    numbers = bits.view(np.int64)
    return np.where(numbers < 0, numbers ^ np.int64(0x7FFFFFFFFFFFFFFF), numbers)


def _scaled(values: npt.NDArray[np.float64]) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Decimals, the whole numbers after scaling, and where that is not exact; None when it is seldom exact."""
    best: tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None
    for decimals in _DECIMALS:
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.rint(values * 10.0**decimals)
            fits = np.abs(scaled) < _EXACT
            numbers = np.where(fits, scaled, 0).astype(np.int64)
        exact = (numbers / 10.0**decimals).view(np.uint64) == values.view(np.uint64)
        wrong = np.flatnonzero(~(fits & exact))
        if best is None or len(wrong) < len(best[2]):
            numbers[wrong] = numbers[np.maximum(wrong - 1, 0)]  # costs no difference
            best = (decimals, numbers, wrong)
        if not len(wrong):
            break
    return best if best is not None and len(best[2]) <= _EXCEPTIONS * len(values) else None


class _Reader:
    """Takes part after part off a block. Nothing is unpacked that is larger than the head says it is, and all of it
    together takes no more than ``budget`` bytes.
    """

    def __init__(self, block: bytes, start: int, *, rows: int, budget: int) -> None:
        self._block = block
        self._place = start
        self._budget = budget
        self._left = budget
        self.rows = rows

    def spend(self, size: int) -> None:
        """Takes bytes off the budget.

        Raises:
            TooLargeError: There are not as many left.
        """
        self._left -= size
        if self._left < 0:
            raise TooLargeError(
                "This block is too large, unpacked", limit=self._budget, actual=self._budget - self._left
            )

    def content(self, part: _Part) -> bytes:
        size = part.count * part.width
        if min(part.count, part.width, part.size) < 0:
            raise ValueError("a part is smaller than nothing")
        self.spend(size)
        packed = self._block[self._place : self._place + part.size]
        self._place += part.size
        if zstandard.frame_content_size(packed) != size:
            raise ValueError("a part is not as large as it should be")
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)

    def words(self, part: _Part) -> _Words:
        if not 1 <= part.width <= 8:
            raise ValueError(f"numbers cannot be {part.width} bytes wide")
        if part.count > self.rows:
            raise ValueError("a column is longer than there are times")
        self.spend((8 + _VALUE_BYTES) * part.count)
        content = self.content(part)
        wide = np.zeros((part.count, 8), np.uint8)
        wide[:, : part.width] = np.frombuffer(content, np.uint8).reshape(part.width, part.count).T
        return wide.view("<u8").reshape(-1)

    def whole(self, parts: Iterable[_Part]) -> npt.NDArray[np.int64]:
        [part] = parts
        if not 0 <= part.steps <= _MAX_STEPS:
            raise ValueError(f"no differences are taken {part.steps} times")
        zigzag = self.words(part)
        numbers = (zigzag >> np.uint64(1)).view(np.int64) ^ -(zigzag & np.uint64(1)).view(np.int64)
        for _ in range(part.steps):
            with np.errstate(over="ignore"):
                numbers = np.cumsum(numbers)
        return numbers


def _values(column: _Column, reader: _Reader) -> list[Value]:
    parts = list(column.parts)
    mask: npt.NDArray[np.bool_] | None = None
    if column.masked:
        packed = np.frombuffer(reader.content(parts.pop(0)), np.uint8)
        mask = np.unpackbits(packed, count=min(reader.rows, 8 * len(packed))).astype(bool)
        reader.spend(_VALUE_BYTES * len(mask))
    present = _present(column, parts, reader)
    if mask is None:
        return present
    waiting = iter(present)
    try:
        return [None if missing else next(waiting) for missing in mask.tolist()]
    except StopIteration:
        raise ValueError("values are missing") from None


def _present(column: _Column, parts: Sequence[_Part], reader: _Reader) -> list[Value]:
    found: list[Value]
    match column.kind:
        case "int":
            found = reader.whole(parts).tolist()
        case "bool":
            found = [bool(value) for value in reader.whole(parts).tolist()]
        case "mixed":
            reader.spend(_VALUE_BYTES * parts[0].count * parts[0].width)  # a byte may be a value
            found = msgspec.msgpack.decode(reader.content(parts[0]), type=list[Value])
        case "bits":
            words = reader.words(parts[0])
            found = (np.bitwise_xor.accumulate(words) if column.decimals else words).view(np.float64).tolist()
        case "rank":
            ranks, table = reader.whole(parts[:1]), reader.whole(parts[1:2])
            if len(ranks) and not 0 <= ranks.min() <= ranks.max() < len(table):
                raise ValueError("a rank lies outside its table")
            found = _ordered(table.view(np.uint64))[ranks].view(np.float64).tolist()
        case "decimal":
            values = reader.whole(parts[:1]) / 10.0**column.decimals
            places = reader.whole(parts[1:2])
            if len(places) and not 0 <= places.min() <= places.max() < len(values):
                raise ValueError("an exception lies outside its column")
            values.view(np.uint64)[places] = reader.words(parts[2])
            found = values.tolist()
    return found
