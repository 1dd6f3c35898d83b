"""What a node is to its children: who they are, what proves it, and where their records go."""

from __future__ import annotations

import contextlib
import logging
import math
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewise._lib.clock import Clock
from edgewise.errors import BusyError, EdgewiseError
from edgewise.journal.uploads import Uploads
from edgewise.link.base import Join, Joined, KeyState
from edgewise.link.blobs import BlobIntake
from edgewise.link.intake import Intake
from edgewise.node.handing import Handing
from edgewise.node.relaying import Relaying
from edgewise.trust.authority import Authority
from edgewise.trust.keys import open_key
from edgewise.trust.proof import SECRET_BYTES, Stranger, Verifier
from edgewise.trust.sessions import Sessions

if TYPE_CHECKING:
    from edgewise.fleet.reports import ReportBook
    from edgewise.fleet.store import Child, FleetStore
    from edgewise.fleet.wishes import WishStore
    from edgewise.journal.blobs import BlobStore
    from edgewise.journal.disk import DiskJournal
    from edgewise.link.reports import Noted, Told
    from edgewise.trust.proof import Caller


logger = logging.getLogger(__name__)

_WELCOMES_A_SECOND = 100
"""So many children a second come back without their parent keeping the others waiting: each costs it about 3 ms."""

_CHANGES_S = 60.0
"""A child changes its key once in so long, so that it cannot wash out the audit log."""


class Parenting:
    """The parent's side of links. Safe for threads.

    Args:
        folder: Where its authority is kept.
        fleet: Its children.
        wishes: What is wanted of the nodes below.
        reports: What they told.
        journal: Keeps their records.
        blobs: Keeps what those point to.
        receiving: Where blobs lie while they are received; on the file system of ``blobs``.
        node: This node's name.
        record: Writes what changed into the audit log.
        clock: Time.

    Attributes:
        authority: Signs the certificates that children pin.
        verifier: Tells who sends a request.
        sessions: Tells it of requests that follow a proved one.
        intake: Takes records.
        blobs: Takes blobs, and gives them back.
        relaying: Hands requests to them.
        fleet: Its children.
        handing: Hands down what they are to have.
        reports: What they told of themselves and of those below them.
        clock: Time.
        port: Where children reach it; 0 before it listens.
        successor: The statement by which children follow its authority (``Authority.successor``), once the server shows
            a certificate of it.
        heard: By child: when it was heard of last (nanoseconds since the Unix epoch), and the program's version.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fleet: FleetStore,
        wishes: WishStore,
        reports: ReportBook,
        journal: DiskJournal,
        blobs: BlobStore,
        receiving: Path,
        node: str,
        record: Callable[[str, Mapping[str, Any]], None],
        clock: Clock,
    ) -> None:
        self.fleet = fleet
        self.reports = reports
        self.clock = clock
        self._node = node
        self._record = record
        self.port = 0
        self.successor = ""
        self._shown: dict[str, str] = {}
        self._changed_s: dict[str, float] = {}
        self._joined: dict[str, str] = {}
        self.heard: dict[str, tuple[int, str]] = {}
        self.authority = Authority(folder, time_ns=clock.time_ns())
        self.verifier = Verifier(
            open_key(folder / "access.key"),
            audiences=lambda: self.authority.fingerprints,
            secret=secrets.token_bytes(SECRET_BYTES),
            keys=fleet.key,
            revoked=fleet.is_revoked,
        )
        self.handing = Handing(wishes)
        self.relaying = Relaying(clock=clock)
        self.sessions = Sessions(
            keys=fleet.key,
            revoked=fleet.is_revoked,
            audiences=lambda: self.authority.fingerprints,
            random=secrets.token_bytes,
        )
        uploads = Uploads(receiving, store=blobs, clock=clock)
        self.blobs = BlobIntake(uploads, blobs=blobs, journal=journal, routes=fleet)
        self.intake = Intake(journal, fleet, node=node, clock=clock, heard=self._hear, spread_s=self._spread_s)
        self._seen_revision = fleet.revision
        self._forget_strangers()

    def nonce(self) -> str:
        """The nonce for proofs that are made now."""
        return self.verifier.nonce(self.clock.monotonic())

    def join(self, stranger: Stranger, request: Join, *, address: str) -> Joined:
        """Lets a node in that calls from an address. Errors as ``fleet.store.FleetStore.admit``."""
        child = self.fleet.admit(stranger, request.secret, journal=request.journal)
        if self._joined.get(child.name) != child.key:  # it may ask as often as it likes, and that stands there once
            self._tell("nodes.joined", child, address)
            self._joined[child.name] = child.key
        return Joined(self._node, self.clock.time_ns() / 1e9)

    def key(self, child: str) -> KeyState:
        """What is taken from a child."""
        known = self.fleet.child(child)
        return KeyState(known.key, known.rotations)

    def change_key(self, child: str, statement: str, *, address: str) -> KeyState:
        """Takes the next key of a child that calls from an address. Errors as ``fleet.store.FleetStore.rotate``.

        Raises:
            BusyError: It was changed a moment ago.
        """
        now_s = self.clock.monotonic()
        if (wait_s := self._changed_s.get(child, -_CHANGES_S) + _CHANGES_S - now_s) > 0:  # they stand in the audit log
            raise BusyError("The key was changed a moment ago", hint="Retry later.", retry_after_s=math.ceil(wait_s))
        changed = self.fleet.rotate(child, statement, audiences=self.authority.fingerprints)
        self._changed_s[child] = now_s
        self._tell("nodes.key_changed", changed, address)
        return KeyState(changed.key, changed.rotations)

    def leave(self, child: str, *, address: str) -> None:
        """A child that calls from an address says that it is none any more. Errors as ``remove``."""
        known = self.fleet.child(child)
        self.remove(child)
        self._tell("nodes.left", known, address)

    def shown(self, caller: Caller) -> None:
        """A child has proved itself to one of this node's authorities. From memory; ``keep`` writes it down."""
        if self.authority.until_s and self.fleet.child(caller.node).authority != caller.audience:
            self._shown[caller.node] = caller.audience

    def told(self, child: str, told: Told) -> Noted:
        """Notes what a child reports."""
        self._hear(child, "")
        return self.reports.take(child, told, self.fleet)

    def label(self, node: str, changes: Mapping[str, str | None]) -> None:
        """Changes what is said here about a node below this one. Errors as ``FleetStore.label``."""
        self.fleet.label(node, changes)
        self.reports.relabel(self.fleet)

    def remove(self, node: str) -> tuple[str, ...]:
        """Revokes a child; or forgets a node further down, until somebody brings it again.

        Returns:
            The names that are free now.

        Raises:
            NotFoundError: No node below this one has that name.
        """
        gone = remove(self.fleet, node)
        self.reports.forget(gone)
        for name in gone:
            for kept in (self.heard, self._changed_s, self._joined):
                kept.pop(name, None)
        return gone

    def heard_s(self) -> dict[str, float]:
        """How long ago each child was heard of, in whatever way."""
        now_ns = self.clock.time_ns()
        return {child: max(0, now_ns - heard_ns) / 1e9 for child, (heard_ns, _) in list(self.heard.items())}

    def keep(self) -> None:
        """Sees what other processes changed, and keeps what was reported; called every few seconds."""
        self.fleet.refresh()
        if self.fleet.revision != self._seen_revision:
            self._seen_revision = self.fleet.revision
            self._forget_strangers()
            self.reports.relabel(self.fleet)
        shown, self._shown = self._shown, {}
        try:
            if shown:
                self.fleet.note_authorities(dict(shown))  # a child may be being noted there
            self.reports.keep()
        except EdgewiseError as error:  # it is there, or comes again
            logger.debug("what children told is not written down: %s", error)

    def close(self) -> None:
        """Keeps what was reported, and lets the databases go, and what is being received."""
        self.blobs.close()
        with contextlib.suppress(EdgewiseError):  # it is told again
            self.reports.keep(at_once=True)
        self.reports.close()
        self.fleet.close()

    def _forget_strangers(self) -> None:
        """Lets go of what nodes told that nobody brings any more."""
        if gone := [node for node in self.reports.nodes() if self.fleet.route(node) is None]:
            self.reports.forget(gone)

    def _tell(self, kind: str, child: Child, address: str) -> None:
        what = {"node": child.name, "key": child.key, "changes": child.rotations}
        self._record(kind, {"who": child.name, "via": "link", "from": address, "outcome": "done", "what": what})

    def _spread_s(self) -> float:
        return self.fleet.count() / _WELCOMES_A_SECOND

    def _hear(self, child: str, version: str) -> None:
        before = self.heard.get(child, (0, ""))
        self.heard[child] = self.clock.time_ns(), version or before[1]


def remove(fleet: FleetStore, node: str) -> tuple[str, ...]:
    """See ``Parenting.remove``; also beside a running node."""
    way = fleet.route(node)
    if way is None or way == node:
        return fleet.remove(node)
    fleet.release(way, node)
    return (node,)
