"""Blocks: the unit in which records are stored, checked and removed. Pure.

A block holds the entries of one append (or a part of a very large one) as one MessagePack array under one checksum, so
that a record costs a few bytes and a fraction of a microsecond, and damage stays inside its block. The checksum covers
the block's head as well. ``codec`` says how the payload is written; other numbers may follow.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from edgewise.errors import CorruptError, InputError, PermanentError, TooLargeError
from edgewise.types import Entry, Record

MAX_BLOCK_BYTES = 1 << 20
"""Bound of a payload, and so of one entry."""

OVERHEAD_BYTES = 98
"""What a block costs on disk beside its payload."""

MSGPACK = 1
"""Codec: an array of entries, each an array of its fields in the order of ``types.Entry``."""

SEQUENCE_BITS = 40
"""How much of a key is the sequence."""

MAX_SEQUENCE = (1 << SEQUENCE_BITS) - 1
"""A thousand records a second reach it in 34 years."""

MAX_POSITION = (1 << 63) - 1
"""Bound of all keys."""

_HEAD = struct.Struct("<qqqqqq")


class _StoredEntry(msgspec.Struct, array_like=True):
    """An entry as it is read back: whatever was accepted is handed out again."""

    kind: str
    body: dict[Any, Any]
    blobs: tuple[str, ...] = ()
    time_ns: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[_StoredEntry])


class Payload(NamedTuple):
    """Encoded entries on their way into a block; made by the thread that appends, before any lock."""

    records: int
    content: bytes
    checksum: int
    digests: set[str]

    @property
    def size(self) -> int:
        """Bytes that count against the stream's bound."""
        return len(self.content) + OVERHEAD_BYTES

    def block(self, position: int, last: int, time_ns: int, aged_ns: int) -> Block:
        """The block it becomes once its place and time are known."""
        head = (position, last, time_ns, aged_ns, len(self.digests), MSGPACK)
        return Block(*head, _head_checksum(self.checksum, head), self.content)


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
    def first(self) -> int:
        """Sequence of its first record."""
        return self.position & MAX_SEQUENCE

    @property
    def intact(self) -> bool:
        """Whether head and payload have their checksum."""
        return _head_checksum(zlib.crc32(self.payload), self[:6]) == self.checksum

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


def encode(entries: Sequence[Entry]) -> list[Payload]:
    """Entries as payloads, more than one only when they are past ``MAX_BLOCK_BYTES`` together.

    Raises:
        TooLargeError: One entry alone is past the bound.
        InputError: Something that is no entry, or that MessagePack cannot hold.
    """
    digests = _check(entries)
    try:
        content = _encoder.encode(entries if isinstance(entries, list) else list(entries))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"An entry cannot be stored: {error}", hint="Use JSON-compatible values only.") from error
    if len(content) <= MAX_BLOCK_BYTES:
        return [Payload(len(entries), content, zlib.crc32(content), digests)]
    if len(entries) == 1:
        raise TooLargeError(
            f"An entry of {len(content)} bytes is past the bound of {MAX_BLOCK_BYTES}.",
            hint="Store the large part as a blob and point to it.",
            limit=MAX_BLOCK_BYTES,
            actual=len(content),
        )
    middle = len(entries) // 2
    return encode(entries[:middle]) + encode(entries[middle:])


def decode(block: Block, *, node: str, stream: str) -> list[Record]:
    """The records of an intact block.

    Raises:
        CorruptError: The checksum does not fit.
        PermanentError: A later release wrote it.
    """
    if not block.intact:
        raise CorruptError(
            f"The block at sequence {block.first} of stream {stream!r} fails its checksum.",
            hint="Run `edgewise journal audit`; its records are in the loss ledger.",
            stream=stream,
            first=block.first,
            position=block.position,
        )
    if block.codec != MSGPACK:
        raise PermanentError(
            f"Stream {stream!r} holds blocks of codec {block.codec}, which this release does not read.",
            hint="Install the release that wrote the journal.",
        )
    return [
        Record(node, stream, number, entry.time_ns or block.time_ns, entry.kind, entry.body, entry.blobs)
        for number, entry in enumerate(_decoder.decode(block.payload), start=block.first)
    ]


def digests(block: Block) -> set[str]:
    """The blobs that an intact block points to."""
    return {digest for entry in _decoder.decode(block.payload) for digest in entry.blobs}


def _check(entries: Sequence[Entry]) -> set[str]:
    """Refuses what is no entry; the digests that the others point to."""
    digests: set[str] = set()
    for entry in entries:
        if type(entry) is not Entry or type(entry.kind) is not str or type(entry.body) is not dict:
            raise InputError(
                f"{entry!r:.200} is no Entry with a str kind and a dict body.", hint="Append edgewise.types.Entry."
            )
        if entry.blobs:
            digests.update(entry.blobs)
    return digests


def _head_checksum(payload_checksum: int, head: tuple[int, ...]) -> int:
    """CRC-32 of a block's head, going on from that of its payload."""
    return zlib.crc32(_HEAD.pack(*head), payload_checksum)
