"""Passwords: what they may be, and their hashes (Argon2id, RFC 9106).

The costs are for a small device: 19 MiB, two passes, one lane. That is the least that OWASP holds to resist guessing;
RFC 9106's own choice for little memory, 64 MiB, would be an eighth of a 512 MB board for every sign-in. One hash is
computed at a time and few wait, so that sign-ins cannot take the machine's memory, cores or threads. A hash of other
costs is checked by its own, and replaced at the next sign-in.
"""

from __future__ import annotations

import functools
import secrets
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgewise.errors import BusyError, InputError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_PASSWORD = 12
MAX_PASSWORD = 256
MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1
_FEWEST_DIFFERENT = 5

MAX_WAITING = 4
_TURN = threading.Lock()
_PLACES = threading.BoundedSemaphore(MAX_WAITING)


def check_password(password: str, *, name: str) -> None:
    """Checks what somebody wants as a password: its length, not its alphabet (NIST SP 800-63B).

    Raises:
        InputError: It is too short, too long, holds the account's name, or repeats few characters.
    """
    prepared = _prepared(password)
    if not MIN_PASSWORD <= len(prepared) <= MAX_PASSWORD or len(password) > MAX_PASSWORD:
        raise InputError(
            f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters",
            hint="Several words in a row are long, and easy to remember.",
            field="password",
        )
    if len(set(prepared)) < _FEWEST_DIFFERENT or prepared.casefold().replace(name, "") == "":
        raise InputError("That password is too easy to guess", hint="Take several words.", field="password")


def hash_password(password: str) -> str:
    """The hash to store, with its salt and costs in it.

    Raises:
        BusyError: ``MAX_WAITING`` others wait for theirs.
    """
    with _turn():
        return _hasher().hash(_prepared(password))


def verify_password(stored: str, password: str) -> bool:
    """Whether a password is the one. Takes as long for an empty ``stored`` (nobody of that name) as for a wrong one.

    Raises:
        BusyError: ``MAX_WAITING`` others wait for theirs.
    """
    from argon2.exceptions import InvalidHashError, VerificationError

    if len(password) > MAX_PASSWORD:
        password = ""
    with _turn():
        try:
            return _hasher().verify(stored or _nobodys(), _prepared(password)) and bool(stored)
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(stored: str) -> bool:
    """Whether a hash was made with other costs than those of today."""
    return _hasher().check_needs_rehash(stored)


@contextmanager
def _turn() -> Iterator[None]:
    """The turn to compute one hash."""
    if not _PLACES.acquire(blocking=False):
        raise BusyError("Many sign in at once", hint="Try again in a moment.")
    try:
        with _TURN:
            yield
    finally:
        _PLACES.release()


@functools.cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)


@functools.cache
def _nobodys() -> str:
    """A hash of a password that nobody knows."""
    return _hasher().hash(secrets.token_hex())


def _prepared(password: str) -> str:
    """The same password from every keyboard (NFKC, as NIST SP 800-63B asks)."""
    return unicodedata.normalize("NFKC", password)
