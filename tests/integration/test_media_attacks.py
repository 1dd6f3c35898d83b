"""What a child that was taken over tries with blobs, over real TLS, against a real node."""

from __future__ import annotations

import hashlib
import secrets
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewise.errors import InputError, NotFoundError, TooLargeError, UnavailableError
from edgewise.journal.base import Batch, Packed, StreamState
from edgewise.journal.packed import pack
from edgewise.link.base import PIECE_BYTES, PREFIX, Begun, Hello, Offer, Partials, Piece, Records, Taken, Welcome
from edgewise.link.client import Client, refused
from edgewise.link.membership import LinkFolder
from edgewise.testing.node import RunningNode
from edgewise.trust.joining import JoinToken
from edgewise.types import Entry

PATIENCE_S = 30.0


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Parent:
    """A node that takes children, as it runs."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = int(found.getsockname()[1])
        self.folder = folder
        (folder / "edgewise.yaml").write_text(
            f"node: {{name: center, data: ./data}}\nhttp: {{port: 0, body_timeout_s: 2}}\n"
            f"https: {{host: 127.0.0.1, port: {self.port}}}\n"
        )
        self.node = RunningNode(folder)

    def token(self) -> JoinToken:
        words = [sys.executable, "-m", "edgewise", "token", "create"]
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=True)
        return JoinToken.parse(done.stdout.strip())

    @property
    def received(self) -> list[Path]:
        return list((self.folder / "data" / "journal" / "receiving").glob("*"))


class Child:
    """A node that joined, with events that point to blobs."""

    def __init__(self, folder: Path, parent: Parent, name: str) -> None:
        link = LinkFolder(folder / name)
        self.name = name
        self.journal = secrets.token_hex(16)
        member = link.join(f"https://127.0.0.1:{parent.port}", parent.token(), node=name, journal=self.journal)
        self.credentials = link.credentials(member)
        self.client: Client = link.client(member, self.credentials)
        self.told = 0

    def tell(self, *contents: bytes) -> list[str]:
        """Sends an event for each of these; returns what the events point to."""
        digests = [digest_of(content) for content in contents]
        self.client.close()  # what was idle since the last test may be closed by the other side
        state = StreamState(self.name, "events", self.told + len(digests))
        self.client.ask("POST", "/hello", Hello(self.journal, "1", (state,)), Welcome)
        entries = pack([Entry("seen", {}, (digest,), time_ns=1) for digest in digests])
        batch = Batch(self.name, "events", (Packed(self.told + 1, state.last, entries),))
        self.client.ask("POST", "/records", Records((batch,)), Taken)
        self.told = state.last
        return digests

    def offer(self, content: bytes, *, size: int = -1) -> Begun:
        offer = Offer(digest_of(content), len(content) if size < 0 else size, "image/jpeg")
        return self.client.ask("POST", "/blobs", offer, Begun)

    def put(self, digest: str, piece: bytes, *, offset: int = 0) -> None:
        self.client.call("PUT", f"/blobs/{digest}/{offset}", piece)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parent]:
    parent = Parent(tmp_path_factory.mktemp("center"))
    with parent.node:
        yield parent


@pytest.fixture(scope="module")
def east(parent: Parent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    child = Child(tmp_path_factory.mktemp("east"), parent, "east")
    yield child
    child.client.close()


@pytest.fixture(scope="module")
def west(parent: Parent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    child = Child(tmp_path_factory.mktemp("west"), parent, "west")
    yield child
    child.client.close()


def test_what_a_child_sends_is_kept_and_only_that_child_gets_it_back(parent: Parent, east: Child, west: Child) -> None:
    content = b"a picture from the east"
    (digest,) = east.tell(content)
    assert not east.offer(content).done
    east.put(digest, content)
    assert east.offer(content).done
    assert east.client.ask("GET", f"/blobs/{digest}/0", None, Piece) == Piece(len(content), content)
    with pytest.raises(NotFoundError):
        west.client.call("GET", f"/blobs/{digest}/0")
    west.tell(content)  # it claims to have seen the same
    with pytest.raises(NotFoundError):
        west.client.call("GET", f"/blobs/{digest}/0")


def test_a_parent_keeps_nothing_that_no_record_points_to(parent: Parent, east: Child, west: Child) -> None:
    content = b"somebody's backup"
    with pytest.raises(NotFoundError, match="No record"):
        east.offer(content)
    west.tell(content)
    with pytest.raises(NotFoundError, match="No record"):  # the record is another child's
        east.offer(content)
    with pytest.raises(NotFoundError):
        east.put(digest_of(content), content)
    assert parent.received == []


def test_content_that_is_not_what_it_was_called_is_thrown_away(parent: Parent, east: Child) -> None:
    (digest,) = east.tell(b"promised")
    east.offer(b"promised", size=4)
    with pytest.raises(InputError, match="digest"):
        east.put(digest, b"lies")
    assert parent.received == []


def test_what_is_too_large_is_refused_before_it_comes(parent: Parent, east: Child) -> None:
    (digest,) = east.tell(b"small")
    with pytest.raises(TooLargeError):
        east.offer(b"small", size=1 << 40)
    east.offer(b"small", size=5 << 20)
    with pytest.raises((TooLargeError, UnavailableError)):  # the parent hangs up before it was sent
        east.put(digest, bytes(PIECE_BYTES + 1))
    east.client.call("DELETE", f"/blobs/{digest}")
    assert east.client.ask("GET", "/blobs", None, Partials) == Partials(())


def test_a_path_leads_to_no_file(parent: Parent, east: Child) -> None:
    tricks = ("..", "..%2f..%2f..%2fauthority%2faccess.key", "%2e%2e%2fevictions.json", "evictions.json", "A" * 64)
    for trick in tricks:
        for method, path in (("GET", f"/{trick}/0"), ("PUT", f"/{trick}/0"), ("DELETE", f"/{trick}")):
            with pytest.raises(InputError):
                east.client.call(method, f"/blobs{path}", b"x" if method == "PUT" else b"")
    assert parent.received == []


def test_who_proves_nothing_is_told_nothing(parent: Parent, east: Child) -> None:
    content = b"a second picture"
    (digest,) = east.tell(content)
    for method, path in (("GET", ""), ("POST", ""), ("GET", f"/{digest}/0"), ("PUT", f"/{digest}/0")):
        head = f"{method} {PREFIX}/blobs{path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
        assert answer_to(parent, head.encode()).startswith(b"HTTP/1.1 401")


def test_a_body_that_trickles_is_cut_off_and_costs_only_itself(parent: Parent, east: Child, west: Child) -> None:
    (digest,) = east.tell(b"slow")
    east.offer(b"slow")
    path = f"{PREFIX}/blobs/{digest}/0"
    token = east.credentials.token(east.credentials.prover, lambda _: "")
    proof = east.credentials.prover.prove(
        "PUT",
        path,
        nonce=east.credentials.nonce,
        body_digest=digest_of(b"slow"),
        token=token,
        node="",
    )
    head = (
        f"PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nauthorization: DPoP {token}\r\ndpop: {proof}\r\n\r\nsl"
    )
    (other,) = west.tell(b"quick")
    assert answer_to(parent, head.encode()).startswith(b"HTTP/1.1 408")
    assert isinstance(refused(408, b"{}"), UnavailableError)  # an honest child tries again, with smaller pieces
    west.offer(b"quick")
    west.put(other, b"quick")
    east.put(digest, b"slow")


def answer_to(parent: Parent, request: bytes) -> bytes:
    """The first line of what is answered to raw bytes."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", parent.port), timeout=PATIENCE_S) as plain,
        context.wrap_socket(plain) as connection,
    ):
        connection.sendall(request)
        return connection.recv(1000).partition(b"\r\n")[0]
