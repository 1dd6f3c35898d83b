"""Encryption at rest: what is written is sealed with a key that need not lie on the same disk.

Sealed bytes are XAES-256-GCM (C2SP, 2024): each takes 192 random bits, from which a key for AES-256-GCM of its own is
derived. Nothing is counted and nothing remembered, so a crash, a restored backup, a fork, a copied virtual machine and
two processes with one key repeat no nonce; after 2^40 seals two agree with a chance of 2^-113.

What is where (a stream and a position, a blob's digest) is bound in as *context*: sealed bytes that were moved do not
open. Whoever holds the disk without the key still sees names, sizes and times, and can put back what was there before.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edgewise._lib.files import write_atomic
from edgewise._lib.secrets import read_secret
from edgewise.errors import ConflictError, CorruptError, SettingsError, WrongKeyError

KEY_BYTES = 32
OVERHEAD = 45
"""Bytes that sealing adds: format, key id, nonce, tag."""

_FORMAT = b"\x01"
_ID_BYTES = 4
_HEAD_BYTES = len(_FORMAT) + _ID_BYTES
_NONCE_BYTES = 24
_TEXT_AT = _HEAD_BYTES + _NONCE_BYTES
_BLOCK_BITS = 128
_REDUCTION = 0x87  # of the field of CMAC with a block of 128 bits (NIST SP 800-38B, 5.3)


class Cipher(Protocol):
    """What the journal and its blobs need to keep their content secret. Safe for threads.

    Attributes:
        overhead: Bytes that ``seal`` adds.
    """

    overhead: int

    def seal(self, plain: bytes, *, context: bytes) -> bytes:
        """Encrypts; the same content looks different each time.

        Args:
            plain: The content.
            context: Where it belongs; needed to open it, and not kept in it.
        """
        ...

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """The content again.

        Raises:
            WrongKeyError: It was sealed with a key that is not given.
            CorruptError: It was changed, cut off, or belongs elsewhere.
        """
        ...


class KeyCipher:
    """Seals with a key, and opens what was sealed with that or an older one.

    Args:
        key: 32 random bytes.
        older: Keys that sealed before.
    """

    overhead = OVERHEAD

    def __init__(self, key: bytes, *older: bytes) -> None:
        self._key = _Key(key)
        self._keys = {each.id: each for each in (self._key, *map(_Key, older))}
        self._head = _FORMAT + self._key.id

    @property
    def key_id(self) -> str:
        """What the key is called that seals: eight hex digits, which tell nothing about it."""
        return self._key.id.hex()

    def seal(self, plain: bytes, *, context: bytes) -> bytes:
        """Encrypts; see ``Cipher``."""
        nonce = os.urandom(_NONCE_BYTES)
        return b"".join((self._head, nonce, self._key.encrypt(nonce, plain, self._head + context)))

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """The content again; see ``Cipher``."""
        from cryptography.exceptions import InvalidTag

        head, nonce = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:_TEXT_AT]
        if len(sealed) < OVERHEAD:
            raise CorruptError("Sealed content is cut off.", size=len(sealed))
        if head[:1] != _FORMAT:
            raise CorruptError("Content is not sealed as this release seals.", hint="A newer release may open it.")
        key = self._keys.get(head[1:])
        if key is None:
            raise self._unknown(head[1:])
        try:
            return key.decrypt(nonce, memoryview(sealed)[_TEXT_AT:], head + context)
        except InvalidTag as error:
            raise CorruptError("Sealed content was changed, or belongs elsewhere.") from error

    def _unknown(self, found: bytes) -> WrongKeyError:
        known = [key.hex() for key in self._keys]
        return WrongKeyError(
            f"Sealed with key {found.hex()}, this is key {' and '.join(known)}.",
            hint="Name the file of that key: journal.key_file, or journal.old_key_files after a change of keys.",
            sealed_with=found.hex(),
            keys=known,
        )


def make_key(path: Path) -> str:
    """Writes a new key into a file that its owner alone can read; returns the key's id.

    Raises:
        ConflictError: There is a file.
        SettingsError: It cannot be written.
    """
    if path.exists():
        raise ConflictError(f"{path} exists; a key is never overwritten.", hint="Name another file.", name=str(path))
    key = secrets.token_bytes(KEY_BYTES)
    try:
        write_atomic(path, key.hex().encode() + b"\n", mode=0o600)
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot write a key: {error.strerror}", hint="Its folder must exist and be writable."
        ) from error
    return KeyCipher(key).key_id


def open_cipher(path: str, *, older: Sequence[str] = ()) -> KeyCipher:
    """The cipher of a key file.

    Args:
        path: File of 64 hex digits. It may lie on another disk, a stick, or a mount for secrets.
        older: Files of the keys before it.

    Raises:
        SettingsError: A file cannot be read, holds no key, or others on the machine can read it.
    """
    return KeyCipher(_read_key(path), *map(_read_key, older))


def _read_key(path: str) -> bytes:
    if not Path(path).exists():
        # Never made silently: a stick that is not plugged in would mean a key of which there is no copy.
        raise SettingsError(f"There is no key in {path}", hint=f"Mount it, or make one: edgewise journal key {path}")
    text = read_secret(path, what="The journal's key")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(f"{path} holds no key: that is 64 hex digits", hint="Put the key back from a copy.")
    return key


class _Key:
    """XAES-256-GCM under one key: CMAC in counter mode (NIST SP 800-108r1) makes a key for each nonce."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher as Blocks
        from cryptography.hazmat.primitives.ciphers import algorithms, modes
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(key) != KEY_BYTES:
            raise SettingsError(f"A key has {KEY_BYTES} bytes, this has {len(key)}", hint="edgewise journal key FILE")
        self.id = hashlib.sha256(b"edgewise key id " + key).digest()[:_ID_BYTES]
        self._gcm = AESGCM
        self._lock = threading.Lock()
        # Single blocks of the cipher are what CMAC is made of.
        self._blocks = Blocks(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
        doubled = int.from_bytes(self._blocks.update(bytes(16)), "big") << 1
        subkey = doubled ^ (1 << _BLOCK_BITS | _REDUCTION) if doubled >> _BLOCK_BITS else doubled
        self._first = subkey ^ int.from_bytes(b"\x00\x01X\x00" + bytes(12), "big")
        self._second = subkey ^ int.from_bytes(b"\x00\x02X\x00" + bytes(12), "big")

    def encrypt(self, nonce: bytes, plain: bytes, data: bytes) -> bytes:
        return self._gcm(self._derive(nonce)).encrypt(nonce[12:], plain, data)

    def decrypt(self, nonce: bytes, text: memoryview, data: bytes) -> bytes:
        return self._gcm(self._derive(nonce)).decrypt(nonce[12:], text, data)

    def _derive(self, nonce: bytes) -> bytes:
        half = int.from_bytes(nonce[:12], "big")
        blocks = (self._first ^ half).to_bytes(16, "big") + (self._second ^ half).to_bytes(16, "big")
        with self._lock:  # one context of the cipher for all threads
            return self._blocks.update(blocks)
