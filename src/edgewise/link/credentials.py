"""What a child shows its parent and whom it takes for it, shared by all its connections while both may change.

A command beside the node changes its key, and the parent may have taken a change of which the answer was lost. So a
key that is refused is not the end: the keys on the disk are tried, and the one that the parent takes is kept. The
parent changes its authority, and states the successor in its answers to those who do not know it yet: the child keeps
it, and proves itself to that one from the next request on.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from edgewise.errors import AccessError, EdgewiseError
from edgewise.trust.proof import Prover

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from edgewise.trust.pinning import Pin

logger = logging.getLogger(__name__)


class Keeper(Protocol):
    """What a child keeps of that on its disk. Safe for threads and processes."""

    def keys(self) -> Sequence[Ed25519PrivateKey]:
        """The node's key, and those made to follow it, the newest first."""
        ...

    def promote(self, key: str) -> None:
        """The parent takes this key (hex) now: it is the node's, if it was made to follow."""
        ...

    def follow(self, before: Pin, after: Pin) -> None:
        """The parent's authority was followed by another, which is kept in its place."""
        ...


class Credentials:
    """See the module's docstring. Safe for threads.

    Args:
        key: The child's.
        node: The child's name.
        trusted: The parent's authority.
        keeper: Keeps what changes; None where nothing does.

    Attributes:
        node: The child's name.
        nonce: The newest that the parent stated.
        prover: Signs.
        trusted: The parent's authority.
    """

    def __init__(self, key: Ed25519PrivateKey, node: str, *, trusted: Pin, keeper: Keeper | None = None) -> None:
        self.node = node
        self.nonce = ""
        self.prover = _prover(key, trusted)
        self.trusted = trusted
        self._key = key
        self._keeper = keeper
        self._token = ""
        self._shown = self._taken = self.prover  # by whom the token is, and whose key is the node's on the disk
        self._heard = ""
        self._lock = threading.RLock()

    def token(self, prover: Prover, fetch: Callable[[Prover], str]) -> str:
        """The access token of a prover; fetched when there is none. One thread fetches, the others wait for it."""
        with self._lock:
            if not self._token or self._shown is not prover:
                self._token, self._shown = fetch(prover), prover
            return self._token

    def forget(self, token: str) -> None:
        """The token has ended."""
        with self._lock:
            if self._token == token:
                self._token = ""

    def change_key(self, refused: Collection[str]) -> bool:
        """The parent takes none of some keys (hex): whether there is another to try, which is shown from now on."""
        with self._lock:
            if self.prover.key not in refused:  # another thread was first
                return True
            for key in self._keeper.keys() if self._keeper else ():
                prover = _prover(key, self.trusted)
                if prover.key not in refused:
                    self._key, self.prover = key, prover
                    return True
        return False

    def took(self, prover: Prover) -> None:
        """The parent has taken a request of a prover: its key is the node's, should it have been the next one."""
        if prover is self._taken or self._keeper is None:
            return
        with self._lock:
            try:
                self._keeper.promote(prover.key)
            except EdgewiseError as error:
                logger.warning("the key that the parent takes is not put in its place: %s %s", error, error.hint)
                return
            self._taken = prover

    def follow(self, statement: str) -> None:
        """The parent states which authority followed its own. One that does not hold is told once, and passed over."""
        with self._lock:
            if statement == self._heard:
                return
            try:
                after = self.trusted.follow(statement)
                if self._keeper:
                    self._keeper.follow(self.trusted, after)
            except AccessError as error:
                self._heard = statement
                logger.warning("the parent's new authority is not followed: %s %s", error, error.hint)
            except EdgewiseError as error:  # the next answer states it again
                logger.debug("the parent's new authority cannot be kept: %s", error)
            else:
                self._heard = statement
                self.trusted, self.prover = after, _prover(self._key, after)
                logger.info("the parent's authority is %s now", after.fingerprint)


def _prover(key: Ed25519PrivateKey, trusted: Pin) -> Prover:
    return Prover(key, parent=trusted.fingerprint, random=secrets.token_bytes)
