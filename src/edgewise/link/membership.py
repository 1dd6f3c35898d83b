"""Whose child a node is, as its disk remembers: joining once, and starting from that ever after."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edgewise._lib.files import fsync_folder, held, write_atomic
from edgewise.errors import AccessError, ConflictError, CorruptError, SettingsError, StorageFullError, UnavailableError
from edgewise.link.base import MEMBERSHIP, Join, Joined, KeyState, decode
from edgewise.link.budget import Budget
from edgewise.link.client import Client, ask_authority
from edgewise.link.credentials import Credentials
from edgewise.trust.floor import TimeFloor
from edgewise.trust.joining import JoinToken
from edgewise.trust.keys import drop_next_keys, keys_of, name_of, next_key, open_key, promote_key
from edgewise.trust.pinning import Pin
from edgewise.trust.refusals import Reason
from edgewise.trust.rotation import rotate

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_BUDGET = "budget.json"
_SETTLED = "settled"
_TRIES = 3

logger = logging.getLogger(__name__)


class Bond(NamedTuple):
    """Which parent a node calls, at which address, under which name, and since when: what was drawn as it joined."""

    url: str
    node: str
    parent: str
    since: str


class Membership(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whose child a node is.

    Attributes:
        url: The parent's address.
        parent: Its name.
        node: The name under which this node joined.
        fingerprint: Of the parent's authority.
        certificate: The authority's, PEM.
        joined: The fingerprint under which the node joined, when another authority has followed it since.
        since: Drawn at each join: who was refused and joins again does not wait as one that is refused.
    """

    url: str
    parent: str
    node: str
    fingerprint: str
    certificate: str
    joined: str = ""
    since: str = ""

    @property
    def identity(self) -> str:
        """What is remembered of this parent is kept under it: it stays the same when its authority changes."""
        return self.joined or self.fingerprint

    @property
    def bond(self) -> Bond:
        """What calling the parent depends on, and what is not followed while the node runs."""
        return Bond(self.url, self.node, self.identity, self.since)

    @property
    def trusted(self) -> Pin:
        """Whom to trust."""
        return Pin(self.fingerprint, self.certificate)


class LinkFolder:
    """What a child keeps of its link: whose child it is, its key, what time it is at least. Other processes may change
    it; see ``link.credentials.Keeper``.

    Args:
        folder: Its own; made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = folder / "node.key"

    @property
    def membership(self) -> Membership | None:
        """Whose child the node is; None when nobody's.

        Raises:
            CorruptError: The file is damaged.
        """
        try:
            return msgspec.json.decode((self._folder / MEMBERSHIP).read_bytes(), type=Membership)
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            path = self._folder / MEMBERSHIP
            raise CorruptError(f"{path} is damaged: {error}", hint="Join the parent again: edgewise join.") from error

    def keep(self, membership: Membership) -> None:
        """Remembers whose child the node is."""
        with self._held():
            self._write(membership)

    def leave(self) -> None:
        """Forgets it, and the keys that the parent has not taken; key and records stay."""
        with self._held():
            drop_next_keys(self._key)
            (self._folder / MEMBERSHIP).unlink(missing_ok=True)
            fsync_folder(self._folder)

    def say_goodbye(self, membership: Membership) -> None:
        """Tells the parent that the node leaves it.

        Raises:
            EdgewiseError: It does not know; as ``Client.call``.
        """
        with contextlib.closing(self.client(membership, self.credentials(membership))) as client:
            client.call("POST", "/leave")

    @property
    def settled(self) -> str | None:
        """The ``identity`` of the parent that the rest of the node's data is about; None when nothing was noted."""
        try:
            return (self._folder / _SETTLED).read_text("ascii")
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def settle(self, identity: str) -> None:
        """Notes it."""
        with self._held():
            write_atomic(self._folder / _SETTLED, identity.encode("ascii"))

    # What ``Credentials`` change.

    def keys(self) -> tuple[Ed25519PrivateKey, ...]:
        """See ``link.credentials.Keeper``."""
        with self._held():
            return keys_of(self._key)

    def promote(self, key: str) -> None:
        """See ``link.credentials.Keeper``."""
        with self._held():
            promote_key(self._key, key)

    def follow(self, before: Pin, after: Pin) -> None:
        """See ``link.credentials.Keeper``. Nothing when another process was first, or the parent was left meanwhile."""
        with self._held():
            known = self.membership
            if known and known.trusted == before:
                followed = {"fingerprint": after.fingerprint, "certificate": after.pem, "joined": known.identity}
                self._write(msgspec.structs.replace(known, **followed))

    # Calling.

    def credentials(self, membership: Membership) -> Credentials:
        """What the node shows its parent."""
        return self._credentials(membership.node, membership.trusted)

    def client(self, membership: Membership, credentials: Credentials) -> Client:
        """A connection to the parent."""
        return Client(membership.url, trusted=membership.trusted, floor=self.floor(), credentials=credentials)

    def floor(self) -> TimeFloor:
        """What time it is at least."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return TimeFloor(self._folder / "time-floor")

    def budget(self) -> Budget:
        """What was used of the newest day's bytes."""
        try:
            return msgspec.json.decode((self._folder / _BUDGET).read_bytes(), type=Budget)
        except (FileNotFoundError, msgspec.MsgspecError):
            return Budget()

    def keep_budget(self, budget: Budget) -> None:
        """Remembers it."""
        try:
            write_atomic(self._folder / _BUDGET, msgspec.json.encode(budget))
        except StorageFullError as error:
            logger.debug("what was used of the link's budget is not kept: %s", error)

    def join(self, url: str, token: JoinToken, *, node: str, journal: str) -> Membership:
        """Makes the node a child. Safe to repeat until it returned.

        Args:
            url: The parent's address.
            token: From the parent.
            node: The name it is to have there.
            journal: Identity of its journal.

        Raises:
            AccessError: It is not the parent that made the token, or it does not take it.
            ConflictError: The node is somebody's child already, or its name is taken.
            UnavailableError: The parent does not answer.
        """
        if (known := self.membership) and known.fingerprint != token.fingerprint:
            raise ConflictError(
                f"This node is a child of {known.parent} already", hint="First: edgewise leave", name=known.parent
            )
        trusted = ask_authority(url, token.fingerprint)
        request = msgspec.msgpack.encode(Join(token.secret, journal))
        try:
            answer = self._introduce(url, trusted, node, request)
        except AccessError as error:
            if error.facts.get("reason") != Reason.REVOKED:
                raise
            with self._held():  # the node was removed there, and is let in again: under another key
                promote_key(self._key, name_of(next_key(self._key)))
            answer = self._introduce(url, trusted, node, request)
        membership = Membership(
            url=url,
            parent=decode(answer, Joined).parent,
            node=node,
            fingerprint=trusted.fingerprint,
            certificate=trusted.pem,
            joined=known.joined if known else "",
            since=secrets.token_hex(8),
        )
        self.keep(membership)
        return membership

    def change_key(self, membership: Membership) -> KeyState:
        """Gives the node another key towards its parent, which refuses the old one from then on. A running node shows
        the new one with its next request. Safe to repeat, wherever it broke off.

        Raises:
            AccessError: The parent takes no key of this node.
            UnavailableError: It does not answer.
            NotFoundError: It is of an earlier release.
        """
        credentials = self.credentials(membership)
        made: set[str] = set()
        with contextlib.closing(self.client(membership, credentials)) as client:
            for left in reversed(range(_TRIES)):
                try:
                    known = decode(client.call("GET", "/key"), KeyState)  # the key that counts is the node's from here
                    if known.key in made:
                        return known
                    with self._held():
                        old, new = open_key(self._key), next_key(self._key)
                    made.add(name_of(new))
                    parent = credentials.trusted.fingerprint
                    statement = rotate(old, new, node=membership.node, parent=parent, number=known.changes + 1)
                    changed = decode(client.call("POST", "/key", statement.encode("ascii")), KeyState)
                    self.promote(changed.key)
                    return changed
                except (AccessError, UnavailableError) as error:  # another process was first, or the answer was lost
                    if not left or error.facts.get("reason") not in {None, Reason.USED, Reason.WRONG_KEY}:
                        raise
        raise AssertionError("the last try returns or raises")

    def _introduce(self, url: str, trusted: Pin, node: str, request: bytes) -> bytes:
        credentials = self._credentials(node, trusted)
        with contextlib.closing(Client(url, trusted=trusted, floor=self.floor(), credentials=credentials)) as client:
            return client.introduce("/join", request)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with held(self._folder):
                yield
        except OSError as error:
            raise SettingsError(
                f"{self._folder}: what the node keeps of its link cannot be changed: {error.strerror}",
                hint="Check the path and its permissions.",
            ) from error

    def _write(self, membership: Membership) -> None:
        write_atomic(self._folder / MEMBERSHIP, msgspec.json.encode(membership), mode=0o600)

    def _credentials(self, node: str, trusted: Pin) -> Credentials:
        return Credentials(open_key(self._key), node, trusted=trusted, keeper=self)
