"""The node's HTTP server: uvicorn, with the bounds it lacks.

uvicorn bounds neither the size of headers nor the time a peer takes to send them; ``BoundedProtocol`` does both, and
closes connections that never say anything. It also sends each answer in one write.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import gc
import ipaddress
import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from edgewise.api.app import Front, create_app
from edgewise.api.guard import MAX_HEADER_BYTES
from edgewise.errors import EdgewiseError, SettingsError

if TYPE_CHECKING:
    from edgewise.api.express import Express, Plan, Reply
    from edgewise.api.wire import Headers
    from edgewise.node.node import Node
    from edgewise.node.parenting import Parenting

logger = logging.getLogger(__name__)

HEADER_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 30
LINK_KEEP_ALIVE_S = 600
"""Where children call: a child that pays for each byte is silent for minutes, and a handshake costs more than a report.
"""
MAX_CONNECTIONS = 512
SHUTDOWN_S = 3
# How often the certificate is looked at: it is renewed with a month to go; and after so long again, when that failed.
_FRESH_S = 3600.0
_RETRY_S = 60.0
# How often it is seen whether a command beside the node has changed the authority.
_LOOK_S = 2.0
# Headers past this end the connection before they are whole; ``guard`` refuses smaller ones past MAX_HEADER_BYTES with
# a proper answer.
_MAX_UNPARSED_BYTES = 2 * MAX_HEADER_BYTES
# A body that has begun is waited for so long on the short way; the ordinary one then bounds the wait.
_PATIENCE_S = 0.05
# Up to this size copying a body behind its head costs less than a vectored write.
_MAX_JOINED_BYTES = 64 * 1024
# So much of a body is held for the application before the peer is told to wait.
_MAX_HELD_BYTES = 1024 * 1024
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\ncontent-length: 100\r\n"
    b"connection: close\r\n\r\n"
    + b'{"error":{"code":"headers_too_large","message":"The headers are too large","hint":"","facts":{}}}'.ljust(100)
)


class Answer:
    """``send`` for one request: an answer of known length leaves in one write, head and body together.

    uvicorn writes them one after the other. As two writes they are two packets and two system calls, and a client that
    delays its acknowledgements makes the second wait. Streams, whose length nobody knows, go uvicorn's way.
    """

    __slots__ = ("_cycle", "_head")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._head: Any = None

    async def __call__(self, message: Any) -> None:
        """Sends a message, or holds it when it is the head of an answer of known length.

        A head is written only when its body comes: when the application fails in between, uvicorn's own answer takes
        its place.
        """
        cycle = self._cycle
        if message["type"] == "http.response.start":
            held = not cycle.response_started and _has_length(message["headers"])
            self._head = message if held else None
            if held:
                return
        elif self._head is not None and message["type"] == "http.response.body":
            head, self._head = self._head, None
            if not message.get("more_body", False) and not cycle.flow.write_paused and not cycle.disconnected:
                self._write(head, message.get("body", b""))
                _release(cycle)
                return
            await RequestResponseCycle.send(cycle, head)
        await RequestResponseCycle.send(cycle, message)
        if cycle.response_complete:
            _release(cycle)

    def _write(self, head: Any, body: bytes) -> None:
        cycle = self._cycle
        headers = [*cycle.default_headers, *head["headers"]]
        if not cycle.keep_alive:
            headers.append((b"connection", b"close"))
        elif (b"connection", b"close") in headers:
            cycle.keep_alive = False
        start = _head(head["status"], headers)
        if cycle.scope["method"] == "HEAD":
            cycle.transport.write(start)
        elif len(body) <= _MAX_JOINED_BYTES:
            cycle.transport.write(start + body)
        else:
            cycle.transport.writelines([start, body])
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


def _head(status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Status line and headers."""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if lines.count(b"\n") != len(headers):
        raise RuntimeError("a header holds a line break")
    return b"%b%b\r\n" % (STATUS_LINE[status], lines)


def _release(cycle: RequestResponseCycle) -> None:
    """Lets an answered request go at once, body and all: held in a circle it would wait for the garbage collector."""
    vars(cycle).pop("send", None)
    vars(cycle).pop("receive", None)


def _has_length(headers: Any) -> bool:
    return any(name == b"content-length" for name, _ in headers)


class Body:
    """``receive`` for one request: waits until its body is there, then hands it over piece by piece, never copied.

    uvicorn joins and copies what has come at each call, and wakes the application for every 64 KiB.
    """

    __slots__ = ("_chunks", "_cycle", "_done", "_held")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        # Pieces of a pipelined request have come before it is its turn.
        self._chunks = deque([bytes(cycle.body)] if cycle.body else [])
        cycle.body = bytearray()
        self._held = 0
        self._done = False

    def add(self, chunk: bytes) -> None:
        """Takes a piece that has come; when much is held, the application is woken before the body is whole."""
        self._chunks.append(chunk)
        self._held += len(chunk)
        if self._held > _MAX_HELD_BYTES:
            self._cycle.flow.pause_reading()
            self._cycle.message_event.set()

    @property
    def ready(self) -> bool:
        """Whether the next call returns at once."""
        cycle = self._cycle
        return (bool(self._chunks) or not cycle.more_body) and not (self._done or cycle.waiting_for_100_continue)

    async def __call__(self) -> Any:
        """The next piece; once the body has been read, uvicorn's own ``receive``, which waits for the peer to go."""
        cycle = self._cycle
        if self._done:
            return await RequestResponseCycle.receive(cycle)
        if (not self._chunks and cycle.more_body) or cycle.waiting_for_100_continue:
            self._held = 0
            message = await RequestResponseCycle.receive(cycle)
            if message["type"] == "http.disconnect":
                return message
        elif cycle.message_event.is_set():
            cycle.message_event.clear()
        if cycle.disconnected:
            return {"type": "http.disconnect"}
        chunk = self._chunks.popleft() if self._chunks else b""
        self._done = not self._chunks and not cycle.more_body
        return {"type": "http.request", "body": chunk, "more_body": not self._done}


class _Underway:
    """Stands where uvicorn looks for the request under way while one is answered the short way, so that what comes
    behind it on the connection waits for its turn.
    """

    __slots__ = ("disconnected", "keep_alive", "message_event", "response_complete")

    def __init__(self) -> None:
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = _NOBODY


class _Nobody:
    """Nobody waits for more of a body that is whole."""

    def set(self) -> None:
        """Wakes nobody."""


_NOBODY = _Nobody()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds on a request's headers: their bytes, and the time until they are whole. Answers
    leave in one write. Requests that ``express`` takes never come as far as uvicorn's machinery.

    Args:
        express: The short way.
        options: uvicorn's.
    """

    _header_bytes = 0
    _in_headers = True
    _header_timer: asyncio.TimerHandle | None = None
    _plan: Plan | None = None
    _pieces: list[bytes] | None = None
    _patience: asyncio.TimerHandle | None = None
    # The newest short answer's head, and what it was made of.
    _head: tuple[Any, Headers, int, bytes] = (None, (), 0, b"")

    def __init__(self, *options: Any, express: Express, **named: Any) -> None:
        super().__init__(*options, **named)
        self._express = express

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A peer has connected; it has ``HEADER_TIMEOUT_S`` for its first headers."""
        super().connection_made(transport)
        self._header_timer = self.loop.call_later(HEADER_TIMEOUT_S, self._abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer is gone."""
        self._stop_timer()
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._in_headers:  # what begins a head may be the end of a large body, and is not counted
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers:
            self._bound_headers()
        elif self._pieces is not None:
            if self._patience is None:
                self._patience = self.loop.call_later(_PATIENCE_S, self._hand_over)
        elif self.timeout_keep_alive_task is None:
            self._bound_silence()

    def _bound_headers(self) -> None:
        if self.transport.is_closing():
            return
        if self._header_bytes > _MAX_UNPARSED_BYTES:
            self.transport.write(_TOO_LARGE)
            self.transport.close()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_TIMEOUT_S, self._abort)

    def _bound_silence(self) -> None:
        """Line breaks between requests, and what is left of a body that nobody reads, stop uvicorn's timer and begin
        nothing that would be bounded: the timer is set again.
        """
        if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        """A request begins. What uvicorn makes for each is made once it is known to be needed."""
        if self.timeout_keep_alive_task is not None:  # the answer before it was given while the same bytes were read
            self._unset_keepalive_if_required()
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_headers = True

    def on_headers_complete(self) -> None:
        """Its headers are whole."""
        self._in_headers = False
        self._header_bytes = 0
        self._stop_timer()
        if self._can_answer_at_once():
            plan, method = self._plan, self.parser.get_method()
            if (
                plan is None
                or plan.method != method
                or plan.url != self.url
                or plan.headers != self.headers
                or not self._express.holds(plan)
            ):
                stays = self.parser.should_keep_alive()
                self._plan = (
                    self._express.plan(method, self.url, self.headers, scheme=self.scheme or "") if stays else None
                )
            if self._plan is not None:
                self._pieces = []
                return
        self._go_on()

    def on_body(self, body: bytes) -> None:
        """A piece of a body has come."""
        if self._pieces is not None:
            self._pieces.append(body)
            return
        receive = self.cycle.receive
        if isinstance(receive, Body):
            receive.add(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self._pieces is None or self._plan is None:
            super().on_message_complete()
            return
        self._stop_waiting()
        pieces, self._pieces = self._pieces, None
        self.cycle = underway = _Underway()  # type: ignore[assignment]
        self._express.start(self._plan, pieces, functools.partial(self._reply, underway))

    def _hand_over(self) -> None:
        """Lets a request go the ordinary way after all."""
        self._stop_waiting()
        pieces, self._pieces = self._pieces or [], None
        self._go_on()
        for piece in pieces:
            self.on_body(piece)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _can_answer_at_once(self) -> bool:
        """Whether no earlier request of this connection is waiting for its answer, and it may take another one."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and self.parser.get_http_version() == "1.1"
            and not self.flow.write_paused
            and (self.limit_concurrency is None or len(self.connections) < self.limit_concurrency)
        )

    def _go_on(self) -> None:
        """Hands a request whose headers are whole to uvicorn."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        super().on_headers_complete()

    def _reply(self, underway: _Underway, reply: Reply) -> None:
        underway.response_complete = True
        if underway.disconnected or self.transport.is_closing():
            return
        own = self.server_state.default_headers
        if own is not self._head[0] or reply.headers != self._head[1] or reply.status != self._head[2]:
            self._head = (own, reply.headers, reply.status, _head(reply.status, [*own, *reply.headers]))
        if len(reply.body) <= _MAX_JOINED_BYTES:
            self.transport.write(self._head[3] + reply.body)
        else:
            self.transport.writelines([self._head[3], reply.body])
        if not underway.keep_alive:  # the server is stopping
            self.transport.close()
        self.on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.send = Answer(cycle)  # type: ignore[method-assign]
        cycle.receive = Body(cycle)  # type: ignore[method-assign]
        super()._start_asgi_task(cycle, app)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _abort(self) -> None:
        self._header_timer = None
        self.transport.close()


class Secure:
    """A second address of a server, over TLS, with a certificate of the node's own authority that is kept fresh.

    Args:
        listening: The socket.
        parenting: Whose authority it is.
        names: What the certificate states.
    """

    def __init__(self, listening: socket.socket, parenting: Parenting, names: Sequence[str]) -> None:
        self.listening = listening
        self._parenting = parenting
        self._names = names
        self._due, self._failed = 0.0, False
        self._context = parenting.authority.context(names, parenting.clock.time_ns())
        parenting.successor = parenting.authority.successor  # it is shown from here on: children may be told

    async def listen(self, server: uvicorn.Server) -> None:
        """Takes connections from now on."""
        config, loop = copy.copy(server.config), asyncio.get_running_loop()
        config.timeout_keep_alive = LINK_KEEP_ALIVE_S
        make: Any = config.http_protocol_class
        protocol = functools.partial(
            make, config=config, server_state=server.server_state, app_state=server.lifespan.state
        )
        server.servers.append(
            await loop.create_server(protocol, sock=self.listening, ssl=self._context, backlog=config.backlog)
        )
        self._due = loop.time() + self._fresh_s()
        loop.call_later(_LOOK_S, self._keep_fresh, loop)

    def _keep_fresh(self, loop: asyncio.AbstractEventLoop) -> None:
        authority = self._parenting.authority
        if loop.time() >= self._due or (authority.stale and not self._failed):
            try:
                authority.refresh(self._context, self._names, self._parenting.clock.time_ns())
                self._parenting.successor, self._failed = authority.successor, False
            except (EdgewiseError, OSError) as error:  # the one there is lasts for another month
                logger.warning("the certificate of https is not renewed: %s", error)
                self._failed = True
            self._due = loop.time() + (_RETRY_S if self._failed else self._fresh_s())
        loop.call_later(_LOOK_S, self._keep_fresh, loop)

    def _fresh_s(self) -> float:
        """For how long what is shown stays right: an overlap may end before it is looked at again."""
        left_s = self._parenting.authority.until_s - self._parenting.clock.time_ns() / 1e9
        return min(_FRESH_S, left_s) if left_s > 0 else _FRESH_S


class Server(uvicorn.Server):
    """uvicorn's server, which says where it listens once it does.

    Args:
        config: As ``configure`` makes it.
        secure: Another address.
        on_ready: Called with the address.
        on_stop: Called in the loop when it begins to stop.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        secure: Secure | None = None,
        on_ready: Callable[[str], None] | None = None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._on_stop = on_stop
        self._secure = secure
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts listening."""
        await super().startup(sockets)
        if self.started and self._secure:
            await self._secure.listen(self)
        if self.started and self._on_ready is not None and sockets:
            host, port = sockets[0].getsockname()[:2]
            self._on_ready(address_of(host, port))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stops, once those that wait have been answered, and those that wait for work were let go."""
        self._on_stop()
        if isinstance(self.config.app, Front):
            self.config.app.hang_up()
        await super().shutdown(sockets)


def run(node: Node, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serves a node until it is interrupted.

    Args:
        node: A started node.
        on_ready: Called with the address once requests are answered.

    Raises:
        SettingsError: The address cannot be listened on, or the token's file cannot be read.
    """
    http = node.settings.http
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(listen(http.host, http.port))
        secure, most = None, MAX_CONNECTIONS
        if node.parenting and (https := node.settings.https):
            names = https.names or (socket.gethostname(), "localhost", "127.0.0.1")
            secure = Secure(opened.enter_context(listen(https.host, https.port)), node.parenting, names)
            most += https.max_connections
            node.parenting.port = secure.listening.getsockname()[1]
        front = create_app(node)
        config = configure(front, max_connections=most)
        server = Server(config, secure=secure, on_ready=on_ready, on_stop=front.leave)
        # What is there by now stays. The collector need not go through it, over and over, while requests wait.
        gc.freeze()
        server.run(sockets=[listening])


def configure(application: Front, *, max_connections: int = MAX_CONNECTIONS) -> uvicorn.Config:
    """Uvicorn's settings for a node."""
    return uvicorn.Config(
        application,
        http=functools.partial(BoundedProtocol, express=application.express),  # type: ignore[arg-type]
        loop="auto",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        limit_concurrency=max_connections,
    )


def listen(host: str, port: int) -> socket.socket:
    """A bound socket.

    Raises:
        SettingsError: The address is in use or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"Cannot listen on {host} port {port}: {error.strerror}",
            hint="Another program may use it: choose another with --port, or 0 for a free one.",
            host=host,
            port=port,
        ) from error
    return listening


def address_of(host: str, port: int) -> str:
    """Where a person on this machine finds the node."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        return f"http://127.0.0.1:{port}"
    return f"http://[{host}]:{port}" if address.version == 6 else f"http://{host}:{port}"
