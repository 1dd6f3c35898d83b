"""PostgreSQL keeps the contract of state: a real server, one for all of these tests, with a database for each."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewise._lib.state import State, StateSettings, open_state
from edgewise.errors import ConflictError, UnavailableError
from edgewise.testing.postgres import PostgresServer
from edgewise.testing.state import COME, StateContract

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def url(server: PostgresServer) -> str:
    """A schema of this test's own."""
    import psycopg

    name = f"house_{next(NUMBERS)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    return f"{server.url}?options=-csearch_path%3D{name}"


class TestPostgresState(StateContract):
    @pytest.fixture
    def open_at(self, url: str) -> Callable[[Path], State]:
        settings = StateSettings(url=url)
        return lambda migrations: open_state(settings, None, component="guests", migrations=migrations)

    def test_a_migration_may_differ_from_sqlites(self, opened: Callable[[], State], migrations: Path) -> None:
        (migrations / "002.sql").write_text("this is no SQL at all")
        (migrations / "002.postgresql.sql").write_text("ALTER TABLE guests ADD COLUMN hats TEXT[];")
        assert opened().all("SELECT hats FROM guests") == []

    def test_a_server_that_went_away_is_told_and_used_again_when_it_is_back(
        self, server: PostgresServer, state: State
    ) -> None:
        state.execute(COME, name="Ada", came_ns=1, words="")

        def come_while_it_stops() -> None:
            with state.transaction():
                state.execute(COME, name="Bo", came_ns=1, words="")
                server.stop()
                state.execute(COME, name="Cy", came_ns=1, words="")

        with pytest.raises(UnavailableError, match="does not answer"):
            come_while_it_stops()
        for _ in range(2):
            with pytest.raises(UnavailableError, match="does not answer"):
                state.all("SELECT name FROM guests")
        server.start()
        assert state.all("SELECT name FROM guests") == [("Ada",)]
        state.execute(COME, name="Bo", came_ns=1, words="")

    def test_a_connection_that_died_while_nobody_used_it_is_replaced_unnoticed(
        self, server: PostgresServer, state: State
    ) -> None:
        for use in (
            lambda: state.execute(COME, name="Ada", came_ns=1, words=""),
            lambda: state.all("SELECT name FROM guests"),
        ):
            server.stop()
            server.start()
            use()
        assert state.all("SELECT name FROM guests") == [("Ada",)]

    def test_a_commit_that_the_server_did_not_confirm_is_not_taken_for_one(
        self, server: PostgresServer, state: State
    ) -> None:
        def come_as_it_stops() -> None:
            with state.transaction():
                state.execute(COME, name="Ada", came_ns=1, words="")
                server.stop()

        with pytest.raises(UnavailableError):
            come_as_it_stops()
        server.start()
        assert state.all("SELECT name FROM guests") == []

    def test_another_writer_is_waited_for_no_longer_than_the_bound(
        self, opened: Callable[[], State], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edgewise._lib.postgres._OPTIONS", "-c lock_timeout=100")
        first, second = opened(), opened()
        inside, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with first.transaction():
                inside.set()
                leave.wait(10)

        thread = threading.Thread(target=hold)
        thread.start()
        assert inside.wait(10)
        with pytest.raises(UnavailableError):
            second.execute(COME, name="Ada", came_ns=1, words="")
        leave.set()
        thread.join()
        assert second.execute(COME, name="Ada", came_ns=1, words="") == 1
        with pytest.raises(ConflictError):
            first.execute(COME, name="Ada", came_ns=1, words="")
