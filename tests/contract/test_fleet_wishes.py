"""Documents of nodes: what counts, who is handed what, and what others change; in SQLite and in PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewise._lib.clock import ManualClock
from edgewise._lib.state import StateSettings, open_state
from edgewise.errors import ConflictError, InputError, NotFoundError, TooLargeError
from edgewise.fleet.desired import NOTHING, merge, write
from edgewise.fleet.store import MIGRATIONS, FleetStore
from edgewise.fleet.wishes import WishStore
from edgewise.link.desired import Handed, Report, Wanted
from edgewise.testing.postgres import PostgresServer
from edgewise.trust.proof import Stranger

RULES = {"rules": [{"name": "a"}]}


class Parent:
    """A node with two children, ``gate`` (site=hall) and ``mill``, and what it wants of them."""

    def __init__(self, folder: Path, settings: StateSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.clock = ManualClock()
        self.fleet, self.wishes = self.open()
        for number, name in enumerate(("gate", "mill"), start=1):
            self.join(name, number)

    def open(self, *, epoch: str = "e") -> tuple[FleetStore, WishStore]:
        """Once more, as another process does."""
        state = open_state(self.settings, self.folder / "fleet.db", component="fleet", migrations=MIGRATIONS)
        fleet = FleetStore(state, name="center", clock=self.clock)
        return fleet, WishStore(fleet, name="center", clock=self.clock, epoch=epoch)

    def join(self, name: str, number: int) -> None:
        labels = {"site": "hall"} if name == "gate" else {}
        token = self.fleet.invite("ab" * 32, random=secrets.token_bytes, labels=labels)
        self.fleet.admit(Stranger(name, f"{number:064x}"), token.secret, journal="cd" * 16)
        self.wishes.refresh()

    def handed(self, child: str, have: str = "") -> tuple[dict[str, object], str]:
        """The documents that a child gets, over all pages, and its position then."""
        found: dict[str, object] = {}
        while True:
            answer = self.wishes.hand(child, have)
            found |= {each.node: each.document for each in answer.wanted}
            have = answer.position
            if not answer.more:
                return found, have


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def parent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Parent]:
    settings = StateSettings()
    if request.param == "postgresql":
        import psycopg

        running = request.getfixturevalue("server")
        name = f"fleet_{abs(hash(tmp_path))}"
        with psycopg.connect(running.url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        settings = StateSettings(url=f"{running.url}?options=-csearch_path%3D{name}")
    parent = Parent(tmp_path, settings)
    yield parent
    parent.fleet.close()


def report(node: str, *, revision: int = 1) -> Report:
    return Report(node, "center", revision, "d", True, 5)


def test_a_document_is_handed_to_its_child_once_and_to_no_other(parent: Parent) -> None:
    _, gate = parent.handed("gate")
    _, mill = parent.handed("mill")
    desired = parent.wishes.set_node("gate", RULES)
    assert parent.wishes.has_news("gate", gate)
    assert not parent.wishes.has_news("mill", mill)
    assert parent.handed("mill", mill)[0] == {}
    documents, now = parent.handed("gate", gate)
    assert documents == {"gate": desired.document}
    assert not parent.wishes.has_news("gate", now)
    assert parent.handed("gate", now)[0] == {}


def test_who_waits_is_told_and_only_who_has_news(parent: Parent) -> None:
    told: list[set[str]] = []
    parent.wishes.follow(lambda children: told.append(set(children)))
    parent.wishes.set_node("mill", RULES)
    parent.wishes.set_node("mill", RULES)  # the same is no news
    assert told == [{"mill"}]


def test_a_node_counts_above_its_labels_and_of_each_section_one_counts_whole(parent: Parent) -> None:
    assert parent.wishes.set_label("site=hall", {"rules": [1], "models": ["x"]}) == ("gate",)
    assert parent.wishes.desired("gate").sections == {"rules": [1], "models": ["x"]}
    parent.wishes.set_node("gate", {"rules": [2]})
    assert parent.wishes.desired("gate").sections == {"rules": [2], "models": ["x"]}
    assert parent.wishes.desired("mill").document == NOTHING
    parent.wishes.set_node("gate", {})
    parent.wishes.set_label("site=hall", {})
    assert parent.wishes.desired("gate").document == NOTHING


def test_a_child_that_gets_a_label_later_gets_its_document(parent: Parent) -> None:
    parent.wishes.set_label("site=roof", RULES)
    _, have = parent.handed("mill")
    parent.fleet.label("mill", {"site": "roof"})
    parent.wishes.refresh()
    assert parent.handed("mill", have)[0] == {"mill": write(RULES)}


def test_nodes_further_down_get_the_documents_of_the_labels_that_are_seen_here(parent: Parent) -> None:
    parent.fleet.announce("gate", ["cam", "lock"])
    parent.fleet.learn("gate", {"cam": {"site": "hall"}})
    assert parent.wishes.set_label("site=hall", RULES) == ("cam", "gate")
    documents, have = parent.handed("gate")
    assert documents == {"cam": write(RULES), "gate": write(RULES)}
    parent.fleet.label("lock", {"site": "hall"})
    parent.fleet.label("cam", {"site": None})
    parent.wishes.refresh()
    documents, have = parent.handed("gate", have)
    assert documents == {"lock": write(RULES), "cam": NOTHING}
    parent.fleet.release("gate", "lock")
    parent.wishes.refresh()
    parent.fleet.announce("mill", ["lock"])
    parent.wishes.refresh()
    assert parent.handed("mill")[0] == {"lock": NOTHING}  # its labels went with it
    assert parent.wishes.labelled("site=hall") == ("gate",)


def test_labels_that_changed_while_nobody_looked_count_at_the_start(parent: Parent) -> None:
    parent.fleet.announce("gate", ["cam", "lock"])
    parent.fleet.label("cam", {"site": "hall"})
    parent.wishes.set_label("site=hall", RULES)
    fleet, _ = parent.open()
    parent.fleet.label("cam", {"site": None})
    parent.fleet.label("lock", {"site": "hall"})
    fleet.close()
    fleet, wishes = parent.open()
    assert wishes.desired("cam").document == NOTHING
    assert wishes.desired("lock").document == write(RULES)
    fleet.close()


def test_a_child_that_knows_another_database_gets_everything(parent: Parent) -> None:
    desired = parent.wishes.set_node("gate", RULES)
    for have in ("", "other.1", "e.999", "e.x", "e.-1", "e.²", f"{'e' * 300}.1"):
        answer = parent.wishes.hand("gate", have)
        assert answer.whole, have
        assert [each.document for each in answer.wanted] == [desired.document]


def test_what_goes_over_a_page_comes_on_the_next(parent: Parent) -> None:
    names = [f"node-{number}" for number in range(5)]
    parent.wishes.report("gate", [report(name) for name in names])
    for name in names:
        parent.wishes.set_node(name, {"models": [name, "x" * 200_000]})
    assert parent.wishes.hand("gate", "").more
    assert sorted(parent.handed("gate")[0]) == names


def test_a_node_that_moves_takes_its_document_with_it(parent: Parent) -> None:
    parent.wishes.report("gate", [report("cam")])
    parent.wishes.set_node("cam", RULES)
    _, gate = parent.handed("gate")
    _, mill = parent.handed("mill")
    parent.fleet.release("gate", "cam")
    parent.wishes.refresh()
    assert parent.handed("gate")[0] == {}
    parent.wishes.report("mill", [report("cam")])
    assert parent.handed("mill", mill)[0] == {"cam": write(RULES)}
    assert parent.handed("gate", gate)[0] == {}


def test_who_stands_higher_counts_and_what_was_set_here_comes_back(parent: Parent) -> None:
    parent.wishes.set_node("gate", {"rules": [1]})
    above = Wanted("gate", "moon", 40, write({"rules": [2]}))
    parent.wishes.take(Handed("p", wanted=(above, Wanted("center", "moon", 41, "{}"))), but="center")
    desired = parent.wishes.desired("gate")
    assert (desired.by, desired.revision, desired.sections) == ("moon", 40, {"rules": [2]})
    with pytest.raises(ConflictError, match="moon says what gate is to have"):
        parent.wishes.set_node("gate", {"rules": [3]})
    parent.wishes.take(Handed("p", wanted=(Wanted("gate", "moon", 42, "{}"),)), but="center")
    assert parent.wishes.desired("gate").sections == {"rules": [1]}


def test_what_a_parent_does_not_list_any_more_counts_no_longer_once_the_list_is_whole(parent: Parent) -> None:
    for node in ("gate", "mill"):
        parent.wishes.take(Handed("p", wanted=(Wanted(node, "moon", 1, write(RULES)),)), but="center")
    parent.wishes.take(Handed("q", whole=True, more=True), but="center")
    assert parent.wishes.desired("gate").by == "moon"  # the list goes on
    parent.wishes.take(Handed("q", wanted=(Wanted("mill", "moon", 1, write(RULES)),)), but="center")
    assert parent.wishes.desired("gate").document == NOTHING
    assert parent.wishes.desired("mill").by == "moon"


def test_what_another_process_sets_is_seen_and_told(parent: Parent) -> None:
    fleet, beside = parent.open(epoch="not taken: there is one")
    told: list[set[str]] = []
    parent.wishes.follow(lambda children: told.append(set(children)))
    _, have = parent.handed("gate")
    beside.set_node("gate", RULES)
    fleet.close()
    parent.wishes.refresh()
    assert told == [{"gate"}]
    assert parent.wishes.has_news("gate", have)


def test_a_child_reports_for_those_below_it_alone(parent: Parent) -> None:
    parent.wishes.report("gate", [report("gate"), report("cam", revision=7)])
    state = parent.wishes.state("cam")
    assert state is not None
    assert (state.report.revision, state.heard_ns) == (7, parent.clock.time_ns())
    parent.wishes.report("mill", [report("cam", revision=9), report("mill")])
    assert parent.wishes.state("mill") is not None
    state = parent.wishes.state("cam")
    assert state is not None
    assert state.report.revision == 7


@pytest.mark.parametrize("name", ["nobody", "center", ""])
def test_only_nodes_that_are_below_have_documents(parent: Parent, name: str) -> None:
    with pytest.raises(NotFoundError):
        parent.wishes.set_node(name, RULES)


def test_documents_are_bounded_and_hold_sections_alone(parent: Parent) -> None:
    with pytest.raises(TooLargeError):
        parent.wishes.set_node("gate", {"models": ["x" * 300_000]})
    with pytest.raises(InputError, match="http"):
        parent.wishes.set_node("gate", {"http": {}})
    with pytest.raises(InputError, match="no label"):
        parent.wishes.set_label("hall", RULES)
    assert parent.wishes.desired("gate").document == NOTHING


def test_a_later_layer_counts_whole() -> None:
    assert merge([{"rules": [1, 2], "models": ["x"]}, {"rules": []}]) == {"rules": [], "models": ["x"]}
