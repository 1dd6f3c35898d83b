"""Why a node, token or request is not taken: one stable word for each reason, in the fact ``reason`` of an error.

The routes send the word to the child, and the child's link decides by it: fetch a new nonce, fetch a new token, try
its next key, or stop and tell a person.
"""

from __future__ import annotations

from enum import StrEnum

from edgewise.errors import AccessError


class Reason(StrEnum):
    """Reasons of ``AccessError`` in this package."""

    MISSING = "missing"
    """No token or no proof was sent."""
    OVERSIZE = "oversize"
    """Longer than any that a node makes; it was not looked at."""
    MALFORMED = "malformed"
    """It is not in the one form that a node writes."""
    BAD_SIGNATURE = "bad_signature"
    """The key that it names did not sign it."""
    WRONG_KEY = "wrong_key"
    """Another key than the token's, or than the one that the parent takes from this node."""
    WRONG_TOKEN = "wrong_token"  # noqa: S105 - a word
    """The proof was made for another access token."""
    WRONG_AUDIENCE = "wrong_audience"
    """Meant for another parent."""
    WRONG_TARGET = "wrong_target"
    """Made for another method or path."""
    WRONG_BODY = "wrong_body"
    """Made for another body."""
    WRONG_NAME = "wrong_name"
    """The invitation is for a node of another name."""
    STALE_NONCE = "stale_nonce"
    """The nonce is none of the parent's last two: repeat with the one in the answer."""
    REPLAYED = "replayed"
    """The proof was shown before."""
    EXPIRED = "expired"
    """The access token, invitation or certificate is past its time, or from before the parent's restart."""
    REVOKED = "revoked"
    """The parent takes nothing from this key any more."""
    UNKNOWN = "unknown"
    """There is no such invitation."""
    USED = "used"
    """The invitation or the statement was used before."""
    WRONG_FINGERPRINT = "wrong_fingerprint"
    """The certificate is not the parent's that was pinned."""
    WEAK_TLS = "weak_tls"
    """Whoever answers does not speak TLS 1.3."""
    OTHER_SUBTREE = "other_subtree"
    """The node it speaks for belongs to another child, or to none."""


_HINTS = {
    Reason.MISSING: "Send an access token and a proof with each request.",
    Reason.OVERSIZE: "Send what the node's prover makes, unchanged.",
    Reason.MALFORMED: "Send what the node's prover makes, unchanged.",
    Reason.BAD_SIGNATURE: "Sign with the node's own key.",
    Reason.WRONG_KEY: "Sign with the key that the parent knows; if it is lost, join again.",
    Reason.WRONG_TOKEN: "Make the proof for the access token that goes with it.",
    Reason.WRONG_AUDIENCE: "Make token and proof for the parent that is asked. If it changed its authority while this"
    " node was away for too long, join again: edgewise leave, then edgewise join with a new token.",
    Reason.WRONG_TARGET: "Make a proof of its own for each request.",
    Reason.WRONG_BODY: "Make the proof for the body that is sent.",
    Reason.WRONG_NAME: "Join with the name that the invitation states.",
    Reason.STALE_NONCE: "Make the proof again with the nonce of this answer.",
    Reason.REPLAYED: "Make a proof of its own for each request.",
    Reason.EXPIRED: "Ask the parent for a new one.",
    Reason.REVOKED: "Join again with a new token, if the parent's owner agrees.",
    Reason.UNKNOWN: "Ask the parent's owner for a new join token.",
    Reason.USED: "Ask the parent's owner for a new join token, or go on with the key that was taken.",
    Reason.WRONG_FINGERPRINT: "Check the address of the parent. If it was set up anew, or changed its authority while"
    " this node was away for too long, join again: edgewise leave, then edgewise join with a new token.",
    Reason.WEAK_TLS: "Check the address of the parent, and what stands in between.",
    Reason.OTHER_SUBTREE: "Have the other child release the node first.",
}


def refusal(reason: Reason, message: str) -> AccessError:
    """The error for a reason, with its word as a fact and what to do next."""
    return AccessError(message, hint=_HINTS[reason], reason=reason.value)
