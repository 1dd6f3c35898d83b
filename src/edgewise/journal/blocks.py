"""Blocks: the unit in which records are stored, checked and removed. Pure.

A block holds the records of one append (or a part of a very large one) under one checksum, so that a record costs a few
bytes and a fraction of a microsecond, and damage stays inside its block. The checksum covers the block's head as well.
How the payload is written says ``codec``.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

MAX_BLOCK_BYTES = 1 << 20
"""Bound of what one append makes a block of, and so of one entry."""

OVERHEAD_BYTES = 98
"""What a block costs on disk beside its payload."""

SEQUENCE_BITS = 40
"""How much of a key is the sequence."""

MAX_SEQUENCE = (1 << SEQUENCE_BITS) - 1
"""A thousand records a second reach it in 34 years."""

MAX_POSITION = (1 << 63) - 1
"""Bound of all keys."""

_HEAD = struct.Struct("<qqqqqq")


class Head(NamedTuple):
    """What a block says of itself.

    Attributes:
        position: Its key: stream and first sequence.
        last: Its last sequence.
        time_ns: When it was accepted, for records that state no time.
        aged_ns: The same on the journal's own clock, by which it grows old.
        blobs: How many blobs its records point to.
        codec: How its payload is written.
    """

    position: int
    last: int
    time_ns: int
    aged_ns: int
    blobs: int
    codec: int

    def pack(self) -> bytes:
        """It as bytes."""
        return _HEAD.pack(*self)

    def block(self, payload: bytes, checksum: int) -> Block:
        """The block with this head, given the CRC-32 of its payload."""
        return Block(*self, _head_checksum(checksum, self), payload)


class Block(NamedTuple):
    """What is stored of one append: a head, and the entries as they were encoded."""

    position: int
    last: int
    time_ns: int
    aged_ns: int
    blobs: int
    codec: int
    checksum: int
    payload: bytes

    @property
    def head(self) -> Head:
        """What it says of itself."""
        return Head(*self[:6])

    @property
    def first(self) -> int:
        """Sequence of its first record."""
        return self.position & MAX_SEQUENCE

    @property
    def intact(self) -> bool:
        """Whether head and payload have their checksum."""
        return _head_checksum(zlib.crc32(self.payload), self.head) == self.checksum

    @property
    def size(self) -> int:
        """Bytes that count against the stream's bound."""
        return len(self.payload) + OVERHEAD_BYTES


def position(stream: int, sequence: int) -> int:
    """The key of a block: ordered by stream, then by sequence, in one integer, so that no second index is written."""
    return stream << SEQUENCE_BITS | sequence


def sequence(position: int) -> int:
    """The sequence inside a key."""
    return position & MAX_SEQUENCE


_LET_GO_BYTES = 5 << 10  # past this many zlib lets other threads have the interpreter
_WORTH_IT_BYTES = 64 << 10


def crc32(content: bytes) -> int:
    """CRC-32, without letting go of the interpreter where that takes longer than the work: to get it back a thread
    waits for another core to sleep or to finish, and each append would do so once more.
    """
    if not _LET_GO_BYTES < len(content) < _WORTH_IT_BYTES:
        return zlib.crc32(content)
    checksum = 0
    view = memoryview(content)
    for start in range(0, len(content), _LET_GO_BYTES):
        checksum = zlib.crc32(view[start : start + _LET_GO_BYTES], checksum)
    return checksum


def _head_checksum(payload_checksum: int, head: Head) -> int:
    """CRC-32 of a block's head, going on from that of its payload."""
    return zlib.crc32(head.pack(), payload_checksum)
