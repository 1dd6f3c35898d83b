"""Documents in the fleet's database: what was set, what follows from it for each node, and what nodes reported.

What each node is to have is made when something changes, and gets the next number; so a child is handed whatever has a
greater number than it has seen, and who waits for news is answered from memory. The database may be shared, as that of
``FleetStore``: what another process changed is seen at the next ``refresh``.

Who stands higher in the tree counts: where a node above has a document for a node, the one that was set here waits.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from edgewise._lib.clock import Clock
from edgewise._lib.sqlite import read_statements
from edgewise._lib.state import Row
from edgewise.errors import ConflictError, InputError, NotFoundError, TooLargeError
from edgewise.fleet.desired import NOTHING, Desired, Document, layers, write
from edgewise.fleet.store import FleetStore
from edgewise.link.base import MAX_BODY_BYTES
from edgewise.link.desired import Handed, Report, Wanted

MAX_DOCUMENTS = 100_000
"""Of nodes and labels together."""

_SQL = read_statements(Path(__file__).with_name("desired.sql"))
_NODE, _LABEL, _ABOVE = "node", "label", "above"
_PAGE = 256
_PAGE_BYTES = MAX_BODY_BYTES // 2  # a document is half as large at most, so that one more always fits


class State(msgspec.Struct, frozen=True):
    """What a node reported last, and when that came (nanoseconds since the Unix epoch)."""

    report: Report
    heard_ns: int


class WishStore:
    """What is wanted of the nodes below. Safe for threads.

    Args:
        fleet: The nodes; its database is used, and closed with it.
        name: Of this node.
        clock: The wall clock.
        epoch: Names the database, if it has no name yet.
    """

    def __init__(self, fleet: FleetStore, *, name: str, clock: Clock, epoch: str) -> None:
        self._fleet = fleet
        self._state = fleet.state
        self._name = name
        self._clock = clock
        self._lock = threading.RLock()
        self._told: Callable[[Collection[str]], None] = lambda _: None
        self._places: dict[str, tuple[str, int]] = {}
        self._newest: dict[str, int] = {}
        self._fleet_revision = 0
        self._labels: Mapping[str, Mapping[str, str]] = {}
        self._listed: set[str] | None = None
        self._number = 0
        with self._state.transaction():
            self._state.execute(_SQL["begin"], epoch=epoch)
        self._epoch = ""
        self.refresh()

    def follow(self, told: Callable[[Collection[str]], None]) -> None:
        """Calls ``told`` with the children for whom there is news, in whatever thread brings it."""
        self._told = told

    # What people set.

    def set_node(self, name: str, document: Document) -> Desired:
        """Sets the document of a node below this one; an empty one takes it back.

        Raises:
            NotFoundError: No node below this one has that name.
            ConflictError: A node above has a document for it.
            EdgewiseError: As ``fleet.desired.write``.
        """
        text = write(document)
        with self._changing():
            self._known(name)
            if above := self._document(_ABOVE, name):
                raise ConflictError(f"{above.by} says what {name} is to have", hint="Set it there.", name=above.by)
            self._put(_NODE, name, text)
            self._settle([name])
        return self.desired(name)

    def set_label(self, label: str, document: Document) -> tuple[str, ...]:
        """Sets the document of all nodes below with a label; an empty one takes it back.

        Args:
            label: ``KEY=VALUE``.
            document: Counts below the one of a node itself.

        Returns:
            The nodes that have the label now.

        Raises:
            InputError: It is no label.
            EdgewiseError: As ``fleet.desired.write``.
        """
        check_label(label)
        text = write(document)
        self.refresh()
        with self._changing():
            self._put(_LABEL, label, text)
            named = self.labelled(label)
            self._settle(named)
        return named

    def labelled(self, label: str) -> tuple[str, ...]:
        """The nodes below that have a label now, by name."""
        key, _, value = label.partition("=")
        return tuple(sorted(name for name, labels in self._fleet.labelled().items() if labels.get(key) == value))

    def desired(self, name: str) -> Desired:
        """What a node is to have.

        Raises:
            NotFoundError: No node below this one has that name.
        """
        self._known(name)
        row = self._state.one(_SQL["desired"], node=name)
        return Desired(*row) if row else Desired(name)

    def own(self, name: str) -> str:
        """The document that was set here for a node itself, also one that waits for a higher one to go."""
        found = self._document(_NODE, name)
        return found.document if found else NOTHING

    def of_label(self, label: str) -> str:
        """The document of a label."""
        found = self._document(_LABEL, check_label(label))
        return found.document if found else NOTHING

    # What comes down.

    def take(self, handed: Handed, *, but: str) -> None:
        """Takes documents of nodes above for those below.

        Args:
            handed: What came.
            but: This node, whose own document is kept elsewhere.
        """
        with self._changing():
            if handed.whole:
                self._listed = set()
            changed = {each.node for each in handed.wanted if each.node != but}
            for each in handed.wanted:
                if each.node != but:
                    self._put(_ABOVE, each.node, each.document, by=each.by, revision=each.revision)
            if self._listed is not None:
                self._listed |= changed
                if not handed.more:
                    gone = {row[0] for row in self._state.all(_SQL["names"], kind=_ABOVE)} - self._listed
                    for name in gone:
                        self._state.execute(_SQL["remove_document"], kind=_ABOVE, name=name)
                    changed |= gone
                    self._listed = None
            self._settle(changed)

    # What is handed down.

    def has_news(self, child: str, have: str) -> bool:
        """Whether a child that names a position is to be answered at once. From memory."""
        after = self._after(have)
        return after is None or self._newest.get(child, 0) > after

    def hand(self, child: str, have: str) -> Handed:
        """What a child gets that names a position; nothing of what goes another way."""
        with self._lock:
            number = self._read_position()  # before the rows: what comes in between is handed out twice, not never
            after = self._after(have)
            rows = self._state.all(_SQL["page"], child=child, after=after or 0, most=_PAGE + 1)
        page = list(_page(rows))
        more = len(page) < len(rows)
        reached = page[-1][4] if more else number
        wanted = tuple(Wanted(*row[:4]) for row in page if self._fleet.route(row[0]) == child)
        return Handed(f"{self._epoch}.{reached}", after is None, more, wanted)

    # What comes up.

    def report(self, child: str, reports: Sequence[Report]) -> None:
        """Keeps what a child reports, of itself and of nodes that it brings; what it says of others is left out."""
        refused = self._fleet.announce(child, sorted({report.node for report in reports} - {child}))
        reports = [report for report in reports if report.node not in refused]
        now_ns = self._clock.time_ns()
        with self._state.transaction():
            for report in reports:
                text = msgspec.json.encode(report).decode()
                self._state.execute(_SQL["put_state"], node=report.node, report=text, now_ns=now_ns)
        self.refresh()

    def state(self, name: str) -> State | None:
        """What a node reported last; None when it never did.

        Raises:
            NotFoundError: No node below this one has that name.
        """
        self._known(name)
        row = self._state.one(_SQL["state"], node=name)
        return State(msgspec.json.decode(row[0], type=Report), int(row[1])) if row else None

    def states(self) -> dict[str, Report]:
        """What the nodes below this one reported last, by node."""
        rows = self._state.all(_SQL["states"])
        reports = [msgspec.json.decode(row[0], type=Report) for row in rows]
        return {report.node: report for report in reports if self._fleet.route(report.node) is not None}

    def refresh(self) -> None:
        """Sees what changed elsewhere: documents, and which nodes are where with which labels."""
        if (revision := self._fleet.revision) != self._fleet_revision:
            with self._changing():
                self._follow_fleet(self._fleet.labelled())
            self._fleet_revision = revision
        elif (row := self._state.one(_SQL["position"])) and (row[0], int(row[1])) != (self._epoch, self._number):
            with self._changing():
                pass

    # Within.

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """A transaction; then memory follows the database, and who waits is told."""
        with self._lock:
            try:
                with self._state.transaction():
                    self._read_position()
                    yield
            finally:
                told = self._load()
        if told:
            self._told(told)

    def _load(self) -> set[str]:
        """Reads the places that changed; returns the children for whom there is news."""
        news: set[str] = set()
        with self._state.transaction():
            self._read_position()
            known = max((sequence for _, sequence in self._places.values()), default=0)
            for node, child, sequence in self._state.all(_SQL["places"], after=known):
                self._places[node] = child, int(sequence)
                self._newest[child] = max(self._newest.get(child, 0), int(sequence))
                news.add(child)
        return news

    def _read_position(self) -> int:
        row = self._state.one(_SQL["position"])
        if row is None:
            raise AssertionError("a position is made when the store is opened")
        epoch, number = row[0], int(row[1])
        if epoch != self._epoch or number < self._number:  # the database was put back from a copy
            self._places.clear()
            self._newest.clear()
        self._epoch, self._number = epoch, number
        return number

    def _count_up(self) -> int:
        self._state.execute(_SQL["count_up"])
        return self._read_position()

    def _put(self, kind: str, name: str, text: str, *, by: str = "", revision: int = 0) -> None:
        if text == NOTHING:
            self._state.execute(_SQL["remove_document"], kind=kind, name=name)
            return
        if not by and self._document(kind, name) is None and self._count() >= MAX_DOCUMENTS:
            raise TooLargeError("Too many documents are set", hint="Use labels.", limit=MAX_DOCUMENTS)
        self._state.execute(
            _SQL["put_document"],
            kind=kind,
            name=name,
            by_node=by or self._name,
            revision=revision or self._number + 1,
            document=text,
            now_ns=self._clock.time_ns(),
        )

    def _count(self) -> int:
        return sum(len(self._state.all(_SQL["names"], kind=kind)) for kind in (_NODE, _LABEL))

    def _settle(self, names: Iterable[str]) -> None:
        """Makes anew what nodes are to have; what is the same as before gets no new number."""
        groups: dict[str, str] = dict(self._state.all(_SQL["documents"], kind=_LABEL))
        for name in sorted(names):
            child = self._fleet.route(name)
            row = self._state.one(_SQL["desired"], node=name)
            before = Desired(*row) if row else Desired(name)
            after = self._document(_ABOVE, name)
            if after is None:
                own = self._document(_NODE, name)
                text = layers(
                    name, self._labels.get(name, {}), nodes={name: own.document} if own else {}, groups=groups
                )
                after = Desired(name, self._name, 0, text)
                if (before.by, before.document) == (after.by, after.document) or (not row and text == NOTHING):
                    continue
            elif before == after:
                continue
            number = self._count_up()
            self._state.execute(
                _SQL["put_desired"],
                node=name,
                child=child or "",
                by_node=after.by,
                revision=after.revision or number,
                document=after.document,
                sequence=number,
            )

    def _follow_fleet(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        """Nodes with other labels than before, and nodes that go another way now."""
        places = {str(row[0]): str(row[1]) for row in self._state.all(_SQL["places"], after=0)}
        before, self._labels = self._labels, labels
        looked, self._fleet_revision = self._fleet_revision, 0  # until it is written
        if looked:
            self._settle(name for name in {*labels, *before} if labels.get(name) != before.get(name))
        else:  # what changed while nobody looked, nobody knows
            self._settle({*labels, *places})
        for node, way in places.items():
            if (child := self._fleet.route(node) or "") != way:
                self._state.execute(_SQL["move_desired"], node=node, child=child, sequence=self._count_up())

    def _document(self, kind: str, name: str) -> Desired | None:
        row = self._state.one(_SQL["document"], kind=kind, name=name)
        return Desired(name, row[0], int(row[1]), row[2]) if row else None

    def _after(self, have: str) -> int | None:
        """The number that a position means; None when it says nothing here, and the child gets everything."""
        epoch, _, number = have.partition(".")
        if epoch != self._epoch or not (number.isascii() and number.isdigit() and len(number) < 19):
            return None
        return int(number) if int(number) <= self._number else None

    def _known(self, name: str) -> None:
        if self._fleet.route(name) is None:
            raise NotFoundError(
                f"No node below this one is named {name[:64]!r}",
                hint="See: edgewise nodes list",
                kind="node",
                name=name[:64],
            )


def check_label(label: str) -> str:
    """A label as ``KEY=VALUE``.

    Raises:
        InputError: It is none.
    """
    key, equals, _ = label.partition("=")
    if not key or not equals or len(label) > 256:
        raise InputError(f"{label[:64]!r} is no label", hint="Write KEY=VALUE, such as site=hall.")
    return label


def _page(rows: Sequence[Row]) -> Iterator[Row]:
    """As many as one answer carries, one at least."""
    sizes = functools.reduce(lambda sums, row: [*sums, sums[-1] + len(row[3].encode())], rows[:_PAGE], [0])
    return (row for row, before in zip(rows[:_PAGE], sizes, strict=False) if before <= _PAGE_BYTES)
