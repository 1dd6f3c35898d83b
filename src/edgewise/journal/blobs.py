"""Content-addressed blobs (snapshots, clips) in a folder beside the journal.

The folder is the truth: one file per blob, ``ab/abcd….jpg``, named by its SHA-256 and written atomically; what is known
in memory is found there when the store is opened. The store stays within its bytes by evicting: first blobs that no
kept record points to, then the oldest of the others. A media type can have a bound of its own, so that long videos push
out each other and not the pictures. Each eviction is counted in ``evictions.json``, before the file goes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from edgewise._lib.clock import Clock, SystemClock
from edgewise._lib.files import TEMPORARY_PREFIX, file_sha256, fsync_folder, write_atomic
from edgewise.errors import CorruptError, NotFoundError, StorageFullError, TooLargeError

SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "audio/wav": ".wav",
    "video/mp4": ".mp4",
    "application/octet-stream": "",
}
"""Media types a blob can have, each with the end of its file's name."""

_MEDIA_TYPES = {suffix: media_type for media_type, suffix in SUFFIXES.items()}
_NAME = re.compile(r"([0-9a-f]{64})(\.[a-z0-9]+)?")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEADROOM = 32  # a full store is emptied by this part of its bound at once


class BlobStat(msgspec.Struct, frozen=True):
    """What is known of a blob; ``held`` says that a kept record points to it."""

    digest: str
    size: int
    media_type: str
    time_ns: int
    held: bool


class Evictions(msgspec.Struct, frozen=True):
    """Blobs and bytes evicted since the store was made; ``held_*`` are those that kept records still pointed to."""

    count: int = 0
    bytes: int = 0
    held_count: int = 0
    held_bytes: int = 0


class BlobStore:
    """Blobs by digest. Safe for threads; one process at a time writes a folder.

    Args:
        folder: Where the files lie; made when it is missing.
        max_bytes: Bytes kept.
        clock: Time; the machine's own by default.
        bounds: Bytes kept of a media type, for those that do not count to ``max_bytes``.
        max_age_s: Seconds kept at most; 0 for no bound. Measured by ``retain``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 2 << 30,
        clock: Clock | None = None,
        bounds: Mapping[str, int] | None = None,
        max_age_s: float = 0.0,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._bounds = dict(bounds or {})
        self._max_age_s = max_age_s
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._held: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        self._ledger = folder / "evictions.json"
        self._evictions = _read_ledger(self._ledger)
        self._blobs = _scan(folder)
        self._bytes = Counter[str]()
        for blob in self._blobs.values():
            self._bytes[self._bound_of(blob.media_type)] += blob.size

    @property
    def kept_bytes(self) -> int:
        """Bytes kept now."""
        return self._bytes.total()

    @property
    def evictions(self) -> Evictions:
        """What was evicted so far."""
        return self._evictions

    def put(self, data: bytes, *, media_type: str = "application/octet-stream") -> str:
        """Keeps a blob; returns its digest once it is on disk. The same content is kept once.

        Until a record points to it, it is the first to be evicted when room is needed: put it just before the record.

        Raises:
            TooLargeError: It is larger than the whole store.
            StorageFullError: The disk is full.
        """
        self._check_size(len(data), media_type)
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            if digest in self._blobs:
                return digest
            blob, path = self._admit(digest, len(data), media_type)
            write_atomic(path, data)
            self._keep(blob, path)
        return digest

    def put_file(self, source: Path, *, media_type: str = "application/octet-stream") -> str:
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
        self._check_size(size, media_type)
        digest = file_sha256(source)
        with self._lock:
            if digest in self._blobs:
                source.unlink()
                return digest
            try:
                with open(source, "rb") as file:
                    os.fsync(file.fileno())
                blob, path = self._admit(digest, size, media_type)
                source.replace(path)
                fsync_folder(path.parent)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise StorageFullError(f"No space left to keep {source.name}", hint="Free disk space.") from error
                raise
            self._keep(blob, path)
        return digest

    def retain(self) -> None:
        """Evicts what is older than the store keeps."""
        if not self._max_age_s:
            return
        oldest_ns = self._clock.time_ns() - int(self._max_age_s * 1e9)
        with self._lock:
            if victims := [blob for blob in self._blobs.values() if blob.time_ns < oldest_ns]:
                self._evict(victims)

    def _check_size(self, size: int, media_type: str) -> None:
        limit = self._bounds.get(media_type, self._max_bytes)
        if size > limit:
            raise TooLargeError(f"A blob of {size} bytes is past the store's {limit}.", limit=limit, actual=size)

    def _admit(self, digest: str, size: int, media_type: str) -> tuple[BlobStat, Path]:
        known = media_type if media_type in SUFFIXES else "application/octet-stream"
        self._make_room(size, known)
        blob = BlobStat(digest, size, known, self._clock.time_ns(), held=False)
        path = self._path(blob)
        path.parent.mkdir(exist_ok=True)
        return blob, path

    def _keep(self, blob: BlobStat, path: Path) -> None:
        os.utime(path, ns=(blob.time_ns, blob.time_ns))
        self._blobs[blob.digest] = blob
        self._bytes[self._bound_of(blob.media_type)] += blob.size

    def get(self, digest: str) -> bytes:
        """The content of a blob.

        Raises:
            NotFoundError: It is not kept (any more).
            CorruptError: The file was damaged.
        """
        path = self.path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise _unknown(digest) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise CorruptError(f"Blob {digest} was damaged on disk.", name=digest)
        return data

    def path(self, digest: str) -> Path:
        """The file of a blob, for sending it; it may be evicted at any time.

        Raises:
            NotFoundError: It is not kept (any more).
        """
        return self._path(self._find(digest))

    def stat(self, digest: str) -> BlobStat:
        """What is known of a blob.

        Raises:
            NotFoundError: It is not kept (any more).
        """
        blob = self._find(digest)
        return msgspec.structs.replace(blob, held=digest in self._held)

    # What the journal tells.

    def adopt(self, digests: Iterable[str]) -> None:
        """Holds exactly these: all that kept records point to."""
        with self._lock:
            self._held = set(digests)

    def hold(self, digests: Iterable[str]) -> None:
        """Holds these as well."""
        with self._lock:
            self._held.update(digests)

    def let_go(self, digests: Iterable[str]) -> None:
        """No kept record points to these any more: they go when room is needed, before all others."""
        with self._lock:
            self._held.difference_update(digests)

    def _find(self, digest: str) -> BlobStat:
        with self._lock:
            blob = self._blobs.get(digest)
        if blob is None:
            raise _unknown(digest)
        return blob

    def _path(self, blob: BlobStat) -> Path:
        return self._folder / blob.digest[:2] / f"{blob.digest}{SUFFIXES[blob.media_type]}"

    def _make_room(self, incoming: int, media_type: str) -> None:
        """Evicts from those that share a bound with what comes in."""
        bound = self._bound_of(media_type)
        limit = self._bounds.get(media_type, self._max_bytes)
        left = self._bytes[bound]
        if left + incoming <= limit:
            return
        sharing = [blob for blob in self._blobs.values() if self._bound_of(blob.media_type) == bound]
        target = limit - limit // _HEADROOM - incoming
        victims: list[BlobStat] = []
        for blob in sorted(sharing, key=lambda blob: (blob.digest in self._held, blob.time_ns)):
            if left <= max(target, 0):
                break
            victims.append(blob)
            left -= blob.size
        self._evict(victims)

    def _bound_of(self, media_type: str) -> str:
        return media_type if media_type in self._bounds else ""

    def _evict(self, victims: list[BlobStat]) -> None:
        held = [blob.size for blob in victims if blob.digest in self._held]
        before = self._evictions
        self._evictions = Evictions(
            count=before.count + len(victims),
            bytes=before.bytes + sum(blob.size for blob in victims),
            held_count=before.held_count + len(held),
            held_bytes=before.held_bytes + sum(held),
        )
        write_atomic(self._ledger, msgspec.json.encode(self._evictions))
        for blob in victims:
            self._path(blob).unlink(missing_ok=True)
            del self._blobs[blob.digest]
            self._bytes[self._bound_of(blob.media_type)] -= blob.size


def read_blob(folder: Path, digest: str) -> bytes:
    """The content of a blob in a store's folder, also beside a process that writes it.

    Raises:
        NotFoundError: It is not kept (any more).
        CorruptError: The file was damaged.
    """
    if not _DIGEST.fullmatch(digest):
        raise _unknown(digest)
    for path in (folder / digest[:2]).glob(f"{digest}*"):
        with contextlib.suppress(FileNotFoundError):
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                raise CorruptError(f"Blob {digest} was damaged on disk.", name=digest)
            return data
    raise _unknown(digest)


def _scan(folder: Path) -> dict[str, BlobStat]:
    """The blobs in a folder; what a crash left half-written is removed."""
    found = {}
    for path in folder.glob("[0-9a-f][0-9a-f]/*"):
        if path.name.startswith(TEMPORARY_PREFIX):
            path.unlink(missing_ok=True)
        elif (match := _NAME.fullmatch(path.name)) and (match[2] or "") in _MEDIA_TYPES:
            stat = path.stat()
            found[match[1]] = BlobStat(
                match[1], stat.st_size, _MEDIA_TYPES[match[2] or ""], stat.st_mtime_ns, held=False
            )
    return found


def _read_ledger(path: Path) -> Evictions:
    if not path.exists():
        return Evictions()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Evictions)
    except msgspec.DecodeError as error:
        raise CorruptError(f"{path} is damaged: {error}", hint="Remove it to start counting anew.") from error


def _unknown(digest: str) -> NotFoundError:
    shown = digest if _DIGEST.fullmatch(digest) else f"{digest!r:.80}"
    return NotFoundError(f"No blob {shown}: it was evicted, or never stored.", kind="blob", name=digest[:64])
