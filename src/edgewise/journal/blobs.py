"""Content-addressed blobs (snapshots, clips) in a folder beside the journal.

The folder is the truth: one file per blob (see ``blob_files``), written atomically; what is known in memory is found
there when the store is opened. The store stays within its bytes by evicting, first what costs least:

1. blobs that no kept record points to,
2. those that the parent has as well: ``fetch`` brings them back when they are asked for,
3. the others. That is a loss.

Of each kind the oldest go first. A media type can have a bound of its own, so that long videos push out each other and
not the pictures. Each eviction is counted in ``evictions.json``, before the file goes. Small blobs that were just
written or read are also held in memory. With a cipher, all that is written is sealed, and counted as it lies on disk;
what was kept before stays as it is.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, BinaryIO, TypeVar

import msgspec

from edgewise._lib.clock import Clock, SystemClock
from edgewise._lib.files import (
    TEMPORARY_PREFIX,
    atomic_writer,
    file_sha256,
    fsync_folder,
    remove_leftovers,
    write_atomic,
)
from edgewise.errors import CorruptError, InputError, NotFoundError, StorageFullError, TooLargeError
from edgewise.journal.blob_files import (
    PLAIN,
    SUFFIXES,
    BlobFile,
    context_of,
    is_digest,
    open_content,
    read_blob,
    read_content,
    scan,
    unknown,
)
from edgewise.journal.cipher import Cipher
from edgewise.journal.sealed import SealedWriter, sealed_size
from edgewise.journal.upstream import UpstreamMarks

__all__ = ["SUFFIXES", "BlobStat", "BlobStore", "Evictions", "Fetch", "Fetched", "Owed", "read_blob"]

Fetch = Callable[[str], "bytes | BinaryIO | None"]
"""Asks the parent for a blob by its digest: its content, or None when the parent has it no more. Bounds its own time,
and raises UnavailableError when there is no answer.
"""

_T = TypeVar("_T")
_HEADROOM = 32  # a full store is emptied by this part of its bound at once
_HOT_SHARE = 8  # a blob of more than this part of the memory is not held in it
_PIECE_BYTES = 1 << 20


class BlobStat(msgspec.Struct, frozen=True):
    """What is known of a blob; ``held`` says that a kept record points to it, ``upstream`` that the parent has it."""

    digest: str
    size: int
    media_type: str
    time_ns: int
    held: bool
    upstream: bool = False


class Owed(msgspec.Struct, frozen=True):
    """A blob that is only here, and that kept records point to; ``number`` is larger of what came later."""

    number: int
    digest: str
    size: int
    media_type: str
    time_ns: int


class Evictions(msgspec.Struct, frozen=True):
    """Blobs and bytes evicted since the store was made.

    Attributes:
        count: All of them.
        bytes: Of all of them.
        held_count: Lost: kept records still pointed to them, and they were only here.
        held_bytes: Of those.
        upstream_count: Not lost: the parent has them.
        upstream_bytes: Of those.
    """

    count: int = 0
    bytes: int = 0
    held_count: int = 0
    held_bytes: int = 0
    upstream_count: int = 0
    upstream_bytes: int = 0


class Fetched(msgspec.Struct, frozen=True):
    """Blobs and bytes that the parent gave back since the store was opened; ``healed`` of them were damaged here."""

    count: int = 0
    bytes: int = 0
    healed: int = 0


class BlobStore:
    """Blobs by digest. Safe for threads; one process at a time writes a folder.

    Args:
        folder: Where the files lie; made when it is missing.
        max_bytes: Bytes kept.
        clock: Time; the machine's own by default.
        bounds: Bytes kept of a media type, for those that do not count to ``max_bytes``.
        max_age_s: Seconds kept at most; 0 for no bound. Measured by ``retain``.
        cipher: Seals what is written.
        fetch: Asks the parent for what is not here, or damaged.
        memory_bytes: Of small blobs held in memory beside the disk; 0 holds none.

    Raises:
        CorruptError: What is counted of evictions, or known of the parent, is damaged.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 2 << 30,
        clock: Clock | None = None,
        bounds: Mapping[str, int] | None = None,
        max_age_s: float = 0.0,
        cipher: Cipher | None = None,
        fetch: Fetch | None = None,
        memory_bytes: int = 8 << 20,
    ) -> None:
        self.cipher = cipher
        self._folder = folder
        self._max_bytes = max_bytes
        self._bounds = dict(bounds or {})
        self._max_age_s = max_age_s
        self._clock = clock or SystemClock()
        self._fetch = fetch
        self._fetched = Fetched()
        self._hot = _Hot(memory_bytes)
        self._changed = threading.Condition()
        self._held: set[str] = set()
        self._owed: dict[str, int] = {}  # by their numbers, which grow
        self._numbered = 0
        self._damaged: set[str] = set()
        self._writing: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        self._ledger = folder / "evictions.json"
        self._evictions = _read_ledger(self._ledger)
        self._blobs = scan(folder)
        self._marks = UpstreamMarks(folder / "upstream.db")
        self._upstream = self._marks.among(self._blobs)
        self._bytes = Counter[str]()
        for blob in self._blobs.values():
            self._bytes[self._bound_of(blob)] += blob.stored

    @property
    def kept_bytes(self) -> int:
        """Bytes kept now, with those just being written."""
        return self._bytes.total()

    @property
    def evictions(self) -> Evictions:
        """What was evicted so far."""
        return self._evictions

    @property
    def fetched(self) -> Fetched:
        """What came back from the parent."""
        return self._fetched

    def put(self, data: bytes, *, media_type: str = PLAIN) -> str:
        """Keeps a blob; returns its digest once it is on disk. The same content is kept once.

        Until a record points to it, it is the first to be evicted when room is needed: put it just before the record.

        Raises:
            TooLargeError: It is larger than the whole store.
            StorageFullError: The disk is full.
        """
        self.check_size(len(data), media_type)
        digest = hashlib.sha256(data).hexdigest()
        self._place(digest, len(data), media_type, lambda blob, path: self._write(blob, path, [data]))
        self._warm(digest, data)
        return digest

    def put_file(self, source: Path, *, media_type: str = PLAIN) -> str:
        """Moves a finished file in, without reading it into memory; returns its digest once it is on disk.

        Args:
            source: On the same file system. It is gone afterwards, also when its content was kept already; when this
                raises it is still there.
            media_type: Of its content.

        Raises:
            TooLargeError: It is larger than all that may be kept of its media type.
            StorageFullError: The disk is full.
        """
        size = source.stat().st_size
        self.check_size(size, media_type)
        digest = file_sha256(source)
        if self.cipher is None:
            self.move_in(source, digest=digest, size=size, media_type=media_type)
            return digest
        with open(source, "rb") as file:
            self._place(digest, size, media_type, lambda blob, path: self._write(blob, path, _pieces(file)))
        source.unlink()
        return digest

    def move_in(self, source: Path, *, digest: str, size: int, media_type: str) -> None:
        """Moves in a file whose content was checked; it is gone afterwards.

        Args:
            source: On the same file system, sealed with the store's cipher when it has one.
            digest: Of the content.
            size: Of the content.
            media_type: Of the content.

        Raises:
            TooLargeError: It is larger than all that may be kept of its media type.
            StorageFullError: The disk is full.
        """

        def move(blob: BlobFile, path: Path) -> None:
            os.utime(source, ns=(blob.time_ns, blob.time_ns))
            with open(source, "rb") as file:
                os.fsync(file.fileno())
            source.replace(path)
            try:
                fsync_folder(path.parent)
            except OSError:
                path.replace(source)
                raise

        self.check_size(size, media_type)
        self._place(digest, size, media_type, move)
        source.unlink(missing_ok=True)

    def check_size(self, size: int, media_type: str) -> None:
        """Refuses what can never be kept.

        Raises:
            TooLargeError: It is larger than all that may be kept of its media type.
        """
        limit = self._limit(media_type)
        stored = sealed_size(size) if self.cipher else size
        if stored > limit:
            raise TooLargeError(f"A blob of {size} bytes is past the store's {limit}.", limit=limit, actual=size)

    def retain(self) -> None:
        """Evicts what is older than the store keeps."""
        if not self._max_age_s:
            return
        oldest_ns = self._clock.time_ns() - int(self._max_age_s * 1e9)
        with self._changed:
            self._evict([blob for blob in self._idle() if blob.time_ns < oldest_ns])

    def get(self, digest: str) -> bytes:
        """The content of a blob; from the parent when it has it and it is not here, or damaged.

        Raises:
            NotFoundError: It is not kept (any more).
            CorruptError: The file was damaged.
            UnavailableError: It has to come from the parent, who does not answer.
        """
        with self._changed:
            if (data := self._hot.get(digest)) is not None:
                return data
        data = self._read(digest, lambda blob, path: read_content(path, blob.digest, self.cipher))
        self._warm(digest, data)
        return data

    def open_blob(self, digest: str) -> io.BufferedReader:
        """The content of a blob for reading from any byte, such as for sending; as ``get`` does.

        It can be read to its end also when the blob is evicted meanwhile. Unlike ``get`` it does not check the whole
        content first. Of a sealed blob each part is checked when it is read (CorruptError), of a plain one nothing.

        Raises:
            NotFoundError: It is not kept (any more).
            CorruptError: The file was damaged.
            UnavailableError: It has to come from the parent, who does not answer.
        """

        def opened(blob: BlobFile, path: Path) -> io.BufferedReader:
            return open_content(path, blob.digest, self.cipher, on_damage=lambda: self._note_damage(blob))

        return self._read(digest, opened)

    def path(self, digest: str) -> Path:
        """The file of a blob, as it lies on disk; it may be evicted at any time.

        Raises:
            NotFoundError: It is not kept (any more).
        """
        return self._find(digest).path(self._folder)

    def stat(self, digest: str) -> BlobStat:
        """What is known of a blob.

        Raises:
            NotFoundError: It is not kept (any more).
        """
        blob = self._find(digest)
        held, upstream = digest in self._held, digest in self._upstream
        return BlobStat(digest, blob.size, blob.media_type, blob.time_ns, held=held, upstream=upstream)

    def reachable(self, digest: str) -> bool:
        """Whether ``get`` can be expected to give it: it is here, or the parent confirmed that it has it."""
        with self._changed:
            if digest in self._blobs:
                return True
        return self._fetch is not None and is_digest(digest) and self._marks.find(digest) is not None

    def close(self) -> None:
        """Releases what is open; the store is not used afterwards."""
        self._marks.close()

    # What the journal tells.

    def adopt(self, digests: Iterable[str]) -> None:
        """Holds exactly these: all that kept records point to."""
        with self._changed:
            self._held = set(digests)
            self._owe(self._blobs)

    def hold(self, digests: Iterable[str]) -> None:
        """Holds these as well."""
        found = tuple(digests)
        with self._changed:
            self._held.update(found)
            self._owe(found)

    def let_go(self, digests: Iterable[str]) -> None:
        """No kept record points to these any more: they go when room is needed, before all others."""
        found = tuple(digests)
        with self._changed:
            self._held.difference_update(found)
            self._owe(found)

    # What the parent tells.

    def mark_upstream(self, digests: Iterable[str]) -> None:
        """The parent confirmed that it has these. They are evicted before what is only here. Durable when it returns.

        Raises:
            InputError: One is no digest.
            StorageFullError: The disk is full; none is marked.
        """
        with self._changed:
            known = {digest: blob.media_type if (blob := self._blobs.get(digest)) else PLAIN for digest in digests}
        for digest in known:
            if not is_digest(digest):
                raise InputError(f"{digest!r:.80} is no SHA-256", name=digest[:64])
        self._marks.add(known)
        with self._changed:
            self._upstream.update(digest for digest in known if digest in self._blobs)
            self._owe(known)

    def forget_upstream(self) -> None:
        """The node has another parent now, or none, which is known to have nothing. Durable when it returns."""
        self._marks.clear()
        with self._changed:
            self._upstream.clear()
            self._owe(self._blobs)

    def owed(self, *, after: int = 0) -> list[Owed]:
        """What the parent is still to have, past a number; the oldest first. Costs as much as it returns."""
        found: list[Owed] = []
        with self._changed:
            for digest, number in reversed(self._owed.items()):
                if number <= after:
                    break
                blob = self._blobs[digest]
                found.append(Owed(number, digest, blob.size, blob.media_type, blob.time_ns))
        return found[::-1]

    def owes(self, digest: str) -> bool:
        """Whether the parent is still to have it."""
        return digest in self._owed

    @property
    def owed_count(self) -> int:
        """How many blobs the parent is still to have."""
        return len(self._owed)

    def _owe(self, digests: Iterable[str]) -> None:
        """Notes anew whether the parent is to have these."""
        for digest in digests:
            if digest not in self._blobs or digest not in self._held or digest in self._upstream:
                self._owed.pop(digest, None)
            elif digest not in self._owed:
                self._numbered += 1
                self._owed[digest] = self._numbered

    # Reading.

    def _find(self, digest: str) -> BlobFile:
        with self._changed:
            blob = self._blobs.get(digest)
        if blob is None:
            raise unknown(digest)
        return blob

    def _read(self, digest: str, read: Callable[[BlobFile, Path], _T]) -> _T:
        if digest in self._damaged:  # found while a part of it was read, perhaps another than is read now
            self._fetch_anew(digest)
        try:
            return self._read_here(digest, read)
        except (NotFoundError, CorruptError):
            if not self._fetch_anew(digest):
                raise
        return self._read_here(digest, read)

    def _read_here(self, digest: str, read: Callable[[BlobFile, Path], _T]) -> _T:
        blob = self._find(digest)
        try:
            return read(blob, blob.path(self._folder))
        except FileNotFoundError as error:
            self._forget(blob)
            raise unknown(digest) from error
        except CorruptError:
            self._note_damage(blob)
            raise

    def _note_damage(self, blob: BlobFile) -> None:
        with self._changed:
            if self._blobs.get(blob.digest) is blob:
                self._damaged.add(blob.digest)

    def _forget(self, blob: BlobFile) -> None:
        """Somebody removed the file: what is put again has to be written again."""
        with self._changed:
            if self._blobs.get(blob.digest) is blob and blob.digest not in self._writing:
                self._drop(blob)

    def _warm(self, digest: str, data: bytes) -> None:
        with self._changed:
            if digest in self._blobs:
                self._hot.put(digest, data)

    # From the parent.

    def _fetch_anew(self, digest: str) -> bool:
        """Keeps what the parent has of a blob; whether it had it."""
        if self._fetch is None or not is_digest(digest):
            return False
        media_type = self._marks.find(digest)
        if media_type is None:
            return False
        content = self._fetch(digest)
        if content is None:
            self._marks.remove(digest)
            with self._changed:
                self._upstream.discard(digest)
                self._owe([digest])
            return False
        path = self._folder / f"{TEMPORARY_PREFIX}{digest}-{secrets.token_hex(4)}"
        try:
            with contextlib.closing(io.BytesIO(content) if isinstance(content, bytes) else content) as file:
                size = self._spool(file, path, digest, limit=self._limit(media_type))
            healed = digest in self._damaged
            self.move_in(path, digest=digest, size=size, media_type=media_type)
        finally:
            path.unlink(missing_ok=True)
        with self._changed:
            before = self._fetched
            self._fetched = Fetched(before.count + 1, before.bytes + size, before.healed + healed)
        return True

    def _spool(self, file: BinaryIO, path: Path, digest: str, *, limit: int) -> int:
        """Writes content from outside aside, checked and bounded; its size."""
        checked = _Checked(_pieces(file), digest, limit=limit)
        with _told(digest), open(path, "xb") as spooled:
            self._write_into(spooled, digest, checked)
        return checked.size

    # Writing and evicting.

    def _place(self, digest: str, size: int, media_type: str, write: Callable[[BlobFile, Path], None]) -> None:
        """Has a blob written to its path, unless it is there, with room made and counted before."""
        known = media_type if media_type in SUFFIXES else PLAIN
        blob = BlobFile(digest, size, known, self._clock.time_ns(), sealed=self.cipher is not None)
        if not self._admit(blob):
            return
        path = blob.path(self._folder)
        try:
            with _told(digest):
                marked = self._marks.find(digest) is not None
                path.parent.mkdir(exist_ok=True)
                write(blob, path)
        except BaseException:
            with self._changed:
                self._end_writing(blob)
                self._bytes[self._bound_of(blob)] -= blob.stored
            raise
        with self._changed:
            self._end_writing(blob)
            if before := self._blobs.get(digest):  # a damaged one, which this replaces
                self._drop(before)
                if before.path(self._folder) != path:
                    before.path(self._folder).unlink(missing_ok=True)
            self._blobs[digest] = blob
            if marked:
                self._upstream.add(digest)
            self._owe([digest])

    def _write(self, blob: BlobFile, path: Path, pieces: Iterable[bytes]) -> None:
        try:
            with atomic_writer(path) as file:
                self._write_into(file, blob.digest, pieces)
                file.flush()
                os.utime(file.fileno(), ns=(blob.time_ns, blob.time_ns))
        except BaseException:
            if blob.digest not in self._blobs:
                path.unlink(missing_ok=True)  # it has its name, but nobody was told that it is on disk
            raise

    def _write_into(self, file: IO[bytes], digest: str, pieces: Iterable[bytes]) -> None:
        if self.cipher is None:
            file.writelines(pieces)
            return
        writer = SealedWriter(file, self.cipher, context=context_of(digest))
        for piece in pieces:
            writer.write(piece)
        writer.finish()

    def _admit(self, blob: BlobFile) -> bool:
        """Makes room for a blob and counts it, once nobody else writes what stands in its way; False: it is there."""
        with self._changed:
            while True:
                if blob.digest not in self._writing:
                    if blob.digest in self._blobs and blob.digest not in self._damaged:
                        return False
                    if self._make_room(blob):
                        break
                self._changed.wait()
            self._writing.add(blob.digest)
            self._bytes[self._bound_of(blob)] += blob.stored
            return True

    def _end_writing(self, blob: BlobFile) -> None:
        self._writing.discard(blob.digest)
        self._changed.notify_all()

    def _make_room(self, incoming: BlobFile) -> bool:
        """Evicts from those that share a bound with what comes in; False: what is just being written needs the room."""
        bound, limit = self._bound_of(incoming), self._limit(incoming.media_type)
        left = self._bytes[bound]
        if left + incoming.stored <= limit:
            return True
        sharing = [blob for blob in self._idle() if self._bound_of(blob) == bound]
        if self._writing and left - sum(blob.stored for blob in sharing) + incoming.stored > limit:
            return False
        target = limit - limit // _HEADROOM - incoming.stored
        victims: list[BlobFile] = []
        for blob in sorted(sharing, key=self._worth):
            if left <= max(target, 0):
                break
            victims.append(blob)
            left -= blob.stored
        self._evict(victims)
        return True

    def _worth(self, blob: BlobFile) -> tuple[bool, bool, int]:
        return (blob.digest in self._held, blob.digest not in self._upstream, blob.time_ns)

    def _idle(self) -> Iterator[BlobFile]:
        return (blob for blob in self._blobs.values() if blob.digest not in self._writing)

    def _limit(self, media_type: str) -> int:
        return self._bounds.get(media_type, self._max_bytes)

    def _bound_of(self, blob: BlobFile) -> str:
        return blob.media_type if blob.media_type in self._bounds else ""

    def _evict(self, victims: list[BlobFile]) -> None:
        if not victims:
            return
        upstream = [blob.stored for blob in victims if blob.digest in self._upstream]
        lost = [blob.stored for blob in victims if blob.digest in self._held and blob.digest not in self._upstream]
        before = self._evictions
        after = Evictions(
            count=before.count + len(victims),
            bytes=before.bytes + sum(blob.stored for blob in victims),
            held_count=before.held_count + len(lost),
            held_bytes=before.held_bytes + sum(lost),
            upstream_count=before.upstream_count + len(upstream),
            upstream_bytes=before.upstream_bytes + sum(upstream),
        )
        write_atomic(self._ledger, msgspec.json.encode(after))
        self._evictions = after
        for blob in victims:
            blob.path(self._folder).unlink(missing_ok=True)
            self._drop(blob)

    def _drop(self, blob: BlobFile) -> None:
        del self._blobs[blob.digest]
        self._bytes[self._bound_of(blob)] -= blob.stored
        self._upstream.discard(blob.digest)
        self._damaged.discard(blob.digest)
        self._hot.drop(blob.digest)
        self._owe([blob.digest])


class _Hot:
    """Small blobs in memory, those used last."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._blobs = OrderedDict[str, bytes]()

    def get(self, digest: str) -> bytes | None:
        data = self._blobs.get(digest)
        if data is not None:
            self._blobs.move_to_end(digest)
        return data

    def put(self, digest: str, data: bytes) -> None:
        if len(data) > self._max_bytes // _HOT_SHARE:
            return
        self.drop(digest)
        self._blobs[digest] = data
        self._bytes += len(data)
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._blobs.popitem(last=False)[1])

    def drop(self, digest: str) -> None:
        self._bytes -= len(self._blobs.pop(digest, b""))


class _Checked:
    """Pieces of content from outside: more than the limit, or another digest at the end, is an error."""

    def __init__(self, pieces: Iterable[bytes], digest: str, *, limit: int) -> None:
        self.size = 0
        self._pieces = pieces
        self._digest = digest
        self._limit = limit

    def __iter__(self) -> Iterator[bytes]:
        found = hashlib.sha256()
        for piece in self._pieces:
            self.size += len(piece)
            if self.size > self._limit:
                raise TooLargeError(f"Blob {self._digest} is past the store's {self._limit}.", limit=self._limit)
            found.update(piece)
            yield piece
        if (actual := found.hexdigest()) != self._digest:
            raise CorruptError(
                f"The parent's blob {self._digest} has the digest {actual}.",
                hint="It was damaged there, or on its way.",
                expected=self._digest,
                actual=actual,
            )


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece


@contextlib.contextmanager
def _told(digest: str) -> Iterator[None]:
    """Tells a full disk as such."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError(f"No space left to keep {digest}", hint="Free disk space.") from error
        raise


def _read_ledger(path: Path) -> Evictions:
    if not path.exists():
        return Evictions()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Evictions)
    except msgspec.DecodeError as error:
        raise CorruptError(f"{path} is damaged: {error}", hint="Remove it to start counting anew.") from error
