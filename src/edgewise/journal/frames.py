"""Frames: blocks as they lie in a segment file, and how they are found again after a crash or damage. Pure.

A frame is a head, the block's payload, and a tail that repeats what the head says of place and content. The head's own
checksum starts from the segment's salt and the frame's offset, so bytes that merely look like a head (a record may hold
a copy of one) are none. All frames of one write are a *group*: each names the group's number and extent, so that a
write that the power cut short is told from a frame that was damaged later:

* a group that later ones follow was synced; whatever is wrong in it is damage;
* the last group is *torn*, and was never accepted, when it ends early, when a whole sector of a bad frame holds nothing
  but zeros (the file was empty there), or when nothing in it can be read. Else it is damaged.

``state`` is the database's newest commit that the group presumes (its own, when both belong together): a group that the
database does not know of was never accepted either.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from edgewise.journal import blocks
from edgewise.journal.blocks import Block

_MAGIC = b"\xedblk"
_PREFIX = struct.Struct("<4sI")
_HEAD = struct.Struct("<qqqqIBIIQQII")
_TAIL = struct.Struct("<qIIIB")
_TAIL_CHECKED = struct.Struct("<qII")
_END_MARK = 0xED  # never zero, so that the last byte that is not zero ends a frame
_SECTOR = 512
_CHUNK_BYTES = 1 << 16
_CHECKSUM_BITS = 0xFFFFFFFF

HEAD_BYTES = _PREFIX.size + _HEAD.size
"""Bytes before a frame's payload."""

OVERHEAD_BYTES = HEAD_BYTES + _TAIL.size
"""Bytes of a frame beside its payload; ``blocks.OVERHEAD_BYTES`` says the same to those that know no frames."""


class Group(NamedTuple):
    """What frames written together share: number, presumed commit, where they begin, and their bytes together."""

    number: int
    state: int
    start: int
    size: int


class Frame(NamedTuple):
    """A frame that was found. ``intact`` is False when only its head or tail could be trusted; ``group`` is None when
    only the tail could.
    """

    offset: int
    position: int
    last: int
    time_ns: int
    aged_ns: int
    blobs: int
    length: int
    group: Group | None
    intact: bool

    @property
    def end(self) -> int:
        """Where the next frame begins."""
        return self.offset + self.length + OVERHEAD_BYTES


class Scan(NamedTuple):
    """What a segment holds: its frames in order, and where the next may be written."""

    frames: Sequence[Frame]
    end: int


def pack(block: Block, group: Group, *, offset: int, salt: int) -> tuple[bytes, bytes, bytes]:
    """A block as the three parts of its frame, so that the payload is not copied."""
    length = len(block.payload)
    head = _HEAD.pack(
        block.position,
        block.last,
        block.time_ns,
        block.aged_ns,
        block.blobs,
        block.codec,
        block.checksum,
        length,
        group.number,
        group.state,
        offset - group.start,
        group.size,
    )
    seed = _seed(salt, offset)
    count = block.last - block.first + 1
    tail_checksum = zlib.crc32(_TAIL_CHECKED.pack(block.position, count, length), seed)
    return (
        _PREFIX.pack(_MAGIC, zlib.crc32(head, seed)) + head,
        block.payload,
        _TAIL.pack(block.position, count, length, tail_checksum, _END_MARK),
    )


def unpack(data: bytes, *, offset: int, salt: int) -> Block | None:
    """The block of a frame that was read from ``offset``; None when its head is damaged or not all of it is there."""
    frame = _head(data, 0, place=offset, salt=salt)
    if frame is None or len(data) < HEAD_BYTES + frame.length:
        return None
    return _block(data, 0, frame.length)


def scan(data: bytes, *, salt: int, state: int) -> Scan:
    """Finds the frames of a segment.

    Args:
        data: The segment's content.
        salt: The segment's own.
        state: The database's newest commit.

    Returns:
        The frames of all groups that were accepted, damaged ones included where they can be told.
    """
    limit = _used(data)
    frames = list(_walk(data, limit, salt))
    start = _unaccepted(data, frames, limit)
    kept = [frame for frame in frames if frame.offset < start and (not frame.group or frame.group.state <= state)]
    return Scan(kept, kept[-1].end if kept else 0)


def _used(data: bytes) -> int:
    """How long the data is without the zeros at its end."""
    end = len(data)
    while end:
        start = max(0, end - _CHUNK_BYTES)
        if rest := data[start:end].rstrip(b"\0"):
            return start + len(rest)
        end = start
    return 0


def _walk(data: bytes, limit: int, salt: int) -> Iterator[Frame]:
    offset = 0
    while offset < limit:
        if frame := _head(data, offset, place=offset, salt=salt):
            block = _block(data, offset, frame.length) if frame.end <= limit else None
            yield frame._replace(intact=block is not None and block.intact)
            offset = frame.end
        else:
            resumed = _next_head(data, offset + 1, limit, salt)
            yield from _from_tails(data, offset, resumed, salt)
            offset = resumed


def _head(data: bytes, at: int, *, place: int, salt: int) -> Frame | None:
    if len(data) < at + HEAD_BYTES or data[at : at + 4] != _MAGIC:
        return None
    checksum = _PREFIX.unpack_from(data, at)[1]
    if zlib.crc32(data[at + _PREFIX.size : at + HEAD_BYTES], _seed(salt, place)) != checksum:
        return None
    position, last, time_ns, aged_ns, blobs, _, _, length, number, state, before, size = _HEAD.unpack_from(
        data, at + _PREFIX.size
    )
    group = Group(number, state, place - before, size)
    return Frame(place, position, last, time_ns, aged_ns, blobs, length, group, intact=True)


def _block(data: bytes, at: int, length: int) -> Block:
    position, last, time_ns, aged_ns, blobs, codec, checksum, *_ = _HEAD.unpack_from(data, at + _PREFIX.size)
    payload = data[at + HEAD_BYTES : at + HEAD_BYTES + length]
    return Block(position, last, time_ns, aged_ns, blobs, codec, checksum, payload)


def _next_head(data: bytes, start: int, limit: int, salt: int) -> int:
    """Where the next head that can be trusted begins, or ``limit``."""
    found = data.find(_MAGIC, start, limit)
    while found >= 0 and not _head(data, found, place=found, salt=salt):
        found = data.find(_MAGIC, found + 1, limit)
    return found if found >= 0 else limit


def _from_tails(data: bytes, start: int, end: int, salt: int) -> list[Frame]:
    """The frames between two offsets that their tails still name, from the last one backwards."""
    found: list[Frame] = []
    while end - OVERHEAD_BYTES >= start:
        position, count, length, checksum, _ = _TAIL.unpack_from(data, end - _TAIL.size)
        offset = end - OVERHEAD_BYTES - length
        checked = data[end - _TAIL.size : end - _TAIL.size + _TAIL_CHECKED.size]
        if offset < start or zlib.crc32(checked, _seed(salt, offset)) != checksum:
            break
        last = blocks.sequence(position) + count - 1
        found.append(Frame(offset, position, last, 0, 0, 0, length, None, intact=False))
        end = offset
    return found[::-1]


def _unaccepted(data: bytes, frames: Sequence[Frame], limit: int) -> int:
    """Where the last group begins when it is torn, else behind all frames."""
    groups = [frame.group for frame in frames if frame.group]
    behind = limit + 1
    if not groups:
        return _torn_from(data, frames, limit, start=0, end=None)
    last = max(groups)
    end = last.start + last.size
    inside = [frame for frame in frames if frame.offset >= last.start and frame.offset < end]
    whole = sum(frame.end - frame.offset for frame in inside if frame.intact) == last.size
    if not whole:
        return _torn_from(data, inside, limit, start=last.start, end=end)
    after = [frame for frame in frames if frame.offset >= end]
    return _torn_from(data, after, limit, start=end, end=None) if limit > end else behind


def _torn_from(data: bytes, frames: Sequence[Frame], limit: int, *, start: int, end: int | None) -> int:
    """``start`` when what lies from there to ``end`` (unknown: None) is a torn write, else behind everything."""
    known_end = end if end is not None else (frames[-1].end if frames else limit + 1)
    if limit < known_end:
        return start
    position = start
    for frame in [*(frame for frame in frames if frame.intact), None]:
        bad_end = frame.offset if frame else known_end
        if _has_empty_sector(data, position, bad_end):
            return start
        position = frame.end if frame else known_end
    return limit + 1


def _has_empty_sector(data: bytes, start: int, end: int) -> bool:
    """Whether a sector's part of ``start``..``end`` holds zeros alone."""
    while start < end:
        stop = min(end, start - start % _SECTOR + _SECTOR)
        if not data[start:stop].strip(b"\0"):
            return True
        start = stop
    return False


def _seed(salt: int, offset: int) -> int:
    return (salt + offset) & _CHECKSUM_BITS
