"""A node between its parent and its children: what is wanted comes down through it, what became of it goes up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edgewise.link.desired import Fetching, Handed, Report, Reporting

if TYPE_CHECKING:
    from edgewise._lib.clock import Clock
    from edgewise.link.way import Way
    from edgewise.node.handing import Handing
    from edgewise.node.settling import Settling


class Steering:
    """Fetches from the parent and reports to it, in two threads.

    Args:
        way: To the parent.
        settling: Makes this node what is wanted.
        handing: Hands the rest down; None where the node takes no children.
        clock: Time.
        random: 0 to 1, for jitter.
    """

    def __init__(
        self,
        way: Way,
        *,
        settling: Settling,
        handing: Handing | None,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._node = way.membership.node
        self._parent = way.membership.identity
        self._settling = settling
        self._handing = handing
        self._fetching = Fetching(
            connect=way.connect,
            spending=way.spending,
            position=lambda: settling.position,
            take=self._take,
            clock=clock,
            random=random,
        )
        self._reporting = Reporting(connect=way.connect, clock=clock, random=random)

    def start(self) -> None:
        """Begins; what is known of the nodes below is told anew."""
        if self._handing:
            self._reporting.tell(self._handing.wishes.states())
            self._handing.pass_on = self._tell
        self._settling.follow(lambda report: self._tell([report]))
        self._reporting.start()
        self._fetching.start()

    def stop(self) -> None:
        """Ends."""
        if self._handing:
            self._handing.pass_on = lambda _: None
        self._fetching.stop()
        self._reporting.stop()

    def _take(self, handed: Handed) -> None:
        """Takes what came; the position is kept last, so what a crash cuts off comes again."""
        if self._handing:
            self._handing.wishes.take(handed, but=self._node)
        self._settling.take(handed, parent=self._parent)

    def _tell(self, reports: Sequence[Report]) -> None:
        self._reporting.tell({report.node: report for report in reports})
