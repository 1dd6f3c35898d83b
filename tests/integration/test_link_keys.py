"""Keys change while nodes run: a child's own, and its parent's authority. Nobody is locked out, and no thief let in."""

from __future__ import annotations

import copy
import errno
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewise._lib.clock import SystemClock
from edgewise.api import server as serving
from edgewise.api.app import create_app
from edgewise.api.server import Secure, Server, configure, listen
from edgewise.errors import AccessError, BusyError, ConflictError, EdgewiseError, UnavailableError
from edgewise.journal.base import StreamState
from edgewise.link import membership
from edgewise.link.base import Hello, KeyState, Welcome, decode
from edgewise.link.client import Client
from edgewise.link.membership import LinkFolder, Membership
from edgewise.node import kin, parenting, succession
from edgewise.node.node import Node
from edgewise.node.settings import load
from edgewise.testing.tree import until
from edgewise.trust import rotation
from edgewise.trust.authority import Authority
from edgewise.trust.joining import JoinToken
from edgewise.trust.keys import name_of, next_key, open_key

PATIENCE_S = 30.0


class Parent:
    """A node that takes children, with both of its addresses, in threads of this process."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        file = folder / "edgewise.yaml"
        file.write_text("node: {name: center, data: data}\nhttp: {port: 0}\nhttps: {host: 127.0.0.1, port: 0}\n")
        self.settings = load(file, environment={})
        self.node = Node(self.settings)
        self.node.start()
        assert self.node.parenting
        self.parenting = self.node.parenting
        self._sockets = [listen("127.0.0.1", 0), listen("127.0.0.1", 0)]
        self.url = f"https://127.0.0.1:{self._sockets[1].getsockname()[1]}"
        secure = Secure(self._sockets[1], self.parenting, ["127.0.0.1"])
        ready = threading.Event()
        self._server = Server(configure(create_app(self.node)), secure=secure, on_ready=lambda _: ready.set())
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": self._sockets[:1]})
        self._thread.start()
        assert ready.wait(PATIENCE_S)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.node.stop()
        for each in self._sockets:
            each.close()

    def token(self) -> JoinToken:
        return self.parenting.fleet.invite(self.parenting.authority.fingerprint, random=secrets.token_bytes)

    def rotate(self, *, overlap_s: int = 3600) -> str:
        """As the command beside it does; what children pin once the server shows it."""
        folder = kin.authority_folder(self.settings)
        made = succession.rotate(folder, self.parenting.fleet, clock=SystemClock(), overlap_s=overlap_s)
        until(lambda: self.parenting.authority.fingerprint == made.fingerprint, patience_s=PATIENCE_S)
        return made.fingerprint

    def behind(self) -> tuple[str, ...]:
        self.parenting.keep()
        return succession.look(kin.authority_folder(self.settings), self.parenting.fleet, clock=SystemClock()).behind

    def audited(self, kind: str) -> list[Any]:
        return [each.body for each in self.node.journal.read("audit", limit=1000) if each.kind == kind]


class Child:
    """A node that joined, as its disk has it; ``call`` is what its running process says to the parent."""

    def __init__(self, folder: Path, parent: Parent, name: str) -> None:
        self.name, self.parent, self.path = name, parent, folder / name
        self.folder = LinkFolder(self.path)
        self.journal = secrets.token_hex(16)
        self._open: list[Client] = []
        self.join()

    @property
    def membership(self) -> Membership:
        found = self.folder.membership
        assert found
        return found

    @property
    def key(self) -> str:
        return name_of(open_key(self.path / "node.key"))

    @property
    def keys(self) -> list[str]:
        """The key, and behind it those made to follow it."""
        return list(map(name_of, self.folder.keys()))

    def join(self) -> None:
        self.folder.join(self.parent.url, self.parent.token(), node=self.name, journal=self.journal)
        self.start()

    def start(self) -> None:
        """Starts the process anew."""
        self.close()
        self.credentials = self.folder.credentials(self.membership)
        self.client = self.connect()

    def connect(self) -> Client:
        """One more connection of the process."""
        self._open.append(self.folder.client(self.membership, self.credentials))
        return self._open[-1]

    def close(self) -> None:
        for client in self._open:
            client.close()

    def call(self, client: Client | None = None) -> Welcome:
        hello = Hello(self.journal, "1", (StreamState(self.name, "events", 1),))
        return (client or self.client).ask("POST", "/hello", hello, Welcome)

    def state(self, statement: str) -> KeyState:
        return decode(self.client.call("POST", "/key", statement.encode()), KeyState)

    def refused(self, call: Callable[[], object] | None = None) -> object:
        with pytest.raises(AccessError) as refusal:
            (call or self.call)()
        return refusal.value.facts["reason"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at now and then is looked at often."""
    monkeypatch.setattr(serving, "_LOOK_S", 0.05)
    monkeypatch.setattr(parenting, "_CHANGES_S", 0.0)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    parent = Parent(tmp_path / "center")
    yield parent
    parent.stop()


@pytest.fixture
def child(tmp_path: Path, parent: Parent) -> Iterator[Child]:
    child = Child(tmp_path, parent, "door")
    yield child
    child.close()


# A child's own key.


def test_a_child_changes_its_key_while_it_runs_and_the_old_one_is_refused_at_once(
    child: Child, parent: Parent, tmp_path: Path
) -> None:
    child.call()
    second = child.connect()
    child.call(second)
    shutil.copytree(child.path, tmp_path / "stolen")
    before = child.key
    changed = LinkFolder(child.path).change_key(child.membership)  # as the command beside the node
    assert (changed.key, changed.changes) == (child.key, 1)
    assert child.key != before
    thief = LinkFolder(tmp_path / "stolen")
    with_old = thief.client(child.membership, thief.credentials(child.membership))
    assert child.refused(lambda: child.call(with_old)) == "wrong_key"
    for client in (child.client, second):  # the process goes on over the connections it has
        child.call(client)
    assert child.credentials.prover.key == child.key
    with_old.close()
    [told] = parent.audited("nodes.key_changed")
    assert told["what"] == {"node": "door", "key": child.key, "changes": 1}
    assert (told["who"], told["via"], told["from"]) == ("door", "link", "127.0.0.1")
    assert [each["what"]["node"] for each in parent.audited("nodes.joined")] == ["door"]


@pytest.mark.parametrize("runs", [True, False], ids=["it runs on", "it is started again"])
def test_a_cut_between_stating_a_key_and_keeping_it_is_settled_by_the_next_call(
    child: Child, monkeypatch: pytest.MonkeyPatch, runs: bool
) -> None:
    child.call()
    command = LinkFolder(child.path)
    monkeypatch.setattr(command, "promote", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):  # the parent has it, the disk has not
        command.change_key(child.membership)
    before, wanted = child.keys
    assert child.parent.parenting.fleet.key("door") == wanted != before
    if not runs:
        child.start()
    child.call()
    assert child.keys == [wanted]
    assert LinkFolder(child.path).change_key(child.membership).changes == 2


def test_a_cut_before_a_key_was_stated_leaves_the_old_one_and_the_next_try_takes_one_that_nobody_copied(
    child: Child, tmp_path: Path
) -> None:
    next_key(child.path / "node.key")
    child.start()
    child.call()
    shutil.copytree(child.path, tmp_path / "stolen")
    stolen = list(map(name_of, LinkFolder(tmp_path / "stolen").keys()))
    assert len(stolen) == 2
    assert child.folder.change_key(child.membership).key == child.key
    assert child.key not in stolen


def test_a_key_that_is_taken_late_is_not_lost_to_changes_begun_since(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[bytes] = []
    command = LinkFolder(child.path)
    sent = Client._send

    def hold_back(self: Client, method: str, path: str, body: bytes = b"", **more: Any) -> bytes:
        if (method, path) == ("POST", "/key"):
            late.append(body)
            raise UnavailableError("it is still on its way")
        return sent(self, method, path, body, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Client, "_send", hold_back)
        for _ in range(2):
            with pytest.raises(UnavailableError):
                command.change_key(child.membership)
    assert child.state(late[1].decode()).changes == 1
    child.call()
    assert child.key == child.parent.parenting.fleet.key("door")
    assert child.keys == [child.key]


def test_an_answer_that_is_lost_changes_the_key_once(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, lost = Client._send, []

    def lose(self: Client, method: str, path: str, *rest: Any, **more: Any) -> bytes:
        answer = sent(self, method, path, *rest, **more)
        if (method, path) == ("POST", "/key") and not lost:
            lost.append(path)
            raise UnavailableError("cut after")
        return answer

    monkeypatch.setattr(Client, "_send", lose)
    assert child.folder.change_key(child.membership) == KeyState(child.key, 1)
    assert lost
    child.call()


def test_a_child_that_was_removed_keeps_no_key_that_counts_and_is_let_in_again_under_another(child: Child) -> None:
    child.folder.change_key(child.membership)
    next_key(child.path / "node.key")
    child.parent.parenting.remove("door")
    before, known = child.key, child.keys
    assert child.refused() in {"wrong_key", "revoked"}
    assert child.key == before
    child.join()
    child.call()
    [key] = child.keys
    assert key not in known


def test_a_running_node_that_was_removed_goes_on_once_a_command_has_joined_it_again(child: Child) -> None:
    child.call()
    second = child.connect()
    child.call(second)
    child.parent.parenting.remove("door")
    assert child.refused() == "revoked"
    LinkFolder(child.path).join(child.parent.url, child.parent.token(), node="door", journal=child.journal)
    for client in (child.client, second):
        child.call(client)
    assert child.credentials.prover.key == child.key


def test_a_change_is_taken_once_and_for_its_own_node_alone(child: Child, parent: Parent, tmp_path: Path) -> None:
    other = Child(tmp_path, parent, "lamp")
    old, new, mine = open_key(child.path / "node.key"), next_key(child.path / "node.key"), child.membership.fingerprint
    heard = rotation.rotate(old, new, node="door", parent=mine, number=1)
    assert other.refused(lambda: other.state(heard)) == "wrong_name"
    elsewhere = rotation.rotate(old, new, node="door", parent="ab" * 32, number=1)
    assert child.refused(lambda: child.state(elsewhere)) == "wrong_audience"
    theirs = rotation.rotate(open_key(other.path / "node.key"), new, node="door", parent=mine, number=1)
    assert child.refused(lambda: child.state(theirs)) == "wrong_key"
    assert child.state(heard).changes == 1
    child.call()
    assert child.refused(lambda: child.state(heard)) == "used"
    assert child.key == name_of(new)
    other.client.close()


def test_a_key_that_another_process_of_the_parent_took_counts_here_as_well(child: Child, parent: Parent) -> None:
    child.call()
    old, new = open_key(child.path / "node.key"), next_key(child.path / "node.key")
    stated = rotation.rotate(old, new, node="door", parent=child.membership.fingerprint, number=1)
    elsewhere = kin.open_fleet(parent.settings, clock=SystemClock())
    elsewhere.rotate("door", stated, audiences=parent.parenting.authority.fingerprints)
    elsewhere.close()
    child.folder.promote(name_of(new))
    child.start()
    child.call()


def test_a_child_cannot_wash_out_the_audit_log_with_its_keys(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parenting, "_CHANGES_S", 60.0)
    child.folder.change_key(child.membership)
    with pytest.raises(BusyError):
        child.folder.change_key(child.membership)
    child.call()


# The parent's authority.


def test_children_follow_the_parents_authority_while_they_run(child: Child, parent: Parent) -> None:
    child.call()
    second = child.connect()
    child.call(second)
    before = child.membership
    token = parent.token()
    now = parent.rotate()
    assert parent.behind() == ("door",)
    child.call()
    child.call(second)
    followed = child.membership
    assert (followed.fingerprint, followed.identity, followed.bond) == (now, before.fingerprint, before.bond)
    child.call()
    child.call(second)
    assert parent.behind() == ()
    assert {session.caller.audience for session in parent.parenting.sessions._sessions.values()} >= {now}
    assert {client._trusted.fingerprint for client in (child.client, second)} == {now}  # over new connections
    child.start()
    child.call()
    late = LinkFolder(child.path.parent / "late")
    late.join(parent.url, token, node="late", journal="ab" * 16)  # with a token from before
    with pytest.raises(ConflictError, match="still following"):
        parent.rotate()


def test_a_child_that_was_away_follows_when_it_is_back_and_not_past_the_overlap(
    child: Child, parent: Parent, tmp_path: Path
) -> None:
    away = Child(tmp_path, parent, "away")
    away.client.close()
    parent.rotate(overlap_s=4)
    child.call()
    child.call()
    child.client.close()
    until(lambda: len(parent.parenting.authority.fingerprints) == 1, patience_s=PATIENCE_S)
    child.call()
    with pytest.raises(AccessError) as refusal:
        away.call()
    assert refusal.value.facts["reason"] == "wrong_fingerprint"
    assert "edgewise leave, then edgewise join" in refusal.value.hint
    assert parent.behind() == ("away",)
    away.folder.leave()
    away.join()  # under its name, with its key
    away.call()
    assert parent.behind() == ()
    away.client.close()


def test_a_forged_successor_is_passed_over(
    child: Child, parent: Parent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    child.call()
    before = child.membership
    foreign = Authority(tmp_path / "forger", time_ns=SystemClock().time_ns())
    parent.parenting.successor = foreign.rotate(SystemClock().time_ns())
    parent.parenting.authority.fingerprints = ("ab" * 32, *parent.parenting.authority.fingerprints)
    child.call()
    child.call()
    assert child.membership == before
    assert child.credentials.trusted == before.trusted
    assert caplog.text.count("is not followed") == 1


def test_an_authority_that_cannot_be_kept_is_stated_again(
    child: Child, parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise EdgewiseError("no room")

    now = parent.rotate()
    with monkeypatch.context() as patch:
        patch.setattr(child.folder, "follow", full)
        child.call()
        assert child.credentials.trusted.fingerprint != now
    child.call()
    assert child.membership.fingerprint == now


def test_a_parent_that_was_left_meanwhile_does_not_come_back(child: Child, parent: Parent) -> None:
    child.call()
    child.folder.leave()
    parent.rotate()
    child.call()
    assert child.folder.membership is None


def test_a_parent_that_is_joined_at_another_address_stays_the_same_one_after_a_change(
    child: Child, parent: Parent
) -> None:
    parent.rotate()
    child.call()
    before = child.membership
    assert before.identity != before.fingerprint
    child.folder.join(parent.url.replace("127.0.0.1", "localhost"), parent.token(), node="door", journal=child.journal)
    assert child.membership.identity == before.identity
    assert child.membership.url != before.url


def test_a_disk_that_takes_nothing_does_not_end_what_calls_the_parent(
    child: Child, parent: Parent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    now = parent.rotate()
    with monkeypatch.context() as patch:
        patch.setattr(membership, "held", refuse)
        child.call()
        child.close()
        child.credentials.prover = copy.copy(child.credentials.prover)  # as after a change of key
        child.call()
        assert "Read-only file system" in caplog.text
        assert child.membership.fingerprint != now
    child.call()
    assert child.membership.fingerprint == now


def test_without_an_overlap_nothing_is_taken_from_then_on_not_even_over_a_connection_that_stands(
    child: Child, parent: Parent
) -> None:
    child.call()
    child.call()
    parent.rotate(overlap_s=0)
    assert child.refused() == "wrong_audience"


def test_who_joined_since_has_not_to_follow(child: Child, parent: Parent, tmp_path: Path) -> None:
    parent.rotate()
    new = Child(tmp_path, parent, "new")  # it has not called yet
    assert parent.behind() == ("door",)
    new.close()


def test_who_joins_again_and_again_stands_in_the_audit_log_once(child: Child, parent: Parent) -> None:
    token = parent.token()
    late = LinkFolder(child.path.parent / "late")
    for _ in range(3):
        late.join(parent.url, token, node="late", journal="ab" * 16)
    assert [each["what"]["node"] for each in parent.audited("nodes.joined")] == ["door", "late"]


def test_a_certificate_that_cannot_be_written_is_tried_again(
    child: Child, parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_RETRY_S", 0.05)
    refresh, failed = Authority.refresh, []

    def fail_once(self: Authority, *rest: Any) -> Any:
        if not failed:
            failed.append(True)
            raise OSError(errno.EROFS, "Read-only file system")
        return refresh(self, *rest)

    monkeypatch.setattr(Authority, "refresh", fail_once)
    now = parent.rotate()
    child.call()
    assert (failed, child.membership.fingerprint) == ([True], now)
