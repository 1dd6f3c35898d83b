"""Children join, bring others, change their keys and are removed; each thing once, in SQLite and in PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgewise._lib.clock import ManualClock
from edgewise._lib.state import StateSettings, open_state
from edgewise.errors import AccessError, ConflictError, InputError, NotFoundError
from edgewise.fleet.store import MIGRATIONS, FleetStore
from edgewise.testing.postgres import PostgresServer
from edgewise.trust import rotation
from edgewise.trust.joining import JoinToken
from edgewise.trust.keys import name_of
from edgewise.trust.proof import Stranger

PARENT = "ab" * 32
JOURNAL = "cd" * 16


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request, tmp_path: Path) -> StateSettings:
    """Where the fleet is kept."""
    settings = StateSettings()
    if request.param == "postgresql":
        import psycopg

        running = request.getfixturevalue("server")
        name = f"fleet_{abs(hash(tmp_path))}"
        with psycopg.connect(running.url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        settings = StateSettings(url=f"{running.url}?options=-csearch_path%3D{name}")
    return settings


@pytest.fixture
def opened(settings: StateSettings, tmp_path: Path, clock: ManualClock) -> Iterator[Callable[[], FleetStore]]:
    """Opens one more fleet on the same database, as another process would."""
    fleets: list[FleetStore] = []

    def open_one() -> FleetStore:
        state = open_state(settings, tmp_path / "fleet.db", component="fleet", migrations=MIGRATIONS)
        fleets.append(FleetStore(state, name="center", clock=clock))
        return fleets[-1]

    yield open_one
    for fleet in fleets:
        fleet.close()


@pytest.fixture
def fleet(opened: Callable[[], FleetStore]) -> FleetStore:
    return opened()


def key_of(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))


def invite(fleet: FleetStore, **wishes: object) -> JoinToken:
    return fleet.invite(PARENT, random=secrets.token_bytes, **wishes)  # type: ignore[arg-type]


def join(fleet: FleetStore, name: str, *, number: int = 1, token: JoinToken | None = None) -> Stranger:
    token = token or invite(fleet)
    stranger = Stranger(name, name_of(key_of(number)))
    fleet.admit(stranger, token.secret, journal=JOURNAL)
    return stranger


def reason_of(refused: pytest.ExceptionInfo[AccessError]) -> object:
    return refused.value.facts["reason"]


def test_a_node_joins_with_a_token_once(fleet: FleetStore, clock: ManualClock) -> None:
    token = invite(fleet, labels={"site": "hall"})
    stranger = join(fleet, "door", token=token)
    child = fleet.child("door")
    assert (child.key, child.labels, child.joined_ns) == (stranger.key, {"site": "hall"}, clock.time_ns())
    assert fleet.key("door") == stranger.key
    with pytest.raises(AccessError) as refused:
        join(fleet, "window", number=2, token=token)
    assert reason_of(refused) == "used"
    assert [each.name for each in fleet.children()] == ["door"]


def test_who_did_not_hear_the_answer_asks_again(fleet: FleetStore) -> None:
    token = invite(fleet)
    join(fleet, "door", token=token)
    join(fleet, "door", token=token)
    assert len(fleet.children()) == 1


def test_a_token_ends(fleet: FleetStore, clock: ManualClock) -> None:
    token = invite(fleet, valid_s=60)
    clock.advance(61)
    with pytest.raises(AccessError) as refused:
        join(fleet, "door", token=token)
    assert reason_of(refused) == "expired"
    assert fleet.key("door") is None


def test_a_name_is_given_once_also_to_nodes_further_down(fleet: FleetStore) -> None:
    join(fleet, "gateway")
    fleet.announce("gateway", ["door", "window"])
    for name in ("gateway", "door", "center"):
        with pytest.raises(ConflictError, match="already"):
            join(fleet, name, number=2)
    with pytest.raises(InputError):
        join(fleet, "../door", number=2)
    assert fleet.below("gateway") == ["door", "gateway", "window"]


def test_a_child_speaks_for_its_own_subtree_alone(fleet: FleetStore) -> None:
    join(fleet, "east", number=1)
    join(fleet, "west", number=2)
    fleet.announce("east", ["door"])
    fleet.check_speaks("east", "door")
    for caller, node in (("west", "door"), ("west", "east"), ("east", "center"), ("door", "door")):
        with pytest.raises(AccessError) as refused:
            fleet.check_speaks(caller, node)
        assert reason_of(refused) == "other_subtree"
    assert fleet.announce("west", ["lamp", "door", "east", "center"]) == ("center", "door", "east")
    assert (fleet.route("lamp"), fleet.route("door")) == ("west", "east")
    fleet.release("east", "door")
    assert fleet.announce("west", ["door"]) == ()
    fleet.check_speaks("west", "door")


def test_a_child_releases_what_it_does_not_name_any_more(fleet: FleetStore, opened: Callable[[], FleetStore]) -> None:
    join(fleet, "east", number=1)
    join(fleet, "west", number=2)
    fleet.announce("east", ["door", "lamp"])
    beside = opened()
    assert fleet.announce("east", ["door"], alone=True) == ()
    before = fleet.revision
    assert fleet.announce("east", ["door"], alone=True) == ()
    assert fleet.revision == before  # nothing is written for what is known
    assert beside.announce("east", ["door"], alone=True) == ()  # also by who has not seen it yet
    assert fleet.below("east") == ["door", "east"]
    assert fleet.announce("west", ["lamp"]) == ()


def test_a_journal_made_anew_is_told_from_the_one_that_was_there(fleet: FleetStore) -> None:
    join(fleet, "door")
    fleet.check_journal("door", JOURNAL)
    with pytest.raises(ConflictError) as refused:
        fleet.check_journal("door", "ef" * 16)
    assert refused.value.facts["reason"] == "other_journal"


def test_a_key_is_changed_once(fleet: FleetStore) -> None:
    join(fleet, "door", number=1)
    statement = rotation.rotate(key_of(1), key_of(9), node="door", parent=PARENT, number=1)
    assert fleet.rotate("door", statement, audiences=[PARENT]).key == name_of(key_of(9))
    with pytest.raises(AccessError):
        fleet.rotate("door", statement, audiences=[PARENT])
    assert fleet.key("door") == name_of(key_of(9))
    assert fleet.child("door").rotations == 1


def test_a_child_that_was_removed_does_not_return_with_the_key_and_token_that_it_joined_with(
    fleet: FleetStore,
) -> None:
    token = invite(fleet)
    join(fleet, "door", token=token)
    statement = rotation.rotate(key_of(1), key_of(9), node="door", parent=PARENT, number=1)
    fleet.rotate("door", statement, audiences=[PARENT])
    fleet.remove("door")
    with pytest.raises(AccessError) as refused:
        join(fleet, "door", token=token)
    assert reason_of(refused) == "used"
    assert fleet.key("door") is None
    join(fleet, "door")


def test_who_states_nonsense_does_not_have_everything_read_anew(
    fleet: FleetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(fleet, "door")
    monkeypatch.setattr(fleet, "_load", lambda: pytest.fail("all was read"))
    with pytest.raises(AccessError):
        fleet.admit(Stranger("thief", name_of(key_of(2))), b"x" * 32, journal=JOURNAL)
    statement = rotation.rotate(key_of(2), key_of(9), node="door", parent=PARENT, number=1)
    with pytest.raises(AccessError):
        fleet.rotate("door", statement, audiences=[PARENT])


def test_a_removed_child_is_out_and_its_name_is_free(fleet: FleetStore) -> None:
    stranger = join(fleet, "gateway")
    fleet.announce("gateway", ["door"])
    assert set(fleet.remove("gateway")) == {"gateway", "door"}
    assert fleet.is_revoked(stranger.key)
    assert fleet.key("gateway") is None
    with pytest.raises(NotFoundError):
        fleet.child("gateway")
    join(fleet, "gateway", number=2)
    assert fleet.below("gateway") == ["gateway"]


def test_all_of_it_is_there_after_a_restart(fleet: FleetStore, opened: Callable[[], FleetStore]) -> None:
    join(fleet, "gateway")
    fleet.announce("gateway", ["door"])
    again = opened()
    assert again.children() == fleet.children()
    assert again.route("door") == "gateway"


def test_what_a_command_beside_the_node_changes_counts_from_the_next_look(
    fleet: FleetStore, opened: Callable[[], FleetStore]
) -> None:
    stranger = join(fleet, "door")
    command = opened()
    command.remove("door")
    token = invite(command)
    assert not fleet.is_revoked(stranger.key)
    assert fleet.refresh()
    assert fleet.is_revoked(stranger.key)
    assert not fleet.refresh()
    join(fleet, "window", number=2, token=token)


def test_a_node_further_down_is_labelled_here_and_by_its_way_up(
    fleet: FleetStore, opened: Callable[[], FleetStore]
) -> None:
    join(fleet, "gateway", token=invite(fleet, labels={"site": "hall"}))
    fleet.announce("gateway", ["door", "window"])
    fleet.learn("gateway", {"door": {"role": "camera", "floor": "1"}, "gateway": {"site": "moon"}})
    assert fleet.label("door", {"role": "door", "old": "x"}) == {"role": "door", "floor": "1", "old": "x"}
    assert fleet.label("door", {"floor": None, "old": None}) == {"role": "door"}
    assert fleet.label("gateway", {"floor": "2"}) == {"site": "hall", "floor": "2"}  # what it says of itself is nothing
    assert fleet.label("gateway", {"site": None}) == {"floor": "2"}
    assert opened().labelled() == {"door": {"role": "door"}, "gateway": {"floor": "2"}}
    fleet.learn("gateway", {"door": {"floor": "3", "role": "bell", "kind": "oak"}})
    assert fleet.labels("door") == {"role": "door", "kind": "oak"}
    with pytest.raises(NotFoundError):
        fleet.label("nobody", {"a": "b"})
    with pytest.raises(InputError):
        fleet.label("window", {"A": "b"})
    assert fleet.labels("window") == {}


def test_labels_of_a_node_go_with_it(fleet: FleetStore, opened: Callable[[], FleetStore]) -> None:
    def come() -> None:
        fleet.announce("gateway", ["door"])

    join(fleet, "gateway")
    come()
    fleet.learn("gateway", {"door": {"role": "camera"}})
    fleet.label("door", {"site": "hall"})
    fleet.release("gateway", "door")
    come()
    assert (fleet.labels("door"), opened().labelled()) == ({}, {})
    fleet.label("door", {"site": "hall"})
    fleet.remove("gateway")
    join(fleet, "gateway", number=2)
    come()
    assert (fleet.labels("door"), opened().labelled()) == ({}, {})


def test_a_child_labels_nodes_of_its_own_alone_and_with_labels_that_there_may_be(fleet: FleetStore) -> None:
    join(fleet, "east")
    join(fleet, "west", number=2)
    fleet.announce("east", ["door"])
    fleet.learn("west", {"door": {"role": "bank"}, "east": {"role": "bank"}, "nobody": {"role": "bank"}})
    fleet.learn("east", {"door": {"role=bank": "x"}})
    assert fleet.labelled() == {}


def test_what_another_process_labelled_is_seen_and_what_is_known_is_not_written_again(
    fleet: FleetStore, opened: Callable[[], FleetStore]
) -> None:
    join(fleet, "gateway")
    fleet.announce("gateway", ["door"])
    beside = opened()
    fleet.label("door", {"site": "hall"})
    assert beside.refresh()
    assert beside.labels("door") == {"site": "hall"}
    beside.learn("gateway", {"door": {"role": "camera"}})
    fleet.label("door", {"floor": "2"})
    assert fleet.labels("door") == {"site": "hall", "role": "camera", "floor": "2"}
    before = fleet.revision
    fleet.learn("gateway", {"door": {"role": "camera"}})
    assert fleet.revision == before


def test_a_database_of_an_earlier_release_gets_labels_and_that_release_may_come_back(
    settings: StateSettings, opened: Callable[[], FleetStore], tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    for name in ("001.sql", "002.sql"):
        (earlier / name).write_text((MIGRATIONS / name).read_text())
    add_route = "INSERT INTO fleet_routes (node, child) VALUES (:node, :child)"
    old = open_state(settings, tmp_path / "fleet.db", component="fleet", migrations=earlier)
    old.execute(add_route, node="door", child="gateway")
    fleet = opened()
    assert fleet.label("door", {"site": "hall"}) == {"site": "hall"}
    old.execute(add_route, node="window", child="gateway")
    old.execute("DELETE FROM fleet_routes WHERE node = :node", node="door")
    old.execute("UPDATE fleet_revision SET number = number + 1")
    old.close()
    assert fleet.refresh()
    assert (fleet.nodes(), fleet.labelled()) == (["window"], {})


def test_which_authority_a_child_takes_its_parent_for_is_kept(opened: Callable[[], FleetStore]) -> None:
    fleet, beside = opened(), opened()
    join(fleet, "door")
    join(fleet, "lamp", number=2)
    assert fleet.child("door").authority == ""
    fleet.note_authorities({"door": PARENT, "nobody": PARENT})
    assert beside.refresh()
    assert [(child.name, child.authority) for child in beside.children()] == [("door", PARENT), ("lamp", "")]
    beside.label("door", {"site": "hall"})
    assert opened().child("door").authority == PARENT
