"""Requests that prove who sends them, without a clock on the child. Pure.

After DPoP (RFC 9449), with the nonces of its section 8 in place of times. A request carries two signed statements:

- The **access token**: the parent's word that a key speaks for a node. Short-lived, by the parent's clock; bound to
  the key by its thumbprint (RFC 7638), so it is worth nothing to whoever steals it.
- The **proof**: the child's word for this one request. It names the parent, the method, the path with its query, the
  digest of the body and of the access token, the parent's nonce, and an id that is taken once.

What the parent and its routes do:

1. Each answer, refusals included, states ``Verifier.nonce(now)``. A child that has none, or is refused with
   ``stale_nonce``, makes its proof again with the one of the answer.
2. A node that has no access token sends a proof alone, with its name in it: ``Verifier.admit``, then ``issue``. It
   does so again whenever it is refused with ``expired``.
3. A node that joins is unknown so far: ``Verifier.introduce`` says which key sends the request, and no more.
4. Every other request: ``Verifier.check``; or ``begin``, then the body, then ``finish``, where the body is large.

``now`` is the parent's monotonic clock (``Clock.monotonic``), so nothing that happens to wall clocks revives a nonce or
a token. Nonces are an HMAC of a random key and a time slot: nothing is stored, and a restart ends them all together
with all access tokens. The targets are as in the request line, so a proxy in between must not rewrite them.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Meta

from edgewise.errors import BusyError, InputError
from edgewise.trust import jws
from edgewise.trust.keys import name_of
from edgewise.trust.names import Digest, NodeName, check_name
from edgewise.trust.refusals import Reason, refusal

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from edgewise.errors import AccessError

NO_BODY = hashlib.sha256(b"").hexdigest()
"""The digest of a request without a body."""

MAX_TARGET = 2048
MAX_TOKEN_BYTES = 1024
MAX_PROOF_BYTES = 4096
SECRET_BYTES = 32

_TOKEN_TYP = "at+jwt"  # noqa: S105 - as RFC 9068 calls it
_PROOF_TYP = "edgewise-proof+jwt"
_ID_BYTES = 16
_TOKENS_REMEMBERED = 8192

_Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{21}[AQgw]\Z")]
_Thumbprint = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The key that a token is bound to (RFC 7800): its thumbprint."""

    jkt: _Thumbprint


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Claims of an access token.

    Attributes:
        sub: The node.
        aud: The parent: the fingerprint of its authority.
        cnf: The node's key.
        exp: When it ends, milliseconds of the parent's monotonic clock.
        run: Which life of the parent's process that clock is of.
    """

    sub: NodeName
    aud: Digest
    cnf: Confirmation
    exp: int
    run: _Id


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Claims of a proof.

    Attributes:
        jti: Its id.
        aud: The parent: the fingerprint of its authority.
        htm: The method.
        target: Path and query, as in the request line.
        digest: SHA-256 of the body, hex.
        nonce: The parent's.
        ath: SHA-256 of the access token, base64url; empty when there is none.
        sub: The node; only where there is no access token.
    """

    jti: _Id
    aud: Digest
    htm: Annotated[str, Meta(min_length=1, max_length=16)]
    target: Annotated[str, Meta(min_length=1, max_length=MAX_TARGET)]
    digest: Digest
    nonce: Annotated[str, Meta(max_length=64)]
    ath: Annotated[str, Meta(max_length=43)] = ""
    sub: NodeName | None = None


class Caller(msgspec.Struct, frozen=True):
    """Who sends a request: proved.

    Attributes:
        node: Its name.
        key: The key that it proved with, hex.
        audience: The authority that it takes this parent for: the newest one, or the one before.
    """

    node: str
    key: str
    audience: str


class Stranger(msgspec.Struct, frozen=True):
    """Who asks to be let in: the key is proved, the name is its wish.

    Attributes:
        node: The name that it gives itself.
        key: The key that it proved with, hex.
        audience: The authority that it takes this parent for.
    """

    node: str
    key: str
    audience: str = ""


class Begun(msgspec.Struct, frozen=True):
    """A request whose head is proved and whose body was not read yet.

    Attributes:
        node: Who sends it, to choose a bound for its body. Nothing is done for it before ``finish``.
    """

    node: str
    _key: str
    _audience: str
    _digest: str

    def finish(self, body_digest: str) -> Caller:
        """Who sends the request, body included.

        Args:
            body_digest: SHA-256 of what was read, hex.

        Raises:
            AccessError: ``wrong_body``.
        """
        if self._digest != body_digest:
            raise refusal(Reason.WRONG_BODY, "The proof was made for another body")
        return Caller(self.node, self._key, self._audience)


class Prover:
    """The child's side. Safe for threads.

    Args:
        key: The child's key.
        parent: The fingerprint of the authority that the connection is pinned to (``Pin.fingerprint``), never one that
            the other side states: so no parent can pass a child's proofs on to another parent.
        random: ``secrets.token_bytes`` outside tests.

    Attributes:
        key: The public half of the key, hex.
    """

    def __init__(self, key: Ed25519PrivateKey, *, parent: str, random: Callable[[int], bytes]) -> None:
        self.key = name_of(key)
        self._key = key
        self._parent = parent
        self._random = random

    def prove(
        self, method: str, target: str, *, nonce: str, body_digest: str = NO_BODY, token: str = "", node: str = ""
    ) -> str:
        """The proof for one request. A request that is repeated needs another.

        Args:
            method: Such as ``POST``.
            target: Path and query, as in the request line.
            nonce: The newest that the parent stated.
            body_digest: SHA-256 of the body, hex.
            token: The access token that goes with it.
            node: The node's name, where there is no access token yet.

        Raises:
            InputError: No request has such a target.
        """
        if not target.isascii() or not 0 < len(target) <= MAX_TARGET:
            raise InputError(
                f"A request's target has 1 to {MAX_TARGET} ASCII characters, not {len(target)}",
                hint="Percent-encode it; send what is long in the body.",
                limit=MAX_TARGET,
            )
        claims = Proof(
            jti=jws.encode(self._random(_ID_BYTES)),
            aud=self._parent,
            htm=method,
            target=target,
            digest=body_digest,
            nonce=nonce,
            ath=_hash_of(token) if token else "",
            sub=node or None,
        )
        return jws.sign(self._key, claims, typ=_PROOF_TYP, embed=True)


class Verifier:
    """The parent's side. Safe for threads.

    Which proofs were taken is remembered in this process alone. Where several processes share an address, each node's
    requests have to reach the same one.

    Args:
        key: Signs access tokens.
        audiences: The fingerprints of this parent's authority, the newest first (``Authority.fingerprints``). Asked on
            each request, like the next two, so all three must answer from memory.
        secret: ``SECRET_BYTES`` random bytes, new for each process.
        keys: The key (hex) that is taken from a node of this name now; None when there is no such node.
        revoked: Whether nothing is taken from a key (hex) any more.
        token_s: How long an access token lasts.
        slot_s: How long a nonce is the newest one; it is taken for as long again.
        max_proofs: Proofs remembered for each nonce; past it requests are refused as busy, never taken unremembered.
        max_proofs_per_key: Of one node, so that none uses up what is there for all.
    """

    def __init__(
        self,
        key: Ed25519PrivateKey,
        *,
        audiences: Callable[[], Sequence[str]],
        secret: bytes,
        keys: Callable[[str], str | None],
        revoked: Callable[[str], bool],
        token_s: float = 300.0,
        slot_s: float = 60.0,
        max_proofs: int = 500_000,
        max_proofs_per_key: int = 12_000,
    ) -> None:
        if len(secret) < SECRET_BYTES:
            raise ValueError(f"the secret of nonces has at least {SECRET_BYTES} bytes")
        self._key = key
        self._public = key.public_key()
        self._audiences = audiences
        self._keys = keys
        self._revoked = revoked
        self._token_s = token_s
        self._nonces = _Nonces(secret, slot_s)
        self._run = _derived(secret, "run")
        self._seen = _Replays(max_proofs, max_proofs_per_key)
        # What a text says does not change, so a token's signature is looked at once; whether it still counts, always.
        self._access = functools.lru_cache(_TOKENS_REMEMBERED)(self._read_access)

    def nonce(self, now: float) -> str:
        """The nonce for proofs that are made now."""
        return self._nonces.at(self._nonces.slot(now))

    def issue(self, node: str, key: str, now: float) -> str:
        """An access token for a node that was admitted.

        Args:
            node: Its name.
            key: Its public key, hex.
            now: The parent's monotonic clock.

        Raises:
            InputError: No node can be called so.
        """
        confirmed = Confirmation(jws.thumbprint(bytes.fromhex(key)))
        ends = int((now + self._token_s) * 1000)
        access = Access(check_name(node), self._audiences()[0], confirmed, ends, self._run)
        return jws.sign(self._key, access, typ=_TOKEN_TYP)

    def check(self, token: str, proof: str, *, method: str, target: str, body_digest: str, now: float) -> Caller:
        """Who sends a request.

        Args:
            token: The access token that came with it.
            proof: The proof that came with it.
            method: As received.
            target: Path and query as received, undecoded.
            body_digest: SHA-256 of the body, hex; ``NO_BODY`` when there is none.
            now: The parent's monotonic clock.

        Raises:
            AccessError: It is not taken; the fact ``reason`` says why.
            BusyError: More requests than can be remembered.
        """
        return self.begin(token, proof, method=method, target=target, now=now).finish(body_digest)

    def begin(self, token: str, proof: str, *, method: str, target: str, now: float) -> Begun:
        """Who sends a request, before its body is read; see ``check``."""
        access = self._access(token)
        if access.aud not in self._audiences():
            raise _foreign()
        if access.run != self._run or access.exp <= now * 1000:
            raise refusal(Reason.EXPIRED, "The access token has expired")
        claims, key = self._read_proof(proof, thumbprint=access.cnf.jkt)
        if claims.sub is not None:
            raise refusal(Reason.MALFORMED, "With an access token, the proof does not name the node again")
        if claims.ath != _hash_of(token):
            raise refusal(Reason.WRONG_TOKEN, "The proof was made for another access token")
        self._take(claims, access.sub, key, method=method, target=target, now=now)
        return Begun(access.sub, key, claims.aud, claims.digest)

    def admit(self, proof: str, *, method: str, target: str, body_digest: str, now: float) -> Caller:
        """Which known node asks for an access token. Arguments and errors as in ``check``.

        A name that nobody has is refused as ``wrong_key`` like any other, so names cannot be found out by trying.
        """
        claims, key = self._read_proof(proof)
        node = _named(claims)
        self._take(claims, node, key, method=method, target=target, now=now)
        return Begun(node, key, claims.aud, claims.digest).finish(body_digest)

    def introduce(self, proof: str, *, method: str, target: str, body_digest: str, now: float) -> Stranger:
        """Which key sends a request to join, and what name it wishes. Arguments and errors as in ``check``.

        It may be anybody. Its proof is not remembered, since strangers could fill the memory: a request to join has to
        be safe to repeat by the same key, as ``joining.redeem`` is.
        """
        claims, key = self._read_proof(proof)
        node = _named(claims)
        self._check_request(claims, method=method, target=target, now=now)
        self._check_revoked(key)
        caller = Begun(node, key, claims.aud, claims.digest).finish(body_digest)
        return Stranger(caller.node, caller.key, caller.audience)

    def _read_access(self, token: str) -> Access:
        statement = jws.read(token, typ=_TOKEN_TYP, max_bytes=MAX_TOKEN_BYTES, what="access token")
        access = statement.claims(Access)
        if access.aud not in self._audiences():  # before the signature, which another parent's key has made
            raise _foreign()
        statement.verify(self._public)
        return access

    def _read_proof(self, proof: str, *, thumbprint: str | None = None) -> tuple[Proof, str]:
        """The claims and the key that signed them; ``thumbprint`` is the key's that it has to be."""
        statement = jws.read(proof, typ=_PROOF_TYP, max_bytes=MAX_PROOF_BYTES, what="proof")
        if statement.header.jwk is None:
            raise refusal(Reason.MALFORMED, "The proof names no key")
        try:
            raw = jws.decode(statement.header.jwk.x)
            key = Ed25519PublicKey.from_public_bytes(raw)
        except ValueError as error:
            raise refusal(Reason.MALFORMED, "The proof's key is none") from error
        if thumbprint is not None and jws.thumbprint(raw) != thumbprint:
            raise refusal(Reason.WRONG_KEY, "The proof is of another key than the access token's")
        claims = statement.claims(Proof)
        statement.verify(key)
        return claims, raw.hex()

    def _check_request(self, claims: Proof, *, method: str, target: str, now: float) -> int:
        """Whether the proof is for this request and this time; its nonce's slot."""
        if claims.aud not in self._audiences():
            raise refusal(Reason.WRONG_AUDIENCE, "The proof was made for another parent")
        if claims.htm != method or claims.target != target:
            raise refusal(Reason.WRONG_TARGET, "The proof was made for another method or path")
        slot = self._nonces.slot(now)
        for candidate in (slot, slot - 1):
            if self._nonces.at(candidate) == claims.nonce:
                return candidate
        raise refusal(Reason.STALE_NONCE, "The proof's nonce is not the parent's newest")

    def _take(self, claims: Proof, node: str, key: str, *, method: str, target: str, now: float) -> None:
        """Takes a proof, once, from a node that the parent knows by this key."""
        slot = self._check_request(claims, method=method, target=target, now=now)
        self._check_revoked(key)
        if self._keys(node) != key:
            raise refusal(Reason.WRONG_KEY, "The parent takes another key from a node of this name, or none")
        self._seen.take(slot, self._nonces.slot(now), key, claims.jti)

    def _check_revoked(self, key: str) -> None:
        if self._revoked(key):
            raise refusal(Reason.REVOKED, "The parent takes nothing from this key any more")


class _Nonces:
    """Nonces that follow from a secret and the time. They are no secrets themselves: each answer states one."""

    def __init__(self, secret: bytes, slot_s: float) -> None:
        self._secret = secret
        self._slot_s = slot_s
        self.at = functools.lru_cache(4)(self._at)
        """The nonce of a slot."""

    def slot(self, now: float) -> int:
        return int(now // self._slot_s)

    def _at(self, slot: int) -> str:
        return _derived(self._secret, f"nonce {slot}")


class _Replays:
    """Which proofs were taken, for as long as their nonces are."""

    def __init__(self, limit: int, limit_per_key: int) -> None:
        self._limit = limit
        self._limit_per_key = limit_per_key
        self._lock = threading.Lock()
        self._newest = -1
        self._slots: dict[int, dict[str, set[bytes]]] = {}
        self._counts: dict[int, int] = {}

    def take(self, slot: int, newest: int, key: str, number: str) -> None:
        """Notes a proof as taken.

        Args:
            slot: Of its nonce.
            newest: The slot that it is now.
            key: Whose it is.
            number: Its id.

        Raises:
            AccessError: ``replayed``; ``stale_nonce`` when the slot was forgotten since it was looked at.
            BusyError: There is no room to note it.
        """
        packed = jws.decode(number)
        with self._lock:
            self._move_to(newest)
            if slot < self._newest - 1:
                raise refusal(Reason.STALE_NONCE, "The proof's nonce is not the parent's newest")
            seen = self._slots.setdefault(slot, {}).setdefault(key, set())
            if packed in seen:
                raise refusal(Reason.REPLAYED, "The proof was shown before")
            count = self._counts.get(slot, 0)
            if len(seen) >= self._limit_per_key or count >= self._limit:
                raise BusyError(
                    "More requests in a minute than this node keeps apart", hint="Retry with the next nonce."
                )
            seen.add(packed)
            self._counts[slot] = count + 1

    def _move_to(self, newest: int) -> None:
        if newest <= self._newest:
            return
        self._newest = newest
        for old in [slot for slot in self._slots if slot < newest - 1]:
            del self._slots[old], self._counts[old]


def _foreign() -> AccessError:
    return refusal(Reason.WRONG_AUDIENCE, "The access token is another parent's")


def _named(claims: Proof) -> str:
    if claims.sub is None or claims.ath:
        raise refusal(Reason.MALFORMED, "A proof without an access token names the node")
    return claims.sub


def _derived(secret: bytes, what: str) -> str:
    return jws.encode(hmac.digest(secret, f"edgewise {what}".encode(), "sha256")[:_ID_BYTES])


def _hash_of(token: str) -> str:
    return jws.encode(hashlib.sha256(token.encode()).digest())
