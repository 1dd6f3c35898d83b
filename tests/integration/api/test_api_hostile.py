"""Hostile input on every route: each time an answer in the 400s with a stable code, and a node that goes on as before.

``EDGEWISE_HOSTILE=10000`` sends that many random bodies instead of the short run's.
"""

import gzip
import json
import os
import random
import socket
import struct
import zlib
from collections.abc import Callable, Iterator

import cv2
import httpx
import numpy as np
import pytest

from edgewise.api import server as server_module
from edgewise.telemetry.resources import rss_bytes

BODIES = int(os.environ.get("EDGEWISE_HOSTILE", "1200"))
SEED = 20260921
MIB = 1024 * 1024
# What allocators and caches may keep; a leak of even half a body per request would pass this by far.
GROWTH_BYTES = 48 * MIB
NOISE = np.random.default_rng(SEED).integers(0, 256, (120, 160, 3), np.uint8)
JPEG = cv2.imencode(".jpg", NOISE)[1].tobytes()
PNG = cv2.imencode(".png", NOISE)[1].tobytes()
INFER = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1000], "data": [0.5] * 1000}]}).encode()
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nAnn\r\n'
    b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a.jpg"\r\n\r\n' + JPEG + b"\r\n--b--\r\n"
)
PREDICT = "/v1/models/colours/predict"


@pytest.fixture(scope="module")
def target(start_api: Callable):
    """A server of its own, so that its memory can be watched."""
    return start_api()


@pytest.fixture
def client(target) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=target.address, timeout=20) as client:
        yield client


def refused(answer: httpx.Response) -> str:
    """The code of a refusal; anything else fails."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    error = answer.json()["error"]
    return error if isinstance(error, str) else error["code"]


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header claims a size, with a body that expands for ever."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(8 * MIB), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("code", "picture"),
    [
        ("too_large", png_of(60_000, 60_000)),
        ("too_large", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b"\x2c"),
        ("too_large", b"BM" + bytes(16) + struct.pack("<ii", 100_000, 100_000) + bytes(64)),
        ("too_large", b"P6\n99999 99999\n255\n" + bytes(100)),
        ("undecodable", png_of(0, 0)),
        ("undecodable", png_of(4000, 4000)[:900]),
        ("undecodable", JPEG[:200]),
        ("undecodable", JPEG[:2]),
        ("undecodable", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("undecodable", b"#!/bin/sh\n"),
    ],
    ids=range(10),
)
def test_bombs_and_broken_pictures_are_refused(client: httpx.Client, code: str, picture: bytes) -> None:
    assert refused(client.post(PREDICT, content=picture)) == code
    assert refused(client.post("/v1/cameras/door/frames", content=picture)) == code


def test_a_picture_cut_anywhere_is_refused_or_read(client: httpx.Client) -> None:
    for picture in (JPEG, PNG):
        for length in range(0, len(picture), len(picture) // 25):
            answer = client.post(PREDICT, content=picture[:length])
            assert answer.status_code in (200, 400), answer.text


def test_a_compressed_bomb_is_not_expanded(target, client: httpx.Client) -> None:
    before = rss_bytes()
    for encoding, bomb in (("gzip", gzip.compress(bytes(512 * MIB), 1)), ("deflate", zlib.compress(bytes(512 * MIB)))):
        answer = client.post("/v2/models/echo/infer", content=bomb, headers={"content-encoding": encoding})
        assert answer.status_code == 413
    assert rss_bytes() - before < 4 * GROWTH_BYTES


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x" * 100])
def test_an_unknown_compression_is_refused(client: httpx.Client, encoding: str) -> None:
    answer = client.post("/v2/models/echo/infer", content=INFER, headers={"content-encoding": encoding})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "tensor",
    [
        {"shape": [1, 999], "data": [0] * 999},
        {"shape": [1000], "data": [0] * 1000},
        {"shape": [0, 0], "data": []},
        {"shape": [2**31 - 1, 2**31 - 1], "data": []},
        {"shape": [-1, 1000], "data": []},
        {"shape": [1, 1000], "data": [None] * 1000},
        {"shape": [1, 1000], "data": [1e300] * 1000},
        {"shape": [1, 1000], "datatype": "FP64", "data": [0] * 1000},
        {"shape": [1] * 40, "data": [0]},
        {"name": "other", "shape": [1, 1000], "data": [0] * 1000},
        {"shape": [1, 1000], "parameters": {"binary_data_size": 2**62}},
    ],
    ids=range(11),
)
def test_tensors_that_do_not_fit_are_refused(client: httpx.Client, tensor: dict) -> None:
    request = {"inputs": [{"name": "x", "datatype": "FP32", **tensor}]}
    refused(client.post("/v2/models/echo/infer", json=request))


def test_numbers_that_are_none_are_refused(client: httpx.Client) -> None:
    text = INFER.replace(b"0.5", b"NaN", 1)
    refused(client.post("/v2/models/echo/infer", content=text))
    refused(client.post("/v2/models/echo/infer", content=INFER.replace(b"0.5", b"1e999", 1)))
    header = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1000],"parameters":{"binary_data_size":4000}}]}'
    body = header + np.full(1000, np.inf, "<f4").tobytes()
    answer = client.post(
        "/v2/models/echo/infer", content=body, headers={"inference-header-content-length": str(len(header))}
    )
    assert "NaN or infinite" in refused(answer)


def talk(target, data: bytes, *, hang_up: bool = True) -> bytes:
    """Sends bytes as they are and returns the answer, until the server closes."""
    host, port = target.host.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(data)
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
    ],
    ids=range(6),
)
def test_what_is_no_http_is_refused(target, data: bytes) -> None:
    answer = talk(target, data)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400"), answer[:200]


def test_huge_headers_are_refused_whole_or_endless(target, client: httpx.Client) -> None:
    answer = client.get("/v1/health", headers={"x-filler": "x" * 40_000})
    assert (answer.status_code, refused(answer)) == (431, "headers_too_large")
    refused(client.get("/v2/" + "x" * 33_000))
    with pytest.raises(OSError, match=r"reset|pipe|aborted"):
        send_endless_headers(target)


def send_endless_headers(target) -> None:
    host, port = target.host.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n")
        for number in range(20_000):
            connection.sendall(b"X-%d: %s\r\n" % (number, b"y" * 4000))


def test_headers_that_never_end_are_not_waited_for(start_api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEADER_TIMEOUT_S", 0.3)
    server = start_api()
    host, port = server.host.split(":")
    for beginning in (b"", b"GET / HTTP/1.1\r\nHost: loc"):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(beginning)
            assert connection.recv(10) == b""


@pytest.mark.parametrize("path", ["/v2/models/echo/infer", PREDICT, "/v1/people"])
def test_a_body_that_never_ends_is_not_waited_for(target, path: str) -> None:
    host, port = target.host.split(":")
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode() + b"{")
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408"), answer


def test_a_caller_who_hangs_up_leaves_nothing_behind(target, client: httpx.Client) -> None:
    host, port = target.host.split(":")
    for _ in range(50):
        connection = socket.create_connection((host, int(port)), timeout=10)
        connection.sendall(b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n{")
        connection.close()
    assert client.get("/v2/health/live").status_code == 200


ROUTES: tuple[tuple[str, str, str], ...] = (
    ("POST", "/v2/models/echo/infer", "application/json"),
    ("POST", "/v2/models/words/infer", "application/octet-stream"),
    ("POST", "/v2/models/nothing/infer", "application/json"),
    ("POST", "/v2/models/echo/versions/9/infer", "application/json"),
    ("POST", PREDICT, "image/jpeg"),
    ("POST", PREDICT, "application/json"),
    ("POST", PREDICT, "multipart/form-data; boundary=b"),
    ("POST", "/v1/models/nothing/predict", "image/png"),
    ("POST", "/v1/people", "multipart/form-data; boundary=b"),
    ("PATCH", "/v1/people/bob", "application/json"),
    ("PUT", "/v1/settings/face-threshold", "application/json"),
    ("POST", "/v1/devices/front/commands", "application/json"),
    ("POST", "/v1/cameras/door/frames", "image/jpeg"),
    ("POST", "/v1/session", "application/json"),
    ("POST", "/v2/repository/index", "application/json"),
    ("POST", "/v2/repository/models/echo/load", "application/json"),
    ("DELETE", "/v1/health", "application/json"),
    ("PUT", "/v2", "text/plain"),
    ("POST", "/", "text/html"),
)
# Any body is as good as none to these, or may by chance be right.
TOLERANT = {"/v2/repository/index", "/v2/repository/models/echo/load", "/v1/session"}


def random_body(choice: random.Random) -> bytes:
    """Noise, or something right with a part of it spoilt."""
    kind = choice.randrange(6)
    if kind == 0:
        return choice.randbytes(choice.choice((0, 1, 7, 64, 3000, 60_000)))
    body = bytearray(choice.choice((INFER, FORM, JPEG[:2000], b'{"threshold": 9}', b'{"command": "unlock!"}')))
    if kind == 1:
        return bytes(body[: choice.randrange(1, len(body))])[:-1]
    if kind == 2:
        return b"[" * choice.randrange(1, 50_000)
    if kind == 3:
        return choice.choice(
            (b"null", b"true", b'""', b"{}", b"[]", b"-1", b'{"inputs":{}}', b'{"inputs":[[]]}', b"\xff")
        )
    for _ in range(choice.randrange(20, 60)):
        body[choice.randrange(min(len(body), 100))] = choice.randrange(256)
    return bytes(body)


def test_random_bodies_on_all_routes_are_refused_and_leave_no_trace(target, client: httpx.Client) -> None:
    choice = random.Random(SEED)

    def send(count: int) -> None:
        for _ in range(count):
            method, path, media_type = choice.choice(ROUTES)
            headers = {"content-type": media_type}
            if choice.random() < 0.2:
                headers["inference-header-content-length"] = str(choice.randrange(-5, 5000))
            if choice.random() < 0.1:
                headers["content-encoding"] = choice.choice(("gzip", "deflate", "br"))
            body = random_body(choice)
            answer = client.request(method, path, content=body, headers=headers)
            if path in TOLERANT:
                assert answer.status_code < 500, (path, body[:200], answer.text[:300])
            else:
                assert 400 <= answer.status_code < 500, (path, answer.status_code, body[:200], answer.text[:300])
                assert answer.json()["error"]

    send(BODIES // 3)
    before = rss_bytes()
    send(BODIES - BODIES // 3)
    assert rss_bytes() - before < GROWTH_BYTES
    assert client.post("/v2/models/echo/infer", content=INFER).status_code == 200
    assert client.get("/v1/health").json()["status"] == "ok"


def test_pipelined_requests_are_answered_in_order(target) -> None:
    def request(value: float) -> bytes:
        body = INFER.replace(b"0.5", str(value).encode())
        return (
            b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        ) + body

    last = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = talk(target, request(1.5) + request(2.5) + last, hang_up=False)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.index(b"1.5,1.5") < answer.index(b"2.5,2.5") < answer.index(b'{"live":true}')


def test_a_caller_who_asks_first_is_told_to_go_on(target) -> None:
    host, port = target.host.split(":")
    head = "POST /v2/models/echo/infer HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"{head}Content-Length: {len(INFER)}\r\n\r\n".encode())
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(INFER)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("size", [100_000, 1_500_000, 3_900_000])
def test_large_bodies_arrive_whole(client: httpx.Client, size: int) -> None:
    text = "x" * size
    request = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": [text]}]}
    assert client.post("/v2/models/words/infer", json=request).json()["outputs"][0]["data"] == [text]
