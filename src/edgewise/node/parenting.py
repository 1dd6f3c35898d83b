"""What a node is to its children: who they are, what proves it, and where their records go."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from edgewise._lib.clock import Clock
from edgewise.link.base import Join, Joined
from edgewise.link.intake import Intake
from edgewise.node.relaying import Relaying
from edgewise.trust.authority import Authority
from edgewise.trust.keys import open_key
from edgewise.trust.proof import SECRET_BYTES, Stranger, Verifier

if TYPE_CHECKING:
    from edgewise.fleet.store import FleetStore
    from edgewise.journal.base import Custody


class Parenting:
    """The parent's side of links. Safe for threads.

    Args:
        folder: Where its authority is kept.
        fleet: Its children.
        journal: Keeps their records.
        node: This node's name.
        clock: Time.

    Attributes:
        authority: Signs the certificates that children pin.
        verifier: Tells who sends a request.
        intake: Takes records.
        relaying: Hands requests to them.
        fleet: Its children.
        clock: Time.
        port: Where children reach it; 0 before it listens.
        heard: By child: when it was heard of last (nanoseconds since the Unix epoch), and the program's version.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fleet: FleetStore,
        journal: Custody,
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
        self.relaying = Relaying(clock=clock)
        self.intake = Intake(journal, fleet, node=node, clock=clock, heard=self._hear)

    def nonce(self) -> str:
        """The nonce for proofs that are made now."""
        return self.verifier.nonce(self.clock.monotonic())

    def join(self, stranger: Stranger, request: Join) -> Joined:
        """Lets a node in. Errors as ``fleet.store.FleetStore.admit``."""
        self.fleet.admit(stranger, request.secret, journal=request.journal)
        return Joined(self._node, self.clock.time_ns() / 1e9)

    def close(self) -> None:
        """Lets the fleet's database go."""
        self.fleet.close()

    def _hear(self, child: str, version: str) -> None:
        before = self.heard.get(child, (0, ""))
        self.heard[child] = self.clock.time_ns(), version or before[1]
