"""Receiving blobs from children: each goes on at the byte where it stopped, whoever or whatever was cut off between.

What ``write`` took survives a kill of the process; over a power cut it may be less, and ``begin`` tells how much is
there. A blob appears in the store whole, with its digest checked, or not at all. Partial files are sealed like blobs
when the store has a cipher. Each sender has partials of its own, so none can spoil what another sends.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from edgewise._lib.clock import Clock
from edgewise._lib.files import TEMPORARY_PREFIX, remove_leftovers
from edgewise.errors import (
    BusyError,
    ClosedError,
    ConflictError,
    CorruptError,
    InputError,
    NotFoundError,
    StorageFullError,
    TooLargeError,
)
from edgewise.journal.blob_files import SEALED, context_of, is_digest
from edgewise.journal.blobs import BlobStore
from edgewise.journal.cipher import Cipher
from edgewise.journal.sealed import SealedWriter, unfinished, write_all

_NAME = re.compile(r"[0-9a-f]{64}-[0-9a-f]{16}\.part(\.sealed)?")
_PIECE_BYTES = 1 << 20


class UploadSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of what is received.

    Attributes:
        max_blob_bytes: Of one blob.
        max_partials: Blobs being received.
        max_partials_each: Of those, from one sender.
        max_bytes: Announced sizes of all that are being received.
        max_bytes_each: Of those, from one sender.
        idle_s: Seconds after which one that gets nothing is forgotten.
    """

    max_blob_bytes: int = 1 << 30
    max_partials: int = 256
    max_partials_each: int = 16
    max_bytes: int = 8 << 30
    max_bytes_each: int = 2 << 30
    idle_s: float = 24 * 3600.0


class Uploads:
    """Blobs that are being received. Safe for threads; one process at a time has a folder.

    Args:
        folder: Where partial files lie; made when it is missing, on the file system of the store.
        store: Where whole ones go. Its cipher seals the partial ones.
        clock: Time.
        settings: Bounds.
    """

    def __init__(self, folder: Path, *, store: BlobStore, clock: Clock, settings: UploadSettings | None = None) -> None:
        self._folder = folder
        self._store = store
        self._clock = clock
        self._settings = settings or UploadSettings()
        self._lock = threading.Lock()
        self._partials: dict[str, _Partial] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_leftovers(folder)
        for path in sorted(folder.glob("*.part*")):
            if not _NAME.fullmatch(path.name):
                continue
            if (path.suffix == SEALED) != (store.cipher is not None):  # begun with other settings
                path.unlink()
                continue
            name = path.name.partition(".")[0]
            self._partials[name] = _Partial(path, store.cipher, size=path.stat().st_size, now=clock.monotonic())

    def begin(self, digest: str, size: int, media_type: str, *, sender: str = "") -> int:
        """Begins to receive a blob, or goes on.

        Args:
            digest: SHA-256 of its content.
            size: Of its content.
            media_type: Of its content.
            sender: Who sends it.

        Returns:
            How many bytes are there: the offset to go on from. ``size`` when the store has it already.

        Raises:
            InputError: The digest is none.
            TooLargeError: It is past a bound.
            BusyError: Too many are being received.
            StorageFullError: The disk is full.
        """
        name = _name(digest, sender)
        if size < 0:
            raise InputError(f"A blob has no {size} bytes", size=size)
        limit = self._settings.max_blob_bytes
        if size > limit:
            raise TooLargeError(f"A blob of {size} bytes is past {limit}.", limit=limit, actual=size)
        self._store.check_size(size, media_type)
        if self._kept(digest):
            self._remove(name)
            return size
        self.expire()
        partial = self._enter(name, size=size)
        with partial.lock:
            if partial.gone:
                raise BusyError("It has just been finished or given up.", hint="Begin again.")
            partial.size, partial.media_type, partial.touched = size, media_type, self._clock.monotonic()
            if partial.open(digest) > size:  # more than what is announced now: something else, or a lie
                partial.restart(digest)
            return partial.offset

    def write(self, digest: str, offset: int, data: bytes, *, sender: str = "") -> int:
        """Takes the bytes that follow; returns the offset behind them.

        Args:
            digest: As begun.
            offset: Where they belong.
            data: The bytes.
            sender: As begun.

        Raises:
            NotFoundError: It was not begun since the process started, or has expired.
            ConflictError: They do not begin where it goes on; the fact ``offset`` tells where that is.
            TooLargeError: They are more than was announced; what was received is removed.
            StorageFullError: The disk is full; ``begin`` tells how much is there.
        """
        name = _name(digest, sender)
        with self._begun(name, digest) as partial:
            if offset != partial.offset:
                raise _elsewhere(digest, offset, partial.offset)
            if offset + len(data) > partial.size:
                self._discard(name, partial)
                raise TooLargeError(
                    f"Blob {digest} has more than the {partial.size} bytes that were announced.",
                    limit=partial.size,
                    actual=offset + len(data),
                )
            partial.write(data)
            partial.touched = self._clock.monotonic()
            return partial.offset

    def finish(self, digest: str, *, sender: str = "") -> None:
        """Checks a blob that is whole, and moves it into the store. Once it is there this does nothing.

        Raises:
            NotFoundError: It was not begun since the process started, or has expired.
            ConflictError: It is not whole; the fact ``offset`` tells how much is there.
            InputError: The content has another digest; what was received is removed.
            StorageFullError: The disk is full.
        """
        name = _name(digest, sender)
        if self._kept(digest):
            self._remove(name)
            return
        with self._begun(name, digest) as partial:
            if partial.offset != partial.size:
                raise _elsewhere(digest, partial.size, partial.offset)
            if (actual := partial.sha256) != digest:
                self._discard(name, partial)
                hint = "Send it again; when that fails as well, what the sender keeps is damaged."
                raise InputError(
                    f"What was sent as {digest} has the digest {actual}", hint=hint, expected=digest, actual=actual
                )
            partial.finish()
            self._store.move_in(partial.path, digest=digest, size=partial.offset, media_type=partial.media_type)
            self._discard(name, partial)

    def begun(self, *, sender: str = "") -> list[str]:
        """Digests of what is being received from a sender."""
        end = _suffix(sender)
        with self._lock:
            return [name.rpartition("-")[0] for name in self._partials if name.endswith(end)]

    def is_whole(self, digest: str, *, sender: str = "") -> bool:
        """Whether all bytes are there, for ``finish``."""
        with self._lock:
            partial = self._partials.get(_name(digest, sender))
        return partial is not None and partial.is_open and partial.offset == partial.size

    def give_up(self, digest: str, *, sender: str = "") -> None:
        """Removes what was received of a blob; nothing when there is nothing.

        Raises:
            InputError: The digest is none.
        """
        self._remove(_name(digest, sender))

    def expire(self) -> int:
        """Forgets those that got nothing for too long; how many."""
        oldest = self._clock.monotonic() - self._settings.idle_s
        with self._lock:
            idle = [(name, partial) for name, partial in self._partials.items() if partial.touched < oldest]
        removed = 0
        for name, partial in idle:
            if partial.lock.acquire(blocking=False):  # else it gets something just now
                try:
                    if partial.touched < oldest and not partial.gone:
                        self._discard(name, partial)
                        removed += 1
                finally:
                    partial.lock.release()
        return removed

    def close(self) -> None:
        """Closes the files; what is there is gone on with at the next start."""
        with self._lock:
            partials = list(self._partials.values())
        for partial in partials:
            with partial.lock:
                partial.close()

    def _kept(self, digest: str) -> bool:
        try:
            self._store.stat(digest)
        except NotFoundError:
            return False
        return True

    def _enter(self, name: str, *, size: int) -> _Partial:
        """The partial of that name; made when it is new and within the bounds."""
        settings, sender = self._settings, name.rpartition("-")[2]
        with self._lock:
            partial = self._partials.get(name)
            others = [(of, each) for of, each in self._partials.items() if of != name]
            same = [each for of, each in others if of.rpartition("-")[2] == sender]
            if partial is None and (len(others) >= settings.max_partials or len(same) >= settings.max_partials_each):
                raise BusyError("Too many blobs are being received.", hint="Finish those begun, then retry.")
            if (
                size + sum(each.size for _, each in others) > settings.max_bytes
                or size + sum(each.size for each in same) > settings.max_bytes_each
            ):
                raise BusyError("What is being received takes all the room.", hint="Finish those begun, then retry.")
            if partial is None:
                end = ".part" + (SEALED if self._store.cipher else "")
                path = self._folder / f"{name}{end}"
                partial = _Partial(path, self._store.cipher, size=size, now=self._clock.monotonic())
                self._partials[name] = partial
            return partial

    @contextlib.contextmanager
    def _begun(self, name: str, digest: str) -> Iterator[_Partial]:
        with self._lock:
            partial = self._partials.get(name)
        if partial is not None:
            with partial.lock:
                if partial.is_open and not partial.gone:
                    yield partial
                    return
        raise NotFoundError(f"Blob {digest} is not being received.", hint="Begin it.", kind="upload", name=digest)

    def _remove(self, name: str) -> None:
        with self._lock:
            partial = self._partials.get(name)
        if partial is not None:
            with partial.lock:
                self._discard(name, partial)

    def _discard(self, name: str, partial: _Partial) -> None:
        partial.remove()
        with self._lock:
            if self._partials.get(name) is partial:
                del self._partials[name]


class _Partial:
    """One partial file. Used by who holds its lock; closed after an error, so that ``open`` finds what is there."""

    def __init__(self, path: Path, cipher: Cipher | None, *, size: int, now: float) -> None:
        self.lock = threading.Lock()
        self.path = path
        self.size = size
        self.media_type = ""
        self.touched = now
        self.offset = 0
        self.gone = False
        self._cipher = cipher
        self._sha256 = hashlib.sha256()
        self._file: IO[bytes] | None = None
        self._writer: SealedWriter | None = None

    @property
    def is_open(self) -> bool:
        return self._file is not None

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def open(self, digest: str) -> int:
        """Reads what is there, unless that is known; how much it is."""
        if self._file is None:
            with self._closed_on_error():
                if self._cipher is None:
                    self._open_plain()
                else:
                    self._open_sealed(digest, self._cipher)
        return self.offset

    def restart(self, digest: str) -> None:
        self.close()
        self.path.unlink()
        self.open(digest)

    def write(self, data: bytes) -> None:
        with self._closed_on_error():
            if self._file is None:
                raise ClosedError(f"{self.path.name} is closed.", hint="Begin it.")
            if self._writer:
                self._writer.write(data)
                self._writer.park()
            else:
                self._append(self._file, data)
            self._count(data)

    def finish(self) -> None:
        """Nothing more comes: the file becomes what the store keeps."""
        with self._closed_on_error():
            if self._writer:
                self._writer.finish()
        self.close()

    def close(self) -> None:
        if self._file:
            self._file.close()
        self._file = self._writer = None

    def remove(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)
        self.gone = True

    def _open_plain(self) -> None:
        # Unbuffered: what was taken is the system's, and stays when the process is killed.
        self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 - kept open between writes
        self._begin_count()
        self._file.seek(0)
        while piece := self._file.read(_PIECE_BYTES):
            self._count(piece)

    def _open_sealed(self, digest: str, cipher: Cipher) -> None:
        """Moves what another process sealed to a file of an own key: its key may have sealed what was to come."""
        context = context_of(digest)
        aside = self.path.with_name(f"{TEMPORARY_PREFIX}{self.path.name}-{secrets.token_hex(4)}")
        try:
            self._file = open(aside, "x+b", buffering=0)  # noqa: SIM115 - kept open between writes
            self._writer = SealedWriter(self._file, cipher, context=context)
            self._begin_count()
            # What cannot be opened is sent again; nobody was promised more.
            with contextlib.suppress(FileNotFoundError, CorruptError), open(self.path, "rb") as before:
                for piece in unfinished(before, cipher, context=context, name=self.path.name):
                    self._writer.write(piece)
                    self._count(piece)
            self._writer.park()
            aside.replace(self.path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise

    def _begin_count(self) -> None:
        self.offset = 0
        self._sha256 = hashlib.sha256()

    def _count(self, data: bytes) -> None:
        self.offset += len(data)
        self._sha256.update(data)

    def _append(self, file: IO[bytes], data: bytes) -> None:
        try:
            write_all(file, data)
        except BaseException:
            with contextlib.suppress(OSError):
                os.truncate(self.path, self.offset)
            raise

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.close()
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                hint = "Free disk space, then begin again."
                raise StorageFullError(f"No space left to receive {self.path.name[:64]}", hint=hint) from error
            raise


def _name(digest: str, sender: str) -> str:
    """What a partial is called; safe in a path."""
    if not is_digest(digest):
        raise InputError(f"{digest!r:.80} is no SHA-256 in lower-case hex", name=digest[:64])
    return digest + _suffix(sender)


def _suffix(sender: str) -> str:
    return f"-{hashlib.sha256(sender.encode()).hexdigest()[:16]}"


def _elsewhere(digest: str, asked: int, offset: int) -> ConflictError:
    return ConflictError(
        f"Blob {digest} is here up to byte {offset}, not {asked}.", hint="Go on from there.", offset=offset
    )
