"""How a new node is let in: a token that its owner carries from the parent to it by hand. Pure.

The token is one line. It holds the fingerprint of the parent's authority, so that the child knows its parent before it
says a word, and a secret, so that the parent knows that it was invited. The parent keeps a hash of the secret alone.
The child shows the secret only over a connection whose certificate is that authority's (``pinning``), in a request
that its key signs (``proof``), so what is let in is a key.

Expiry goes by the parent's wall clock, since an invitation outlives restarts. The routes look an invitation up by
``digest_of(secret)``, ask ``redeem``, and store what it returns in the transaction that stores the node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from edgewise.errors import InputError
from edgewise.trust.jws import decode, encode
from edgewise.trust.names import Digest, check_name
from edgewise.trust.refusals import Reason, refusal

PREFIX = "ewjoin_"
SECRET_BYTES = 16
MAX_LABELS = 16
MAX_VALID_S = 30 * 86400

_VERSION = b"\x01"
_FINGERPRINT_BYTES = 32
_CHECK_BYTES = 4
_LENGTH = len(_VERSION) + _FINGERPRINT_BYTES + SECRET_BYTES + _CHECK_BYTES
_MAX_TEXT = 512

Label = Annotated[str, Meta(pattern=r"^[a-z0-9]+(?:[-_.][a-z0-9]+)*\Z", max_length=63)]


class JoinToken:
    """What a person carries to a new node. Never shows its secret but in ``text``.

    Args:
        fingerprint: Of the parent's authority, hex.
        secret: ``SECRET_BYTES`` random bytes.
    """

    __slots__ = ("fingerprint", "secret")

    def __init__(self, fingerprint: str, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES or len(fingerprint) != 2 * _FINGERPRINT_BYTES:
            raise ValueError("a fingerprint has 64 hexadecimal digits and a secret 16 bytes")
        self.fingerprint = fingerprint
        self.secret = secret

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """The token in a text; blanks and line breaks in it do not matter.

        Raises:
            InputError: It is none, or was miscopied. Fact ``problem``: ``prefix``, ``length``, ``typo`` or ``version``.
        """
        packed = "".join(text[:_MAX_TEXT].split())
        if not packed.startswith(PREFIX):
            raise _unreadable("prefix", f"A join token starts with {PREFIX}")
        body = packed.removeprefix(PREFIX)
        expected = -(-_LENGTH * 4 // 3)
        if len(body) != expected:
            raise _unreadable("length", f"The join token has {len(body)} characters after {PREFIX}, not {expected}")
        try:
            content = decode(body)
        except ValueError as error:
            raise _unreadable("typo", "The join token holds a typing error") from error
        kept, check = content[:-_CHECK_BYTES], content[-_CHECK_BYTES:]
        if check != _check(kept):
            raise _unreadable("typo", "The join token holds a typing error")
        if not kept.startswith(_VERSION):
            raise _unreadable("version", "The join token is from a newer version of Edgewise")
        return cls(kept[1 : 1 + _FINGERPRINT_BYTES].hex(), kept[1 + _FINGERPRINT_BYTES :])

    @property
    def text(self) -> str:
        """The one line."""
        kept = _VERSION + bytes.fromhex(self.fingerprint) + self.secret
        return PREFIX + encode(kept + _check(kept))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JoinToken) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"JoinToken(fingerprint={self.fingerprint!r}, secret=...)"


class Invitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the parent keeps of a join token.

    Attributes:
        digest: Hash of its secret.
        expires_ns: The parent's wall clock when it ends.
        node: The name that the child has to take; empty when it may choose.
        labels: What the parent notes about the child.
        used_by: The key that used it; empty before.
    """

    digest: Digest
    expires_ns: int
    node: str = ""
    labels: Annotated[dict[Label, Label], Meta(max_length=MAX_LABELS)] = {}
    used_by: str = ""

    @property
    def id(self) -> str:
        """What a person names it by: it says nothing about the secret."""
        return self.digest[:16]


def invite(
    fingerprint: str,
    *,
    random: Callable[[int], bytes],
    time_ns: int,
    valid_s: float = 3600.0,
    node: str = "",
    labels: Mapping[str, str] | None = None,
) -> tuple[JoinToken, Invitation]:
    """A new token, and what the parent keeps of it.

    Args:
        fingerprint: Of the parent's authority.
        random: ``secrets.token_bytes`` outside tests.
        time_ns: The parent's wall clock.
        valid_s: How long it may be used; thirty days at most.
        node: The name that the child has to take.
        labels: What is to be noted about the child.

    Raises:
        InputError: A name, label or time that cannot be.
    """
    if not 0 < valid_s <= MAX_VALID_S:
        raise InputError(
            f"A join token cannot be valid for {valid_s:g} s", hint="One second to thirty days.", limit=MAX_VALID_S
        )
    token = JoinToken(fingerprint, random(SECRET_BYTES))
    plain = {
        "digest": digest_of(token.secret),
        "expires_ns": time_ns + int(valid_s * 1e9),
        "node": check_name(node) if node else "",
        "labels": dict(labels or {}),
    }
    try:
        return token, msgspec.convert(plain, Invitation)
    except msgspec.ValidationError as error:
        raise InputError(
            f"These labels cannot be noted: {error}",
            hint=f"Up to {MAX_LABELS}, of lower-case letters and digits with single - _ . between them.",
        ) from error


def redeem(stored: Invitation | None, secret: bytes, *, node: str, key: str, time_ns: int) -> Invitation:
    """Lets a node in.

    The same key may redeem again while the invitation lasts: its first answer was lost, and nothing is granted twice.

    Args:
        stored: The invitation whose digest is the secret's; None when there is none.
        secret: What the child showed.
        node: The name that it wants.
        key: The key that signed its request, hex.
        time_ns: The parent's wall clock.

    Returns:
        The invitation as used, to be stored together with the node.

    Raises:
        AccessError: ``unknown``, ``used``, ``expired`` or ``wrong_name``.
        InputError: No node can be called so.
    """
    check_name(node)
    if stored is None or stored.digest != digest_of(secret):
        raise refusal(Reason.UNKNOWN, "The parent knows no such join token")
    if stored.used_by not in {"", key}:
        raise refusal(Reason.USED, "The join token was used by another node")
    if time_ns >= stored.expires_ns:
        raise refusal(Reason.EXPIRED, "The join token has expired")
    if stored.node not in {"", node}:
        raise refusal(Reason.WRONG_NAME, f"The join token is for a node called {stored.node}, not {node}")
    return msgspec.structs.replace(stored, used_by=key, node=node)


def digest_of(secret: bytes) -> str:
    """What the parent keeps of a secret. It is random and long, so a plain hash cannot be guessed."""
    return hashlib.sha256(b"edgewise-join\x00" + secret).hexdigest()


def _check(kept: bytes) -> bytes:
    return hashlib.sha256(b"edgewise-join-check\x00" + kept).digest()[:_CHECK_BYTES]


def _unreadable(problem: str, message: str) -> InputError:
    return InputError(message, hint="Copy the whole line from the parent again.", problem=problem)
