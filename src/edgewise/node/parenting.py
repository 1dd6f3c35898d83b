"""What a node is to its children: who they are, what proves it, and where their records go."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from edgewise._lib.clock import Clock
from edgewise.fleet.wishes import WishStore
from edgewise.journal.uploads import Uploads
from edgewise.link.base import Join, Joined
from edgewise.link.blobs import BlobIntake
from edgewise.link.intake import Intake
from edgewise.node.handing import Handing
from edgewise.trust.authority import Authority
from edgewise.trust.keys import open_key
from edgewise.trust.proof import SECRET_BYTES, Stranger, Verifier
from edgewise.trust.sessions import Sessions

if TYPE_CHECKING:
    from edgewise.fleet.store import FleetStore
    from edgewise.journal.blobs import BlobStore
    from edgewise.journal.disk import DiskJournal


class Parenting:
    """The parent's side of links. Safe for threads.

    Args:
        folder: Where its authority is kept.
        fleet: Its children.
        journal: Keeps their records.
        blobs: Keeps what those point to.
        receiving: Where blobs lie while they are received; on the file system of ``blobs``.
        node: This node's name.
        clock: Time.

    Attributes:
        authority: Signs the certificates that children pin.
        verifier: Tells who sends a request.
        sessions: Tells it of requests that follow a proved one.
        intake: Takes records.
        blobs: Takes blobs, and gives them back.
        fleet: Its children.
        handing: Hands down what they are to have.
        clock: Time.
        port: Where children reach it; 0 before it listens.
        heard: By child: when it was heard of last (nanoseconds since the Unix epoch), and the program's version.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fleet: FleetStore,
        journal: DiskJournal,
        blobs: BlobStore,
        receiving: Path,
        node: str,
        clock: Clock,
    ) -> None:
        self.fleet = fleet
        self.clock = clock
        self._node = node
        self.port = 0
        self.heard: dict[str, tuple[int, str]] = {}
        self.authority = Authority(folder, time_ns=clock.time_ns())
        self.verifier = Verifier(
            open_key(folder / "access.key"),
            audiences=lambda: self.authority.fingerprints,
            secret=secrets.token_bytes(SECRET_BYTES),
            keys=fleet.key,
            revoked=fleet.is_revoked,
        )
        self.handing = Handing(WishStore(fleet, name=node, clock=clock, epoch=secrets.token_hex(8)))
        self.sessions = Sessions(keys=fleet.key, revoked=fleet.is_revoked, random=secrets.token_bytes)
        uploads = Uploads(receiving, store=blobs, clock=clock)
        self.blobs = BlobIntake(uploads, blobs=blobs, journal=journal, routes=fleet)
        self.intake = Intake(journal, fleet, node=node, clock=clock, heard=self._hear)

    def nonce(self) -> str:
        """The nonce for proofs that are made now."""
        return self.verifier.nonce(self.clock.monotonic())

    def join(self, stranger: Stranger, request: Join) -> Joined:
        """Lets a node in. Errors as ``fleet.store.FleetStore.admit``."""
        self.fleet.admit(stranger, request.secret, journal=request.journal)
        return Joined(self._node, self.clock.time_ns() / 1e9)

    def close(self) -> None:
        """Lets the fleet's database go, and what is being received."""
        self.blobs.close()
        self.fleet.close()

    def _hear(self, child: str, version: str) -> None:
        before = self.heard.get(child, (0, ""))
        self.heard[child] = self.clock.time_ns(), version or before[1]
