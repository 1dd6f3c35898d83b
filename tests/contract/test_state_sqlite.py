"""SQLite keeps the contract of state."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from edgewise._lib.state import State, StateSettings, open_state
from edgewise.errors import CorruptError
from edgewise.testing.state import StateContract


class TestSqliteState(StateContract):
    @pytest.fixture
    def open_at(self, tmp_path: Path) -> Callable[[Path], State]:
        file = tmp_path / "house" / "guests.db"
        return lambda migrations: open_state(StateSettings(), file, component="guests", migrations=migrations)

    def test_the_file_is_its_owners_alone(self, state: State, tmp_path: Path) -> None:
        assert state.one("SELECT number FROM coins")
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "house").iterdir()}
        assert modes == {0o600}

    def test_a_file_that_is_no_database_is_told(self, open_at: Callable[[Path], State], migrations: Path) -> None:
        file = migrations.parent / "house" / "guests.db"
        file.parent.mkdir()
        file.write_bytes(b"no database, but long enough to be taken for one" * 50)
        with pytest.raises(CorruptError):
            open_at(migrations)
