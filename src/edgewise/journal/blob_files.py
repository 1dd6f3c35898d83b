"""The files of blobs: how they are named, found and read.

One file per blob, ``ab/abcd….jpg``, named by the SHA-256 of its content; ``ab/abcd….jpg.sealed`` when it is encrypted.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgewise._lib.files import TEMPORARY_PREFIX
from edgewise.errors import CorruptError, NotFoundError, WrongKeyError
from edgewise.journal.cipher import Cipher
from edgewise.journal.sealed import CHUNK_BYTES, SealedReader, plain_size, sealed_size

PLAIN = "application/octet-stream"
SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "audio/wav": ".wav",
    "video/mp4": ".mp4",
    PLAIN: "",
}
"""Media types a blob can have, each with the end of its file's name."""

SEALED = ".sealed"

_MEDIA_TYPES = {suffix: media_type for media_type, suffix in SUFFIXES.items()}
_NAME = re.compile(r"([0-9a-f]{64})((?!\.sealed)\.[a-z0-9]+)?(\.sealed)?")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobFile(msgspec.Struct, frozen=True):
    """A blob on disk; ``size`` is that of its content."""

    digest: str
    size: int
    media_type: str
    time_ns: int
    sealed: bool = False

    @property
    def stored(self) -> int:
        """Bytes of the file."""
        return sealed_size(self.size) if self.sealed else self.size

    def path(self, folder: Path) -> Path:
        """Where it lies in a store's folder."""
        end = SUFFIXES[self.media_type] + (SEALED if self.sealed else "")
        return folder / self.digest[:2] / f"{self.digest}{end}"


def is_digest(text: str) -> bool:
    """Whether it is a SHA-256 in lower-case hex, and so safe in a path."""
    return _DIGEST.fullmatch(text) is not None


def context_of(digest: str) -> bytes:
    """What a sealed blob is bound to."""
    return f"blob {digest}".encode()


def scan(folder: Path) -> dict[str, BlobFile]:
    """The blobs in a folder. What a crash left half-written is removed, and what it left twice is kept once."""
    found: dict[str, BlobFile] = {}
    for path in sorted(folder.glob("[0-9a-f][0-9a-f]/*")):
        if path.name.startswith(TEMPORARY_PREFIX):
            path.unlink(missing_ok=True)
        elif (blob := _parse(path)) and blob.path(folder) == path:
            if blob.digest in found:
                found[blob.digest].path(folder).unlink()
            found[blob.digest] = blob
    return found


def open_content(
    path: Path, digest: str, cipher: Cipher | None, *, on_damage: Callable[[], None] | None = None
) -> io.BufferedReader:
    """The content of a blob's file, readable from any byte.

    Args:
        path: The file.
        digest: Of its content.
        cipher: Opens it when it is sealed.
        on_damage: Told when a part that is read later is found damaged.

    Raises:
        FileNotFoundError: It is gone.
        CorruptError: It is damaged, as far as opening shows it; see ``SealedReader``.
    """
    file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    if path.suffix != SEALED:
        return file
    try:
        if cipher is None:
            hint = "Name the file of the key in journal.key_file."
            raise WrongKeyError(f"Blob {digest} is sealed, and no key is given.", hint=hint, sealed_with="", keys=[])
        reader = SealedReader(file, cipher, context=context_of(digest), name=digest, on_damage=on_damage)
        return io.BufferedReader(reader, CHUNK_BYTES)
    except BaseException:
        file.close()
        raise


def read_content(path: Path, digest: str, cipher: Cipher | None) -> bytes:
    """The whole content of a blob's file, checked.

    Raises:
        FileNotFoundError: It is gone.
        CorruptError: It is damaged.
    """
    with open_content(path, digest, cipher) as file:
        data = file.read()
    if hashlib.sha256(data).hexdigest() != digest:
        raise CorruptError(f"Blob {digest} was damaged on disk.", name=digest)
    return data


def read_blob(folder: Path, digest: str, cipher: Cipher | None = None) -> bytes:
    """The content of a blob in a store's folder, also beside a process that writes it.

    Raises:
        NotFoundError: It is not kept (any more).
        CorruptError: The file was damaged, or is sealed with another key than the cipher's.
    """
    if not is_digest(digest):
        raise unknown(digest)
    for path in (folder / digest[:2]).glob(f"{digest}*"):
        with contextlib.suppress(FileNotFoundError):
            return read_content(path, digest, cipher)
    raise unknown(digest)


def unknown(digest: str) -> NotFoundError:
    """The error for a blob that is not there."""
    shown = digest if is_digest(digest) else f"{digest!r:.80}"
    return NotFoundError(f"No blob {shown}: it was evicted, or never stored.", kind="blob", name=digest[:64])


def _parse(path: Path) -> BlobFile | None:
    match = _NAME.fullmatch(path.name)
    if match is None or (media_type := _MEDIA_TYPES.get(match[2] or "")) is None:
        return None
    stat = path.stat()
    size = plain_size(stat.st_size) if match[3] else stat.st_size
    return BlobFile(match[1], size, media_type, stat.st_mtime_ns, sealed=bool(match[3]))
