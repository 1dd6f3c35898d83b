"""Taking one file out of an archive: the one that is wanted, bounded, to a path of our choice.

No path of the archive is ever used for writing, so nothing in it can lead elsewhere; links and devices are refused.
"""

import contextlib
import gzip
import io
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgewise.errors import CorruptError, NotFoundError, TooLargeError

MAX_UNPACKED_BYTES = 1 << 30
"""As much of a compressed stream is read to find a member; more is taken for a bomb."""


def extract_member(archive: Path, member: str, target: Path, *, max_bytes: int) -> None:
    """Writes one file of a zip (wheel), a gzipped tar (npm) or a Debian package to ``target``.

    Args:
        archive: Told apart by content, not by name.
        member: Path within it.
        target: Is made anew.
        max_bytes: Largest size of the member.

    Raises:
        NotFoundError: It holds no such file.
        TooLargeError: The member, or what lies before it, is too large.
        CorruptError: The archive is damaged.
    """
    try:
        with _open_member(archive, member) as (source, size), target.open("wb") as out:
            if size > max_bytes:
                raise TooLargeError(f"{member} is too large", limit=max_bytes, actual=size)
            shutil.copyfileobj(source, out)  # ends at the stated size, whatever follows
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise CorruptError(f"{archive.name} is damaged: {error}", hint="Fetch it again.") from error


@contextlib.contextmanager
def _open_member(archive: Path, member: str) -> Iterator[tuple[IO[bytes], int]]:
    """The member's bytes and stated size."""
    with archive.open("rb") as file:
        magic = file.read(8)
    if magic.startswith(b"PK"):
        with zipfile.ZipFile(archive) as zipped:
            try:
                info = zipped.getinfo(member)
            except KeyError:
                raise _absent(archive, member) from None
            with zipped.open(info) as source:
                yield source, info.file_size
    elif magic.startswith(b"\x1f\x8b"):
        with gzip.open(archive) as unzipped, _tar_member(unzipped, archive, member) as found:
            yield found
    elif magic.startswith(b"!<arch>\n"):
        with _debian_data(archive) as data, _tar_member(data, archive, member) as found:
            yield found
    else:
        raise CorruptError(f"{archive.name} is no archive of a known kind", hint="Fetch it again.")


@contextlib.contextmanager
def _tar_member(stream: IO[bytes] | gzip.GzipFile, archive: Path, member: str) -> Iterator[tuple[IO[bytes], int]]:
    """Reads a tar from front to back; members are compared without a leading ``./``."""
    with tarfile.open(fileobj=_Bounded(stream, MAX_UNPACKED_BYTES), mode="r|") as tar:
        for info in tar:
            if info.name.removeprefix("./") == member and info.isreg():
                source = tar.extractfile(info)
                assert source is not None  # noqa: S101  it is a regular file
                yield source, info.size
                return
    raise _absent(archive, member)


@contextlib.contextmanager
def _debian_data(archive: Path) -> Iterator[IO[bytes]]:
    """The tar inside a Debian package; dpkg-deb undoes the compression."""
    process = subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None  # noqa: S101  a pipe was asked for
    try:
        with process.stdout as stream:
            yield stream
    finally:
        process.kill()
        process.wait()


class _Bounded(io.RawIOBase):
    """A stream that ends in an error past ``max_bytes``, for a compressed one of unknown size."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, max_bytes: int) -> None:
        self._stream = stream
        self._left = max_bytes

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise TooLargeError("The archive unpacks to more than is allowed", limit=MAX_UNPACKED_BYTES)
        return data


def _absent(archive: Path, member: str) -> NotFoundError:
    return NotFoundError(f"{archive.name} holds no file {member}", kind="file", name=member)
