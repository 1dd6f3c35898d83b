"""What a parent wants of each node below it: documents, how they are laid over one another, which one counts. Pure.

A document is plain values under the names of sections, as they stand in a settings file. What a section may hold is
checked by who can read it (``node.desired``); here it only has to be small, and to say the same after a journey.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from edgewise.errors import InputError, TooLargeError
from edgewise.link.base import SECTIONS

Document: TypeAlias = Mapping[str, Any]

MAX_DOCUMENT_BYTES = 256 * 1024
"""Of one document as JSON: several go into one answer."""

NOTHING = "{}"
"""The document that wants nothing: what the node's own file says counts."""


class Desired(msgspec.Struct, frozen=True):
    """What one node is to have.

    Attributes:
        node: Its name.
        by: The node whose document it is: this one, or one above it.
        revision: Counts the documents of ``by``.
        document: JSON, in one form (``write``).
    """

    node: str
    by: str = ""
    revision: int = 0
    document: str = NOTHING

    @property
    def digest(self) -> str:
        """By which a document is known again, whoever counted it."""
        return digest_of(self.document)

    @property
    def sections(self) -> dict[str, Any]:
        """The document as plain values."""
        return read(self.document)


def write(document: Document) -> str:
    """A document as JSON in the one form that digests are made of.

    Raises:
        InputError: A section is none that a parent may set, or a value is none of JSON's.
        TooLargeError: It is larger than ``MAX_DOCUMENT_BYTES``.
    """
    if unknown := sorted(str(section) for section in document if section not in SECTIONS):
        raise InputError(
            f"A parent sets nothing under {unknown[0][:64]!r}", hint=f"It sets {', '.join(SECTIONS)}.", field=unknown[0]
        )
    try:
        content = msgspec.json.encode(dict(document), order="sorted")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"The document cannot be sent: {error}", hint="Use text, numbers, lists and keys.") from error
    if len(content) > MAX_DOCUMENT_BYTES:
        raise TooLargeError("The document is too large", limit=MAX_DOCUMENT_BYTES, actual=len(content))
    return content.decode()


def read(document: str) -> dict[str, Any]:
    """A document that ``write`` wrote."""
    return msgspec.json.decode(document, type=dict[str, Any])


def digest_of(document: str) -> str:
    """SHA-256 of a document as ``write`` writes it, hex."""
    return hashlib.sha256(document.encode()).hexdigest()


def merge(layers: Iterable[Document]) -> dict[str, Any]:
    """Documents laid over one another: of each section the last one that has it counts, whole.

    A section is a statement of all that is to be there. Were two of them mixed, nobody could say with one document that
    something is to go.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= layer
    return merged


def label_name(key: str, value: str) -> str:
    """A label as documents are kept under it, and as people write it."""
    return f"{key}={value}"


def layers(name: str, labels: Mapping[str, str], *, nodes: Mapping[str, str], groups: Mapping[str, str]) -> str:
    """This node's own document for one below it: those of its labels in their order, then its own.

    Args:
        name: Of the node.
        labels: What was noted about it.
        nodes: Documents by node.
        groups: Documents by label.
    """
    found = [groups[label] for label in sorted(label_name(*each) for each in labels.items()) if label in groups]
    if name in nodes:
        found.append(nodes[name])
    return write(merge(map(read, found)))
