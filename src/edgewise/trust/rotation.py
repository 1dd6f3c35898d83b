"""Changing a node's key: the old key states the new one, and the new one agrees. Pure.

The child keeps the new key beside the old one (``keys.next_key``) before it states it, and puts it in the old one's
place (``keys.promote_key``) when the parent has taken it. If the answer is lost, the parent takes the old one or one of
the new, so the child tries them all. The parent notes the new key and its number in one transaction; from then on the
old key counts for nothing.

A thief who has a key can change it as well. Against that there is revocation, and joining again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Meta

from edgewise.trust import jws
from edgewise.trust.keys import name_of
from edgewise.trust.names import Digest, KeyName, NodeName
from edgewise.trust.refusals import Reason, refusal

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MAX_BYTES = 2048
_TYP = "edgewise-rotation+jwt"


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is stated.

    Attributes:
        sub: The node.
        aud: The parent: the fingerprint of its authority.
        old: The key so far, hex.
        new: The key from now on, hex.
        number: Which change of this node's key it is, from 1.
        agreed: The new key's signature over all of that, hex.
    """

    sub: NodeName
    aud: Digest
    old: KeyName
    new: KeyName
    number: Annotated[int, Meta(ge=1, le=2**31)]
    agreed: Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z")] = "0" * 128


def rotate(old: Ed25519PrivateKey, new: Ed25519PrivateKey, *, node: str, parent: str, number: int) -> str:
    """The statement that changes a node's key.

    Args:
        old: The key so far.
        new: The key from now on.
        node: The node's name.
        parent: The fingerprint of the parent's authority.
        number: One more than the changes that the parent has taken.
    """
    plain = Rotation(node, parent, name_of(old), name_of(new), number)
    return jws.sign(old, msgspec.structs.replace(plain, agreed=new.sign(_agreement(plain)).hex()), typ=_TYP)


def take(text: str, *, node: str, audiences: Collection[str], key: str, number: int) -> str:
    """The key that a node has from now on.

    Args:
        text: The statement.
        node: Who sends it.
        audiences: The fingerprints of this parent's authority (``Authority.fingerprints``).
        key: The key that is taken from the node so far.
        number: How many changes of it were taken so far; to be stored with the new key as one more.

    Raises:
        AccessError: ``malformed``, ``wrong_audience``, ``wrong_name``, ``used``, ``wrong_key`` or ``bad_signature``.
    """
    statement = jws.read(text, typ=_TYP, max_bytes=MAX_BYTES, what="change of key")
    stated = statement.claims(Rotation)
    if stated.aud not in audiences:
        raise refusal(Reason.WRONG_AUDIENCE, "The change of key was made for another parent")
    if stated.sub != node:
        raise refusal(Reason.WRONG_NAME, "The change of key is another node's")
    if stated.number != number + 1:
        raise refusal(Reason.USED, f"The change of key is number {stated.number}; next is {number + 1}")
    if stated.old != key or stated.new == key:
        raise refusal(Reason.WRONG_KEY, "The change of key does not start from the key that the parent takes")
    try:
        old = Ed25519PublicKey.from_public_bytes(bytes.fromhex(stated.old))
        new = Ed25519PublicKey.from_public_bytes(bytes.fromhex(stated.new))
        new.verify(bytes.fromhex(stated.agreed), _agreement(stated))
    except (InvalidSignature, ValueError) as error:
        raise refusal(Reason.BAD_SIGNATURE, "The new key did not agree to the change") from error
    statement.verify(old)
    return stated.new


def _agreement(stated: Rotation) -> bytes:
    parts = (stated.sub, stated.aud, stated.old, stated.new, str(stated.number))
    return b"edgewise-rotation\x00" + "\x00".join(parts).encode()
