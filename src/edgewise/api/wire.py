"""Raw ASGI, as the hot paths need it: one request with its bounds, one answer in one write.

Everything read from a peer has a bound: the body's size and its pace here, the headers in ``server`` and ``guard``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import msgspec

from edgewise.api.errors import SlowError
from edgewise.errors import DecodeError, InputError, TooLargeError

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
T = TypeVar("T")
Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

JSON = b"application/json"
_MAX_QUERY_FIELDS = 32
_ALIGNMENT = 16
_MAX_DIGITS = 12  # of a length, its leading zeros aside: a terabyte


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one request body."""

    max_body_bytes: int = 32 * 1024 * 1024
    body_timeout_s: float = 30.0


_DEFAULT_LIMITS = Limits()


class Answer(NamedTuple):
    """What a request gets when nothing went wrong."""

    content: bytes
    media_type: bytes = JSON
    headers: Headers = ()


class Work(NamedTuple):
    """What a request's head says of the work with its body.

    Attributes:
        model: Name of the model, for the metrics.
        run: Takes the body and the time it was whole (``time.perf_counter_ns``); blocks.
        kind: Work of one kind takes about as long, and may prove quick; None for what never is.
        align_at: See ``align``.
    """

    model: str
    run: Callable[[memoryview, int], Answer]
    kind: Hashable | None = None
    align_at: int = 0


class PeerGoneError(Exception):
    """The peer hung up before its request was complete; there is nobody to answer."""


class Head:
    """What a request says before its body.

    Args:
        scope: ASGI's, or as much of it as there is.
    """

    __slots__ = ("_headers", "method", "path", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._headers: dict[bytes, bytes] = dict(scope["headers"])

    def header(self, name: bytes) -> bytes:
        """A header by its lower-case name; empty when it is absent."""
        return self._headers.get(name, b"")

    def query(self) -> dict[str, str]:
        """The query's fields.

        Raises:
            InputError: There are too many, or they are no UTF-8.
        """
        raw: bytes = self.scope.get("query_string", b"")
        if not raw:
            return {}
        try:
            pairs = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS, errors="strict")
        except ValueError as error:
            raise InputError(f"The query cannot be read: {error}") from error
        return dict(pairs)


class Request(Head):
    """One HTTP request.

    Args:
        limits: Bounds of its body.

    Attributes:
        before_answer: Called once with the status before an answer begins; what it raises is answered instead.
        goes_on: Asked before each piece of an answer whose length nobody knows; when it says no, the answer ends there.
        cut_off: Whether it said no.
    """

    __slots__ = ("_receive", "_send", "before_answer", "cut_off", "goes_on", "limits", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, limits: Limits = _DEFAULT_LIMITS) -> None:
        super().__init__(scope)
        self.limits = limits
        self.status = 0
        self.before_answer: Callable[[int], Awaitable[None]] | None = None
        self.goes_on: Callable[[], bool] | None = None
        self.cut_off = False
        self._receive = receive
        self._send = send

    async def body(self, *, align_at: int = 0, max_bytes: int | None = None) -> memoryview:
        """The whole body, in writable memory.

        Args:
            align_at: Offset that falls on an address fit for any datatype, so that tensors behind it need no copy.
            max_bytes: A bound smaller than the node's.

        Raises:
            TooLargeError: It is larger than its bound.
            SlowError: It took longer than ``body_timeout_s``.
            PeerGoneError: The peer hung up.
        """
        limit = self.limits.max_body_bytes if max_bytes is None else min(max_bytes, self.limits.max_body_bytes)
        declared = self.header(b"content-length")
        if declared.isdigit() and not fits(declared, limit):
            raise too_large(limit)
        chunks: list[bytes] = []
        await self._collect(chunks, limit=limit)
        return align(chunks, at=align_at)

    async def gone(self) -> None:
        """Returns when the peer hangs up; for a request whose body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _collect(self, chunks: list[bytes], *, limit: int) -> None:
        more = True
        left = limit
        # What has come already is taken without setting a timer, which costs more than all else here.
        while more and getattr(self._receive, "ready", False):
            more, left = _take(await self._receive(), chunks, left=left, limit=limit)
        if not more:
            return
        try:
            async with asyncio.timeout(self.limits.body_timeout_s):
                while more:
                    more, left = _take(await self._receive(), chunks, left=left, limit=limit)
        except TimeoutError as error:
            raise self._too_slow() from error

    @property
    def started(self) -> bool:
        """Whether an answer has begun."""
        return self.status != 0

    async def send(self, message: Message) -> None:
        """The server's ``send``, noting the status that goes out.

        Raises:
            PeerGoneError: The answer may not go on.
        """
        if message["type"] == "http.response.start":
            before, self.before_answer = self.before_answer, None
            if before is not None:
                await before(message["status"])
            self.status = message["status"]
            if any(name == b"content-length" for name, _ in message.get("headers", ())):
                self.goes_on = None
        elif message.get("more_body", False) and self.goes_on is not None and not self.goes_on():
            self.cut_off = True
            await self._send({"type": "http.response.body", "body": b""})
            raise PeerGoneError
        await self._send(message)

    def bounded(self) -> Receive:
        """The server's ``receive`` for an application that reads the body itself, with the bounds of ``body``."""
        declared = self.header(b"content-length")
        limit = self.limits.max_body_bytes
        if declared.isdigit() and not fits(declared, limit):
            raise too_large(limit)
        size = 0
        complete = False
        deadline = asyncio.get_running_loop().time() + self.limits.body_timeout_s

        async def receive() -> Message:
            nonlocal size, complete
            if complete:
                return await self._receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await self._receive()
            except TimeoutError as error:
                raise self._too_slow() from error
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if size > limit:
                raise too_large(limit)
            return message

        return receive

    def _too_slow(self) -> SlowError:
        return SlowError(
            f"The body took longer than {self.limits.body_timeout_s:g} s",
            hint="Send it faster, send less, or raise http.body_timeout_s.",
        )

    async def respond(
        self, body: bytes, *, status: int = HTTPStatus.OK, media_type: bytes = JSON, headers: Headers = ()
    ) -> None:
        """Answers in one go, so that the server can send headers and body in one write."""
        all_headers = headers_for(body, media_type=media_type, headers=headers)
        await self.send({"type": "http.response.start", "status": int(status), "headers": all_headers})
        await self._send({"type": "http.response.body", "body": body})

    async def respond_json(self, value: object, *, status: int = HTTPStatus.OK, headers: Headers = ()) -> None:
        """Answers with a value as JSON."""
        await self.respond(msgspec.json.encode(value), status=status, headers=headers)


def headers_for(body: bytes, *, media_type: bytes, headers: Headers) -> list[tuple[bytes, bytes]]:
    """All headers of an answer but those that the server adds."""
    return [
        (b"content-type", media_type),
        (b"content-length", b"%d" % len(body)),
        (b"x-content-type-options", b"nosniff"),
        *headers,
    ]


def fits(declared: bytes, limit: int) -> bool:
    """Whether a ``Content-Length`` is a number of bytes (RFC 9110: digits, any zeros before them) within a limit."""
    digits = declared.lstrip(b"0")
    return declared.isdigit() and len(digits) <= _MAX_DIGITS and int(digits or b"0") <= limit


def align(chunks: Sequence[bytes], *, at: int) -> memoryview:
    """Pieces of a body as one, in writable memory, where offset ``at`` is fit for tensors of any datatype."""
    padding = -at % _ALIGNMENT
    return memoryview(bytearray().join([bytes(padding), *chunks]))[padding:]


def _take(message: Message, chunks: list[bytes], *, left: int, limit: int) -> tuple[bool, int]:
    """Puts a message's chunk to the others; tells whether more is to come, and how much may."""
    if message["type"] == "http.disconnect":
        raise PeerGoneError
    chunk = message.get("body", b"")
    if len(chunk) > left:
        raise too_large(limit)
    chunks.append(chunk)
    return bool(message.get("more_body", False)), left - len(chunk)


def decode_json(body: bytes | memoryview, kind: type[T]) -> T:
    """A JSON body as a value of a type.

    Raises:
        DecodeError: It is no JSON, or not of that type.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"The body cannot be read: {error}") from error


def too_large(limit: int) -> TooLargeError:
    """The error for a body past its bound."""
    return TooLargeError(
        f"The body is larger than {limit} bytes", hint="Send a smaller picture or fewer tensors.", limit=limit
    )
