"""What an attacker tries at a parent's door, over real TLS, against a real node. Each is refused for its own reason."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import secrets
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from edgewise._lib.clock import SystemClock
from edgewise.errors import AccessError, ConflictError, EdgewiseError, InputError, NotFoundError, TooLargeError
from edgewise.journal.base import Batch, Missing, Packed, Reason, StreamState
from edgewise.journal.packed import pack
from edgewise.link.base import MAX_RECORDS_BYTES, Hello, Records, Taken, Welcome
from edgewise.link.client import Client, ask_authority, refused
from edgewise.link.credentials import Credentials
from edgewise.link.membership import LinkFolder, Membership
from edgewise.testing.node import RunningNode
from edgewise.trust.authority import Authority
from edgewise.trust.joining import JoinToken
from edgewise.trust.keys import open_key
from edgewise.types import Entry

PATIENCE_S = 30.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Parent:
    """A node that takes children, as it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        (folder / "edgewise.yaml").write_text(
            f"node: {{name: center, data: ./data}}\nhttp: {{port: 0, body_timeout_s: 2}}\n"
            f"https: {{host: 127.0.0.1, port: {self.port}}}\n"
        )
        self.node = RunningNode(folder)
        self.url = f"https://127.0.0.1:{self.port}"

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "edgewise", *words], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def token(self, *words: str) -> JoinToken:
        return JoinToken.parse(self.command("token", "create", *words))


class Child:
    """A node that joined, or wants to, with everything that an attacker may take from it."""

    def __init__(self, folder: Path, parent: Parent, name: str, *, joins: bool = True) -> None:
        self.folder = LinkFolder(folder / name)
        self.path = folder / name
        self.name = name
        self.parent = parent
        self.journal = secrets.token_hex(16)
        if joins:
            self.member: Membership = self.folder.join(parent.url, parent.token(), node=name, journal=self.journal)
            self.client = self.folder.client(self.member, self.folder.credentials(self.member))

    def hello(self, *streams: StreamState) -> Welcome:
        return self.client.ask("POST", "/hello", Hello(self.journal, "1", streams), Welcome)

    def send(self, *batches: Batch) -> Taken:
        return self.client.ask("POST", "/records", Records(batches), Taken)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parent]:
    parent = Parent(tmp_path_factory.mktemp("center"))
    with parent.node:
        yield parent


@pytest.fixture(scope="module")
def east(parent: Parent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    child = Child(tmp_path_factory.mktemp("east"), parent, "east")
    child.hello(StreamState("east", "events", 1))
    yield child
    child.client.close()


@pytest.fixture(scope="module")
def west(parent: Parent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    child = Child(tmp_path_factory.mktemp("west"), parent, "west")
    child.hello(StreamState("west", "events", 1), StreamState("lamp", "events", 1))
    yield child
    child.client.close()


def batch_of(node: str, *, first: int = 1, count: int = 1, stream: str = "events") -> Batch:
    content = pack([Entry("k", {"n": number}, time_ns=1) for number in range(count)])
    return Batch(node, stream, (Packed(first, first + count - 1, content),))


def reason_of(refusal: pytest.ExceptionInfo[Any]) -> object:
    return refusal.value.facts.get("reason")


def knock(parent: Parent, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Any:
    """One raw request; the error that answers it, or None."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", parent.port, timeout=PATIENCE_S, context=context)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
    return refused(answer.status, content) if answer.status >= 400 else None


def access_token(child: Child) -> str:
    credentials = child.client._credentials
    return credentials.token(credentials.prover, child.client._fetch_token)


def proved(child: Child, method: str, path: str, body: bytes = b"") -> dict[str, str]:
    """The headers of a request that the child may make."""
    token = access_token(child)
    proof = child.client._credentials.prover.prove(
        method,
        path,
        nonce=child.client._credentials.nonce,
        body_digest=hashlib.sha256(body).hexdigest(),
        token=token,
    )
    return {"authorization": f"DPoP {token}", "dpop": proof}


def test_an_honest_child_is_taken(east: Child) -> None:
    assert east.send(batch_of("east")).marks == (StreamState("east", "events", 1),)


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as opened:
        yield opened


# Whom it joins, and who joins.


def test_a_forged_parent_is_refused_before_anything_is_told(tmp_path: Path, parent: Parent) -> None:
    forger = Authority(tmp_path / "forger", time_ns=SystemClock().time_ns())
    context = forger.context(["127.0.0.1"], SystemClock().time_ns())
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def serve() -> None:
            with contextlib.suppress(OSError), context.wrap_socket(listening.accept()[0], server_side=True) as peer:
                heard.append(peer.recv(65536))
                pem = forger.pem.encode()
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(pem) + pem)

        serving = threading.Thread(target=serve)
        serving.start()
        token = parent.token()
        with pytest.raises(AccessError) as refusal:
            LinkFolder(tmp_path / "child").join(f"https://127.0.0.1:{port}", token, node="door", journal="ab" * 16)
        serving.join(PATIENCE_S)
    assert reason_of(refusal) == "wrong_fingerprint"
    assert b"/link/v1/authority" in heard[0]
    assert token.secret not in heard[0]
    assert LinkFolder(tmp_path / "child").membership is None


def test_older_tls_is_refused(parent: Parent) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", parent.port)) as plain:
        context.wrap_socket(plain)


def test_plain_http_gets_nowhere(parent: Parent) -> None:
    with socket.create_connection(("127.0.0.1", parent.port), timeout=PATIENCE_S) as plain:
        plain.sendall(b"GET /link/v1/authority HTTP/1.1\r\nhost: x\r\n\r\n")
        with contextlib.suppress(OSError):
            assert b"HTTP/1.1 200" not in plain.recv(4096)


def test_the_plain_address_takes_no_children(parent: Parent) -> None:
    answer = httpx.get(f"{parent.node.address}/link/v1/authority", timeout=PATIENCE_S)
    assert "CERTIFICATE" not in answer.text
    assert httpx.post(f"{parent.node.address}/link/v1/hello", timeout=PATIENCE_S).status_code in {404, 405}


def test_a_stolen_join_token_is_worth_nothing_once_it_was_used(tmp_path: Path, parent: Parent) -> None:
    token = parent.token()
    LinkFolder(tmp_path / "one").join(parent.url, token, node="one", journal="ab" * 16)
    with pytest.raises(AccessError) as refusal:
        LinkFolder(tmp_path / "two").join(parent.url, token, node="two", journal="cd" * 16)
    assert reason_of(refusal) == "used"


def test_a_join_token_that_has_expired_is_refused(tmp_path: Path, parent: Parent) -> None:
    token = parent.token("--valid", "1s")
    time.sleep(1.2)
    with pytest.raises(AccessError) as refusal:
        LinkFolder(tmp_path / "late").join(parent.url, token, node="late", journal="ab" * 16)
    assert reason_of(refusal) == "expired"


def test_a_guessed_join_token_is_refused(tmp_path: Path, parent: Parent) -> None:
    guess = JoinToken(parent.token().fingerprint, secrets.token_bytes(len(parent.token().secret)))
    with pytest.raises(AccessError) as refusal:
        LinkFolder(tmp_path / "guess").join(parent.url, guess, node="guess", journal="ab" * 16)
    assert reason_of(refusal) == "unknown"


def test_a_token_for_one_name_lets_no_other_in(tmp_path: Path, parent: Parent) -> None:
    token = parent.token("--name", "door")
    with pytest.raises(AccessError) as refusal:
        LinkFolder(tmp_path / "x").join(parent.url, token, node="window", journal="ab" * 16)
    assert reason_of(refusal) == "wrong_name"


@pytest.mark.parametrize("name", ["center", "east", "lamp"])
def test_nobody_joins_under_a_name_that_is_taken(
    tmp_path: Path, parent: Parent, east: Child, west: Child, name: str
) -> None:
    with pytest.raises(ConflictError):
        LinkFolder(tmp_path / "x").join(parent.url, parent.token(), node=name, journal="ab" * 16)


# Who sends what.


def test_a_stolen_access_token_is_worth_nothing_without_the_key(
    parent: Parent, east: Child, tmp_path: Path, opened: contextlib.ExitStack
) -> None:
    thief = Credentials(open_key(tmp_path / "thief.key"), "east", trusted=east.member.trusted)
    thief._token = access_token(east)
    client = opened.enter_context(
        contextlib.closing(
            Client(parent.url, trusted=east.member.trusted, floor=east.folder.floor(), credentials=thief)
        )
    )
    with pytest.raises(AccessError) as refusal:
        client.ask("POST", "/records", Records((batch_of("east", first=2),)), Taken)
    assert reason_of(refusal) == "wrong_key"
    thief.forget(thief._token)
    with pytest.raises(AccessError) as refusal:  # nor does it get one of its own
        client.ask("POST", "/records", Records((batch_of("east", first=2),)), Taken)
    assert reason_of(refusal) == "wrong_key"


def test_a_request_that_was_heard_cannot_be_sent_again(parent: Parent, east: Child) -> None:
    body = msgspec.msgpack.encode(Hello(east.journal, "1", ()))
    headers = proved(east, "POST", "/link/v1/hello", body)
    assert knock(parent, "POST", "/link/v1/hello", body, headers) is None
    again = knock(parent, "POST", "/link/v1/hello", body, headers)
    assert again.facts["reason"] == "replayed"


def test_a_proof_is_for_one_body_and_one_path(parent: Parent, east: Child) -> None:
    body = msgspec.msgpack.encode(Hello(east.journal, "1", ()))
    other = knock(parent, "POST", "/link/v1/hello", body + b"x", proved(east, "POST", "/link/v1/hello", body))
    assert other.facts["reason"] == "wrong_body"
    other = knock(parent, "POST", "/link/v1/records", body, proved(east, "POST", "/link/v1/hello", body))
    assert other.facts["reason"] == "wrong_target"
    other = knock(parent, "POST", "/link/v1/hello?x=1", body, proved(east, "POST", "/link/v1/hello", body))
    assert other.facts["reason"] == "wrong_target"


@pytest.mark.parametrize("path", ["hello", "records"])
def test_who_shows_nothing_gets_nothing(parent: Parent, path: str) -> None:
    answer = knock(parent, "POST", f"/link/v1/{path}")
    assert answer.facts["reason"] == "missing"
    answer = knock(parent, "POST", f"/link/v1/{path}", headers={"authorization": "Bearer x", "dpop": "y"})
    assert answer.facts["reason"] == "missing"
    answer = knock(parent, "POST", f"/link/v1/{path}", headers={"authorization": "DPoP x", "dpop": "y"})
    assert answer.facts["reason"] == "malformed"


@pytest.mark.parametrize("node", ["west", "lamp", "center", "nobody"])
def test_a_child_sends_no_records_of_a_node_that_it_does_not_bring(east: Child, west: Child, node: str) -> None:
    with pytest.raises((AccessError, InputError)) as refusal:
        east.send(batch_of("east", first=2), batch_of(node))
    assert reason_of(refusal) == "other_subtree"
    assert east.hello(StreamState("east", "events", 1)).marks == (StreamState("east", "events", 1),)  # all or none


def test_a_child_cannot_take_over_a_node_that_another_brings(east: Child, west: Child) -> None:
    for stolen in ("lamp", "west", "center"):
        welcome = east.hello(StreamState("east", "events", 1), StreamState(stolen, "events", 1))
        assert welcome.refused == (stolen,)
        assert [mark.node for mark in welcome.marks] == ["east"]  # how far the other has got is not told
        with pytest.raises(AccessError) as refusal:
            east.send(batch_of(stolen))
        assert reason_of(refusal) == "other_subtree"


def test_a_child_releases_nothing_of_anothers(east: Child, west: Child) -> None:
    east.hello(StreamState("east", "events", 1))
    assert west.hello(StreamState("lamp", "events", 1)).refused == ()


def test_who_leaves_is_refused_from_then_on_and_its_name_is_free(parent: Parent, tmp_path: Path) -> None:
    gone = Child(tmp_path, parent, "gone")
    gone.hello(StreamState("gone", "events", 1), StreamState("bulb", "events", 1))
    gone.folder.say_goodbye(gone.member)
    with pytest.raises(AccessError) as refusal:
        gone.send(batch_of("gone"))
    assert reason_of(refusal) == "revoked"
    gone.client.close()
    for name in ("gone", "bulb"):
        Child(tmp_path / "again", parent, name).client.close()


def test_a_journal_made_anew_is_not_mistaken_for_the_one_before(east: Child) -> None:
    with pytest.raises(ConflictError) as refusal:
        east.client.ask("POST", "/hello", Hello("ff" * 16, "1", ()), Welcome)
    assert reason_of(refusal) == "other_journal"


def test_what_is_no_batch_is_refused_and_nothing_of_it_stays(east: Child) -> None:
    good = batch_of("east", first=2)
    for bad in (
        Batch("east", "events", (Packed(2, 9, good.packed[0].content),)),
        Batch("east", "events", (Packed(2, 2, b"\x02junk"),)),
        Batch("east", "../events", good.packed),
        Batch("east", "events", good.packed, (Missing(5, 6, Reason.FULL),)),
        Batch("east", "events", (), (Missing(2, 1 << 50, Reason.FULL),)),
    ):
        with pytest.raises(InputError):
            east.send(bad)
    with pytest.raises(ConflictError) as refusal:
        east.send(batch_of("east", first=7))
    assert refusal.value.facts["expected"] == 2
    for body in (b"", b"\xc1", b"\x91" * 10_000, msgspec.msgpack.encode({"batches": "all"})):
        with pytest.raises(InputError):
            east.client.call("POST", "/records", body)


def test_a_body_past_its_bound_is_refused_before_it_is_read(parent: Parent, east: Child) -> None:
    with pytest.raises((TooLargeError, EdgewiseError)) as refusal:
        east.client.call("POST", "/records", bytes(MAX_RECORDS_BYTES + 1))
    assert refusal.value.code in {"too_large", "unavailable"}  # the connection may be cut while it is still sent
    assert knock(parent, "GET", "/link/v1/authority", headers={"x": "y" * 100_000}) is not None


def test_a_body_that_never_comes_is_not_waited_for_for_ever(parent: Parent, east: Child) -> None:
    body = msgspec.msgpack.encode(Hello(east.journal, "1", ()))
    headers = proved(east, "POST", "/link/v1/hello", body)
    context = east.member.trusted.context(east.folder.floor())
    with contextlib.ExitStack() as opened:
        plain = opened.enter_context(socket.create_connection(("127.0.0.1", parent.port), timeout=PATIENCE_S))
        peer = opened.enter_context(context.wrap_socket(plain))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        peer.sendall(f"POST /link/v1/hello HTTP/1.1\r\nhost: x\r\n{lines}content-length: {len(body)}\r\n\r\n".encode())
        peer.sendall(body[:1])
        begun = time.monotonic()
        assert b"408" in peer.recv(4096)
        assert time.monotonic() - begun < PATIENCE_S / 2


@pytest.mark.parametrize("path", ["", "/", "/nowhere", "/../v1/people", "/hello/../../v1/people", "/%2e%2e/v1/people"])
def test_no_path_leads_elsewhere(parent: Parent, path: str) -> None:
    answer = knock(parent, "POST", f"/link/v1{path}")
    assert isinstance(answer, NotFoundError | AccessError | InputError)


def test_the_address_for_children_gives_nothing_else_away(parent: Parent) -> None:
    for method, path in (("GET", "/v1/people"), ("GET", "/v1/events"), ("GET", "/metrics"), ("GET", "/v2/models/x")):
        answer = knock(parent, method, path, headers={"host": "localhost"})
        assert isinstance(answer, AccessError)
    answer = knock(parent, "POST", "/v1/models/efficientnet-lite0/predict", b"x", {"host": "localhost"})
    assert isinstance(answer, AccessError)


def test_a_removed_child_is_out_within_a_minute(tmp_path: Path, parent: Parent, opened: contextlib.ExitStack) -> None:
    child = Child(tmp_path, parent, "fired")
    opened.callback(child.client.close)
    child.hello()
    parent.command("nodes", "remove", "fired")
    deadline = time.monotonic() + 60
    reason: object = None
    while reason is None and time.monotonic() < deadline:
        time.sleep(0.5)
        with contextlib.suppress(AccessError):
            child.hello()
            continue
        with pytest.raises(AccessError) as refusal:
            child.hello()
        reason = reason_of(refusal)
    assert reason in {"revoked", "wrong_key"}


@pytest.mark.parametrize("wrong", [0, 4_000_000_000], ids=["1970", "2096"])
def test_a_wrong_clock_locks_nobody_out(
    monkeypatch: pytest.MonkeyPatch, parent: Parent, tmp_path: Path, opened: contextlib.ExitStack, wrong: int
) -> None:
    monkeypatch.setattr(time, "time", lambda: float(wrong))
    monkeypatch.setattr(time, "time_ns", lambda: wrong * 10**9)
    assert ask_authority(parent.url, parent.token().fingerprint)
    child = Child(tmp_path, parent, f"clock-{wrong}")
    opened.callback(child.client.close)
    assert child.hello().parent == "center"
