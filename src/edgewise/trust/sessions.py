"""Sessions: after one request that proved itself in full, those that follow on the connection cost a few bytes. Pure.

A proof and an access token are a thousand bytes and two signatures, which is a lot beside ten readings. So a child may
ask for a session with a proved request (``session: new``), over the connection whose other end it has pinned; the
answer states an id and a secret (``session: ID.SECRET``). Each further request is then signed with the secret:
``session: ID.COUNT.MAC``, where MAC is an HMAC-SHA-256, cut to 128 bits, over the count, the method, the path with its
query, and the digest of the body. The count rises with each request, so none is taken twice and nothing is remembered
for that but the newest. A session ends after some minutes by the parent's monotonic clock, with the parent's process,
when the node is revoked, when it changes its key, and when the authority that it was begun with counts no more; the
child then proves itself in full again.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from edgewise.trust import jws
from edgewise.trust.proof import Caller
from edgewise.trust.refusals import Reason, refusal

HEADER = "session"
NEW = "new"
"""What a child that wants one sends in the header."""

SECONDS = 300.0
"""How long a session lasts: as long as an access token."""

MAX_SESSIONS = 131_072
MAX_PER_NODE = 64
_ID_BYTES = 9
_SECRET_BYTES = 32
_MAC_BYTES = 16
_MAX_COUNT = 1 << 62
_MAX_HEADER = 128


class _Session(msgspec.Struct):
    caller: Caller
    secret: bytes
    ends: float
    count: int = 0


class Sessions:
    """The parent's side. Safe for threads.

    Args:
        keys: The key (hex) that is taken from a node of this name now; None when there is no such node.
        revoked: Whether nothing is taken from a key any more.
        audiences: The fingerprints of this parent's authority, as for ``Verifier``.
        random: ``secrets.token_bytes`` outside tests.
    """

    def __init__(
        self,
        *,
        keys: Callable[[str], str | None],
        revoked: Callable[[str], bool],
        audiences: Callable[[], Sequence[str]],
        random: Callable[[int], bytes],
    ) -> None:
        self._keys = keys
        self._revoked = revoked
        self._audiences = audiences
        self._random = random
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._of_node: dict[str, OrderedDict[str, None]] = {}
        self._lock = threading.Lock()

    def begin(self, caller: Caller, now: float) -> str:
        """A session for somebody who has proved themselves: what the answer's header states."""
        name, secret = jws.encode(self._random(_ID_BYTES)), self._random(_SECRET_BYTES)
        with self._lock:
            own = self._of_node.setdefault(caller.node, OrderedDict())
            while len(own) >= MAX_PER_NODE:
                self._end(next(iter(own)))
            while len(self._sessions) >= MAX_SESSIONS:
                self._end(next(iter(self._sessions)))
            self._sessions[name] = _Session(caller, secret, now + SECONDS)
            self._of_node.setdefault(caller.node, OrderedDict())[name] = None
        return f"{name}.{jws.encode(secret)}"

    def known(self, header: str, now: float) -> str:
        """The node of whose session a header speaks, to choose a bound for the body: nothing is proved yet.

        Raises:
            AccessError: ``expired``: there is no such session.
        """
        return self._find(header, now)[0].caller.node

    def check(self, header: str, *, method: str, target: str, body_digest: str, now: float) -> Caller:
        """Who sends a request.

        Args:
            header: What came with it.
            method: As received.
            target: Path and query as received, undecoded.
            body_digest: SHA-256 of the body, hex.
            now: The parent's monotonic clock.

        Raises:
            AccessError: ``expired``, ``revoked``, ``replayed``, ``bad_signature`` or ``malformed``.
        """
        session, count, shown = self._find(header, now)
        key = session.caller.key
        if self._revoked(key):
            raise refusal(Reason.REVOKED, "Nothing is taken from this key any more")
        if self._keys(session.caller.node) != key:
            raise refusal(Reason.EXPIRED, "The session was begun with another key")
        if session.caller.audience not in self._audiences():
            raise refusal(Reason.EXPIRED, "The session was begun with another authority")
        if not hmac.compare_digest(mac(session.secret, count, method, target, body_digest), shown):
            raise refusal(Reason.BAD_SIGNATURE, "The session's secret did not sign this request")
        with self._lock:
            if count <= session.count:
                raise refusal(Reason.REPLAYED, "The request was sent before")
            session.count = count
        return session.caller

    def _find(self, header: str, now: float) -> tuple[_Session, int, bytes]:
        name, _, rest = header.partition(".")
        count, _, shown = rest.partition(".")
        if len(header) > _MAX_HEADER or not (count.isascii() and count.isdigit()) or int(count) > _MAX_COUNT:
            raise refusal(Reason.MALFORMED, "The session's header cannot be read")
        try:
            signed = jws.decode(shown)
        except ValueError as error:
            raise refusal(Reason.MALFORMED, "The session's header cannot be read") from error
        with self._lock:
            session = self._sessions.get(name)
            if session is not None and session.ends <= now:
                self._end(name)
                session = None
        if session is None:
            raise refusal(Reason.EXPIRED, "The session has ended")
        return session, int(count), signed

    def _end(self, name: str) -> None:
        session = self._sessions.pop(name)
        own = self._of_node[session.caller.node]
        del own[name]
        if not own:
            del self._of_node[session.caller.node]


class SessionKey:
    """The child's side: one connection's session. For one thread at a time.

    Args:
        stated: What the parent's header stated.

    Raises:
        AccessError: ``malformed``.
    """

    def __init__(self, stated: str) -> None:
        self._name, _, secret = stated.partition(".")
        try:
            self._secret = jws.decode(secret)
        except ValueError as error:
            raise refusal(Reason.MALFORMED, "The parent's session cannot be read") from error
        self._count = 0

    def sign(self, method: str, target: str, *, body_digest: str) -> str:
        """The header of the next request. A request that is repeated needs another."""
        self._count += 1
        signed = mac(self._secret, self._count, method, target, body_digest)
        return f"{self._name}.{self._count}.{jws.encode(signed)}"


def mac(secret: bytes, count: int, method: str, target: str, body_digest: str) -> bytes:
    """What signs a request within a session."""
    said = b"edgewise-session\x00" + "\x00".join((str(count), method, target, body_digest)).encode("utf-8")
    return hmac.digest(secret, said, hashlib.sha256)[:_MAC_BYTES]
