"""What a child tells its parent of itself and of the nodes below it, and how often.

``POST health``: ``Told`` → ``Noted``, over the connection that carries records. Fields that a receiver does not know
are passed over, so a newer child may say more. No report states a time: it says how old it is, and each node that
passes it on adds how long it held it, so no clock has to be right. What a node *counted* of its streams goes up with
its reports, and always before what the nodes below it counted: so whatever a child says it has handed over, its
parent's newest count knows of, or it is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple, Protocol

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.errors import NotFoundError
from edgewise.journal.base import Standing
from edgewise.trust.names import NodeName

EVERY_S = 15.0
"""A node tells its parent so often, when nothing changes."""

_SOONEST_S = 1.0
"""And never sooner than this, however often something changes."""

_PASS_ON = 3
"""What nodes below told waits a third of that: with each node on the way it gets older."""

METERED_EVERY_S = 300.0
"""The same where each byte costs, or none is left but for events and alarms."""

MAX_REPORT_BYTES = 16 * 1024
"""Of a report that is longer its parent keeps no models and no words on what is wrong."""

COUNTED_BYTES = 256
"""Of what was counted of a stream, with the longest names."""

MAX_TOLD_BYTES = 448 * 1024
"""What nodes below told: of one request about so much; the rest goes with the next."""

MAX_OWN_COUNTED = 1536
"""What a node counted itself, of one request. With the above it fits into what a parent takes."""

MAX_REPORTS = 4096
MAX_COUNTED = 4096

_Word = Annotated[str, Meta(max_length=64)]
_Text = Annotated[str, Meta(max_length=256)]
_Count = Annotated[int, Meta(ge=0, le=2**53)]
_Seconds = Annotated[float, Meta(ge=0, le=1e10)]

logger = logging.getLogger(__name__)


class PipelineReport(msgspec.Struct, frozen=True):
    """One pipeline: where it is, samples a second, and what is wrong."""

    name: _Word
    phase: _Word
    rate: Annotated[float, Meta(ge=0)] = 0.0
    problem: _Text = ""


class ResourceReport(msgspec.Struct, frozen=True):
    """What a node uses; None is what its machine does not tell.

    Attributes:
        cpu: Cores in use by the node.
        machine_cpu: Share of all cores of the machine in use, 0 to 1.
        rss_bytes: Resident memory of the node.
        disk_free_bytes: Free where its data is.
        temperature_c: Hottest part of the machine.
    """

    cpu: Annotated[float, Meta(ge=0)] = 0.0
    machine_cpu: float | None = None
    rss_bytes: _Count | None = None
    disk_free_bytes: _Count | None = None
    temperature_c: float | None = None


class JournalReport(msgspec.Struct, frozen=True):
    """A node's journal: bytes kept, records on their way to its parent, records dropped since it was made."""

    bytes: _Count = 0
    pending: _Count = 0
    dropped: _Count = 0


class LinkReport(msgspec.Struct, frozen=True):
    """A node's link to its parent: its phase, tries that failed, bytes of today's budget."""

    phase: _Word = ""
    failures: _Count = 0
    used_today: _Count = 0


class Report(msgspec.Struct, frozen=True):
    """How a node is.

    Attributes:
        node: Its name.
        version: Of the program.
        uptime_s: Since it was started.
        age_s: How old the report is.
        every_s: The next one comes in so long, if not sooner.
        parent: Whose child it is; noted by that parent.
        labels: What its parent notes about it.
        clock_ahead_s: Its wall clock less its parent's.
        pipelines: What it runs.
        models: Models that are loaded.
        rules: How many rules it has.
        resources: What it uses.
        journal: Its journal.
        link: Its link.
    """

    node: NodeName
    version: _Word = ""
    uptime_s: _Seconds = 0.0
    age_s: _Seconds = 0.0
    every_s: Annotated[float, Meta(gt=0, le=86400)] = EVERY_S
    parent: _Word = ""
    labels: Annotated[Mapping[_Word, _Word], Meta(max_length=16)] = {}
    clock_ahead_s: float = 0.0
    pipelines: Annotated[tuple[PipelineReport, ...], Meta(max_length=64)] = ()
    models: Annotated[tuple[_Word, ...], Meta(max_length=64)] = ()
    rules: _Count = 0
    resources: ResourceReport = ResourceReport()
    journal: JournalReport = JournalReport()
    link: LinkReport = LinkReport()


class Counted(msgspec.Struct, frozen=True, array_like=True):
    """What the node ``by`` counted of a stream on its way up."""

    by: NodeName
    standing: Standing


class Told(msgspec.Struct, frozen=True):
    """Reports of a child and of nodes below it, and what they counted since they told it last."""

    reports: Annotated[tuple[Report, ...], Meta(max_length=MAX_REPORTS)] = ()
    counted: Annotated[tuple[Counted, ...], Meta(max_length=MAX_COUNTED)] = ()


class Noted(msgspec.Struct, frozen=True):
    """They are noted, but for those of nodes that the child does not bring."""

    refused: tuple[str, ...] = ()


class Page(NamedTuple):
    """What the nodes below told after a revision, up to another, and whether there is more."""

    revision: int
    reports: Sequence[Report] = ()
    counted: Sequence[Counted] = ()
    more: bool = False


class Below(Protocol):
    """What the nodes below this one told it; ``edgewise.fleet`` keeps it."""

    @property
    def urgent(self) -> int:
        """Grows when a node below tells something that should not wait."""
        ...

    @property
    def revision(self) -> int:
        """Grows with everything that a node below tells."""
        ...

    def since(self, revision: int) -> Page:
        """What came after a revision (0 for all), as much as one request takes."""
        ...


class NobodyBelow:
    """Of a node without children."""

    urgent = 0
    revision = 0

    def since(self, revision: int) -> Page:
        """Nothing."""
        return Page(revision)


class Telling:
    """The child's side. One thread at a time.

    Args:
        report: Makes the report of this node.
        count: Counts streams by name, or all that go up (None): where the parent stands in each.
        ends: How far each of the streams that go up goes, and how far the parent has it: what is unchanged is not
            counted again. Cheap, asked once a second.
        alarm: What cannot wait: another value is told at once.
        below: What the nodes below this one told.
        clock: Time.
        every_s: How often now; see ``EVERY_S``.
    """

    def __init__(
        self,
        *,
        report: Callable[[], Report],
        count: Callable[[Collection[str]], Iterable[Standing]],
        ends: Callable[[], Mapping[str, tuple[int, int]]],
        alarm: Callable[[], Hashable] = lambda: None,
        below: Below | None = None,
        clock: Clock,
        every_s: Callable[[], float] = lambda: EVERY_S,
    ) -> None:
        self._report = report
        self._count = count
        self._ends = ends
        self._alarm = alarm
        self._below = below or NobodyBelow()
        self._clock = clock
        self._every_s = every_s
        self.begin()

    def begin(self) -> None:
        """The parent answers, maybe after a restart: it is told everything."""
        self._due_s = self._clock.monotonic()
        self._free_s = self._due_s
        self._told_alarm: Hashable = None
        self._told_ends: dict[str, tuple[int, int]] = {}
        self._revision = 0
        self._deaf = False

    def tell(self, ask: Callable[[Told], Noted]) -> None:
        """Tells what is due, if anything is.

        Args:
            ask: Sends it.

        Raises:
            EdgewiseError: As ``ask``.
        """
        alarm = (self._alarm(), self._below.urgent)
        if self._clock.monotonic() < self._free_s:
            return
        every_s = self._every_s()
        early_s = every_s - every_s / _PASS_ON if self._below.revision > self._revision else 0.0
        if self._deaf or (self._clock.monotonic() < self._due_s - early_s and alarm == self._told_alarm):
            return
        more = True
        try:
            while more:
                more = self._tell(ask)
        except NotFoundError as error:
            if error.facts.get("kind") != "route":
                raise
            self._deaf = True  # an earlier release, which asks for no reports
            logger.debug("the parent takes no reports: %s", error)
            return
        self._told_alarm = alarm
        self._due_s = self._clock.monotonic() + every_s
        self._free_s = self._clock.monotonic() + _SOONEST_S

    def _tell(self, ask: Callable[[Told], Noted]) -> bool:
        """One request; whether there is more."""
        page = self._below.since(self._revision)  # before the own count, see the module
        ends = dict(self._ends())
        changed = [key for key, end in ends.items() if self._told_ends.get(key) != end]
        report = self._report()
        part = changed[:MAX_OWN_COUNTED]
        own = tuple(Counted(report.node, standing) for standing in self._count(part))
        alone = len(changed) > len(part)
        if alone:
            ask(Told((report,), own))
        else:
            ask(Told((report, *page.reports), (*own, *page.counted)))
            self._revision = page.revision
        self._told_ends |= {key: ends[key] for key in part}
        return alone or page.more
