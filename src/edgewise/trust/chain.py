"""A chain of sealed records: nobody edits, removes or reorders one of them unseen. Pure.

Each record's body carries a *seal*: its number in the chain, the digest of the record before it, and the node's
signature over the digest of all of that together with the record itself. The *head* says, apart from the records, how
far the chain goes, so that a missing end is seen as well.

A digest is the SHA-256 of canonical JSON (keys sorted, no spaces, UTF-8, shortest floats), so that anyone can check a
chain with a few lines in any language; ``docs/decisions/sealed-decisions.md`` gives them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.trust.keys import name_of
from edgewise.types import Entry, Record

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SEAL = "seal"
"""Where the seal stands in a record's body."""

RESUMED = "chain.resumed"
"""Kind of the record with which a chain goes on whose head was gone: what was removed before it cannot be told."""

START = "0" * 64
"""The digest before the first record."""


class Seal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is put to a record.

    Attributes:
        number: Its place in the chain, from 1.
        previous: Digest of the record before it; ``START`` for the first.
        key: The public key (hex) that checks the signature.
        signature: Ed25519 over the record's digest, hex.
    """

    number: int
    previous: str
    key: str
    signature: str


class Head(msgspec.Struct, frozen=True):
    """The end of a chain: number and digest of its last record."""

    number: int = 0
    digest: str = START


class Fault(msgspec.Struct, frozen=True):
    """Something is wrong with the chain.

    Attributes:
        sequence: The record where it was seen, or before which something is missing; 0 for the chain's end.
        problem: What is wrong, for a person.
    """

    sequence: int
    problem: str


def digest_of(
    *, number: int, previous: str, kind: str, time_ns: int, body: Mapping[str, Any], blobs: Sequence[str]
) -> str:
    """The digest of a record at its place in a chain; ``body`` without its seal."""
    parts = {
        "number": number,
        "previous": previous,
        "kind": kind,
        "time_ns": time_ns,
        "body": {name: value for name, value in body.items() if name != SEAL},
        "blobs": list(blobs),
    }
    return canonical_digest(parts)


def digest_at(record: Record, mark: Seal) -> str:
    """The digest of a record at the place that its seal states."""
    return digest_of(
        number=mark.number,
        previous=mark.previous,
        kind=record.kind,
        time_ns=record.time_ns,
        body=record.body,
        blobs=record.blobs,
    )


def canonical_digest(value: object) -> str:
    """SHA-256 of a value's canonical JSON, hex. Keys that are no text become text, as in all JSON."""
    plain = msgspec.to_builtins(value, str_keys=True)
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()


def seal(entries: Sequence[Entry], head: Head, key: Ed25519PrivateKey, *, time_ns: int) -> tuple[list[Entry], Head]:
    """Entries with their seals, and the chain's new end.

    Args:
        entries: What comes next in the chain.
        head: Its end so far.
        key: The node's key.
        time_ns: The time of entries that have none: a seal needs it before the journal gives one.
    """
    name = name_of(key)
    sealed = []
    for entry in entries:
        number, time = head.number + 1, entry.time_ns or time_ns
        digest = digest_of(
            number=number, previous=head.digest, kind=entry.kind, time_ns=time, body=entry.body, blobs=entry.blobs
        )
        mark = Seal(number, head.digest, name, key.sign(bytes.fromhex(digest)).hex())
        body = {**entry.body, SEAL: msgspec.to_builtins(mark)}
        sealed.append(Entry(entry.kind, body, entry.blobs, time))
        head = Head(number, digest)
    return sealed, head


class Checker:
    """Follows a chain record by record, in the order of their sequences, and notes what is wrong.

    Args:
        key: The node's public key; every seal must be its.
        name: Its hex form.
        stored: The head that was kept apart, read before the records; None when it is gone.

    Attributes:
        faults: What is wrong so far.
        head: The end of what was followed; None before the first sealed record.
        checked: Sealed records that were followed.
    """

    def __init__(self, key: Ed25519PublicKey, name: str, stored: Head | None) -> None:
        self._stored = stored
        self._key = key
        self._name = name
        self._sequence = 0
        self._bare: Record | None = None
        self.faults: list[Fault] = []
        self.head: Head | None = None
        self.checked = 0

    def follow(self, records: Iterable[Record]) -> None:
        """Checks the next records."""
        for record in records:
            self._follow(record)

    def end(self) -> None:
        """The records are through: does the chain go as far as its head says?"""
        reached = self.head or Head()
        if self._stored is None:
            self.faults.append(Fault(0, "the file that says how far the chain goes is gone"))
        elif reached.number < self._stored.number:
            missing = self._stored.number - reached.number
            self.faults.append(Fault(0, f"the last {missing} records of the chain are missing"))

    def _follow(self, record: Record) -> None:
        if SEAL not in record.body:
            self._bare = record
            if self.head is not None:
                self._fault(record, "it has no seal")
            return
        try:
            mark = msgspec.convert(record.body[SEAL], Seal)
        except msgspec.ValidationError:
            self._fault(record, "its seal cannot be read")
            return
        self._check_place(record, mark)
        digest = digest_at(record, mark)
        if mark.key != self._name:
            self._fault(record, "it is sealed with another key")
        elif not self._signed(digest, mark.signature):
            self._fault(record, "it was changed after it was sealed")
        elif record.kind == RESUMED:
            self._fault(record, "the chain went on here without knowing how far it had gone")
        elif self._stored and self._stored.number == mark.number and self._stored.digest != digest:
            self._fault(record, "it is not the one that was sealed last")
        self.head = Head(mark.number, digest)
        self._sequence = record.sequence
        self.checked += 1

    def _check_place(self, record: Record, mark: Seal) -> None:
        if self.head is None:
            if self._bare is not None and mark.number != 1:
                self._fault(self._bare, "it has no seal")
            return  # older ones were removed by retention, or are from before there were seals
        if mark.number != self.head.number + 1:
            gap = mark.number - self.head.number - 1
            self._fault(record, f"{gap} records are missing before it" if gap > 0 else "it stands in the wrong place")
        elif mark.previous != self.head.digest:
            self._fault(record, "it does not follow the record before it")
        if record.sequence - self._sequence != 1:
            self._fault(record, f"sequences {self._sequence + 1} to {record.sequence - 1} are missing before it")

    def _signed(self, digest: str, signature: str) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            raw = bytes.fromhex(signature)
            self._key.verify(raw, bytes.fromhex(digest))
        except (InvalidSignature, ValueError):
            return False
        return raw.hex() == signature

    def _fault(self, record: Record, problem: str) -> None:
        self.faults.append(Fault(record.sequence, problem))
