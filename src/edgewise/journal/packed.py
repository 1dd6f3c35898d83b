"""Records packed tightly, as they travel to a parent and are kept there. Pure.

The first byte says how: ``1``, a zstd frame of MessagePack, as in a block; ``2``, readings as columns. Readings
(``{"source": …, "values": {channel: value}}``) of one source and one set of channels have a *shape*; the head lists the
shapes, and a block of ``_lib.columns`` holds each row's shape, in the order of the records, and then times and values,
shape by shape, so that what is alike stands together. Values of a channel are one column for each type.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import zstandard

from edgewise.errors import CorruptError, EdgewiseError, TooLargeError

if TYPE_CHECKING:
    from edgewise.types import Entry

MAX_RECORDS = 16_384
"""Records packed together at most."""

MAX_UNPACKED_BYTES = 32 << 20
"""What packed records may take, unpacked, about."""

MAX_CELLS = 1 << 19
"""Values of packed readings at most, missing ones and times included; more are packed as plain records."""

_PLAIN, _READINGS = b"\x01", b"\x02"
_LEVEL = 3
_MAX_HEAD_BYTES = 1 << 20
_LENGTH = struct.Struct("<I")
_ORDER = "order"
# Fewer rows than this for each shape, and a column is too short to be worth its head.
_ROWS_PER_SHAPE = 4
_SCALARS = frozenset({float, int, bool, str, type(None)})


class StoredEntry(msgspec.Struct, array_like=True):
    """An entry as it is read back: whatever was accepted is handed out again."""

    kind: str
    body: dict[Any, Any]
    blobs: tuple[str, ...] = ()
    time_ns: int = 0


class _Shape(msgspec.Struct, frozen=True, array_like=True):
    """Readings of one kind: ``channels`` with the column that holds each one's values; -1 where it has none."""

    kind: str
    source: str
    rows: int
    channels: tuple[tuple[str, int], ...]


_encode = msgspec.msgpack.Encoder().encode
_decode_entries = msgspec.msgpack.Decoder(list[StoredEntry]).decode
_decode_shapes = msgspec.msgpack.Decoder(list[_Shape]).decode


def pack(entries: Sequence[Entry]) -> bytes:
    """Packs entries that all have their time.

    Raises:
        TooLargeError: More than ``MAX_RECORDS``.
    """
    if len(entries) > MAX_RECORDS:
        raise TooLargeError("Too many records to pack at once", limit=MAX_RECORDS, actual=len(entries))
    return _pack_readings(entries) or _PLAIN + zstandard.ZstdCompressor(level=_LEVEL).compress(_encode(entries))


def unpack(content: bytes) -> list[StoredEntry]:
    """The entries that ``pack`` packed.

    Raises:
        CorruptError: These are no packed entries.
        TooLargeError: They are more, or larger, than they may be.
    """
    try:
        match content[:1]:
            case b"\x01":
                return _unpack_plain(content)
            case b"\x02":
                return _unpack_readings(content)
    except (CorruptError, TooLargeError):
        raise
    except (EdgewiseError, zstandard.ZstdError, msgspec.MsgspecError, struct.error, ValueError) as error:
        raise CorruptError(f"These are no packed records: {error}", hint="Fetch them again.") from error
    raise CorruptError("These are no packed records", hint="Fetch them again.")


def _unpack_plain(content: bytes) -> list[StoredEntry]:
    entries = _decode_entries(_inflate(content[1:], limit=MAX_UNPACKED_BYTES))
    if len(entries) > MAX_RECORDS:
        raise TooLargeError("Too many records", limit=MAX_RECORDS, actual=len(entries))
    return entries


def _inflate(content: bytes, *, limit: int) -> bytes:
    size = zstandard.frame_content_size(content)
    if size < 0:
        raise ValueError("a frame does not state its size")
    if size > limit:
        raise TooLargeError("Packed records are too large", limit=limit, actual=size)
    return zstandard.ZstdDecompressor().decompress(content, max_output_size=limit)


class _Rows:
    """Readings of one shape while they are gathered."""

    def __init__(self, number: int, kind: str, source: str) -> None:
        self.number = number
        self.kind = kind
        self.source = source
        self.times: list[int] = []
        self.values: list[Iterable[Any]] = []


def _pack_readings(entries: Sequence[Entry]) -> bytes | None:
    """Readings as columns; None when they are none, or too different from each other."""
    from edgewise._lib.columns import encode

    gathered: dict[tuple[Any, ...], _Rows] = {}
    order: list[int] = []
    limit = max(1, len(entries) // _ROWS_PER_SHAPE)
    cells = 0
    for entry in entries:
        body = entry.body
        source, values = body.get("source"), body.get("values")
        if type(source) is not str or type(values) is not dict or len(body) != 2 or entry.blobs:
            return None
        key = (entry.kind, source, *values, *map(type, values.values()))
        rows = gathered.get(key)
        if rows is None:
            if len(gathered) == limit or not _is_plain(values):
                return None
            rows = gathered[key] = _Rows(len(gathered), entry.kind, source)
        cells += 1 + len(values)
        rows.times.append(entry.time_ns)
        rows.values.append(values.values())
        order.append(rows.number)
    if cells > MAX_CELLS:
        return None
    shapes, columns = _transpose(gathered)
    head = zstandard.ZstdCompressor(level=_LEVEL).compress(_encode(shapes))
    times = [time for rows in gathered.values() for time in rows.times]
    named = {str(number): column for number, column in enumerate(columns)}
    return b"".join(
        (_READINGS, _LENGTH.pack(len(head)), head, encode(times, {_ORDER: order, **named}, level=_LEVEL, ragged=True))
    )


def _is_plain(values: dict[Any, Any]) -> bool:
    return all(type(name) is str and type(value) in _SCALARS for name, value in values.items())


def _transpose(gathered: dict[tuple[Any, ...], _Rows]) -> tuple[list[_Shape], list[list[Any]]]:
    """The shapes, and the columns that their values make, those of one channel and type together."""
    numbers: dict[tuple[str, type], int] = {}
    columns: list[list[Any]] = []
    shapes = []
    for key, rows in gathered.items():
        names, types = key[2 : 2 + (len(key) - 2) // 2], key[2 + (len(key) - 2) // 2 :]
        places = []
        for name, kind, column in zip(names, types, zip(*rows.values, strict=True), strict=True):
            if kind is type(None):
                places.append((name, -1))
                continue
            number = numbers.setdefault((name, kind), len(columns))
            if number == len(columns):
                columns.append([])
            columns[number] += column
            places.append((name, number))
        shapes.append(_Shape(rows.kind, rows.source, len(rows.times), tuple(places)))
    return shapes, columns


def _unpack_readings(content: bytes) -> list[StoredEntry]:
    from edgewise._lib.columns import decode

    (length,) = _LENGTH.unpack_from(content, 1)
    start = 1 + _LENGTH.size
    shapes = _decode_shapes(_inflate(content[start : start + length], limit=_MAX_HEAD_BYTES))
    block = decode(content[start + length :], max_rows=MAX_RECORDS, max_bytes=MAX_UNPACKED_BYTES)
    columns = {name: iter(values) for name, values in block.columns.items()}
    order = list(columns.pop(_ORDER, ()))
    if len(order) != len(block.times_ns) or sum(shape.rows for shape in shapes) != len(order):
        raise ValueError("rows are missing")
    cells = sum(shape.rows * (1 + len(shape.channels)) for shape in shapes)
    if cells > MAX_CELLS or any(shape.rows < 1 for shape in shapes):
        raise TooLargeError("Packed readings have too many values", limit=MAX_CELLS, actual=cells)
    times = iter(block.times_ns)
    rows = [_rows_of(shape, times, columns) for shape in shapes]
    if any(next(column, None) is not None for column in columns.values()):
        raise ValueError("values are left over")
    return [rows[number]() for number in _checked(order, shapes)]


def _rows_of(shape: _Shape, times: Iterator[int], columns: dict[str, Iterator[Any]]) -> Callable[[], StoredEntry]:
    """Gives out a shape's readings one by one."""
    nothing = itertools.repeat(None)
    names = [name for name, _ in shape.channels]
    taken = [
        list(itertools.islice(columns.get(str(number), iter(())) if number >= 0 else nothing, shape.rows))
        for _, number in shape.channels
    ]
    stamps = list(itertools.islice(times, shape.rows))
    values = zip(*taken, strict=True) if taken else itertools.repeat((), shape.rows)
    rows = iter(list(zip(stamps, values, strict=True)))

    def take() -> StoredEntry:
        time_ns, row = next(rows)
        return StoredEntry(
            shape.kind, {"source": shape.source, "values": dict(zip(names, row, strict=True))}, (), time_ns
        )

    return take


def _checked(order: list[Any], shapes: Sequence[_Shape]) -> list[int]:
    counts = [0] * len(shapes)
    for number in order:
        if type(number) is not int or not 0 <= number < len(shapes):
            raise ValueError("a row has no shape")
        counts[number] += 1
    if counts != [shape.rows for shape in shapes]:
        raise ValueError("rows are missing")
    return order
