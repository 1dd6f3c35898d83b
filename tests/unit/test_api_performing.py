"""What the parent hands down is answered by the node itself, as far as it lets the parent ask."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from edgewise.accounts.permissions import Permission, Principal, Role, Via
from edgewise.api.guard import PRINCIPAL, Guard
from edgewise.api.performing import Performance, Performer, scope_of
from edgewise.api.relay import who_is
from edgewise.api.wire import Message, Receive, Request, Scope, Send
from edgewise.errors import ForbiddenError
from edgewise.link.relay import Piece
from edgewise.link.work import MAX_PART_BYTES, Asked

READ, PREDICT, OPERATE, ADMIN = Permission.READ, Permission.PREDICT, Permission.OPERATE, Permission.ADMIN
ID = "0" * 32


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def asked(*permissions: Permission, path: str = "/v1/devices/lock/commands", method: str = "POST") -> Asked:
    return Asked(ID, method, path, who="ada@center", client="10.0.0.7", permissions=permissions, within_s=5)


async def nothing() -> Message:
    return {}


async def nowhere(_: Message) -> None:
    pass


def check(what: Asked, *may_ask: Permission) -> Principal | None:
    request = Request(scope_of(what, may_ask=may_ask), nothing, nowhere)
    return Guard(token="a secret of this node").check(request).principal


def test_the_parent_asks_for_those_who_may_and_no_more_than_the_node_lets_it() -> None:
    found = check(asked(READ, OPERATE), READ, PREDICT, OPERATE)
    assert found is not None
    assert (found.name, found.via, found.permissions(now_ns=0)) == ("ada@center", Via.PARENT, {READ, OPERATE})
    with pytest.raises(ForbiddenError):
        check(asked(READ, OPERATE), READ, PREDICT)  # the node does not let it
    with pytest.raises(ForbiddenError):
        check(asked(READ), READ, PREDICT, OPERATE)  # who asks may not at the parent


def test_nobody_becomes_an_admin_by_the_link() -> None:
    with pytest.raises(ForbiddenError):
        check(asked(*Permission, path="/v1/accounts", method="GET"), READ, PREDICT, OPERATE)


def test_a_peer_cannot_set_who_it_is_with_headers_that_come_down() -> None:
    what = Asked(ID, "GET", "/v1/events", headers=((b"authorization", b"Bearer x"),), who="ada@center")
    assert scope_of(what, may_ask=[READ])[PRINCIPAL].permissions(now_ns=0) == frozenset()


def test_a_child_is_told_who_asks_and_at_which_node() -> None:
    ada = Principal("ada", Role.VIEWER, Via.SESSION)
    assert who_is(ada, node="center") == "ada@center"
    assert who_is(Principal("", Role.ADMIN, Via.LOOPBACK), node="center") == "loopback@center"
    assert who_is(Principal("ada@center", Role.ADMIN, Via.PARENT), node="gateway") == "ada@center"


def pieces_of(performance: Performance) -> list[Piece]:
    pieces = [performance.next()]
    while not pieces[-1].last and not pieces[-1].broken:
        pieces.append(performance.next())
    return pieces


def perform(loop: asyncio.AbstractEventLoop, *sent: Message, fails: bool = False) -> Performance:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["body"] == b""
        for message in sent:
            await send(message)
        if fails:
            raise RuntimeError("a defect")

    return Performer(application, loop, may_ask=["read"])(asked(READ))


def start(status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [(b"Content-Type", b"text/plain")]}


def body(content: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


def test_a_small_answer_is_one_piece(loop: asyncio.AbstractEventLoop) -> None:
    (piece,) = pieces_of(perform(loop, start(201), body(b"done")))
    assert (piece.status, piece.headers, piece.body) == (201, ((b"content-type", b"text/plain"),), b"done")


def test_a_large_answer_is_pieces_that_each_fit(loop: asyncio.AbstractEventLoop) -> None:
    content = bytes(range(256)) * 10_000
    pieces = pieces_of(perform(loop, start(), body(content[:9], more=True), body(content[9:])))
    assert b"".join(piece.body for piece in pieces) == content
    assert max(len(piece.body) for piece in pieces) <= MAX_PART_BYTES


def test_an_answer_that_breaks_off_is_told_from_a_whole_one(loop: asyncio.AbstractEventLoop) -> None:
    pieces = pieces_of(perform(loop, start(), body(b"half", more=True), fails=True))
    assert pieces[-1].broken
    assert not any(piece.last for piece in pieces)


def test_an_answer_that_never_begins_is_an_error(loop: asyncio.AbstractEventLoop) -> None:
    (piece,) = pieces_of(perform(loop, fails=True))
    assert (piece.status, piece.last) == (503, True)


def test_a_stream_that_nobody_wants_any_more_ends(loop: asyncio.AbstractEventLoop) -> None:
    ended = threading.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(start())
            while True:
                await send(body(b"x" * 1000, more=True))
                await asyncio.sleep(0)
        finally:
            ended.set()

    performance = Performer(application, loop, may_ask=["read"])(asked(READ))
    assert performance.next().body.startswith(b"x")
    performance.drop()
    assert ended.wait(5)
