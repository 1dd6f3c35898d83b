"""How records become the payload of a block, and records again. Pure.

Three ways, told by the block's ``codec``: as they were appended (MessagePack, fast to write); packed (``packed``,
small, as they came from a child); and either of them sealed by a cipher, for encryption at rest. What is sealed is
bound to the block's head, so that blocks cannot change places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edgewise.errors import (
    CorruptError,
    EdgewiseError,
    InputError,
    PermanentError,
    SettingsError,
    TooLargeError,
    WrongKeyError,
)
from edgewise.journal.base import Packed
from edgewise.journal.blocks import MAX_BLOCK_BYTES, OVERHEAD_BYTES, Block, Head, crc32
from edgewise.journal.packed import MAX_RECORDS, StoredEntry, pack, unpack
from edgewise.types import Entry, Record

if TYPE_CHECKING:
    from edgewise.journal.cipher import Cipher

MSGPACK = 1
"""Codec: an array of entries, each an array of its fields in the order of ``types.Entry``."""

PACKED = 2
"""Codec: packed records, each with its own time."""

SEALED = 0x80
"""Added to a codec: the payload is sealed."""

MAX_PACKED_BYTES = MAX_BLOCK_BYTES + (1 << 16)
"""What does not get smaller by packing gets a little larger."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[StoredEntry]).decode


class Payload(NamedTuple):
    """Encoded entries on their way into a block; made by the thread that appends, before any lock."""

    records: int
    content: bytes
    codec: int
    digests: frozenset[str]
    checksum: int
    overhead: int

    @property
    def size(self) -> int:
        """Bytes that count against the stream's bound."""
        return len(self.content) + self.overhead


class Codec:
    """Encodes and decodes blocks.

    Args:
        cipher: Seals what is written and opens what was sealed; None writes in the clear.
    """

    def __init__(self, cipher: Cipher | None = None) -> None:
        self._cipher = cipher
        self._overhead = OVERHEAD_BYTES + (cipher.overhead if cipher else 0)

    # Into blocks.

    def encode(self, entries: Sequence[Entry]) -> list[Payload]:
        """Entries as payloads, more than one only when they are past ``MAX_BLOCK_BYTES`` together.

        Raises:
            TooLargeError: One entry alone is past the bound.
            InputError: Something that is no entry, or that MessagePack cannot hold.
        """
        digests = _check(entries)
        try:
            content = _encode(entries if isinstance(entries, list) else list(entries))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InputError(f"An entry cannot be stored: {error}", hint="Use JSON-compatible values only.") from error
        if len(content) <= MAX_BLOCK_BYTES:
            return [self._payload(len(entries), content, MSGPACK, digests)]
        if len(entries) == 1:
            raise TooLargeError(
                f"An entry of {len(content)} bytes is past the bound of {MAX_BLOCK_BYTES}.",
                hint="Store the large part as a blob and point to it.",
                limit=MAX_BLOCK_BYTES,
                actual=len(content),
            )
        middle = len(entries) // 2
        return self.encode(entries[:middle]) + self.encode(entries[middle:])

    def take(self, packed: Packed) -> Payload:
        """Packed records of another node as a payload.

        Raises:
            InputError: They are not what they say they are.
        """
        count = packed.last - packed.first + 1
        if len(packed.content) > MAX_PACKED_BYTES or not 0 < count <= MAX_RECORDS:
            raise TooLargeError("Packed records are too large", limit=MAX_PACKED_BYTES, actual=len(packed.content))
        try:
            entries = unpack(packed.content)
        except CorruptError as error:
            raise InputError(error.message, hint=error.hint, first=packed.first) from error
        if len(entries) != count:
            raise InputError(f"Packed records {packed.first} to {packed.last} are {len(entries)}", first=packed.first)
        digests = frozenset(digest for entry in entries for digest in entry.blobs)
        return self._payload(count, packed.content, PACKED, digests)

    def block(self, payload: Payload, position: int, *, last: int, time_ns: int, aged_ns: int) -> Block:
        """The block that a payload becomes once its place and time are known."""
        codec = payload.codec | SEALED if self._cipher else payload.codec
        head = Head(position, last, time_ns, aged_ns, len(payload.digests), codec)
        if not self._cipher:
            return head.block(payload.content, payload.checksum)
        sealed = self._cipher.seal(payload.content, context=head.pack())
        return head.block(sealed, crc32(sealed))

    def _payload(self, records: int, content: bytes, codec: int, digests: frozenset[str]) -> Payload:
        checksum = 0 if self._cipher else crc32(content)
        return Payload(records, content, codec, digests, checksum, self._overhead)

    # Out of blocks.

    def decode(self, block: Block, *, node: str, stream: str) -> list[Record]:
        """The records of a block.

        Raises:
            CorruptError: It was damaged, or tampered with; WrongKeyError: it needs another key.
            PermanentError: A later release wrote it.
            SettingsError: It is sealed, and there is no key.
        """
        return [
            Record(node, stream, number, entry.time_ns or block.time_ns, entry.kind, entry.body, entry.blobs)
            for number, entry in enumerate(self._entries(block), start=block.first)
        ]

    def digests(self, block: Block) -> set[str]:
        """The blobs that a block points to. Raises as ``decode``."""
        return {digest for entry in self._entries(block) for digest in entry.blobs}

    def sound(self, block: Block) -> bool:
        """Whether it can be read: nothing was damaged. Without its key nobody can tell: WrongKeyError."""
        try:
            self._entries(block)
        except WrongKeyError:
            raise
        except CorruptError:
            return False
        return True

    def _entries(self, block: Block) -> list[StoredEntry]:
        if not block.intact:
            raise _corrupt(block, "fails its checksum")
        content = self._open(block)
        count = block.last - block.first + 1
        try:
            match block.codec & ~SEALED:
                case 1:
                    entries = _decode(content)
                case 2:
                    entries = unpack(content)
                case unknown:
                    raise PermanentError(
                        f"The journal holds blocks of codec {unknown}, which this release does not read.",
                        hint="Install the release that wrote the journal.",
                    )
        except (msgspec.MsgspecError, CorruptError, TooLargeError) as error:
            raise _corrupt(block, f"cannot be read: {error}") from error
        if len(entries) != count:
            raise _corrupt(block, f"holds {len(entries)} records instead of {count}")
        return entries

    def _open(self, block: Block) -> bytes:
        if not block.codec & SEALED:
            return block.payload
        if self._cipher is None:
            raise SettingsError(
                "The journal is encrypted, and no key is given.", hint="Set journal.key_file in the settings."
            )
        return self._cipher.open(block.payload, context=block.head.pack())

    # To another node.

    def packed(
        self, blocks: Iterable[Block], *, after: int, node: str, stream: str, max_bytes: int = MAX_BLOCK_BYTES
    ) -> Iterator[Packed]:
        """Records past ``after`` as they travel: blocks that came packed as they are, others together.

        Args:
            blocks: Of one stream, in order; there may be holes between them.
            after: Records up to here are left out.
            node: Whose stream it is.
            stream: Its name.
            max_bytes: Of blocks that are packed together, before that; what is one block stays together.
        """
        bound = min(max_bytes, MAX_BLOCK_BYTES)
        gathered: list[Record] = []
        size = 0
        for block in blocks:
            passed = block.codec & ~SEALED == PACKED and block.first > after
            joins = gathered and gathered[-1].sequence + 1 == max(block.first, after + 1)
            count = len(gathered) + block.last - block.first + 1
            fits = size + len(block.payload) <= bound and count <= MAX_RECORDS
            if gathered and (passed or not joins or not fits):
                yield _pack(gathered)
                gathered, size = [], 0
            if passed:
                self._entries(block)
                yield Packed(block.first, block.last, self._open(block))
                continue
            records = self.decode(block, node=node, stream=stream)
            gathered += (record for record in records if record.sequence > after)
            size += len(block.payload)
        if gathered:
            yield _pack(gathered)


def _pack(records: Sequence[Record]) -> Packed:
    entries = [Entry(record.kind, record.body, record.blobs, record.time_ns) for record in records]
    return Packed(records[0].sequence, records[-1].sequence, pack(entries))


def _check(entries: Sequence[Entry]) -> frozenset[str]:
    """Refuses what is no entry; the digests that the others point to."""
    digests: set[str] = set()
    for entry in entries:
        if type(entry) is not Entry or type(entry.kind) is not str or type(entry.body) is not dict:
            raise InputError(
                f"{entry!r:.200} is no Entry with a str kind and a dict body.", hint="Append edgewise.types.Entry."
            )
        if entry.blobs:
            digests.update(entry.blobs)
    return frozenset(digests)


def _corrupt(block: Block, what: str) -> EdgewiseError:
    return CorruptError(
        f"The block at sequence {block.first} {what}.",
        hint="Run `edgewise journal audit`; its records are in the loss ledger.",
        first=block.first,
        position=block.position,
    )
