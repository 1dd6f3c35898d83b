"""The newest report of each node below this one: in memory, and now and then on disk, so that a restart forgets little.

Ages are counted on the monotonic clock. What is on disk has wall-clock times of this node, which are turned into ages
once, when it is opened.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from edgewise._lib.clock import Clock
from edgewise._lib.sqlite import read_statements
from edgewise._lib.state import Row, State
from edgewise.errors import EdgewiseError
from edgewise.journal.base import Standing
from edgewise.link.reports import (
    COUNTED_BYTES,
    MAX_REPORT_BYTES,
    MAX_REPORTS,
    MAX_TOLD_BYTES,
    Counted,
    Noted,
    Page,
    PipelineReport,
    Report,
    Told,
)

MIGRATIONS = Path(__file__).parent / "reported"

KEEP_S = 30.0
"""The newest reports are written this often."""

_SQL = read_statements(Path(__file__).with_name("reported.sql"))
_HISTORY = 40  # samples of processor and memory: ten minutes
_MAX_STREAMS = 1 << 17  # counted of all nodes together, as many as a journal has
_MAX_REFUSED = 16
_MAX_BYTES = 64 << 20  # of all reports
_SLICE = 100  # rows of a transaction, so that who forgets a node does not wait for thousands

StreamName = tuple[str, str]


class Usage(NamedTuple):
    """What a node used at a time: cores, and bytes of memory (None where it does not tell)."""

    cpu: float
    rss_bytes: int | None


class Known(NamedTuple):
    """What is known of a node.

    Attributes:
        report: Its newest.
        age_s: How old that is.
        usage: What it used, oldest first, one entry a report; since this node was started.
    """

    report: Report
    age_s: float
    usage: tuple[Usage, ...]


class Roster(Protocol):
    """Who brings whom, and what was said about them."""

    def route(self, node: str) -> str | None:
        """The child that brings a node."""
        ...

    def announce(self, child: str, nodes: Collection[str]) -> tuple[str, ...]:
        """A child says which nodes are below it; those that it cannot bring."""
        ...

    def has_learned(self, child: str, told: Mapping[str, Mapping[str, str]]) -> bool:
        """Whether the labels that a child tells of nodes further down are known."""
        ...

    def learn(self, child: str, told: Mapping[str, Mapping[str, str]]) -> None:
        """A child tells labels of nodes further down."""
        ...

    def labels(self, node: str) -> Mapping[str, str]:
        """All labels of a node."""
        ...


class _Entry:
    __slots__ = ("made_s", "report", "revision", "size", "usage")

    def __init__(self) -> None:
        self.report: Report
        self.made_s = float("-inf")
        self.revision = 0
        self.size = 0
        self.usage: deque[Usage] = deque(maxlen=_HISTORY)


class ReportBook:
    """Keeps reports. Safe for threads.

    Args:
        state: Opened with ``MIGRATIONS``; closed with the book.
        node: This node's name: the parent of who tells of itself.
        clock: Time.

    Attributes:
        revision: See ``link.reports.Below``.
        urgent: The same.
    """

    def __init__(self, state: State, *, node: str, clock: Clock) -> None:
        self._state = state
        self._node = node
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._counted: dict[str, dict[StreamName, tuple[Standing, int]]] = {}
        self._streams = 0
        self._bytes = 0
        self.revision = 0
        self._kept_revision = 0
        self._kept_s = clock.monotonic()
        self.urgent = 0
        self._load()

    def close(self) -> None:
        """Lets the database go; writes nothing. May be called twice."""
        self._state.close()

    # What comes in.

    def knows(self, caller: str, told: Told, roster: Roster) -> bool:
        """Whether a child tells of nodes alone that it is known to bring, with labels that are known, so that taking it
        waits for no disk.
        """
        brings = all(roster.route(report.node) == caller for report in told.reports)
        return brings and roster.has_learned(caller, _labels(told.reports))

    def take(self, caller: str, told: Told, roster: Roster) -> Noted:
        """Notes what a child tells; what it tells of nodes that it does not bring is left out.

        Args:
            caller: The child.
            told: By it.
            roster: Who brings whom, and learns what is said about them.
        """
        fresh = [report.node for report in told.reports if roster.route(report.node) != caller]
        try:
            refused = set(roster.announce(caller, fresh))
        except EdgewiseError:
            refused = set(fresh)
        reports = [report for report in told.reports if report.node not in refused]
        with contextlib.suppress(EdgewiseError):  # how they are must not wait; their labels come again
            roster.learn(caller, _labels(reports))
        now_s = self._clock.monotonic()
        with self._lock:
            for report in reports:
                parent = self._node if report.node == caller else report.parent
                noted = msgspec.structs.replace(report, parent=parent, labels=roster.labels(report.node))
                self._note(noted, now_s)
            for counted in told.counted:
                if all(roster.route(node) == caller for node in (counted.by, counted.standing.node)):
                    self._count(counted)
        return Noted(tuple(sorted(refused))[:_MAX_REFUSED])

    def relabel(self, roster: Roster) -> None:
        """Notes what is said about nodes now; a node above is told at once."""
        with self._lock:
            for node, entry in self._entries.items():
                self._relabel(entry, roster.labels(node))

    def forget(self, nodes: Collection[str]) -> None:
        """Lets go of nodes that were removed."""
        with self._lock:
            for node in nodes:
                self._entries.pop(node, None)
                self._streams -= len(self._counted.pop(node, {}))
            self._bytes = sum(entry.size for entry in self._entries.values())
        with self._state.transaction():
            for node in nodes:
                self._state.execute(_SQL["forget_report"], node=node)
                self._state.execute(_SQL["forget_counted"], node=node)

    # What is asked.

    def newest(self, *, lag_s: float = 0.0) -> dict[str, Known]:
        """What is known of each node, as it was ``lag_s`` ago."""
        now_s = self._clock.monotonic() - lag_s
        with self._lock:
            return {
                node: Known(entry.report, max(0.0, now_s - entry.made_s), tuple(entry.usage))
                for node, entry in self._entries.items()
            }

    def nodes(self) -> list[str]:
        """The nodes of which there are reports or counts."""
        with self._lock:
            return sorted(self._entries.keys() | self._counted.keys())

    def lag_s(self) -> float:
        """For a command beside a running node: how long ago that wrote what was read here. 0 when that is so long ago
        that it does not run: then silence is what it looks like.
        """
        ago_s = max(0.0, (self._clock.time_ns() - self._kept_ns) / 1e9)
        return ago_s if ago_s < 2 * KEEP_S else 0.0

    def counted(self) -> list[Counted]:
        """What every node counted last, of one state."""
        with self._lock:
            return [Counted(by, standing) for by, streams in self._counted.items() for standing, _ in streams.values()]

    def since(self, revision: int) -> Page:
        """See ``link.reports.Below``."""
        now_s = self._clock.monotonic()
        with self._lock:
            if revision >= self.revision:
                return Page(revision)
            fresh: list[tuple[int, Report | Counted]] = [
                (entry.revision, _aged(entry, now_s)) for entry in self._entries.values() if entry.revision > revision
            ]
            fresh += [
                (number, Counted(by, standing))
                for by, streams in self._counted.items()
                for standing, number in streams.values()
                if number > revision
            ]
            newest = self.revision
        fresh.sort(key=lambda pair: pair[0])
        taken = _fitting([each for _, each in fresh])
        more = taken < len(fresh)
        reports = [each for _, each in fresh[:taken] if isinstance(each, Report)]
        counted = [each for _, each in fresh[:taken] if isinstance(each, Counted)]
        return Page(fresh[taken - 1][0] if more else newest, reports, counted, more)

    # On disk.

    def keep(self, *, at_once: bool = False) -> bool:
        """Writes what came since the last time, when that is ``KEEP_S`` ago; whether it did.

        Raises:
            EdgewiseError: As ``State``; it is tried again the next time.
        """
        now_s, now_ns = self._clock.monotonic(), self._clock.time_ns()
        if not at_once and now_s - self._kept_s < KEEP_S:
            return False
        with self._lock:
            since, until = self._kept_revision, self.revision
            reports = [
                (node, now_ns - int((now_s - entry.made_s) * 1e9), entry.report)
                for node, entry in self._entries.items()
                if entry.revision > since
            ]
            counted = [
                (by, standing)
                for by, streams in self._counted.items()
                for standing, number in streams.values()
                if number > since
            ]
        for first in range(0, max(len(reports), len(counted), 1), _SLICE):
            with self._state.transaction():
                for node, seen_ns, report in reports[first : first + _SLICE]:
                    text = msgspec.json.encode(report).decode()
                    self._state.execute(_SQL["keep_report"], node=node, seen_ns=seen_ns, report=text)
                for by, standing in counted[first : first + _SLICE]:
                    self._state.execute(_SQL["keep_counted"], counted_by=by, **_columns(standing))
        self._state.execute(_SQL["keep_kept"], now_ns=now_ns)
        self._kept_revision, self._kept_s = until, now_s
        return True

    def _load(self) -> None:
        now_s, now_ns = self._clock.monotonic(), self._clock.time_ns()
        with self._state.transaction():
            kept = self._state.one(_SQL["kept"])
            rows = self._state.all(_SQL["reports"])
            counted = self._state.all(_SQL["counted"])
        self._kept_ns = int(kept[0]) if kept else 0
        for _, seen_ns, text in rows:
            try:
                report = msgspec.json.decode(text, type=Report)
            except msgspec.MsgspecError:  # of another release; the next one comes soon
                continue
            entry = self._entries[report.node] = _Entry()
            self._put(entry, report)
            entry.made_s = now_s - max(0, now_ns - int(seen_ns)) / 1e9
            self.revision += 1
            entry.revision = self.revision
        for row in counted:
            self._count(_counted(row))
        self._kept_revision = self.revision

    # Parts, under the lock.

    def _note(self, report: Report, now_s: float) -> None:
        made_s = now_s - report.age_s
        entry = self._entries.get(report.node)
        if entry is None:
            entry = self._entries[report.node] = _Entry()
            self.urgent += 1
        elif made_s <= entry.made_s:  # an older one, by a slower way; or the same, with other labels
            self._relabel(entry, report.labels)
            return
        elif _words(report) != _words(entry.report):
            self.urgent += 1
        self._put(entry, report)
        entry.made_s = made_s
        entry.usage.append(Usage(report.resources.cpu, report.resources.rss_bytes))
        self.revision += 1
        entry.revision = self.revision

    def _relabel(self, entry: _Entry, labels: Mapping[str, str]) -> None:
        if entry.report.labels != labels:
            self._put(entry, msgspec.structs.replace(entry.report, labels=labels))
            self.urgent += 1
            self.revision += 1
            entry.revision = self.revision

    def _put(self, entry: _Entry, report: Report) -> None:
        """Keeps a report; without its long words where it is too long, or all of them together would take too much."""
        size = len(msgspec.msgpack.encode(report))
        if size > MAX_REPORT_BYTES or self._bytes - entry.size + size > _MAX_BYTES:
            terse = tuple(PipelineReport(each.name, each.phase, each.rate) for each in report.pipelines)
            report = msgspec.structs.replace(report, pipelines=terse, models=())
            size = len(msgspec.msgpack.encode(report))
        self._bytes += size - entry.size
        entry.report, entry.size = report, size

    def _count(self, counted: Counted) -> None:
        streams = self._counted.setdefault(counted.by, {})
        name = (counted.standing.node, counted.standing.stream)
        if name not in streams:
            if self._streams >= _MAX_STREAMS:
                return
            self._streams += 1
        self.revision += 1
        streams[name] = counted.standing, self.revision


def _aged(entry: _Entry, now_s: float) -> Report:
    return msgspec.structs.replace(entry.report, age_s=max(0.0, now_s - entry.made_s))


def _words(report: Report) -> tuple[object, ...]:
    """What of a report should not wait."""
    return report.labels, *((pipeline.name, pipeline.phase) for pipeline in report.pipelines)


def _labels(reports: Iterable[Report]) -> dict[str, Mapping[str, str]]:
    return {report.node: report.labels for report in reports}


def _fitting(fresh: Sequence[Report | Counted]) -> int:
    """How many of them one request takes."""
    size = reports = 0
    for number, each in enumerate(fresh):
        if isinstance(each, Report):
            reports += 1
            size += len(msgspec.msgpack.encode(each))
        else:
            size += COUNTED_BYTES
        if number and (size > MAX_TOLD_BYTES or reports >= MAX_REPORTS):
            return number
    return len(fresh)


def _columns(standing: Standing) -> dict[str, object]:
    return {name: getattr(standing, name) for name in standing.__struct_fields__}


def _counted(row: Row) -> Counted:
    by, node, stream, *numbers = row
    last, acked, pending, dropped = map(int, numbers)
    return Counted(by, Standing(node, stream, last, acked, pending, dropped))
