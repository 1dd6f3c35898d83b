"""Whose child a node is, as its disk remembers: joining once, and starting from that ever after."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

import msgspec

from edgewise._lib.files import write_atomic
from edgewise.errors import ConflictError, CorruptError, StorageFullError
from edgewise.link.base import MEMBERSHIP, Join, Joined, decode
from edgewise.link.budget import Budget
from edgewise.link.client import Client, Credentials, ask_authority
from edgewise.trust.floor import TimeFloor
from edgewise.trust.joining import JoinToken
from edgewise.trust.keys import open_key
from edgewise.trust.pinning import Pin
from edgewise.trust.proof import Prover

_BUDGET = "budget.json"

logger = logging.getLogger(__name__)


class Membership(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose child a node is.

    Attributes:
        url: The parent's address.
        parent: Its name.
        node: The name under which this node joined.
        fingerprint: Of the parent's authority.
        certificate: The authority's, PEM.
    """

    url: str
    parent: str
    node: str
    fingerprint: str
    certificate: str

    @property
    def trusted(self) -> Pin:
        """Whom to trust."""
        return Pin(self.fingerprint, self.certificate)


class LinkFolder:
    """What a child keeps of its link: whose child it is, its key, what time it is at least.

    Args:
        folder: Its own; made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

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
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self._folder / MEMBERSHIP, msgspec.json.encode(membership), mode=0o600)

    def leave(self) -> None:
        """Forgets it; key and records stay."""
        (self._folder / MEMBERSHIP).unlink(missing_ok=True)

    def credentials(self, membership: Membership) -> Credentials:
        """What the node shows its parent."""
        return self._credentials(membership.node, membership.fingerprint)

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
        credentials = self._credentials(node, trusted.fingerprint)
        client = Client(url, trusted=trusted, floor=self.floor(), credentials=credentials)
        try:
            answer = client.introduce("/join", msgspec.msgpack.encode(Join(token.secret, journal)))
        finally:
            client.close()
        membership = Membership(url, decode(answer, Joined).parent, node, trusted.fingerprint, trusted.pem)
        self.keep(membership)
        return membership

    def _credentials(self, node: str, fingerprint: str) -> Credentials:
        key = open_key(self._folder / "node.key")
        return Credentials(Prover(key, parent=fingerprint, random=secrets.token_bytes), node)
