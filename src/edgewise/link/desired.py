"""Desired state on the link: what is said about it, and the child's two threads: one that fetches, one that reports.

Nothing depends on a message that arrives at the right moment. The child names the position up to which it has
everything; the parent answers at once when there is more, else when there is, or after ``POLL_S``. A report is repeated
until the parent has it, and only the newest of each node counts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Annotated
from urllib.parse import quote

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.link.base import MAX_BODY_BYTES, decode
from edgewise.link.calling import Calling
from edgewise.link.client import Client
from edgewise.link.spending import Spending

POLL_S = 50.0
"""A parent answers after so long in any case: routers between forget connections that are silent for a minute."""

MAX_REPORTS = 64
"""In one request."""

_LOOK_S = 1.0  # an idle thread looks whether it was stopped this often
_IDLE_S = 10.0  # a connection that nobody reports on is let go: the parent would soon end it

Name = Annotated[str, Meta(max_length=64)]
Text = Annotated[str, Meta(max_length=2000)]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one node is to have.

    Attributes:
        node: Its name.
        by: The node that wants it.
        revision: Counts the documents of ``by``.
        document: JSON: sections as in a settings file; ``{}`` wants nothing.
    """

    node: Name
    by: Name
    revision: int
    document: Annotated[str, Meta(max_length=MAX_BODY_BYTES)]


class Handed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What changed since the child's position.

    Attributes:
        position: The next position to name.
        whole: This is all there is, from the beginning; what the child has and is not told any more counts no longer.
        more: It goes on: ask again at once.
        wanted: The documents.
    """

    position: Annotated[str, Meta(max_length=128)]
    whole: bool = False
    more: bool = False
    wanted: tuple[Wanted, ...] = ()


class Problem(msgspec.Struct, frozen=True):
    """Why something is not as it should be; ``what`` names the part, such as ``pipelines.door``."""

    what: Text
    code: Name
    message: Text
    hint: Text = ""


class SectionState(msgspec.Struct, frozen=True):
    """One section of a document: it is so when it has no problems."""

    section: Name
    problems: Annotated[tuple[Problem, ...], Meta(max_length=64)] = ()


class Report(msgspec.Struct, frozen=True):
    """What a node has made of its document.

    Attributes:
        node: Its name.
        by: Whose document that is.
        revision: Of the document.
        digest: SHA-256 of the document, hex.
        accepted: False when it was refused as a whole, and what was before still counts.
        time_ns: When that was, by the node's wall clock.
        sections: Each section of the document.
    """

    node: Name
    by: Name
    revision: int
    digest: Name
    accepted: bool
    time_ns: int
    sections: Annotated[tuple[SectionState, ...], Meta(max_length=16)] = ()

    @property
    def right(self) -> bool:
        """Whether all is as the document says."""
        return self.accepted and not any(section.problems for section in self.sections)


class Reports(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Reports on their way up: of the child, and of nodes that it brings."""

    reports: Annotated[tuple[Report, ...], Meta(min_length=1, max_length=MAX_REPORTS)]


class Fetching:
    """Asks the parent what is wanted, over and over: also when the day's bytes are used up, though seldom then, since
    another bound may be what is wanted.

    Args:
        connect: Makes a connection.
        spending: The account of what the link costs.
        position: Up to where the child has everything; empty for nothing.
        take: Takes what is new; it is on disk when this returns.
        clock: Time.
        random: 0 to 1, for jitter.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], Client],
        spending: Spending,
        position: Callable[[], str],
        take: Callable[[Handed], None],
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._spending = spending
        self._position = position
        self._take = take
        self._calling = Calling("desired", connect=connect, serve=self._serve, clock=clock, random=random)
        self.start = self._calling.start
        self.stop = self._calling.stop

    def _serve(self, client: Client) -> None:
        while not self._calling.stopping.is_set():
            path = f"/desired?have={quote(self._position(), safe='')}"
            handed = decode(client.call("GET", path, wait_s=POLL_S), Handed)
            self._calling.connected()
            self._take(handed)
            if not handed.more:
                self._calling.rest(self._spending)


class Reporting:
    """Tells the parent what became of what it wants: of each node the newest report, until the parent has it.

    Args:
        connect: Makes a connection.
        clock: Time.
        random: 0 to 1, for jitter.
    """

    def __init__(self, *, connect: Callable[[], Client], clock: Clock, random: Callable[[], float]) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, Report] = {}
        self._calling = Calling("state", connect=connect, serve=self._serve, clock=clock, random=random)
        self._clock = clock
        self.start = self._calling.start

    def tell(self, reports: Mapping[str, Report]) -> None:
        """Takes reports by node; returns at once."""
        with self._changed:
            self._waiting |= reports
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends."""
        self._calling.stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._calling.stop()

    def _serve(self, client: Client) -> None:
        used_s = self._clock.monotonic()
        while not self._calling.stopping.is_set():
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._calling.stopping.is_set(), _LOOK_S)
                sending = dict(list(self._waiting.items())[:MAX_REPORTS])
            now_s = self._clock.monotonic()
            if now_s - used_s > _IDLE_S:
                client.close()
                used_s = now_s
            if not sending or self._calling.stopping.is_set():
                continue
            client.call("POST", "/state", msgspec.msgpack.encode(Reports(tuple(sending.values()))))
            self._calling.connected()
            used_s = self._clock.monotonic()
            with self._changed:
                for node, report in sending.items():
                    if self._waiting.get(node) is report:
                        del self._waiting[node]
