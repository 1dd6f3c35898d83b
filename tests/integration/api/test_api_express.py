"""The short way through the server: the same answers as the ordinary one, in order, and only where it may be taken."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from edgewise.api import jobs
from edgewise.api.express import Express, Plan, Reply
from edgewise.api.jobs import MEASURED_EVERY, QUICK_BODY_BYTES, TRIAL_CALLS
from edgewise.media import images
from edgewise.testing.pipeline import picture

if TYPE_CHECKING:
    from conftest import LiveServer

PREDICT = "/v1/models/colours/predict"
INFER = "/v2/models/echo/infer"
REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1000], "data": [0.5] * 1000}]}
BODY = json.dumps(REQUEST).encode()


@pytest.fixture
def short(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What goes the short way from now on: ``now`` when its model has proved quick, else ``later``."""
    taken: list[str] = []
    start = Express.start

    def noted(self: Express, plan: Plan, pieces: list[bytes], done: Callable[[Reply], None]) -> None:
        returned = False

        def note(reply: Reply) -> None:
            taken.append("later" if returned else "now")
            done(reply)

        start(self, plan, pieces, note)
        returned = True

    monkeypatch.setattr(Express, "start", noted)
    del http.headers["accept-encoding"]
    for _ in range(100 * TRIAL_CALLS):
        assert http.post(INFER, content=BODY).status_code == 200
        if taken[-1] == "now":
            break
    assert taken[-1] == "now"
    assert "later" in taken[:TRIAL_CALLS] or len(taken) == 1
    taken.clear()
    return taken


def comparable(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Everything but the time it was and the time it took."""
    body = re.sub(rb'"(\w+_ms)":[\d.e-]+', rb'"\1":0', response.content)
    headers = [item for item in response.headers.items() if item[0] not in ("date", "content-length")]
    return response.status_code, headers, body


JPEG = images.encode_jpeg(picture(200))
SERIES = b'{"series": [[1, 2]]}'


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        (INFER, BODY, {}),
        ("/v2/models/echo/versions/1/infer", BODY, {}),
        ("/v2/models/echo/versions/9/infer", BODY, {}),
        ("/v2/models/none/infer", BODY, {}),
        ("/v2/models/echo/versions//infer", BODY, {}),
        ("/v2/models/a/b/infer", BODY, {}),
        ("/v2/models//infer", BODY, {}),
        ("/v2/models/ech%6F/infer", BODY, {}),
        ("/v2/models/broken/infer", BODY.replace(b"1000", b"2").replace(b", 0.5" * 998, b""), {}),
        (INFER, BODY, {"content-type": "text/csv"}),
        (INFER, BODY, {"host": "evil.example"}),
        (INFER, BODY, {"origin": "http://evil.example"}),
        (INFER, b"{", {}),
        (INFER, b"", {}),
        (INFER, BODY.replace(b'"x"', b'"y"'), {}),
        (INFER, BODY.replace(b"[1, 1000]", b"[1, 7]"), {}),
        (INFER, BODY, {"inference-header-content-length": "1e3"}),
        (INFER, BODY, {"inference-header-content-length": "999999"}),
        (PREDICT, JPEG, {"content-type": "image/jpeg"}),
        (PREDICT + "?top=1", JPEG, {"content-type": "image/jpeg"}),
        (PREDICT + "?top=x", JPEG, {"content-type": "image/jpeg"}),
        (PREDICT + "?top=1&raw=2", JPEG, {"content-type": "image/jpeg"}),
        (PREDICT, JPEG[:100], {"content-type": "image/jpeg"}),
        (PREDICT, JPEG, {"content-type": "text/html"}),
        (PREDICT, SERIES, {"content-type": "application/json"}),
        ("/v1/models/none/predict", JPEG, {"content-type": "image/jpeg"}),
    ],
)
def test_both_ways_give_the_same_answer_to_the_byte(
    http: httpx.Client, short: list[str], path: str, body: bytes, headers: dict[str, str]
) -> None:
    ordinary = http.post(path, content=body, headers={**headers, "expect": "nothing"})
    assert short == []
    assert comparable(http.post(path, content=body, headers=headers)) == comparable(ordinary)
    assert len(short) == 1 or ordinary.status_code in (400, 403, 404, 415) or "%" in path


def test_a_node_that_needs_a_token_asks_for_it_on_both_ways(
    start_api: Callable[..., LiveServer], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("a-secret-of-this-test")
    (tmp_path / "token").chmod(0o600)
    server = start_api(**{"http.token_file": str(tmp_path / "token")})
    token = {"authorization": "Bearer a-secret-of-this-test"}
    with httpx.Client(base_url=server.address, timeout=20) as client:
        del client.headers["accept-encoding"]
        for _ in range(3):  # the same connection, the same head but for the token
            assert client.post(INFER, content=BODY).status_code == 401
            assert client.post(INFER, content=BODY, headers=token).status_code == 200


class Peer:
    """A client that sends what it likes, when it likes."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=10)
        self.host = parts.netloc
        self._file = self.socket.makefile("rb")

    def request(self, *headers: str, path: str = INFER, body: bytes = BODY) -> bytes:
        """A whole request."""
        lines = [f"POST {path} HTTP/1.1", f"Host: {self.host}", f"Content-Length: {len(body)}", *headers]
        return "\r\n".join([*lines, "\r\n"]).encode() + body

    def read(self, size: int) -> bytes:
        """The next bytes."""
        return self._file.read(size)

    def answer(self) -> tuple[int, bytes]:
        """Status and body; interim answers are passed over."""
        status = int(self._file.readline().split()[1])
        lines = list(iter(self._file.readline, b"\r\n"))
        if status == 100:
            return self.answer()
        (length,) = [int(line.split()[1]) for line in lines if line.lower().startswith(b"content-length")]
        return status, self._file.read(length)

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@pytest.fixture
def peer(api: LiveServer, short: list[str]) -> Iterator[Peer]:
    peer = Peer(api.address)
    yield peer
    peer.close()


def outputs(answer: tuple[int, bytes]) -> list[float]:
    return json.loads(answer[1])["outputs"][0]["data"]


def test_a_request_whose_head_and_body_come_together_goes_the_short_way(peer: Peer, short: list[str]) -> None:
    for _ in range(3):
        peer.socket.sendall(peer.request())
        assert outputs(peer.answer()) == [0.5] * 1000
    assert len(short) == 3


def test_requests_sent_at_once_are_answered_in_their_order(peer: Peer, short: list[str]) -> None:
    ready = f"GET /v2/health/live HTTP/1.1\r\nHost: {peer.host}\r\n\r\n".encode()
    peer.socket.sendall(peer.request() + ready + peer.request() + peer.request() + ready)
    answers = [peer.answer()[1][:12] for _ in range(5)]
    infer, health = b'{"model_name', b'{"live":true'
    assert answers == [infer, health, infer, infer, health]


def test_a_body_that_comes_in_pieces_is_waited_for_the_ordinary_way(peer: Peer, short: list[str]) -> None:
    whole = peer.request()
    peer.socket.sendall(whole[:-100])
    peer.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        peer.socket.recv(1)
    peer.socket.settimeout(10)
    peer.socket.sendall(whole[-100:])
    assert outputs(peer.answer()) == [0.5] * 1000
    assert short == []


def test_a_body_that_never_comes_is_given_up(peer: Peer) -> None:
    peer.socket.sendall(peer.request()[:-100])
    assert peer.answer()[0] == 408


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_the_same_head_with_another_method_is_another_request(peer: Peer, short: list[str], method: str) -> None:
    peer.socket.sendall(peer.request())
    assert peer.answer()[0] == 200
    peer.socket.sendall(peer.request().replace(b"POST", method.encode(), 1))
    assert peer.answer()[0] == 405
    assert len(short) == 1


def test_the_answer_to_head_after_a_post_has_no_body(peer: Peer) -> None:
    peer.socket.sendall(peer.request())
    assert peer.answer()[0] == 200
    peer.socket.sendall(peer.request().replace(b"POST", b"HEAD", 1) + peer.request())
    assert peer.read(12) == b"HTTP/1.1 405"
    rest = b""
    while b"\r\n\r\n" not in rest:
        rest += peer.read(1)
    assert outputs(peer.answer()) == [0.5] * 1000


@pytest.mark.parametrize("zeros", [20, 5000])
@pytest.mark.parametrize("header", ["X-Nothing: 1", "Expect: nothing"])
def test_zeros_before_a_length_change_nothing(peer: Peer, zeros: int, header: str) -> None:
    peer.socket.sendall(peer.request(header).replace(b"Length: ", b"Length: " + b"0" * zeros, 1))
    assert outputs(peer.answer()) == [0.5] * 1000


def test_zeros_before_a_length_hide_no_large_body(peer: Peer, short: list[str]) -> None:
    whole = peer.request(body=BODY + b" " * 4_194_304)
    peer.socket.sendall(whole.replace(b"Length: ", b"Length: " + b"0" * 11, 1))
    assert peer.answer()[0] == 413
    assert short == []


def test_a_connection_that_is_to_be_closed_is_closed_whatever_else_it_says(peer: Peer, short: list[str]) -> None:
    peer.socket.sendall(peer.request("Connection: close", "Connection: keep-alive"))
    assert peer.answer()[0] == 200
    assert peer.read(1) == b""
    assert short == []


@pytest.mark.parametrize(
    "header", ["Connection: close", "Expect: 100-continue", "Accept-Encoding: gzip", "Upgrade: h2c"]
)
def test_what_asks_for_more_goes_the_ordinary_way(peer: Peer, short: list[str], header: str) -> None:
    peer.socket.sendall(peer.request(header))
    status, body = peer.answer()
    assert status == 200
    assert body
    assert short == []


def test_a_large_body_is_computed_on_the_pool(http: httpx.Client, short: list[str]) -> None:
    assert http.post(INFER, content=BODY + b" " * QUICK_BODY_BYTES).status_code == 200
    assert short == ["later"]


def test_what_comes_behind_a_request_on_the_pool_waits_for_its_answer(peer: Peer, short: list[str]) -> None:
    slow = peer.request(path=PREDICT, body=JPEG)
    quick = peer.request()
    peer.socket.sendall(slow + quick + slow + quick)
    answers = [peer.answer() for _ in range(4)]
    assert [b'"task"' in body for _, body in answers] == [True, False, True, False]


def test_a_peer_that_leaves_while_its_request_is_computed_disturbs_nobody(
    peer: Peer, http: httpx.Client, short: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    peer.socket.sendall(peer.request(path=PREDICT, body=JPEG))
    peer.close()
    assert http.post(INFER, content=BODY).status_code == 200
    assert not caplog.records


def test_both_ways_are_counted_alike(http: httpx.Client, peer: Peer, short: list[str]) -> None:
    def counted() -> tuple[float, int]:
        lines = http.get("/metrics").text.splitlines()
        (requests,) = [
            line for line in lines if line.startswith('edgewise_http_requests_total{area="v2",status="200"}')
        ]
        statistics = http.get("/v2/models/echo/stats").json()["model_stats"][0]
        return float(requests.split()[-1]), statistics["inference_count"]

    before = counted()
    for _ in range(5):
        peer.socket.sendall(peer.request())
        assert peer.answer()[0] == 200
    after = counted()
    asking_for_statistics = 1
    assert (after[0] - before[0], after[1] - before[1]) == (5 + asking_for_statistics, 5)
    assert short == ["now"] * 5


def test_a_model_that_turned_slow_goes_back_to_the_pool(
    peer: Peer, short: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "QUICK_NS", 0)  # nothing is quick any more
    for _ in range(2 * MEASURED_EVERY):
        peer.socket.sendall(peer.request())
        assert outputs(peer.answer()) == [0.5] * 1000
    assert short[-1] == "later"
