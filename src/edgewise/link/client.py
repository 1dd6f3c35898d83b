"""Calling the parent: one connection, each request proved, each answer bounded, each refusal raised as what it is."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from edgewise import errors
from edgewise.errors import (
    AccessError,
    EdgewiseError,
    InputError,
    NotFoundError,
    SettingsError,
    StorageFullError,
    TooLargeError,
    UnavailableError,
)
from edgewise.link.base import MAX_BODY_BYTES, NONCE, PREFIX, PROOF, SUCCESSOR, decode
from edgewise.trust.pinning import Pin, asking_context, pin, translate
from edgewise.trust.refusals import Reason
from edgewise.trust.sessions import HEADER, NEW, SessionKey

if TYPE_CHECKING:
    from edgewise.link.credentials import Credentials
    from edgewise.trust.floor import TimeFloor
    from edgewise.trust.proof import Prover

T = TypeVar("T")

CONNECT_S = 10.0
"""How long a connection may take to be made."""

ANSWER_S = 30.0
"""How long an answer may take; a long poll adds its own time."""

_SESSION_ENDED = {Reason.EXPIRED, Reason.REPLAYED, Reason.MALFORMED, Reason.BAD_SIGNATURE, Reason.REVOKED}
_KEY_REFUSED = {Reason.WRONG_KEY, Reason.REVOKED}  # the node may have another by now: it changed, or joined again
_LINE_BYTES = 64  # of a request's or answer's first line, and what http.client adds
_TOKEN_ENDED = {Reason.EXPIRED, Reason.WRONG_AUDIENCE}
_TRIES = 3  # a stale nonce, then an access token that ended, then the request itself
_KINDS: dict[str, type[EdgewiseError]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EdgewiseError)
}


# What an answer means that names no error of ours.
_STATUS: dict[int, type[EdgewiseError]] = {
    401: AccessError,
    403: AccessError,
    404: NotFoundError,
    408: UnavailableError,
    413: TooLargeError,
}


class Client:
    """One connection to the parent. For one thread at a time; ``end`` from any.

    Args:
        url: The parent's address, ``https://HOST:PORT``.
        trusted: Whom it is pinned to; once that one was followed, the next connection is to whom the credentials name.
        floor: What time it is at least.
        credentials: Shown with each request.
        context: Of connections to ``trusted``; made anew when there is none. One that several clients share saves
            making it, which takes longer than a handshake.

    Attributes:
        sent: Bytes of bodies and heads sent.
        received: The same received.
        spent: Called with the bytes of each request and of each answer.
    """

    def __init__(
        self,
        url: str,
        *,
        trusted: Pin,
        floor: TimeFloor,
        credentials: Credentials,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._host, self._port = address_of(url)
        self._trusted = trusted
        self._context = context
        self._floor = floor
        self._credentials = credentials
        self._connection: http.client.HTTPSConnection | None = None
        self._session: SessionKey | None = None
        self._ended = False
        self.sent = 0
        self.received = 0
        self.spent: Callable[[int], None] = lambda _: None

    def call(
        self, method: str, path: str, body: bytes = b"", *, wait_s: float = 0.0, limit: int = MAX_BODY_BYTES
    ) -> bytes:
        """A request to one of the link's routes; returns the answer's body.

        Args:
            method: Such as ``POST``.
            path: Below ``PREFIX``, with the query.
            body: MessagePack.
            wait_s: How much longer than usual the answer may take.
            limit: Bound of the answer.

        Raises:
            EdgewiseError: What the parent refused it with; UnavailableError when it does not answer.
        """
        if self._session is not None:
            try:
                return self._send(method, path, body, wait_s=wait_s, limit=limit)
            except AccessError as error:
                if error.facts.get("reason") not in _SESSION_ENDED:
                    raise
                self._session = None
        refused: set[str] = set()
        left = _TRIES
        while True:
            prover, token = self._credentials.prover, ""
            try:
                token = self._credentials.token(prover, self._fetch_token)
                answer = self._send(method, path, body, prover=prover, token=token, wait_s=wait_s, limit=limit)
            except AccessError as error:
                reason = error.facts.get("reason")
                refused |= {prover.key} if reason in _KEY_REFUSED else set()
                if reason in _TOKEN_ENDED:
                    self._credentials.forget(token)
                left -= 1
                again = left > 0 and reason in {*_TOKEN_ENDED, Reason.STALE_NONCE}
                if not again and not (reason in _KEY_REFUSED and self._credentials.change_key(refused)):
                    raise
                continue
            self._credentials.took(prover)
            return answer

    def ask(self, method: str, path: str, content: object, kind: type[T]) -> T:
        """Like ``call``, with a struct both ways."""
        return decode(self.call(method, path, msgspec.msgpack.encode(content)), kind)

    def introduce(self, path: str, body: bytes, *, prover: Prover | None = None) -> bytes:
        """A request of a node that the parent does not know yet: it proves its key and states its name."""
        prover = prover or self._credentials.prover
        for left in reversed(range(_TRIES)):
            try:
                return self._send("POST", path, body, prover=prover, node=self._credentials.node)
            except AccessError as error:
                if not left or error.facts.get("reason") != Reason.STALE_NONCE:
                    raise
        raise AssertionError("the last try returns or raises")

    def hear(self, time_s: float) -> None:
        """Takes the time that the parent stated in an answer."""
        self._floor.hear(time_s)
        with contextlib.suppress(StorageFullError):
            self._floor.save()

    def close(self) -> None:
        """Ends the connection; the next call makes another."""
        connection, self._connection = self._connection, None
        self._session = None
        if connection is not None:
            connection.close()

    def end(self) -> None:
        """Ends it for good, also while another thread waits for an answer: that one's call fails, and so does each
        that follows. Whoever uses it still closes it.
        """
        self._ended = True
        connection = self._connection
        if connection is not None and (joined := connection.sock) is not None:
            with contextlib.suppress(OSError):
                joined.shutdown(socket.SHUT_RDWR)

    def _fetch_token(self, prover: Prover) -> str:
        return self.introduce("/token", b"", prover=prover).decode("ascii", "replace")

    def _send(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        prover: Prover | None = None,
        token: str = "",
        node: str = "",
        wait_s: float = 0.0,
        limit: int = MAX_BODY_BYTES,
    ) -> bytes:
        target = f"{PREFIX}{path}"
        headers = self._headers(method, target, hashlib.sha256(body).hexdigest(), prover, token=token, node=node)
        lines = sum(len(name) + len(value) + 4 for name, value in headers.items())
        size = len(body) + lines + len(target) + _LINE_BYTES
        self.sent += size  # also what is cut off on the way
        self.spent(size)
        with _translated(self.close):
            connection = self._connect()
            connection.sock.settimeout(ANSWER_S + wait_s)
            connection.putrequest(method, target, skip_accept_encoding=True)  # not a word too many: bytes count
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.putheader("content-length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            content = answer.read(limit + 1)
            if answer.will_close:
                self.close()
        size = len(content) + len(str(answer.headers)) + _LINE_BYTES
        self.received += size
        self.spent(size)
        if token and (stated := answer.headers.get(HEADER)):
            self._session = SessionKey(stated)
        if nonce := answer.headers.get(NONCE):
            self._credentials.nonce = nonce[:64]
        if successor := answer.headers.get(SUCCESSOR):
            self._credentials.follow(successor)
            self._session = None  # it was begun by a proof to the authority before
        if len(content) > limit:
            self.close()
            raise TooLargeError("The parent's answer is too large", limit=limit, actual=len(content))
        if answer.status >= 300:
            raise refused(answer.status, content, answer.headers.get("retry-after", ""))
        return content

    def _headers(
        self, method: str, target: str, digest: str, prover: Prover | None, *, token: str, node: str
    ) -> dict[str, str]:
        """What proves a request: everything, by a prover; without one the connection's session."""
        if prover is None:
            if self._session is None:
                raise UnavailableError("The connection was closed", hint="Retry.")
            return {HEADER: self._session.sign(method, target, body_digest=digest)}
        nonce = self._credentials.nonce
        proof = prover.prove(method, target, nonce=nonce, body_digest=digest, token=token, node=node)
        return {PROOF: proof, **({"authorization": f"DPoP {token}", HEADER: NEW} if token else {})}

    def _connect(self) -> http.client.HTTPSConnection:
        if self._trusted != self._credentials.trusted:  # nothing is proved to one over a connection to the other
            self.close()
        if self._connection is None:
            if self._context is None or self._trusted != self._credentials.trusted:
                self._trusted = self._credentials.trusted
                self._context = self._trusted.context(self._floor)
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_S, context=self._context)
            connection.connect()
            connection.auto_open = 0  # a connection that was lost is told of, and not made anew underneath
            self._connection = connection
        if self._ended:  # after it was made known: ``end`` has seen it, or is seen here
            raise UnavailableError("The connection was ended", hint="Call over another one.")
        return self._connection


def ask_authority(url: str, fingerprint: str) -> Pin:
    """Asks whoever answers for its certificates, over a connection that proves nothing, and pins the right one.

    Raises:
        AccessError: None of them has the fingerprint: it is not the parent that was meant.
        UnavailableError: Nobody answers.
    """
    host, port = address_of(url)
    connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_S, context=asking_context())
    with contextlib.closing(connection), _translated(lambda: None):
        connection.request("GET", f"{PREFIX}/authority")
        answer = connection.getresponse()
        content = answer.read(MAX_BODY_BYTES)
    if answer.status != http.client.OK:
        raise UnavailableError(
            f"{url} takes no children: it answers {answer.status}", hint="Set https in the parent's settings."
        )
    return pin(content.decode("ascii", "replace"), fingerprint)


def address_of(url: str) -> tuple[str, int]:
    """Host and port of a parent.

    Raises:
        SettingsError: It is no address of one.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError:
        host, port, parts = None, 0, urlsplit("")
    if parts.scheme != "https" or not host or parts.path not in {"", "/"} or parts.query or parts.username:
        raise SettingsError(f"{url[:200]!r} is no address of a parent", hint="Write https://HOST:PORT.")
    return host, port


class _Refusal(msgspec.Struct):
    code: str = ""
    message: str = ""
    hint: str = ""
    facts: dict[str, Any] = {}


class _Body(msgspec.Struct):
    error: _Refusal


def refused(status: int, body: bytes, retry_after: str = "") -> EdgewiseError:
    """The error that a parent's answer tells.

    Args:
        status: Of the answer.
        body: Its JSON.
        retry_after: The header of that name.
    """
    try:
        told = msgspec.json.decode(body, type=_Body).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        told = _Refusal(message=f"The parent answers {status}")
    facts = {
        name: value for name, value in told.facts.items() if name.isidentifier() and name not in {"message", "hint"}
    }
    if retry_after.isdigit():
        facts["retry_after_s"] = min(int(retry_after), 3600)
    otherwise = UnavailableError if status >= 500 or status == 429 else InputError
    kind = _KINDS.get(told.code) or _STATUS.get(status, otherwise)
    return kind(told.message[:1000], hint=told.hint[:1000], **facts)


@contextlib.contextmanager
def _translated(close: Callable[[], None]) -> Iterator[None]:
    """Errors of the connection as ours; it is closed then, since nobody knows what of it was read."""
    try:
        yield
    except ssl.SSLError as error:
        close()
        raise translate(error) from error
    except (OSError, http.client.HTTPException) as error:
        close()
        raise UnavailableError(
            f"The parent does not answer: {error or type(error).__name__}", hint="Check the network."
        ) from error
