"""Signed statements: compact JWS (RFC 7515), read strictly. Pure.

A thin layer over joserfc, which signs and verifies. Before joserfc sees anything, the form is checked here: three
parts in canonical base64url without padding, and a header that has exactly the fields of its kind. So there is one
spelling of each statement, no field that somebody else chose is obeyed (``crit``, ``b64``, ``kid``, ``x5u``), and the
algorithm is never the sender's choice. ``typ`` keeps one kind from being taken for another (RFC 8725, 3.11).

The algorithm is called ``Ed25519`` (RFC 9864); its older name ``EdDSA`` is deprecated and not taken.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from edgewise.trust.refusals import Reason, refusal

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_T = TypeVar("_T")
_PARTS = 3


class PublicJwk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An Ed25519 public key as JSON (RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands before a statement."""

    alg: Literal["Ed25519", "ES256"]
    typ: str
    jwk: PublicJwk | None = None


class Statement(msgspec.Struct, frozen=True):
    """A statement in its right form, whose signature was not looked at yet.

    Attributes:
        text: As it came.
        header: What it says of itself.
        payload: The claims, JSON.
        what: What it is, for messages.
    """

    text: str
    header: Header
    payload: bytes
    what: str

    def verify(self, key: Ed25519PublicKey | EllipticCurvePublicKey) -> None:
        """Looks at the signature.

        Raises:
            AccessError: ``bad_signature``.
        """
        ours: OKPKey | ECKey
        if isinstance(key, Ed25519PublicKey):
            algorithm, ours = "Ed25519", OKPKey.import_key(key)
        else:
            algorithm, ours = "ES256", ECKey.import_key(key)
        try:
            jws.deserialize_compact(self.text, ours, [algorithm])
        except JoseError as error:
            raise refusal(Reason.BAD_SIGNATURE, f"The {self.what} is not signed with the key it names") from error

    def claims(self, kind: type[_T]) -> _T:
        """The claims as a struct.

        Raises:
            AccessError: ``malformed``.
        """
        try:
            return msgspec.json.decode(self.payload, type=kind)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise refusal(Reason.MALFORMED, f"The {self.what}'s claims cannot be read: {error}") from error


def sign(key: Ed25519PrivateKey | EllipticCurvePrivateKey, claims: object, *, typ: str, embed: bool = False) -> str:
    """A statement, signed.

    Args:
        key: Ed25519, or ECDSA on P-256.
        claims: What is stated; a struct.
        typ: Its kind.
        embed: Whether the public key (of an Ed25519 key) stands in the header.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    ours: OKPKey | ECKey
    if isinstance(key, Ed25519PrivateKey):
        ours = OKPKey.import_key(key)
        header: dict[str, Any] = {"alg": "Ed25519", "typ": typ}
        if embed:
            header["jwk"] = {"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().public_bytes_raw())}
    else:
        ours = ECKey.import_key(key)
        header = {"alg": "ES256", "typ": typ}
    return jws.serialize_compact(header, msgspec.json.encode(claims), ours, [header["alg"]])


def read(text: str, *, typ: str, max_bytes: int, what: str) -> Statement:
    """A statement of one kind, in its right form.

    Raises:
        AccessError: ``missing``, ``oversize`` or ``malformed``.
    """
    if not text:
        raise refusal(Reason.MISSING, f"No {what} was sent")
    if len(text) > max_bytes:
        raise refusal(Reason.OVERSIZE, f"The {what} is longer than {max_bytes} bytes")
    parts = text.split(".")
    if len(parts) != _PARTS:
        raise refusal(Reason.MALFORMED, f"The {what} does not have three parts")
    try:
        header, payload, _ = map(decode, parts)
        known = msgspec.json.decode(header, type=Header)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise refusal(Reason.MALFORMED, f"The {what} cannot be read: {error}") from error
    if known.typ != typ:
        raise refusal(Reason.MALFORMED, f"The {what} is a statement of another kind")
    return Statement(text, known, payload, what)


def thumbprint(raw: bytes) -> str:
    """The thumbprint (RFC 7638) of an Ed25519 public key."""
    return encode(hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{encode(raw)}"}}'.encode()).digest())


def encode(content: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """The bytes behind base64url without padding.

    Raises:
        ValueError: It is not the one spelling of some bytes.
    """
    try:
        content = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError("it is no base64url") from error
    if encode(content) != text:
        raise ValueError("it is no canonical base64url")
    return content
