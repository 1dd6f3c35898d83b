"""Large content sealed in chunks, so that it can be written as it comes and read from any byte.

The construction is STREAM (Hoang, Reyhanitabar, Rogaway and Vizár, 2015) over AES-256-GCM: the nonce of a chunk is its
number and whether it is the last, so chunks that were exchanged, left out, repeated or cut off at the end do not open.
A file begins with a random key of its own, sealed for the context::

    "EWS1" | sealed key (77 bytes) | chunk | chunk | … | last chunk        a chunk: 64 KiB (the last: less) | tag (16)

Because the key is the file's own, numbers suffice as nonces, and only the file's beginning depends on the cipher. A
writer never goes on with a file of another writer, which may have sealed under the next number already.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING

from edgewise.errors import CorruptError
from edgewise.journal.cipher import KEY_BYTES, OVERHEAD, Cipher

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from typing_extensions import Buffer

CHUNK_BYTES = 64 * 1024
HEAD_BYTES = 4 + KEY_BYTES + OVERHEAD

_MAGIC = b"EWS1"
_TAG_BYTES = 16
_SEALED_BYTES = CHUNK_BYTES + _TAG_BYTES
_LENGTH = struct.Struct("<I")


def sealed_size(size: int) -> int:
    """Bytes of the file that holds so much content."""
    return HEAD_BYTES + size + _TAG_BYTES * max(1, -(-size // CHUNK_BYTES))


def plain_size(stored: int) -> int:
    """Bytes of content in a file of so many bytes; 0 when it is too short to hold any."""
    rest = max(0, stored - HEAD_BYTES)
    return max(0, rest - _TAG_BYTES * -(-rest // _SEALED_BYTES))


class SealedWriter:
    """Seals what is written to it, in order. Used by one thread at a time; dead after an error.

    Args:
        file: Empty, seekable.
        cipher: Seals the file's key.
        context: What ``SealedReader`` will name to read it.
    """

    def __init__(self, file: IO[bytes], cipher: Cipher, *, context: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = AESGCM.generate_key(8 * KEY_BYTES)
        self._gcm = AESGCM(key)
        self._file = file
        self._cipher = cipher
        self._context = context
        self._pending = bytearray()
        self._number = 0
        self._slot = 0
        write_all(file, _MAGIC + cipher.seal(key, context=context))

    def write(self, data: bytes) -> None:
        """Adds content. The last 64 KiB at most stay in memory until ``park`` or ``finish``."""
        view = memoryview(data)
        while len(self._pending) + len(view) > CHUNK_BYTES:  # what just fills a chunk may be the last
            missing = CHUNK_BYTES - len(self._pending)
            self._emit(bytes(self._pending) + view[:missing], last=False)
            self._pending.clear()
            view = view[missing:]
        self._pending += view

    def park(self) -> None:
        """Writes aside what is still in memory, so that ``unfinished`` finds all of it.

        There are two places for it, behind that of the next chunk: a kill can tear a write, so neither what was parked
        before nor the chunk that it becomes a part of is written over it.
        """
        tail = self._cipher.seal(bytes(self._pending), context=_tail_context(self._context, self._number))
        self._slot = 1 - self._slot
        self._file.seek(_slot_at(self._number, self._slot))
        write_all(self._file, _LENGTH.pack(len(tail)) + tail)

    def finish(self) -> None:
        """Writes the last chunk; the content is whole."""
        self._emit(bytes(self._pending), last=True)
        self._file.truncate()

    def _emit(self, chunk: bytes, *, last: bool) -> None:
        self._file.seek(_chunk_at(self._number))
        write_all(self._file, self._gcm.encrypt(_nonce(self._number, last=last), chunk, None))
        self._number += 1


class SealedReader(io.RawIOBase):
    """Content of a sealed file, from any byte. Used by one thread at a time; closes the file with itself.

    Args:
        file: Seekable.
        cipher: Opens the file's key.
        context: What the writer named.
        name: Of the content, for errors.
        on_damage: Told when a part that is read is found damaged.

    Raises:
        WrongKeyError: It was sealed with a key that is not given.
        CorruptError: Its beginning or its end was damaged, or cut off. The rest is checked as it is read.
    """

    def __init__(
        self, file: IO[bytes], cipher: Cipher, *, context: bytes, name: str, on_damage: Callable[[], None] | None = None
    ) -> None:
        super().__init__()
        self._file = file
        self._name = name
        self._on_damage = on_damage
        self._gcm = _open_head(file, cipher, context=context, name=name)
        stored = file.seek(0, io.SEEK_END)
        self._size = plain_size(stored)
        if sealed_size(self._size) != stored:
            raise self._damaged()
        self._position = 0
        self._last = max(0, self._size - 1) // CHUNK_BYTES
        self._number = -1
        self._chunk = b""
        self._load(self._last)

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As any file."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """As any file."""
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        """As any file.

        Raises:
            CorruptError: This part was damaged.
        """
        number, start = divmod(self._position, CHUNK_BYTES)
        if self._position >= self._size:
            return 0
        if number != self._number:
            self._load(number)
        view = memoryview(buffer)
        piece = self._chunk[start : start + len(view)]
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def readall(self) -> bytes:
        """As any file; in whole chunks."""
        data = bytearray(max(0, self._size - self._position))
        view, done = memoryview(data), 0
        while done < len(data):
            done += self.readinto(view[done:])
        return bytes(data)

    def close(self) -> None:
        """Closes the file as well."""
        self._file.close()
        super().close()

    def _load(self, number: int) -> None:
        from cryptography.exceptions import InvalidTag

        self._file.seek(_chunk_at(number))
        sealed = self._file.read(_SEALED_BYTES)
        try:
            self._chunk = self._gcm.decrypt(_nonce(number, last=number == self._last), sealed, None)
        except InvalidTag as error:
            raise self._damaged() from error
        self._number = number

    def _damaged(self) -> CorruptError:
        if self._on_damage:
            self._on_damage()
        return CorruptError(f"Sealed file {self._name} was damaged on disk.", name=self._name)


def unfinished(file: IO[bytes], cipher: Cipher, *, context: bytes, name: str) -> Iterator[bytes]:
    """What a writer that never finished left in a file, in order, as far as it is intact.

    Raises:
        WrongKeyError: It was sealed with a key that is not given.
        CorruptError: Its beginning was damaged.
    """
    from cryptography.exceptions import InvalidTag

    gcm = _open_head(file, cipher, context=context, name=name)
    number = 0
    while True:
        sealed = file.read(_SEALED_BYTES)
        try:
            yield gcm.decrypt(_nonce(number, last=False), sealed, None)
        except InvalidTag:
            break
        number += 1
    with contextlib.suppress(InvalidTag):  # it was finished, and the process ended before anything was done with it
        yield gcm.decrypt(_nonce(number, last=True), sealed, None)
        return
    yield max((_tail(file, cipher, context, number, slot) for slot in (0, 1)), key=len)


def write_all(file: IO[bytes], data: bytes) -> None:
    """Writes all of it, also to a file without a buffer, which may take a part."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _open_head(file: IO[bytes], cipher: Cipher, *, context: bytes, name: str) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    file.seek(0)
    head = file.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES or not head.startswith(_MAGIC):
        raise CorruptError(f"Sealed file {name} was damaged on disk.", name=name)
    return AESGCM(cipher.open(head[len(_MAGIC) :], context=context))


def _tail(file: IO[bytes], cipher: Cipher, context: bytes, number: int, slot: int) -> bytes:
    """What was parked in a place when so many chunks were written; nothing when it is torn, or older."""
    file.seek(_slot_at(number, slot))
    prefix = file.read(_LENGTH.size)
    length = _LENGTH.unpack(prefix)[0] if len(prefix) == _LENGTH.size else 0
    with contextlib.suppress(CorruptError):
        return cipher.open(file.read(min(length, CHUNK_BYTES + OVERHEAD)), context=_tail_context(context, number))
    return b""


def _chunk_at(number: int) -> int:
    return HEAD_BYTES + number * _SEALED_BYTES


def _slot_at(number: int, slot: int) -> int:
    return _chunk_at(number + 1) + slot * (_LENGTH.size + CHUNK_BYTES + OVERHEAD)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _tail_context(context: bytes, number: int) -> bytes:
    return context + b" tail %d" % number
