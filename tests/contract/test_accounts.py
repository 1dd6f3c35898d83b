"""Accounts, sessions and tokens, the same in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewise._lib.clock import ManualClock
from edgewise._lib.state import StateSettings
from edgewise.accounts import passwords
from edgewise.accounts.directory import MAX_STALE_S, Directory
from edgewise.accounts.permissions import Permission, Role, Via
from edgewise.accounts.store import MAX_SESSIONS
from edgewise.errors import (
    AccessError,
    ConflictError,
    InputError,
    NotFoundError,
    StorageFullError,
    ThrottledError,
    UnavailableError,
)
from edgewise.testing.accounts import PASSWORD, add_people, open_accounts
from edgewise.testing.postgres import PostgresServer

HOME = "192.168.1.20"
DAY_S = 86400.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request, tmp_path: Path, clock: ManualClock) -> Iterator[Callable[[], Directory]]:
    """Opens one more directory on the same database, as another process would."""
    settings, file = StateSettings(), tmp_path / "accounts.db"
    if request.param == "postgresql":
        import psycopg

        running = request.getfixturevalue("server")
        name = f"house_{abs(hash(tmp_path))}"
        with psycopg.connect(running.url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        settings = StateSettings(url=f"{running.url}?options=-csearch_path%3D{name}")
    directories: list[Directory] = []

    def open_one() -> Directory:
        directories.append(open_accounts(settings, file, clock=clock))
        return directories[-1]

    yield open_one
    for directory in directories:
        directory.store.close()


@pytest.fixture
def house(opened: Callable[[], Directory]) -> Directory:
    directory = opened()
    add_people(directory)
    return directory


def test_nobody_is_there_at_first_and_then_who_was_added(opened: Callable[[], Directory]) -> None:
    house = opened()
    assert not house.in_use
    add_people(house)
    assert house.in_use
    listed = [(account.name, account.role) for account in opened().store.accounts()]
    assert listed == [("ada", Role.ADMIN), ("olga", Role.OPERATOR), ("vera", Role.VIEWER)]
    with pytest.raises(ConflictError):
        house.change(lambda store: store.add(" ＡＤＡ ", PASSWORD, role=Role.VIEWER))
    with pytest.raises(NotFoundError) as caught:
        house.store.get("olgа")  # its last letter is Cyrillic: another name
    assert "olga" in caught.value.hint


def test_nothing_that_could_be_used_is_stored(house: Directory, tmp_path: Path) -> None:
    _, cookie = house.sign_in("ada", PASSWORD, address=HOME)
    _, secret = house.change(lambda store: store.add_token("ada", "door", [Permission.READ]))
    rows = [
        str(row)
        for table in ("accounts", "account_tokens", "account_sessions")
        for row in house.store.state.all(f"SELECT * FROM {table}")
    ]
    for hidden in (PASSWORD, cookie, secret, secret.removeprefix("edgewise_")):
        assert hidden not in "".join(rows)


def test_signing_in_begins_a_session_that_lasts_while_it_is_used(house: Directory, clock: ManualClock) -> None:
    principal, cookie = house.sign_in("ADA", PASSWORD, address=HOME)
    assert (principal.name, principal.role, principal.via) == ("ada", Role.ADMIN, Via.SESSION)
    for _ in range(6):  # six days, used twice a day
        for _ in range(2):
            clock.advance(DAY_S / 2 - 1)
            house.refresh()
            assert house.by_session(cookie)
    clock.advance(DAY_S)
    house.refresh()
    assert house.by_session(cookie) is None
    assert house.by_session("") is None
    assert house.by_session(cookie[:-1]) is None


def test_a_session_that_nobody_uses_ends(house: Directory, clock: ManualClock) -> None:
    _, cookie = house.sign_in("vera", PASSWORD, address=HOME)
    clock.advance(12 * 3600 - 1)
    house.refresh()
    assert house.by_session(cookie)
    clock.advance(12 * 3600)
    house.refresh()
    assert house.by_session(cookie) is None


def test_its_use_is_remembered_over_a_restart(
    house: Directory, opened: Callable[[], Directory], clock: ManualClock
) -> None:
    _, cookie = house.sign_in("vera", PASSWORD, address=HOME)
    for _ in range(3):
        clock.advance(6 * 3600)
        house.refresh()
        assert house.by_session(cookie)
        house.refresh()
    assert opened().by_session(cookie)


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.set_password("olga", "other words in a row"),
        lambda store: store.set_role("olga", Role.VIEWER),
        lambda store: store.set_disabled("olga", disabled=True),
        lambda store: store.end_sessions("olga"),
        lambda store: store.remove("olga"),
    ],
    ids=["password", "role", "disabled", "everywhere", "removed"],
)
def test_a_change_to_an_account_ends_all_its_sessions_and_no_others(house: Directory, change) -> None:
    olgas = [house.sign_in("olga", PASSWORD, address=HOME)[1] for _ in range(3)]
    _, veras = house.sign_in("vera", PASSWORD, address=HOME)
    before = house.epoch
    house.change(change)
    assert house.epoch != before
    assert [house.by_session(cookie) for cookie in olgas] == [None] * 3
    assert house.by_session(veras)


def test_an_account_has_few_sessions_and_the_longest_unused_makes_room(house: Directory, clock: ManualClock) -> None:
    cookies = []
    for _ in range(MAX_SESSIONS + 2):
        cookies.append(house.sign_in("vera", PASSWORD, address=HOME)[1])
        clock.advance(1)
    there = [house.by_session(cookie) is not None for cookie in cookies]
    assert there == [False] * 2 + [True] * MAX_SESSIONS


def test_a_token_does_what_its_scopes_and_its_account_allow_until_it_expires(
    house: Directory, clock: ManualClock
) -> None:
    scopes = [Permission.PREDICT, Permission.OPERATE]
    token, secret = house.change(lambda store: store.add_token("vera", "camera", scopes, valid_s=DAY_S))
    principal = house.by_token(secret)
    assert principal
    assert secret.startswith("edgewise_")
    assert principal.permissions(now_ns=clock.time_ns()) == {Permission.PREDICT}
    clock.advance(DAY_S)
    house.refresh()
    assert house.by_token(secret) is None
    assert house.by_token("edgewise_") is None
    assert [listed.id for listed in house.store.tokens()] == [token.id]


def test_a_revoked_token_is_worth_nothing_at_once_and_ends_its_sessions(house: Directory) -> None:
    token, secret = house.change(lambda store: store.add_token("ada", "tablet", [Permission.READ]))
    principal, cookie = house.sign_in_with_token(secret, address=HOME)
    assert (principal.name, principal.scopes) == ("ada", {Permission.READ})
    assert house.by_session(cookie)
    house.change(lambda store: store.revoke_token(token.id))
    assert house.by_token(secret) is None
    assert house.by_session(cookie) is None
    with pytest.raises(AccessError):
        house.sign_in_with_token(secret, address=HOME)
    with pytest.raises(NotFoundError):
        house.change(lambda store: store.revoke_token(token.id))


def test_when_a_token_was_last_used_is_told_coarsely(house: Directory, clock: ManualClock) -> None:
    _, secret = house.change(lambda store: store.add_token("ada", "door", [Permission.READ]))
    told = []
    for seconds in (1, 60, 300):
        clock.advance(seconds)
        house.refresh()
        house.by_token(secret)
        house.refresh()
        told.append(house.store.tokens()[0].used_ns)
    assert told[0] == told[1] == told[2] - 360 * 10**9


def test_the_last_admin_stays(house: Directory) -> None:
    for change in (
        lambda store: store.set_role("ada", Role.OPERATOR),
        lambda store: store.set_disabled("ada", disabled=True),
        lambda store: store.remove("ada"),
        lambda store: store.remove("ada", last=True),
    ):
        with pytest.raises(ConflictError, match="last admin"):
            house.change(change)
    house.change(lambda store: store.set_role("olga", Role.ADMIN))
    house.change(lambda store: store.remove("ada"))
    house.change(lambda store: store.remove("vera"))
    house.change(lambda store: store.remove("olga", last=True))
    assert not house.in_use


def test_wrong_names_and_wrong_passwords_get_one_answer_and_one_hash_each(
    house: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.change(lambda store: store.set_disabled("vera", disabled=True))
    hashed = []
    real = passwords._hasher()
    spy = type(
        "Spy", (), {"verify": lambda _, *given: hashed.append(given[0]) or real.verify(*given), "hash": real.hash}
    )()
    monkeypatch.setattr(passwords, "_hasher", lambda: spy)
    said = set()
    for name, password in (("ada", "wrong words in a row"), ("nobody", PASSWORD), ("vera", PASSWORD), ("\x00", "")):
        with pytest.raises(AccessError) as caught:
            house.sign_in(name, password, address=HOME)
        said.add((type(caught.value), caught.value.message, caught.value.hint, str(caught.value.facts)))
    assert len(said) == 1
    assert [stored.split("$")[3] for stored in hashed] == ["m=19456,t=2,p=1"] * 4


def test_who_guesses_is_slowed_down_and_even_the_right_password_waits(house: Directory, clock: ManualClock) -> None:
    for _ in range(5):
        with pytest.raises(AccessError):
            house.sign_in("ada", "wrong words in a row", address=HOME)
    with pytest.raises(ThrottledError) as caught:
        house.sign_in("ada", PASSWORD, address="10.0.0.9")
    clock.advance(float(caught.value.facts["retry_after_s"]))
    assert house.sign_in("ada", PASSWORD, address="10.0.0.9")


def test_a_hash_of_other_costs_is_renewed_at_the_next_sign_in(house: Directory) -> None:
    from argon2 import PasswordHasher

    weak = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    house.store.state.execute("UPDATE accounts SET password = :weak WHERE name = 'ada'", weak=weak)
    _, cookie = house.sign_in("ada", PASSWORD, address=HOME)
    assert "m=19456,t=2,p=1" in house.store.password_hash("ada")
    assert house.by_session(cookie)
    assert house.sign_in("ada", PASSWORD, address=HOME)


def test_what_another_process_changes_counts_after_a_refresh(house: Directory, opened: Callable[[], Directory]) -> None:
    _, cookie = house.sign_in("olga", PASSWORD, address=HOME)
    beside = opened()
    before = house.epoch
    beside.change(lambda store: store.set_disabled("olga", disabled=True))
    house.refresh()
    assert house.epoch != before
    assert house.by_session(cookie) is None
    same = house.epoch
    house.refresh()
    assert house.epoch == same


def test_a_change_that_comes_while_use_is_written_down_is_not_missed(
    house: Directory, opened: Callable[[], Directory], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, cookie = house.sign_in("olga", PASSWORD, address=HOME)
    beside = opened()
    clock.advance(400)
    house.refresh()
    assert house.by_session(cookie)
    before, asked = house.epoch, house.store.revision

    def ask_just_before_the_change() -> int:
        revision = asked()
        monkeypatch.setattr(house.store, "revision", asked)
        beside.store.set_disabled("olga", disabled=True)
        return revision

    monkeypatch.setattr(house.store, "revision", ask_just_before_the_change)
    house.refresh()
    house.refresh()
    assert house.by_session(cookie) is None
    assert house.epoch != before


def test_when_the_database_is_not_reached_nobody_is_known_after_a_while(
    house: Directory, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, cookie = house.sign_in("ada", PASSWORD, address=HOME)

    def gone(*_: object, **__: object) -> None:
        raise UnavailableError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(house.store.state, "all", gone)
        broken.setattr(house.store.state, "one", gone)
        clock.advance(MAX_STALE_S - 1)
        with pytest.raises(UnavailableError):
            house.refresh()
        assert house.by_session(cookie)
        clock.advance(2)
        with pytest.raises(UnavailableError):
            house.by_session(cookie)
    house.refresh()
    assert house.by_session(cookie)


def test_a_full_disk_shuts_nobody_out(house: Directory, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    _, cookie = house.sign_in("ada", PASSWORD, address=HOME)

    def full(**_: object) -> None:
        raise StorageFullError("full")

    monkeypatch.setattr(house.store, "note_use", full)
    for _ in range(30):
        clock.advance(3600)
        house.refresh()
        assert house.by_session(cookie)


def test_after_a_change_whose_end_is_unknown_nobody_is_known(house: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    token, secret = house.change(lambda store: store.add_token("ada", "door", [Permission.READ]))

    def gone(*_: object, **__: object) -> None:
        raise UnavailableError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(house, "_read", gone)
        with pytest.raises(UnavailableError):
            house.change(lambda store: store.revoke_token(token.id))
    with pytest.raises(UnavailableError):
        house.by_token(secret)
    house.refresh()
    assert house.by_token(secret) is None


def test_a_change_beside_the_node_waits_for_its_audit_log_and_fails_with_it(
    house: Directory, opened: Callable[[], Directory]
) -> None:
    store = opened().store
    with store.state.transaction():
        store.set_role("vera", Role.OPERATOR)
        store.leave_change("accounts.changed", {"account": "vera"}, node="porch")

    def fail() -> None:
        with store.state.transaction():
            store.leave_change("accounts.changed", {"account": "olga"}, node="porch")
            store.set_role("nobody", Role.VIEWER)

    with pytest.raises(NotFoundError):
        fail()
    assert house.store.changes(node="shed") == []
    (change,) = house.store.changes(node="porch")
    assert (change.kind, change.facts) == ("accounts.changed", {"account": "vera"})
    house.store.forget_changes([change])
    assert house.store.changes(node="porch") == []


@pytest.mark.parametrize(
    ("name", "scopes", "valid_s"),
    [("", ["read"], None), ("x" * 65, ["read"], None), ("a\nb", ["read"], None), ("a", [], None), ("a", ["read"], 0)],
)
def test_a_token_that_makes_no_sense_is_refused(house: Directory, name: str, scopes: list, valid_s) -> None:
    with pytest.raises(InputError):
        house.change(lambda store: store.add_token("ada", name, scopes, valid_s=valid_s))
