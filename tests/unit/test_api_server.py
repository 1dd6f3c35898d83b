"""One answer, one write; and what a person is told."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from edgewise.api.express import Plan, Reply
from edgewise.api.guard import Pass
from edgewise.api.server import Answer, Body, BoundedProtocol, address_of
from edgewise.api.wire import Work


class Wire:
    """Notes what is written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """What comes is handed over all the same."""

    def resume_reading(self) -> None:
        """What comes is handed over all the same."""

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def writelines(self, parts: list[bytes]) -> None:
        self.writes.append(b"".join(parts))

    def close(self) -> None:
        self.writes.append(b"<closed>")
        self.closed = True


def answered(*messages: dict, method: str = "GET", keep_alive: bool = True) -> list[bytes]:
    wire = Wire()
    cycle = SimpleNamespace(
        transport=wire,
        flow=SimpleNamespace(write_paused=False),
        disconnected=False,
        response_started=False,
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


class AtOnce:
    """Answers every POST while its bytes are read."""

    def plan(self, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]], *, scheme: str) -> Plan | None:
        if method != b"POST":
            return None
        return Plan(method, url, headers, Work("", lambda *_: None), oip=False, passed=Pass(None, None, 0, 0))

    def holds(self, plan: Plan) -> bool:
        return True

    def start(self, plan: Plan, pieces: list[bytes], done: Callable[[Reply], None]) -> None:
        done(Reply(200, [(b"content-length", b"2")], b"ok"))


HEADERS = [(b"content-length", b"4")]
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


async def refuse(scope: dict, receive: Callable, send: Callable) -> None:
    """Answers without reading the body."""
    await send({"type": "http.response.start", "status": 401, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"none"})


async def fail(scope: dict, receive: Callable, send: Callable) -> None:
    """Breaks between head and body."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    raise ValueError


async def forget(scope: dict, receive: Callable, send: Callable) -> None:
    """Never gives the body that belongs to its head."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})


def connected(story: Callable[[BoundedProtocol, Wire], Awaitable[None]], application: Callable = refuse) -> None:
    """Plays one connection."""

    async def run() -> None:
        config = uvicorn.Config(application, lifespan="off", log_config=None, timeout_keep_alive=30)
        state, wire = ServerState(), Wire()
        protocol = BoundedProtocol(config=config, server_state=state, app_state={}, express=AtOnce())
        protocol.connection_made(wire)
        await story(protocol, wire)
        protocol.connection_lost(None)
        for task in state.tasks:
            task.cancel()

    asyncio.run(run())


async def answer_to(protocol: BoundedProtocol, request: bytes) -> None:
    protocol.data_received(request)
    while protocol.tasks:
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("request_", "behind"),
    [
        (POST % 1 + b"x", b"\r\n"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n"),
        (b"PUT" + (POST % 100)[4:] + b"x", b"x"),
    ],
    ids=["answered at once", "answered", "body left unread"],
)
def test_a_peer_that_sends_no_next_request_is_not_waited_for_for_ever(request_: bytes, behind: bytes) -> None:
    async def story(protocol: BoundedProtocol, wire: Wire) -> None:
        await answer_to(protocol, request_)
        assert wire.writes
        for _ in range(2):
            protocol.data_received(behind)
            assert protocol.timeout_keep_alive_task is not None
            assert not protocol.timeout_keep_alive_task.cancelled()

    connected(story)


def test_a_request_that_came_with_an_answered_one_is_not_cut_off() -> None:
    async def stream(scope: dict, receive: Callable, send: Callable) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    async def story(protocol: BoundedProtocol, wire: Wire) -> None:
        protocol.data_received(POST % 1 + b"x" + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while len(wire.writes) < 2:
            await asyncio.sleep(0)
        assert protocol.timeout_keep_alive_task is None

    connected(story, stream)


def test_the_end_of_a_large_body_is_no_part_of_the_next_head() -> None:
    async def story(protocol: BoundedProtocol, wire: Wire) -> None:
        whole = POST % 200_000 + b"x" * 200_000 + POST % 1 + b"x"
        protocol.data_received(whole[:100])
        protocol.data_received(whole[100:-20])
        protocol.data_received(whole[-20:])
        assert [part.partition(b"\r\n")[0] for part in wire.writes] == [b"HTTP/1.1 200 OK"] * 2

    connected(story)


@pytest.mark.parametrize("before", [b"", POST % 1 + b"x"])
def test_a_head_that_does_not_end_is_refused(before: bytes) -> None:
    async def story(protocol: BoundedProtocol, wire: Wire) -> None:
        protocol.data_received(before + b"GET / HTTP/1.1\r\nHost: x\r\n")
        for number in range(100):
            if not wire.closed:
                protocol.data_received(b"X-%d: %s\r\n" % (number, b"y" * 4000))
        assert wire.writes[-2].startswith(b"HTTP/1.1 431")
        assert wire.writes[-1] == b"<closed>"

    connected(story)


@pytest.mark.parametrize("application", [fail, forget])
def test_an_application_that_breaks_before_the_body_is_answered_for(application: Callable) -> None:
    async def story(protocol: BoundedProtocol, wire: Wire) -> None:
        await answer_to(protocol, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        (answer, closed) = wire.writes
        assert answer.startswith(b"HTTP/1.1 500")
        assert answer.endswith(b"\r\n\r\nInternal Server Error")
        assert closed == b"<closed>"

    connected(story, application)
