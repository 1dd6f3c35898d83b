"""A model package as one zip file: packing, and unpacking what a stranger packed.

Unpacking trusts nothing the archive says of itself. Names must be plain relative paths, distinct where case does not
count; entries are files and folders only; counts and sizes are bounded as declared *and* as they come out. The result
is built aside and appears in one step, or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from edgewise._lib.files import TEMPORARY_PREFIX, atomic_writer, publish_folder
from edgewise.errors import ConflictError, NotFoundError, PackageError, StorageFullError, TooLargeError
from edgewise.models import folder as packages

_PIECE = 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)


class ArchiveLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds on an archive.

    Attributes:
        max_entries: Files and folders.
        max_bytes: Of all files together, unpacked.
        max_ratio: Unpacked to packed bytes of one file; deflated weights are far below, a bomb is far above.
    """

    max_entries: int = 1024
    max_bytes: int = 4 * 1024**3
    max_ratio: int = 200


def pack(folder: Path, archive: Path) -> Path:
    """Seals a package and packs it; the same files always give the same bytes.

    Raises:
        PackageError: The folder is no valid package.
        ConflictError: The archive would lie inside the folder.
    """
    if archive.resolve().is_relative_to(folder.resolve()):
        raise ConflictError(f"{archive} lies inside the package", hint="Choose a place outside of it.")
    manifest = packages.seal(folder)
    archive.parent.mkdir(parents=True, exist_ok=True)
    with atomic_writer(archive) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name in (packages.MANIFEST, *manifest.files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            with open(folder / name, "rb") as source, target.open(entry, "w", force_zip64=True) as packed:
                shutil.copyfileobj(source, packed, _PIECE)
    return archive


def unpack(archive: Path, folder: Path, *, limits: ArchiveLimits | None = None) -> Path:
    """Unpacks a package and checks its manifest and digests; ``folder`` appears whole or not at all.

    Raises:
        NotFoundError: There is no such archive.
        ConflictError: ``folder`` exists.
        PackageError: No zip, a hostile one, or no valid package.
        CorruptError: A file does not have the digest in the manifest.
        TooLargeError: Past one of the limits.
        StorageFullError: The disk is full.
    """
    if folder.exists():
        raise ConflictError(f"{folder} exists already", hint="Remove it, or choose another place.", name=str(folder))
    if not archive.is_file():
        raise NotFoundError(f"There is no file {archive}", kind="file", name=str(archive))
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{folder.name}-", dir=folder.parent))
    try:
        _extract(archive, aside, limits or ArchiveLimits())
        packages.verify(aside, packages.load_manifest(aside))
        aside.chmod(0o755)
        publish_folder(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


@contextlib.contextmanager
def opened(place: Path) -> Iterator[Path]:
    """The folder of a package: itself, or what a zip holds, in a temporary folder that goes away again.

    Raises:
        EdgewiseError: As ``unpack``.
    """
    if not place.is_file():
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="edgewise-") as temporary:
        yield unpack(place, Path(temporary) / "package")


def _extract(archive: Path, aside: Path, limits: ArchiveLimits) -> None:
    try:
        with zipfile.ZipFile(archive) as source:
            entries = source.infolist()
            _check_entries(entries, limits)
            left = limits.max_bytes
            for entry in entries:
                place = aside / entry.filename
                if entry.is_dir():
                    place.mkdir(parents=True, exist_ok=True)
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                with source.open(entry) as packed, open(place, "xb") as target:
                    left -= _copy(packed, target, min(entry.file_size, left), entry.filename)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError) as error:
        raise PackageError(f"{archive.name} is no intact zip: {error}", file=archive.name) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise PackageError(f"{archive.name} has two entries in one place", file=archive.name) from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # an entry that claims to lie before the file begins
            raise PackageError(f"{archive.name} is no intact zip: {error}", file=archive.name) from error
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise StorageFullError(f"No space left to unpack {archive}", hint="Free disk space, then retry.") from error


def _check_entries(entries: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    if len(entries) > limits.max_entries:
        raise TooLargeError(
            f"The archive has {len(entries)} entries, more than {limits.max_entries}",
            limit=limits.max_entries,
            actual=len(entries),
        )
    total = sum(entry.file_size for entry in entries)
    if total > limits.max_bytes:
        raise TooLargeError(
            f"The archive unpacks to {total} bytes, more than {limits.max_bytes}", limit=limits.max_bytes, actual=total
        )
    seen: dict[str, str] = {}
    for entry in entries:
        name = entry.filename.removesuffix("/") if entry.is_dir() else entry.filename
        packages.check_path(name)
        if other := seen.get(name.casefold()):
            raise PackageError(f"{other!r} and {name!r} are one file where case does not count", file=name)
        seen[name.casefold()] = name
        _check_entry(entry, limits)


def _check_entry(entry: zipfile.ZipInfo, limits: ArchiveLimits) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise PackageError(f"{entry.filename} is a link or no plain file", file=entry.filename)
    if entry.flag_bits & 1:
        raise PackageError(f"{entry.filename} is encrypted", file=entry.filename)
    if entry.file_size > limits.max_ratio * max(entry.compress_size, 1024):
        raise TooLargeError(
            f"{entry.filename} unpacks to {entry.file_size} bytes from {entry.compress_size}: a bomb",
            limit=limits.max_ratio,
            file=entry.filename,
        )


def _copy(packed: IO[bytes], target: IO[bytes], bound: int, name: str) -> int:
    """Copies piece by piece and stops where the declared size ends, whatever the stream still holds."""
    copied = 0
    while piece := packed.read(_PIECE):
        copied += len(piece)
        if copied > bound:
            raise TooLargeError(f"{name} is larger than the archive says", limit=bound, file=name)
        target.write(piece)
    return copied
