"""What nodes tell of themselves: who tells what, how often, what is passed on, and what a restart remembers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewise._lib.clock import ManualClock
from edgewise._lib.state import StateSettings, open_state
from edgewise.errors import NotFoundError, UnavailableError
from edgewise.fleet import reports, store
from edgewise.fleet.census import census, own_state
from edgewise.fleet.health import Status, Why
from edgewise.fleet.reports import KEEP_S, ReportBook
from edgewise.fleet.store import FleetStore
from edgewise.journal.base import Standing
from edgewise.link.base import MAX_BODY_BYTES
from edgewise.link.reports import (
    EVERY_S,
    MAX_OWN_COUNTED,
    METERED_EVERY_S,
    Counted,
    Noted,
    PipelineReport,
    Report,
    ResourceReport,
    Telling,
    Told,
)
from edgewise.trust.proof import Stranger

JOURNAL = "cd" * 16


class Parent:
    """A parent's fleet and book in a folder, both by one clock."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.folder = folder
        self.open()

    def open(self) -> None:
        def state(component: str, migrations: Path):
            return open_state(
                StateSettings(), self.folder / f"{component}.db", component=component, migrations=migrations
            )

        self.fleet = FleetStore(state("fleet", store.MIGRATIONS), name="center", clock=self.clock)
        self.book = ReportBook(state("reports", reports.MIGRATIONS), node="center", clock=self.clock)

    def close(self) -> None:
        self.fleet.close()
        self.book.close()

    def join(self, *names: str) -> None:
        for name in names:
            token = self.fleet.invite("ab" * 32, random=secrets.token_bytes)
            self.fleet.admit(Stranger(name, secrets.token_hex(32)), token.secret, journal=JOURNAL)

    def take(self, caller: str, *told: Report, counted: tuple[Counted, ...] = ()) -> Noted:
        return self.book.take(caller, Told(told, counted), self.fleet)

    def labels(self) -> dict[str, dict[str, str]]:
        return {node.name: dict(node.labels) for node in census(self.fleet, self.book.newest(), root="center")}

    def seen(self) -> dict[str, Status]:
        return {node.name: node.health.status for node in census(self.fleet, self.book.newest(), root="center")}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def parent(tmp_path: Path, clock: ManualClock) -> Iterator[Parent]:
    made = Parent(tmp_path, clock)
    yield made
    made.close()


def test_a_parent_knows_how_the_whole_subtree_is_and_when_it_falls_silent(parent: Parent, clock: ManualClock) -> None:
    parent.join("gateway")
    assert parent.seen() == {"gateway": Status.GONE}
    parent.take("gateway", Report("gateway", parent="a lie"), Report("door", parent="gateway", age_s=10.0))
    assert parent.seen() == {"gateway": Status.OK, "door": Status.OK}
    parents = {node.name: node.parent for node in census(parent.fleet, parent.book.newest(), root="center")}
    assert parents == {"gateway": "center", "door": "gateway"}
    clock.advance(30)
    assert parent.seen() == {"gateway": Status.OK, "door": Status.LATE}
    clock.advance(100)
    nodes = {node.name: node for node in census(parent.fleet, parent.book.newest(), root="center")}
    assert nodes["door"].health.status is Status.GONE
    assert [reason.why for reason in nodes["door"].health.reasons] == [Why.PARENT_GONE]
    assert nodes["gateway"].health.reasons[0].why is Why.SILENT


def test_a_child_tells_of_its_own_subtree_alone(parent: Parent) -> None:
    parent.join("east", "west")
    parent.take("east", Report("east"), Report("door"))
    refused = parent.take("west", Report("west"), Report("door", version="forged"), Report("center"), Report("east"))
    assert refused.refused == ("center", "door", "east")
    stolen = Counted("door", Standing("door", "events", 9, 0, 9, 0))
    parent.take("west", counted=(stolen, Counted("west", Standing("door", "events", 9, 0, 9, 0))))
    assert parent.book.newest()["door"].report.version == ""
    assert parent.book.counted() == []


def test_an_older_report_by_a_slower_way_changes_nothing(parent: Parent) -> None:
    parent.join("gateway")
    parent.take("gateway", Report("door", version="2", age_s=1.0))
    parent.take("gateway", Report("door", version="1", age_s=5.0))
    assert parent.book.newest()["door"].report.version == "2"


def test_what_was_reported_is_there_after_a_restart_with_its_age(parent: Parent, clock: ManualClock) -> None:
    parent.join("door")
    standing = Standing("door", "events", 7, 5, 2, 0)
    parent.take("door", Report("door", version="1.2"), counted=(Counted("door", standing),))
    assert not parent.book.keep()
    clock.advance(KEEP_S)
    assert parent.book.keep()
    clock.advance(60)
    parent.close()
    parent.open()
    known = parent.book.newest()["door"]
    assert (known.report.version, known.age_s) == ("1.2", KEEP_S + 60)
    assert parent.book.counted() == [Counted("door", standing)]
    parent.fleet.remove("door")
    parent.book.forget(["door"])
    parent.close()
    parent.open()
    assert parent.book.nodes() == []


def test_a_command_beside_a_running_node_sees_it_as_of_what_that_wrote(parent: Parent, clock: ManualClock) -> None:
    parent.join("door")
    parent.take("door", Report("door"))
    parent.book.keep(at_once=True)
    clock.advance(25)
    command = Parent(parent.folder, clock)
    assert command.book.newest(lag_s=command.book.lag_s())["door"].age_s == 0
    command.close()
    clock.advance(3600)
    command = Parent(parent.folder, clock)  # nobody writes any more, so it is the node that is silent
    assert command.book.newest(lag_s=command.book.lag_s())["door"].age_s == 3625
    command.close()


class Child:
    """A child that tells, and what its parent heard."""

    def __init__(self, clock: ManualClock, *, below: ReportBook | None = None) -> None:
        self.heard: list[Told] = []
        self.phase = "running"
        self.every_s = EVERY_S
        self.ends = {"events": (1, 0)}
        self.asked: list[str] = []
        self.telling = Telling(
            report=lambda: Report("gateway", pipelines=(PipelineReport("door", self.phase),)),
            count=self.count,
            ends=lambda: self.ends,
            alarm=lambda: self.phase,
            below=below,
            clock=clock,
            every_s=lambda: self.every_s,
        )

    def count(self, streams):
        self.asked += streams
        return [Standing("gateway", stream, *self.ends[stream], 1, 0) for stream in streams]

    def ask(self, told: Told) -> Noted:
        self.heard.append(told)
        return Noted()

    def tells(self) -> list[Told]:
        before = len(self.heard)
        self.telling.tell(self.ask)
        return self.heard[before:]


def test_a_child_tells_less_often_from_the_moment_its_bytes_are_used_up(clock: ManualClock) -> None:
    child = Child(clock)
    child.tells()
    child.every_s = METERED_EVERY_S
    clock.advance(EVERY_S)
    assert len(child.tells()) == 1  # which says when the next one comes
    clock.advance(METERED_EVERY_S - 1)
    assert child.tells() == []
    clock.advance(1)
    assert len(child.tells()) == 1


def test_a_child_tells_at_once_then_now_and_then_and_when_something_changes(clock: ManualClock) -> None:
    child = Child(clock)
    assert len(child.tells()) == 1
    assert child.tells() == []
    clock.advance(14)
    assert child.tells() == []
    clock.advance(1)
    assert len(child.tells()) == 1
    child.phase = "failed"
    assert child.tells() == []  # a second later: who flaps is not to fill the link
    clock.advance(1)
    [told] = child.tells()
    assert told.reports[0].pipelines[0].phase == "failed"
    assert child.tells() == []


def test_only_streams_that_moved_are_counted_again_and_all_of_them_after_a_reconnect(clock: ManualClock) -> None:
    child = Child(clock)
    child.tells()
    clock.advance(15)
    assert child.tells()[0].counted == ()
    child.ends = {"events": (2, 1), "readings": (1, 0)}
    clock.advance(15)
    assert [each.standing.stream for each in child.tells()[0].counted] == ["events", "readings"]
    child.telling.begin()
    assert len(child.tells()[0].counted) == 2


def test_a_gateway_passes_on_what_is_new_with_its_age_and_counts_before_those_below(
    parent: Parent, clock: ManualClock
) -> None:
    parent.join("door")
    child = Child(clock, below=parent.book)
    assert len(child.tells()) == 1
    parent.take("door", Report("door"), counted=(Counted("door", Standing("door", "events", 1, 0, 1, 0)),))
    clock.advance(1)
    [told] = child.tells()  # a new node is no small thing
    assert [report.node for report in told.reports] == ["gateway", "door"]
    assert [each.by for each in told.counted] == ["door"]
    clock.advance(1)
    parent.take("door", Report("door"))
    assert child.tells() == []
    clock.advance(4)
    [told] = child.tells()
    assert [(report.node, report.age_s) for report in told.reports[1:]] == [("door", 4.0)]
    clock.advance(1)
    child.ends = {f"door/{number}": (1, 0) for number in range(MAX_OWN_COUNTED + 5)}
    parent.take("door", Report("door"))
    clock.advance(5)
    first, second = child.tells()  # in one go
    assert (len(first.counted), len(first.reports)) == (MAX_OWN_COUNTED, 1)
    assert [report.node for report in second.reports] == ["gateway", "door"]


def test_labels_go_up_with_reports_and_at_once_when_they_change(
    parent: Parent, clock: ManualClock, tmp_path: Path
) -> None:
    center = Parent(tmp_path / "center", clock)
    center.join("gateway")
    parent.join("door")
    child = Child(clock, below=parent.book)

    def pass_on() -> int:
        told = child.tells()
        for each in told:
            center.take("gateway", *each.reports)
        return len(told)

    parent.fleet.label("door", {"site": "hall", "role": "camera"})
    parent.take("door", Report("door", labels={"site": "moon"}))  # it says nothing of itself
    pass_on()
    assert center.labels() == {"gateway": {}, "door": {"site": "hall", "role": "camera"}}
    center.fleet.label("door", {"role": "eye", "floor": "2"})
    center.book.relabel(center.fleet)
    clock.advance(2)
    parent.fleet.label("door", {"site": "yard", "role": "ear"})
    parent.book.relabel(parent.fleet)
    assert pass_on() == 1
    known = center.book.newest()["door"]
    assert center.labels()["door"] == known.report.labels == {"site": "yard", "role": "eye", "floor": "2"}
    assert known.age_s == 2.0  # it said nothing meanwhile
    assert center.book.since(0).reports[1].labels == known.report.labels
    center.close()


def test_a_report_that_is_no_newer_brings_other_labels_all_the_same(parent: Parent) -> None:
    parent.join("gateway")
    parent.take("gateway", Report("door", version="2", age_s=1.0, labels={"site": "hall"}))
    urgent = parent.book.urgent
    parent.take("gateway", Report("door", version="1", age_s=1.5, labels={"site": "yard"}))
    known = parent.book.newest()["door"].report
    assert (known.version, known.labels) == ("2", {"site": "yard"})
    assert parent.book.urgent == urgent + 1


def test_labels_that_are_known_wait_for_no_disk(parent: Parent) -> None:
    parent.join("gateway")
    told = Told((Report("gateway"), Report("door", labels={"site": "hall"})))
    assert not parent.book.knows("gateway", told, parent.fleet)
    parent.take("gateway", *told.reports)
    assert parent.book.knows("gateway", told, parent.fleet)
    assert not parent.book.knows("gateway", Told((Report("door", labels={}),)), parent.fleet)


def test_a_parent_that_takes_no_reports_is_left_in_peace(clock: ManualClock) -> None:
    child = Child(clock)

    def refuse(_: Told) -> Noted:
        raise NotFoundError("There is no /link/v1/health", kind="route", name="/link/v1/health")

    child.telling.tell(refuse)
    clock.advance(60)
    assert child.tells() == []
    child.telling.begin()
    assert len(child.tells()) == 1

    def fail(_: Told) -> Noted:
        raise UnavailableError("gone")

    clock.advance(60)
    with pytest.raises(UnavailableError):
        child.telling.tell(fail)
    assert len(child.tells()) == 1


def test_a_child_of_an_earlier_release_is_known_by_its_records_alone(parent: Parent) -> None:
    parent.join("old")
    [node] = census(parent.fleet, {}, root="center", heard_s={"old": 3.0})
    assert node.health.status is Status.OK
    [node] = census(parent.fleet, {}, root="center", heard_s={"old": 1000.0})
    assert node.health.status is Status.GONE


def test_reports_that_contradict_each_other_still_make_a_tree(parent: Parent) -> None:
    parent.join("gateway")
    parent.take(
        "gateway",
        Report("gateway"),
        Report("a", parent="b"),
        Report("b", parent="a"),
        Report("c", parent="c"),
        Report("d", parent="nobody"),
    )
    parents = {node.name: node.parent for node in census(parent.fleet, parent.book.newest(), root="center")}
    for node in parents:
        path = [node]
        while path[-1] != "center":
            path.append(parents[path[-1]])
            assert len(path) < 10
    assert parents["d"] == "gateway"


def test_the_node_that_looks_is_one_of_them() -> None:
    state = own_state(Report("center", resources=ResourceReport(disk_free_bytes=1)))
    assert (state.health.status, state.age_s, state.parent) == (Status.FAILING, 0.0, "")


def test_a_report_that_is_too_long_is_kept_without_its_words(parent: Parent) -> None:
    parent.join("door")
    long = tuple(PipelineReport(f"p{number}", "failed", problem="x" * 256) for number in range(64))
    parent.take("door", Report("door", version="1", pipelines=long))
    kept = parent.book.newest()["door"].report
    assert (kept.version, len(kept.pipelines), kept.pipelines[0].problem) == ("1", 64, "")
    assert parent.seen() == {"door": Status.FAILING}


def test_the_most_that_a_node_can_tell_fits_into_what_a_parent_takes(parent: Parent, clock: ManualClock) -> None:
    parent.join("gateway")
    names = [f"{number:04}" + "n" * 60 for number in range(3000)]
    words = tuple(PipelineReport("门" * 64, "p" * 64, 1e300, "门" * 256) for _ in range(64))
    for name in names:
        standing = Standing(name, "s" * 64, 2**40, 2**40, 2**40, 2**40)
        parent.take("gateway", Report(name, pipelines=words[:9]), counted=(Counted(name, standing),))
    child = Child(clock, below=parent.book)
    child.telling._report = lambda: Report("g" * 64, pipelines=words)
    child.telling._count = lambda streams: [Standing(*each.split("/"), 2**40, 2**40, 2**40, 2**40) for each in streams]
    child.ends = {f"{name}/{'s' * 64}": (1, 0) for name in names}
    sizes = [len(msgspec.msgpack.encode(told)) for told in child.tells()]
    assert len(sizes) > 10
    assert max(sizes) < MAX_BODY_BYTES
    told = {each.standing.node for request in child.heard for each in request.counted}
    assert told == set(names)
    assert {report.node for request in child.heard for report in request.reports} >= set(names)
