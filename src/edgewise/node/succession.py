"""The authority that a node's children pin: which one it is, who has not followed yet, and putting another in its
place. It works on the folder alone, so a command beside the node and the node itself go the same way: the running node
shows the new one within seconds, and then tells its children.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgewise.trust.authority import OVERLAP_S, Authority

if TYPE_CHECKING:
    from edgewise._lib.clock import Clock
    from edgewise.fleet.store import FleetStore

_NS = 10**9


class Standing(msgspec.Struct, frozen=True):
    """A node's authority, and how far its children are.

    Attributes:
        fingerprint: What children pin.
        since_ns: When it was made, nanoseconds since the Unix epoch.
        until_ns: How long children of the one before may follow; 0 when they cannot, or there was none.
        behind: Children that did not follow yet, by name. Once nobody can any more, they have to join again.
    """

    fingerprint: str
    since_ns: int
    until_ns: int
    behind: tuple[str, ...]


def look(folder: Path, fleet: FleetStore, *, clock: Clock) -> Standing:
    """How a node's authority stands.

    Args:
        folder: Where it is kept.
        fleet: The node's children.
        clock: The node's wall clock.
    """
    return _standing(Authority(folder, time_ns=clock.time_ns()), fleet)


def rotate(folder: Path, fleet: FleetStore, *, clock: Clock, overlap_s: int = OVERLAP_S) -> Standing:
    """Puts another authority in this one's place. Errors as ``Authority.rotate``.

    Args:
        folder: Where it is kept.
        fleet: The node's children.
        clock: The node's wall clock.
        overlap_s: How long children may take to follow.
    """
    authority = Authority(folder, time_ns=clock.time_ns())
    authority.rotate(clock.time_ns(), overlap_s=overlap_s)
    return _standing(authority, fleet)


def _standing(authority: Authority, fleet: FleetStore) -> Standing:
    changed = authority.until_s > 0
    behind = [child.name for child in fleet.children() if changed and child.authority != authority.fingerprint]
    until_ns = authority.until_s * _NS if authority.successor else 0
    return Standing(authority.fingerprint, authority.since_s * _NS, until_ns, tuple(behind))
