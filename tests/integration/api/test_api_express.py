"""The short way through the server: the same answers as the ordinary one, in order, and only where it may be taken."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from edgewise.api import jobs
from edgewise.api.express import Express, Plan, Reply
from edgewise.api.jobs import MEASURED_EVERY, QUICK_BODY_BYTES, TRIAL_CALLS

if TYPE_CHECKING:
    from conftest import LiveServer

INFER = "/v2/models/echo/infer"
REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1000], "data": [0.5] * 1000}]}
BODY = json.dumps(REQUEST).encode()


@pytest.fixture
def short(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The statuses of what goes the short way from now on; the model has proved quick."""
    taken: list[int] = []
    answer = Express.answer

    def noted(self: Express, plan: Plan, pieces: list[bytes]) -> Reply | None:
        reply = answer(self, plan, pieces)
        if reply is not None:
            taken.append(reply.status)
        return reply

    monkeypatch.setattr(Express, "answer", noted)
    del http.headers["accept-encoding"]
    for _ in range(100 * TRIAL_CALLS):
        assert http.post(INFER, content=BODY).status_code == 200
        if taken:
            break
    assert taken
    taken.clear()
    return taken


def comparable(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    return response.status_code, [item for item in response.headers.items() if item[0] != "date"], response.content


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY, {}),
        (BODY, {"content-type": "text/csv"}),
        (BODY, {"host": "evil.example"}),
        (BODY, {"origin": "http://evil.example"}),
        (b"{", {}),
        (json.dumps({"inputs": [{**REQUEST["inputs"][0], "name": "y"}]}).encode(), {}),
        (json.dumps({"inputs": [{**REQUEST["inputs"][0], "shape": [1, 7]}]}).encode(), {}),
        (BODY, {"inference-header-content-length": "1e3"}),
        (BODY, {"inference-header-content-length": "999999"}),
    ],
)
def test_both_ways_give_the_same_answer_to_the_byte(
    http: httpx.Client, short: list[int], body: bytes, headers: dict[str, str]
) -> None:
    ordinary = http.post(INFER, content=body, headers={**headers, "accept-encoding": "identity"})
    assert short == []
    assert comparable(http.post(INFER, content=body, headers=headers)) == comparable(ordinary)
    judged_by_its_head = bool({"content-type", "host", "origin"} & headers.keys()) or ordinary.status_code == 400
    assert short == [ordinary.status_code] or (short == [] and judged_by_its_head)


class Peer:
    """A client that sends what it likes, when it likes."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=10)
        self.head = f"POST {INFER} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(BODY)}\r\n"
        self._file = self.socket.makefile("rb")

    def request(self, *headers: str) -> bytes:
        return (self.head + "".join(f"{header}\r\n" for header in headers) + "\r\n").encode() + BODY

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
def peer(api: LiveServer, short: list[int]) -> Iterator[Peer]:
    peer = Peer(api.address)
    yield peer
    peer.close()


def outputs(answer: tuple[int, bytes]) -> list[float]:
    return json.loads(answer[1])["outputs"][0]["data"]


def test_a_request_whose_head_and_body_come_together_goes_the_short_way(peer: Peer, short: list[int]) -> None:
    for _ in range(3):
        peer.socket.sendall(peer.request())
        assert outputs(peer.answer()) == [0.5] * 1000
    assert short == [200, 200, 200]


def test_requests_sent_at_once_are_answered_in_their_order(peer: Peer, short: list[int]) -> None:
    live = peer.request().partition(b"\r\n")[2].partition(b"Content-Length")[0]
    ready = b"GET /v2/health/live HTTP/1.1\r\n" + live + b"\r\n"
    peer.socket.sendall(peer.request() + ready + peer.request() + peer.request() + ready)
    answers = [peer.answer()[1][:12] for _ in range(5)]
    infer, health = b'{"model_name', b'{"live":true'
    assert answers == [infer, health, infer, infer, health]


def test_a_body_that_comes_in_pieces_is_waited_for_the_ordinary_way(peer: Peer, short: list[int]) -> None:
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


@pytest.mark.parametrize("header", ["Connection: close", "Expect: 100-continue", "Accept-Encoding: gzip"])
def test_what_asks_for_more_goes_the_ordinary_way(peer: Peer, short: list[int], header: str) -> None:
    peer.socket.sendall(peer.request(header))
    status, body = peer.answer()
    assert status == 200
    assert body
    assert short == []


def test_a_large_body_goes_the_ordinary_way(http: httpx.Client, short: list[int]) -> None:
    assert http.post(INFER, content=BODY + b" " * QUICK_BODY_BYTES).status_code == 200
    assert short == []


def test_both_ways_are_counted_alike(http: httpx.Client, peer: Peer, short: list[int]) -> None:
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
    assert short == [200] * 5


def test_a_model_that_turned_slow_leaves_the_short_way(
    peer: Peer, short: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "QUICK_NS", 0)  # nothing is quick any more
    for _ in range(2 * MEASURED_EVERY):
        peer.socket.sendall(peer.request())
        assert outputs(peer.answer()) == [0.5] * 1000
    assert len(short) <= MEASURED_EVERY
