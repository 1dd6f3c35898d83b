"""The audit of a whole tree: every record that any node made is here, on its way, or in a ledger. Pure.

A stream keeps its sequences on its way up, so what one node has of it is a stretch from 1 to some number. This node has
it up to its own; the next one down up to a higher one, and so on, down to the node that made it. What lies between two
of these is on its way, and the lower of the two has counted it: records kept, and sequences that its ledger tells
dropped. So for each stream::

    produced = here + on the way + dropped

where each figure was counted on its own. A node counts when it reports. What is *here* is counted now, so some of what
was on its way then may have arrived since; it is taken to be the oldest. What must never be: that a node handed over
more than the one above it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from edgewise.journal.base import Balance, Standing
from edgewise.link.reports import Counted

LAKE = "lake"
"""The consumer that takes records into the lake."""


class Hop(msgspec.Struct, frozen=True):
    """Records that are kept at a node on their way up."""

    node: str
    pending: int


class Line(msgspec.Struct, frozen=True):
    """One stream of one node.

    Attributes:
        produced: Records that its node had made when it was counted there; as many as are known, if it never was.
        here: Of them, those that came here: kept, or let go after every consumer had them.
        landed: Of those, the ones in the lake; None where there is none.
        pending: On their way.
        at: Where those are, this node's side first.
        dropped: In ledgers, with their reasons.
        missing: Handed over, and not where they were handed to.
        counted: Whether its node has counted it.
        age_s: How long ago that was.
        problems: What does not add up; empty when all does.
    """

    node: str
    stream: str
    produced: int
    here: int
    landed: int | None
    pending: int
    at: tuple[Hop, ...]
    dropped: int
    missing: int
    counted: bool
    age_s: float
    problems: tuple[str, ...] = ()

    @property
    def balanced(self) -> bool:
        """Whether every record is accounted for."""
        return not self.problems and self.produced == self.here + self.pending + self.dropped


class Proof(msgspec.Struct, frozen=True):
    """Of a whole tree.

    Attributes:
        balanced: Whether every record that is known of is accounted for.
        lines: Every stream, by node.
        unheard: Nodes that have never counted anything, so what they hold is not known.
    """

    balanced: bool
    lines: tuple[Line, ...]
    unheard: tuple[str, ...]


def prove(
    balances: Sequence[Balance],
    counted: Iterable[Counted],
    *,
    root: str,
    parents: Mapping[str, str],
    ages: Mapping[str, float],
) -> Proof:
    """Proves the balance of a tree.

    Args:
        balances: Counted in this node's journal, after ``counted`` was read.
        counted: What each node counted last.
        root: This node.
        parents: Whose child each node below is.
        ages: How long ago each of them reported.
    """
    here: dict[tuple[str, str], list[Balance]] = {}
    for balance in balances:
        here.setdefault((balance.node, balance.stream), []).append(balance)
    told: dict[tuple[str, str], dict[str, Standing]] = {}
    for each in counted:
        told.setdefault((each.standing.node, each.standing.stream), {})[each.by] = each.standing
    lines = tuple(
        _line(
            *name,
            here.get(name, []),
            told.get(name, {}),
            path=[] if name[0] == root else _path(name[0], parents, root=root),
            age_s=ages.get(name[0], 0.0),
        )
        for name in sorted({*here, *told})
    )
    heard = {each for standings in told.values() for each in standings}
    unheard = tuple(sorted(node for node in parents if node not in heard))
    return Proof(all(line.balanced for line in lines), lines, unheard)


def _line(
    node: str,
    stream: str,
    balances: Sequence[Balance],
    standings: Mapping[str, Standing],
    *,
    path: Sequence[str],
    age_s: float,
) -> Line:
    own = next((each for each in balances if not each.consumer), Balance(node, stream, "", 0, 0, 0, 0))
    lake = next((each for each in balances if each.consumer == LAKE), None)
    problems = [
        f"here, {each.consumer or 'the journal'}: {each.produced} = {each.delivered} + {each.pending} + {each.dropped}?"
        for each in balances
        if not each.balanced
    ]
    reached, dropped, missing = own.produced, own.dropped, 0
    at = []
    for hop in reversed(path):
        standing = standings.get(hop)
        if standing is None:
            continue
        if not standing.balanced:
            left = standing.last - standing.acked
            problems.append(f"{hop}: {left} to hand over = {standing.pending} + {standing.dropped}?")
        if standing.acked > reached:
            problems.append(f"{hop} handed over up to {standing.acked}, and there is nothing past {reached}")
            missing += standing.acked - reached
            reached = standing.acked
        pending, lost = _left(standing, reached)
        at += [Hop(hop, pending)] if pending else []
        dropped += lost
        reached = max(reached, standing.last)
    return Line(
        node=node,
        stream=stream,
        produced=reached,
        here=own.delivered + own.pending,
        landed=lake.delivered if lake else None,
        pending=sum(hop.pending for hop in at),
        at=tuple(at),
        dropped=dropped,
        missing=missing,
        counted=not path or node in standings,
        age_s=age_s,
        problems=tuple(problems),
    )


def _left(standing: Standing, reached: int) -> tuple[int, int]:
    """What of a count is still on its way, and what of it is dropped, now that the next node has up to ``reached``."""
    arrived = max(0, reached - standing.acked)
    left = max(0, standing.pending + standing.dropped - arrived)
    dropped = min(left, max(0, standing.dropped - arrived))
    return left - dropped, dropped


def _path(node: str, parents: Mapping[str, str], *, root: str) -> list[str]:
    """From a node to the one below the root."""
    path = [node]
    while (above := parents.get(path[-1], root)) != root and above not in path:
        path.append(above)
    return path
