"""The node's own key: Ed25519 (RFC 8032), made at the first start, readable by its owner alone."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from edgewise._lib.files import atomic_writer, fsync_folder
from edgewise.errors import CorruptError, SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_KEY_BYTES = 32
_MOST_NEXT = 8
_PRIVATE = 0o077


def open_key(path: Path) -> Ed25519PrivateKey:
    """The key in a file; made when there is none.

    Raises:
        SettingsError: The file cannot be read or made, or others on the machine can read it.
        CorruptError: It holds no key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError), atomic_writer(path, mode=0o600) as file:
                file.write(Ed25519PrivateKey.generate().private_bytes_raw())
        if path.stat().st_mode & _PRIVATE:
            raise SettingsError(f"{path}: others can read the node's key", hint=f"chmod 600 {path}")
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{path}: the node's key cannot be read: {error.strerror}", hint="Check the path and its permissions."
        ) from error
    if len(content) != _KEY_BYTES:
        raise CorruptError(f"{path} holds no key", hint="Put the node's key back from a copy.", file=str(path))
    return Ed25519PrivateKey.from_private_bytes(content)


def public_key(text: str) -> Ed25519PublicKey:
    """A public key from its hex form.

    Raises:
        CorruptError: It is none.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    except ValueError as error:
        raise CorruptError(f"{text[:80]!r} is no public key", hint="It has 64 hexadecimal digits.") from error


def name_of(key: Ed25519PrivateKey) -> str:
    """The hex form of a key's public half: what it is called in seals."""
    return key.public_key().public_bytes_raw().hex()


def keys_of(path: Path) -> tuple[Ed25519PrivateKey, ...]:
    """The key in a file, and behind it those made to follow it, the newest first. One caller at a time.

    Raises:
        SettingsError: As ``open_key``.
        CorruptError: Likewise.
    """
    return (open_key(path), *map(open_key, _next_to(path)))


def next_key(path: Path) -> Ed25519PrivateKey:
    """Another key to follow the one in a file. One caller at a time.

    It is new each time: one that lies there may have been copied together with the file. Those made before are kept
    (the newest few) until ``promote_key``, since one of them may have been stated, and may be taken yet.

    Raises:
        SettingsError: It cannot be made.
    """
    before = _next_to(path)
    for old in before[_MOST_NEXT - 1 :]:
        old.unlink()
    number = int(before[0].suffix[1:]) + 1 if before else 1
    return open_key(path.with_name(f"{path.name}.next.{number:09d}"))


def promote_key(path: Path, key: str) -> None:
    """Puts one of the next keys in the place of the one in a file, in one step, and drops the others: the parent has
    taken a change with their number, so it takes none of them any more. One caller at a time.

    Args:
        path: The file.
        key: Which one (the hex form of its public half); nothing happens where there is no such: somebody else was
            first.

    Raises:
        SettingsError: The file cannot be replaced.
    """
    try:
        if found := [each for each in _next_to(path) if name_of(open_key(each)) == key]:
            found[0].replace(path)
            drop_next_keys(path)
            fsync_folder(path.parent)
    except OSError as error:
        raise SettingsError(
            f"{path}: the node's key cannot be replaced: {error.strerror}", hint="Check the path and its permissions."
        ) from error


def drop_next_keys(path: Path) -> None:
    """Nobody is to take the keys that were made to follow the one in a file."""
    for each in _next_to(path):
        each.unlink()


def _next_to(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.next.*"), reverse=True)
