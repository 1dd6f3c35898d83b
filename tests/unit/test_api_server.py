"""One answer, one write; and what a person is told."""

import asyncio
import gc
import weakref
from types import SimpleNamespace

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from edgewise.api.server import Answer, Body, address_of


class Wire:
    """Notes what is written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.writes.append(b"".join(parts))

    def close(self) -> None:
        self.writes.append(b"<closed>")


def answered(*messages: dict, method: str = "GET", keep_alive: bool = True) -> list[bytes]:
    wire = Wire()
    cycle = SimpleNamespace(
        transport=wire,
        flow=SimpleNamespace(write_paused=False),
        disconnected=False,
        default_headers=[(b"date", b"now")],
        keep_alive=keep_alive,
        scope={"method": method},
        message_event=SimpleNamespace(set=lambda: None),
        on_response=lambda: None,
    )

    async def run() -> None:
        answer = Answer(cycle)
        for message in messages:
            await answer(message)

    asyncio.run(run())
    return wire.writes


def start(length: int, value: bytes = b"x") -> dict:
    headers = [(b"content-length", b"%d" % length), (b"x-y", value)]
    return {"type": "http.response.start", "status": 200, "headers": headers}


HEAD = b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: %d\r\nx-y: x\r\n"


@pytest.mark.parametrize("size", [0, 3, 1_000_000])
def test_head_and_body_leave_together_however_large_the_body(size: int) -> None:
    body = {"type": "http.response.body", "body": b"z" * size}
    assert answered(start(size), body) == [HEAD % size + b"\r\n" + b"z" * size]


@pytest.mark.parametrize("length", [True, False])
def test_an_answered_request_waits_for_no_garbage_collector(length: bool) -> None:
    cycle = RequestResponseCycle(
        scope={"method": "GET"},
        transport=Wire(),
        flow=SimpleNamespace(write_paused=False),
        logger=None,
        access_logger=None,
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=lambda: None,
    )
    cycle.send, cycle.receive = Answer(cycle), Body(cycle)
    left = weakref.ref(cycle)

    async def run(send: Answer) -> None:
        headers = [(b"content-length", b"1")] if length else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"z"})

    gc.disable()
    try:
        asyncio.run(run(cycle.send))
        del cycle
        assert left() is None
    finally:
        gc.enable()


def test_the_answer_to_head_has_no_body() -> None:
    assert answered(start(3), {"type": "http.response.body", "body": b"zzz"}, method="HEAD") == [HEAD % 3 + b"\r\n"]


def test_the_last_answer_of_a_connection_closes_it() -> None:
    written = answered(start(1), {"type": "http.response.body", "body": b"z"}, keep_alive=False)
    assert written == [HEAD % 1 + b"connection: close\r\n\r\nz", b"<closed>"]


def test_a_header_cannot_smuggle_in_another() -> None:
    with pytest.raises(RuntimeError):
        answered(start(0, b"x\r\nset-cookie: y"), {"type": "http.response.body", "body": b""})


def test_the_address_is_one_a_browser_takes() -> None:
    assert address_of("0.0.0.0", 8470) == "http://127.0.0.1:8470"
    assert address_of("::1", 8470) == "http://[::1]:8470"
    assert address_of("localhost", 1) == "http://localhost:1"
