"""Final files are written here and nowhere else: temporary file in the same folder, fsync, rename, fsync the folder.

After a crash a path holds either its old content or its new content, whole. Left-over temporary files start with
``.tmp-`` and are removed by ``remove_leftovers`` at start-up.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgewise.errors import CorruptError, StorageFullError

TEMPORARY_PREFIX = ".tmp-"


def fsync_folder(folder: Path) -> None:
    """Makes renames and removals inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_writer(path: Path, *, sha256: str = "", mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Opens a file that appears at ``path`` only when the block ends well, already on disk.

    Args:
        path: Final path; its folder must exist.
        sha256: Expected hex digest of the content; checked before the rename when given.
        mode: Permission bits.

    Raises:
        CorruptError: The content does not have the digest; nothing appears.
        StorageFullError: The disk is full; nothing appears.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb", opener=lambda p, flags: os.open(p, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if sha256 and (actual := file_sha256(temporary)) != sha256:
            raise CorruptError(
                f"{path.name}: sha256 is {actual}, expected {sha256}",
                hint="The content was damaged on its way; fetch it again.",
                expected=sha256,
                actual=actual,
            )
        temporary.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in _FULL:
            raise StorageFullError(f"No space left to write {path}", hint="Free disk space, then retry.") from error
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def publish_folder(temporary: Path, final: Path) -> None:
    """Makes a folder that was built aside appear at ``final`` in one step, all its files already on disk.

    Args:
        temporary: On the same file system as ``final``.
        final: Replaced when it exists; a crash in between leaves neither there, and the old one as a left-over.

    Raises:
        StorageFullError: The disk is full; ``final`` is as before.
    """
    try:
        for path in sorted(temporary.rglob("*"), reverse=True):
            if path.is_dir():
                fsync_folder(path)
            else:
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
        fsync_folder(temporary)
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError(f"No space left to write {final}", hint="Free disk space, then retry.") from error
        raise
    old = final.with_name(f"{TEMPORARY_PREFIX}{final.name}-{secrets.token_hex(4)}")
    if final.exists():
        final.replace(old)
    temporary.replace(final)
    fsync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def write_atomic(path: Path, content: bytes, *, sha256: str = "", mode: int = 0o644) -> None:
    """Writes ``content`` to ``path`` in one step; see ``atomic_writer``."""
    with atomic_writer(path, sha256=sha256, mode=mode) as file:
        file.write(content)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other threads and processes that ask for the same folder out until the block ends; a crash lets go."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files and folders that a crash left in ``folder``."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


_FULL = {28, 122}  # ENOSPC, EDQUOT
