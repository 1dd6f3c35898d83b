"""The contract of ``edgewise._lib.state``: a subclass says in ``open_at`` how its database is opened."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgewise._lib.state import State
from edgewise.errors import ClosedError, ConflictError

FIRST = """
-- Who is here; the house's own.
CREATE TABLE guests (name TEXT PRIMARY KEY, came_ns BIGINT NOT NULL, words TEXT NOT NULL DEFAULT '');
CREATE TABLE coins (number BIGINT NOT NULL);
INSERT INTO coins (number) VALUES (0);
"""
SECOND = "ALTER TABLE guests ADD COLUMN seat BIGINT NOT NULL DEFAULT 7;"
COME = "INSERT INTO guests (name, came_ns, words) VALUES (:name, :came_ns, :words)"
LATE_NS = 2**62


class StateContract:
    """One class of tests per database; ``open`` gives a state on the same database at each call."""

    @pytest.fixture
    def migrations(self, tmp_path: Path) -> Path:
        folder = tmp_path / "migrations"
        folder.mkdir()
        (folder / "001.sql").write_text(FIRST)
        return folder

    @pytest.fixture
    def open_at(self) -> Callable[[Path], State]:
        """Opens the database of this test with the migrations of a folder."""
        raise NotImplementedError

    @pytest.fixture
    def opened(self, open_at: Callable[[Path], State], migrations: Path) -> Iterator[Callable[[], State]]:
        """Opens one more state on the database; all are closed afterwards."""
        states: list[State] = []

        def open_one() -> State:
            states.append(open_at(migrations))
            return states[-1]

        yield open_one
        for state in states:
            state.close()

    @pytest.fixture
    def state(self, opened: Callable[[], State]) -> State:
        return opened()

    def test_what_was_written_is_read_also_by_another(self, state: State, opened: Callable[[], State]) -> None:
        words = "50 % off; 'tis :late -- she said ☃"
        assert state.execute(COME, name="Ada", came_ns=LATE_NS, words=words) == 1
        assert opened().all("SELECT name, came_ns, words FROM guests") == [("Ada", LATE_NS, words)]
        assert state.one("SELECT came_ns FROM guests WHERE name = :name", name="Eve") is None

    def test_texts_and_casts_in_a_statement_are_no_parameters(self, state: State) -> None:
        sql = "SELECT ':name', '10 %', CAST(:number AS BIGINT) % 3 -- it's :nobody's"
        assert state.one(sql, number=8) == (":name", "10 %", 2)

    def test_the_count_of_changed_rows_is_told(self, state: State) -> None:
        for name in ("Ada", "Bo"):
            state.execute(COME, name=name, came_ns=1, words="")
        assert state.execute("UPDATE guests SET came_ns = 2 WHERE came_ns = :old", old=1) == 2
        assert state.execute("DELETE FROM guests WHERE name = :name", name="Eve") == 0

    def test_a_transaction_that_fails_leaves_nothing(self, state: State) -> None:
        def come_and_fail() -> None:
            with state.transaction():
                state.execute(COME, name="Ada", came_ns=1, words="")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            come_and_fail()
        assert state.all("SELECT name FROM guests") == []

    def test_one_inside_another_is_a_part_of_it(self, state: State) -> None:
        def come_and_fail() -> None:
            with state.transaction():
                with state.transaction():
                    state.execute(COME, name="Ada", came_ns=1, words="")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            come_and_fail()
        assert state.all("SELECT name FROM guests") == []

    def test_a_key_that_is_there_already_is_a_conflict_and_spoils_the_transaction(self, state: State) -> None:
        state.execute(COME, name="Ada", came_ns=1, words="")

        def come_again() -> None:
            with state.transaction():
                state.execute(COME, name="Bo", came_ns=1, words="")
                with contextlib.suppress(ConflictError):
                    state.execute(COME, name="Ada", came_ns=2, words="")

        with pytest.raises(ConflictError):
            come_again()
        assert state.all("SELECT name FROM guests") == [("Ada",)]

    def test_writers_run_one_after_another_so_that_what_they_read_stays_true(self, opened: Callable[[], State]) -> None:
        states = [opened() for _ in range(3)]
        together = threading.Barrier(len(states))

        def count_up(state: State) -> None:
            together.wait(10)
            for _ in range(20):
                with state.transaction():
                    row = state.one("SELECT number FROM coins")
                    assert row
                    state.execute("UPDATE coins SET number = :number", number=row[0] + 1)

        with ThreadPoolExecutor(len(states)) as threads:
            list(threads.map(count_up, states))
        assert states[0].one("SELECT number FROM coins") == (60,)

    def test_threads_share_a_state(self, state: State) -> None:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number: state.execute(COME, name=str(number), came_ns=1, words=""), range(40)))
        assert state.one("SELECT count(*) FROM guests") == (40,)

    def test_a_later_release_adds_what_is_missing_and_an_earlier_one_runs_on(
        self, state: State, opened: Callable[[], State], migrations: Path
    ) -> None:
        state.execute(COME, name="Ada", came_ns=1, words="")
        (migrations / "002.sql").write_text(SECOND)
        assert opened().one("SELECT seat FROM guests") == (7,)
        state.execute(COME, name="Bo", came_ns=1, words="")
        (migrations / "002.sql").unlink()
        assert opened().one("SELECT count(*) FROM guests") == (2,)

    def test_a_migration_that_fails_leaves_the_database_as_it_was(
        self, state: State, opened: Callable[[], State], migrations: Path
    ) -> None:
        state.execute(COME, name="Ada", came_ns=1, words="")
        (migrations / "002.sql").write_text("ALTER TABLE guests ADD COLUMN hat TEXT; DELETE FROM nothing;")
        with pytest.raises(Exception, match="nothing"):
            opened()
        (migrations / "002.sql").write_text("ALTER TABLE guests ADD COLUMN hat BIGINT NOT NULL DEFAULT 3;")
        assert opened().one("SELECT hat FROM guests") == (3,)

    def test_several_that_open_a_new_database_at_once_migrate_it_once(self, opened: Callable[[], State]) -> None:
        with ThreadPoolExecutor(4) as threads:
            states = list(threads.map(lambda _: opened(), range(4)))
        assert [state.one("SELECT count(*) FROM coins") for state in states] == [(1,)] * 4

    def test_after_closing_nothing_is_answered(self, state: State) -> None:
        state.close()
        state.close()
        with pytest.raises(ClosedError):
            state.all("SELECT name FROM guests")
