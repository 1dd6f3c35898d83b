"""What the tests of accounts share: a house whose accounts are in a database, with a clock that is set."""

from __future__ import annotations

from pathlib import Path

from edgewise._lib.clock import ManualClock
from edgewise._lib.state import StateSettings, open_state
from edgewise.accounts.directory import Directory
from edgewise.accounts.limiter import SignInLimiter
from edgewise.accounts.permissions import Role
from edgewise.accounts.store import MIGRATIONS, AccountStore

PASSWORD = "four words in a row"  # noqa: S105, of accounts in tests
PEOPLE = {"ada": Role.ADMIN, "olga": Role.OPERATOR, "vera": Role.VIEWER}


def open_accounts(
    settings: StateSettings | None = None, file: Path | None = None, *, clock: ManualClock | None = None
) -> Directory:
    """A directory of nobody yet; in memory unless told otherwise."""
    clock = clock or ManualClock()
    state = open_state(settings or StateSettings(), file, component="accounts", migrations=MIGRATIONS)
    return Directory(AccountStore(state, clock=clock), limiter=SignInLimiter(b"tests"), clock=clock)


def add_people(directory: Directory) -> None:
    """An admin, an operator and a viewer."""
    for name, role in PEOPLE.items():
        directory.change(lambda store, name=name, role=role: store.add(name, PASSWORD, role=role))  # type: ignore[misc]
