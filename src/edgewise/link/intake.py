"""The parent's side of records: what a proved child says is checked against what it may say, and taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edgewise._lib.clock import Clock
from edgewise.errors import InputError
from edgewise.journal.base import Batch, Custody, StreamState
from edgewise.link.base import MAX_NODES, Hello, Taken, Welcome


class Roster(Protocol):
    """Who may speak for whom; ``edgewise.fleet`` keeps it."""

    def check_speaks(self, caller: str, node: str) -> None:
        """Refuses a child that speaks for a node that it does not bring."""
        ...

    def check_journal(self, child: str, journal: str) -> None:
        """Refuses a child whose journal was made anew."""
        ...

    def announce(self, child: str, nodes: list[str], *, alone: bool = False) -> tuple[str, ...]:
        """A child says which nodes are below it, and, ``alone``, that no others are; those that it cannot bring."""
        ...


class Intake:
    """Takes records of children. Safe for threads.

    Args:
        journal: Where they are kept.
        roster: Who may speak for whom.
        node: This node's name.
        clock: Time.
        heard: Called with a child's name and the program's version when it says hello, and with its name alone (the
            version empty) with each of its requests.
        spread_s: Over how long all children should come back when they lose their connections at once.
    """

    def __init__(
        self,
        journal: Custody,
        roster: Roster,
        *,
        node: str,
        clock: Clock,
        heard: Callable[[str, str], None],
        spread_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._journal = journal
        self._roster = roster
        self._node = node
        self._clock = clock
        self._heard = heard
        self._spread_s = spread_s

    def greet(self, caller: str, hello: Hello) -> Welcome:
        """Answers a hello.

        Raises:
            ConflictError: The child's journal was made anew.
            InputError: It brings too many nodes.
        """
        self._roster.check_journal(caller, hello.journal)
        nodes = sorted({*hello.brings, *(stream.node for stream in hello.streams)} - {caller})
        if len(nodes) > MAX_NODES:
            raise InputError(f"A child brings at most {MAX_NODES} nodes, not {len(nodes)}", limit=MAX_NODES)
        refused = self._roster.announce(caller, nodes, alone=True)
        self._heard(caller, hello.version)
        marks = tuple(
            StreamState(each.node, each.stream, self._journal.mark(each.node, each.stream))
            for each in hello.streams
            if each.node not in refused
        )
        return Welcome(self._node, self._clock.time_ns() / 1e9, marks, self._spread_s(), refused)

    def take(self, caller: str, batches: tuple[Batch, ...]) -> Taken:
        """Takes records; when it returns they are on disk.

        Raises:
            AccessError: They are of a node that the child does not bring.
            EdgewiseError: As ``journal.base.Custody.take``.
        """
        for batch in batches:
            self._roster.check_speaks(caller, batch.node)
        self._journal.take(batches)
        self._heard(caller, "")
        return Taken(tuple(StreamState(batch.node, batch.stream, batch.last) for batch in batches))
