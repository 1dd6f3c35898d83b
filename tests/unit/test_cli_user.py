"""``edgewise user`` and ``edgewise api-token``: on the node's own files, with passwords that no command line holds."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewise.accounts.permissions import Permission
from edgewise.accounts.store import AccountStore
from edgewise.cli import run
from edgewise.node.organs import open_account_store, open_accounts
from edgewise.node.settings import load
from edgewise.testing.accounts import PASSWORD

OTHER = "other words in a row"


class Shell:
    """The command line beside one node's files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.file = folder / "edgewise.yaml"
        self.file.write_text("node: {name: porch}\n")
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def type(self, *words: str, stdin: str = "", code: int = 0) -> str:
        """Runs a command; what it printed."""
        self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        named = [str(self.file)] if words[0] == "config" else ["--config", str(self.file)]
        assert run([*words, *named]) == code
        said = self._capsys.readouterr()
        return said.out + said.err

    def store(self) -> AccountStore:
        return open_account_store(load(self.file, environment={}))


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


@pytest.fixture
def stored(shell: Shell) -> Iterator[Callable[[], AccountStore]]:
    """The accounts as they are on disk."""
    stores: list[AccountStore] = []

    def open_one() -> AccountStore:
        stores.append(shell.store())
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def test_an_account_is_made_listed_changed_and_removed(shell: Shell, stored) -> None:
    assert "no account yet" in shell.type("user", "list")
    assert "first account is an admin's" in shell.type("user", "add", "Vera", stdin=PASSWORD, code=5)
    shell.type("user", "add", "Ada", "--role", "admin", stdin=f"{PASSWORD}\n")
    shell.type("user", "add", "Vera", stdin=PASSWORD)
    assert "vera: operator" in shell.type("user", "role", "VERA", "operator")
    shell.type("user", "password", "vera", stdin=OTHER)
    shell.type("user", "disable", "vera")
    listed = json.loads(shell.type("user", "list", "--json"))
    assert [(one["name"], one["role"], one["disabled"]) for one in listed] == [
        ("ada", "admin", False),
        ("vera", "operator", True),
    ]
    shell.type("user", "enable", "vera")
    assert "last admin" in shell.type("user", "remove", "ada", code=5)
    shell.type("user", "remove", "vera")
    shell.type("user", "remove", "ada", code=5)
    shell.type("user", "remove", "ada", "--last")
    assert stored().accounts() == []
    assert "Did you mean" not in shell.type("user", "role", "nobody", "admin", code=6)


def test_each_change_leaves_word_of_who_made_it_and_a_refused_one_leaves_none(shell: Shell, stored) -> None:
    shell.type("user", "add", "ada", "--role", "admin", stdin=PASSWORD)
    shell.type("user", "role", "ada", "viewer", code=5)
    shell.type("api-token", "create", "door", "--user", "ada", "--scope", "read")
    changes = stored().changes(node="porch")
    assert [(change.kind, change.facts["what"]["account"]) for change in changes] == [
        ("accounts.added", "ada"),
        ("tokens.created", "ada"),
    ]
    assert all(change.facts["who"] and change.facts["via"] == "command" for change in changes)
    assert PASSWORD not in str(changes)


def test_a_password_is_typed_twice_at_a_terminal_and_never_shown(
    shell: Shell, stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(io, "StringIO", Terminal)
    typed = iter([PASSWORD, OTHER])
    monkeypatch.setattr("getpass.getpass", lambda _: next(typed))
    assert "not the same" in shell.type("user", "add", "ada", "--role", "admin", code=5)
    typed = iter([PASSWORD, PASSWORD])
    assert PASSWORD not in shell.type("user", "add", "ada", "--role", "admin")
    assert [account.name for account in stored().accounts()] == ["ada"]


@pytest.mark.parametrize("stdin", ["", "short\n", "x" * 2000])
def test_a_password_that_does_not_do_makes_no_account(shell: Shell, stored, stdin: str) -> None:
    shell.type("user", "add", "ada", "--role", "admin", stdin=stdin, code=5)
    assert stored().accounts() == []


def test_a_token_is_told_once_and_revoked_by_its_id(shell: Shell) -> None:
    shell.type("user", "add", "ada", "--role", "admin", stdin=PASSWORD)
    words = ("--user", "ada", "--scope", "read", "--scope", "predict", "--days", "0", "--json")
    made = json.loads(shell.type("api-token", "create", "door", *words))
    directory = open_accounts(load(shell.file, environment={}))
    principal = directory.by_token(made["secret"])
    directory.store.close()
    assert principal
    assert principal.scopes == {Permission.READ, Permission.PREDICT}
    listed = shell.type("api-token", "list")
    assert "never" in listed
    assert made["secret"] not in listed + shell.type("api-token", "list", "--json")
    shell.type("api-token", "revoke", made["token"]["id"])
    assert json.loads(shell.type("api-token", "list", "--json")) == []
    shell.type("api-token", "revoke", made["token"]["id"], code=6)
    shell.type("api-token", "create", "door", "--user", "eve", "--scope", "read", code=6)


def test_who_changed_what_is_shown_beside_the_proof_of_the_decisions(shell: Shell) -> None:
    from edgewise.node.node import Node

    shell.type("user", "add", "ada", "--role", "admin", stdin=PASSWORD)
    shell.type("audit", "log", code=6)
    node = Node(load(shell.file, environment={}))
    try:
        node._accounting._task()
    finally:
        node.stop()
    shell.type("user", "sign-out", "ada")
    log = shell.type("audit", "log", "--kind", "accounts.*")
    assert "accounts.added" in log
    assert "account=ada" in log
    assert "signed_out" not in log  # the node writes it when it is started next
    assert json.loads(shell.type("audit", "log", "--limit", "1", "--json"))[0]["kind"] == "accounts.added"
    assert shell.type("audit", "log", "--kind", "people.*").strip().endswith("changed yet.")
    assert "Intact" in shell.type("audit")


def test_a_node_with_an_account_may_listen_wider_and_one_without_may_not(shell: Shell) -> None:
    shell.file.write_text("node: {name: porch}\nhttp: {host: 0.0.0.0}\n")
    assert "line 2, http.host" in shell.type("config", "check", code=3)
    shell.type("user", "add", "ada", "--role", "admin", stdin=PASSWORD)
    shell.type("config", "check")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://x", "no PostgreSQL"),
        ("postgresql://ada:secret@db/house", "holds a password"),
        ("postgresql://ada@db/house?password=secret", "holds a password"),
    ],
)
def test_a_database_is_postgresql_and_its_password_stands_in_a_file(shell: Shell, url: str, said: str) -> None:
    shell.file.write_text(f"state: {{url: '{url}'}}\n")
    told = shell.type("config", "check", code=3)
    assert said in told
    assert "secret" not in told


def test_a_database_that_does_not_answer_is_told(shell: Shell) -> None:
    shell.file.write_text("state: {url: 'postgresql://ada@127.0.0.1:1/house'}\n")
    assert "does not answer" in shell.type("user", "list", code=7)
    assert "does not answer" in shell.type("config", "check", code=3)
