"""Segment files: the log that all streams of a journal share. Written at the end, read anywhere, removed whole.

One segment is written at a time. A write returns once it is on disk. Small groups find the file already as long as they
need it, so that a sync (``fdatasync``) has no change of size to write. Large ones make it longer themselves, and go
past the page cache, written and synced by one call (``O_DIRECT``, ``O_DSYNC``), where the file system can do that: half
the time, and one wait less for the interpreter's lock.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgewise._lib.files import fsync_folder
from edgewise.errors import EdgewiseError, StorageFullError, UnavailableError

_log = logging.getLogger(__name__)

_SUFFIX = ".log"
_OPEN_FILES = 16
_PARTS_AT_ONCE = 1000  # below the system's bound of parts in one write (IOV_MAX)
_AHEAD_BYTES = 1 << 20
_LARGE_GROUP_BYTES = 64 << 10
_BUFFER_BYTES = 2 << 20
_ALIGNMENT = 4096  # of offset, length and memory in a write past the page cache
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class SegmentName(NamedTuple):
    """A segment: its number, and the salt that its frames' checksums start from."""

    number: int
    salt: int

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.number:010}{_SUFFIX}"


class SegmentFile:
    """A descriptor that is closed when the last one who reads from it lets go."""

    def __init__(self, path: Path, flags: int) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class SegmentReader:
    """Reads segments of a folder. Not safe for threads, but for ``read_from``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: OrderedDict[int, SegmentFile] = OrderedDict()

    def open(self, segment: SegmentName) -> SegmentFile:
        """A segment's file, for ``read_from``; it stays readable when the segment is removed meanwhile.

        Raises:
            FileNotFoundError: It was removed.
        """
        file = self._files.pop(segment.number, None) or SegmentFile(self.folder / segment.file, os.O_RDONLY)
        self._files[segment.number] = file
        if len(self._files) > _OPEN_FILES:
            self._files.popitem(last=False)
        return file

    def forget(self, segment: SegmentName) -> None:
        """Lets go of a file that was removed."""
        self._files.pop(segment.number, None)

    def close(self) -> None:
        """Lets go of all files."""
        self._files.clear()


def read_from(file: SegmentFile, offset: int, size: int) -> bytes:
    """Bytes of a segment, fewer at its end."""
    return os.pread(file.descriptor, size, offset)


def read_whole(folder: Path, segment: SegmentName) -> bytes:
    """All of a segment.

    Raises:
        FileNotFoundError: It was removed.
    """
    return (folder / segment.file).read_bytes()


def list_segments(folder: Path) -> dict[int, Path]:
    """The files in a folder that are named as segments are, by number."""
    return {int(path.stem): path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal()}


class SegmentWriter:
    """Writes at the end of one segment. Used by one thread at a time.

    Attributes:
        segment: What is being written.
        end: Where the next group goes.
    """

    def __init__(self, folder: Path, segment: SegmentName, *, end: int = 0) -> None:
        self.segment = segment
        self.end = end
        self._path = folder / segment.file
        self._direct: _DirectFile | None = None
        self._can_direct = hasattr(os, "O_DIRECT")
        try:
            self._file = SegmentFile(self._path, os.O_RDWR | os.O_CREAT)
            self._length = os.fstat(self._file.descriptor).st_size
            if self._length > end:
                self.cut()  # what a crash left behind the last group that was accepted
            fsync_folder(folder)
        except OSError as error:
            raise translate(error, self._path) from error

    def write(self, parts: Sequence[bytes], size: int) -> None:
        """Writes a group at ``end``; returns once it is on disk. ``end`` stays where it is until ``advance``.

        Raises:
            StorageFullError: The disk is full.
            UnavailableError: The disk fails.
        """
        try:
            if size < _LARGE_GROUP_BYTES or not self._write_past_cache(parts):
                self._write_through_cache(parts, size)
        except OSError as error:
            raise translate(error, self._path) from error

    def _write_past_cache(self, parts: Sequence[bytes]) -> bool:
        """False when the file system cannot do that."""
        if not self._can_direct:
            return False
        try:
            self._direct = self._direct or _DirectFile(self._path)
            begun = self._direct.begun(self.end)
            if begun is None:
                before = self.end % _ALIGNMENT
                begun = os.pread(self._file.descriptor, before, self.end - before)
            self._length = max(self._length, self._direct.write([begun, *parts], self.end - len(begun)))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            _log.debug("%s is written through the page cache: %s", self._path, error)
            self._can_direct = False
        return self._can_direct

    def _write_through_cache(self, parts: Sequence[bytes], size: int) -> None:
        descriptor = self._file.descriptor
        if self.end + size > self._length and size < _LARGE_GROUP_BYTES:
            self._length += _write_zeros(descriptor, self._length, self.end + size + _AHEAD_BYTES - self._length)
        offset = self.end
        for start in range(0, len(parts), _PARTS_AT_ONCE):
            offset += _write_all(descriptor, parts[start : start + _PARTS_AT_ONCE], offset)
        self._length = max(self._length, offset)
        os.fdatasync(descriptor)

    def advance(self, size: int) -> None:
        """Accepts the group that was written."""
        self.end += size

    def cut(self) -> None:
        """Takes back what was written past ``end``; returns once that is on disk.

        Raises:
            UnavailableError: The disk fails, so it is not known what it holds.
        """
        try:
            os.ftruncate(self._file.descriptor, self.end)
            os.fsync(self._file.descriptor)
            self._length = self.end
        except OSError as error:
            raise translate(error, self._path) from error


def translate(error: OSError, path: Path) -> EdgewiseError:
    """The system's error as one of ours."""
    if error.errno in _FULL:
        return StorageFullError(f"No space left for {path}", hint="Free disk space, then retry.")
    return UnavailableError(f"The disk under {path} fails: {error}", hint="Look at the disk and at `dmesg`.")


class _DirectFile:
    """Writes whole blocks past the page cache, from a buffer that lies in memory as the device wants it. Each write
    returns once it is on disk.
    """

    def __init__(self, path: Path) -> None:
        self._file = SegmentFile(path, os.O_WRONLY | os.O_DIRECT | os.O_DSYNC)
        self._buffer = memoryview(mmap.mmap(-1, _BUFFER_BYTES))
        self._end = 0
        self._begun = b""

    def begun(self, end: int) -> bytes | None:
        """What a block that ends amid holds before ``end``, when that is where the last write ended.

        Reading it would go to the disk, since what is written past the page cache is not in it any more.
        """
        return self._begun if end == self._end else None

    def write(self, parts: Sequence[bytes], offset: int) -> int:
        """Writes parts one behind the other, and zeros up to the end of the last block; where that is."""
        used = 0
        for part in parts:
            rest = memoryview(part)
            while rest:
                fits = min(len(rest), _BUFFER_BYTES - used)
                self._buffer[used : used + fits] = rest[:fits]
                rest = rest[fits:]
                used += fits
                if used == _BUFFER_BYTES:
                    offset += self._flush(used, offset)
                    used = 0
        if padding := -used % _ALIGNMENT:
            self._buffer[used : used + padding] = bytes(padding)
        length = offset + self._flush(used + padding, offset)
        self._end, self._begun = offset + used, bytes(self._buffer[used - used % _ALIGNMENT : used])
        return length

    def _flush(self, size: int, offset: int) -> int:
        written = 0
        while written < size:  # it stops early, at a block's end, when the disk becomes full
            written += os.pwrite(self._file.descriptor, self._buffer[written:size], offset + written)
        return size


def _write_all(descriptor: int, parts: Sequence[bytes], offset: int) -> int:
    size = sum(map(len, parts))
    written = os.pwritev(descriptor, parts, offset)
    if written < size:  # the disk became full in the middle, or a signal came
        rest = memoryview(b"".join(parts))[written:]
        while rest:
            count = os.pwrite(descriptor, rest, offset + written)
            written += count
            rest = rest[count:]
    return size


def _write_zeros(descriptor: int, offset: int, size: int) -> int:
    """Makes a file longer by up to ``size``; by nothing when there is no room, which then shows in the write itself."""
    try:
        return os.pwrite(descriptor, bytes(size), offset)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        return 0
