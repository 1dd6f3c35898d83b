"""Large content sealed in chunks: read from any byte, and nothing exchanged, cut off or left out goes unnoticed."""

import contextlib
import copy
import io
import random
from collections.abc import Callable

import pytest

from edgewise.errors import CorruptError, WrongKeyError
from edgewise.journal import sealed
from edgewise.journal.cipher import KeyCipher
from edgewise.journal.sealed import (
    CHUNK_BYTES,
    HEAD_BYTES,
    SealedReader,
    SealedWriter,
    plain_size,
    sealed_size,
    unfinished,
)

CIPHER = KeyCipher(bytes(32))
SEALED_BYTES = CHUNK_BYTES + 16
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 77]


def content_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def seal(content: bytes, *, pieces: int = 10_000) -> bytes:
    file = io.BytesIO()
    writer = SealedWriter(file, CIPHER, context=b"here")
    for start in range(0, len(content), pieces):
        writer.write(content[start : start + pieces])
    writer.finish()
    return file.getvalue()


def reader(stored: bytes, *, context: bytes = b"here", cipher: KeyCipher = CIPHER) -> io.BufferedReader:
    return io.BufferedReader(SealedReader(io.BytesIO(stored), cipher, context=context, name="It"), CHUNK_BYTES)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pieces", [777, CHUNK_BYTES, 1 << 20])
def test_what_was_sealed_in_pieces_is_read_whole(size: int, pieces: int) -> None:
    content = content_of(size)
    stored = seal(content, pieces=pieces)
    assert len(stored) == sealed_size(size)
    assert plain_size(len(stored)) == size
    with reader(stored) as file:
        assert file.read() == content
        assert file.seek(0, io.SEEK_END) == size
        assert file.read() == b""


def test_it_is_read_from_any_byte_without_reading_the_rest() -> None:
    content = content_of(20 * CHUNK_BYTES + 5)
    counted = io.BytesIO(seal(content))
    read: list[int] = []

    class Counting(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = counted.read(size)
            read.append(len(data))
            return data

        def seek(self, offset: int, whence: int = 0, /) -> int:
            return counted.seek(offset, whence)

    file = SealedReader(Counting(), CIPHER, context=b"here", name="It")
    for start, count in ((0, 1), (CHUNK_BYTES - 1, 2), (7 * CHUNK_BYTES + 9, CHUNK_BYTES), (len(content) - 3, 50)):
        read.clear()
        file.seek(start)
        buffered = io.BufferedReader(file, 16)
        assert buffered.read(count) == content[start : start + count]
        buffered.detach()
        assert sum(read) <= 2 * SEALED_BYTES


def chunks(stored: bytes) -> list[bytes]:
    return [stored[at : at + SEALED_BYTES] for at in range(HEAD_BYTES, len(stored), SEALED_BYTES)]


TRICKS = {
    "two chunks exchanged": lambda head, c, _: head + c[1] + c[0] + b"".join(c[2:]),
    "a chunk left out": lambda head, c, _: head + b"".join(c[1:]),
    "a chunk twice": lambda head, c, _: head + c[0] + c[0] + b"".join(c[1:]),
    "cut off behind a chunk": lambda head, c, _: head + b"".join(c[:-1]),
    "cut off inside a chunk": lambda head, c, _: head + b"".join(c)[:-9],
    "something behind the end": lambda head, c, _: head + b"".join(c) + b"x" * 17,
    "a chunk of another file": lambda head, c, other: head + other[0] + b"".join(c[1:]),
    "the key of another file": lambda head, c, other: b"".join(c),
    "no content": lambda head, c, _: head,
    "nothing": lambda head, c, _: b"",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_chunks_that_are_not_as_they_were_written_are_found(trick: str) -> None:
    content = content_of(4 * CHUNK_BYTES + 100)
    stored = seal(content)
    changed = TRICKS[trick](stored[:HEAD_BYTES], chunks(stored), chunks(seal(content)))
    with pytest.raises(CorruptError), reader(changed) as file:
        file.read()


def test_a_file_cut_off_behind_a_chunk_is_refused_before_anything_is_read_of_it() -> None:
    stored = seal(content_of(4 * CHUNK_BYTES + 100))
    with pytest.raises(CorruptError):
        reader(stored[: HEAD_BYTES + 2 * SEALED_BYTES])


def test_a_flipped_bit_costs_its_chunk_and_is_told() -> None:
    content = content_of(4 * CHUNK_BYTES)
    stored = bytearray(seal(content))
    stored[HEAD_BYTES + 2 * SEALED_BYTES + 50] ^= 4
    told: list[bool] = []
    file = SealedReader(
        io.BytesIO(bytes(stored)), CIPHER, context=b"here", name="It", on_damage=lambda: told.append(True)
    )
    buffered = io.BufferedReader(file, CHUNK_BYTES)
    assert buffered.read(2 * CHUNK_BYTES) == content[: 2 * CHUNK_BYTES]
    with pytest.raises(CorruptError, match="It was damaged on disk"):
        buffered.read(1)
    assert told == [True]
    buffered.seek(3 * CHUNK_BYTES)
    assert buffered.read() == content[3 * CHUNK_BYTES :]


def test_it_opens_only_under_its_name_and_with_its_key() -> None:
    stored = seal(b"content")
    with pytest.raises(CorruptError):
        reader(stored, context=b"there")
    with pytest.raises(WrongKeyError):
        reader(stored, cipher=KeyCipher(b"\x01" * 32))


@pytest.mark.parametrize("size", SIZES)
def test_what_a_writer_parked_is_found_by_another_process(size: int) -> None:
    content = content_of(size)
    file = io.BytesIO()
    writer = SealedWriter(file, CIPHER, context=b"here")
    for start in range(0, size, 40_000):
        writer.write(content[start : start + 40_000])
        writer.park()
        found = b"".join(unfinished(io.BytesIO(file.getvalue()), CIPHER, context=b"here", name="It"))
        assert found == content[: start + 40_000]
    writer.finish()
    assert b"".join(unfinished(io.BytesIO(file.getvalue()), CIPHER, context=b"here", name="It")) == content
    with reader(file.getvalue()) as whole:
        assert whole.read() == content


def copied(writer: SealedWriter, stored: bytes) -> tuple[SealedWriter, io.BytesIO]:
    """The same writer on a copy of its file."""
    file, other = io.BytesIO(stored), copy.copy(writer)
    other.__dict__.update(_file=file, _pending=bytearray(writer._pending))
    return other, file


def tearing(writes: int, part: float) -> Callable[[io.BytesIO, bytes], None]:
    """As ``write_all`` for some writes; of the next it writes a part, and the process ends."""
    left = [writes]
    write_all = sealed.write_all

    def write(file: io.BytesIO, data: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            write_all(file, data[: int(len(data) * part)])
            raise InterruptedError
        write_all(file, data)

    return write


@pytest.mark.parametrize("writes", [0, 1, 2])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_write_torn_anywhere_costs_nothing_that_was_parked(
    monkeypatch: pytest.MonkeyPatch, writes: int, part: float
) -> None:
    content, there, steps = content_of(3 * CHUNK_BYTES), 0, random.Random(5)
    file = io.BytesIO()
    writer = SealedWriter(file, CIPHER, context=b"here")
    while there < len(content):
        step = steps.choice([1000, 30_000, CHUNK_BYTES - there % CHUNK_BYTES, 100_000])
        doomed, torn = copied(writer, file.getvalue())
        with monkeypatch.context() as patched, contextlib.suppress(InterruptedError):
            patched.setattr(sealed, "write_all", tearing(writes, part))
            doomed.write(content[there : there + step])
            doomed.park()
        found = b"".join(unfinished(torn, CIPHER, context=b"here", name="It"))
        assert len(found) >= there
        assert found == content[: len(found)]
        writer.write(content[there : there + step])
        writer.park()
        there = min(there + step, len(content))


def test_of_a_file_cut_off_anywhere_the_whole_chunks_are_found() -> None:
    content = content_of(2 * CHUNK_BYTES + 5000)
    file = io.BytesIO()
    writer = SealedWriter(file, CIPHER, context=b"here")
    writer.write(content)
    writer.park()
    stored = file.getvalue()
    for length in (HEAD_BYTES, HEAD_BYTES + 5, HEAD_BYTES + SEALED_BYTES + 100, len(stored) - 1, len(stored)):
        found = b"".join(unfinished(io.BytesIO(stored[:length]), CIPHER, context=b"here", name="It"))
        whole = min(2, (length - HEAD_BYTES) // SEALED_BYTES) * CHUNK_BYTES
        assert found == (content if length == len(stored) else content[:whole])
    with pytest.raises(CorruptError):
        list(unfinished(io.BytesIO(stored[:20]), CIPHER, context=b"here", name="It"))


def test_no_number_is_sealed_twice_under_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    # Parking seals the same place again and again; that must never be with the key of the chunks.
    seen: list[tuple[int, bool]] = []
    nonce = sealed._nonce

    def noted(number: int, *, last: bool) -> bytes:
        seen.append((number, last))
        return nonce(number, last=last)

    monkeypatch.setattr(sealed, "_nonce", noted)
    writer = SealedWriter(io.BytesIO(), CIPHER, context=b"here")
    for _ in range(300):
        writer.write(bytes(1000))
        writer.park()
    writer.finish()
    assert [number for number, _ in seen] == list(range(len(seen)))
