"""Looking at an artifact before an engine does: engines trust their input more than they should."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgewise.errors import PackageError
from edgewise.types import TensorSpec


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names, datatypes and shapes of an artifact whose format has no place for them, kept inside it as JSON."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def decode_signature(artifact: Path, text: bytes | str) -> Signature:
    """The signature found in an artifact.

    Raises:
        PackageError: It is not one.
    """
    try:
        return msgspec.json.decode(text, type=Signature)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise refused(artifact, f"has a wrong signature: {error}") from error


def refused(artifact: Path, why: str) -> PackageError:
    """The error for a file that is not a valid artifact; ``why`` is a verb phrase, such as ``is empty``."""
    return PackageError(
        f"{artifact.name} {why}",
        hint="Fetch or convert the artifact again; 'edgewise model check' compares it with its sha256.",
        file=artifact.name,
    )


def read_head(artifact: Path, count: int) -> bytes:
    """The first ``count`` bytes of a regular file.

    Raises:
        PackageError: There is no such file, or it is shorter.
    """
    if not artifact.is_file():
        raise refused(artifact, "is not a file")
    with open(artifact, "rb") as file:
        head = file.read(count)
    if len(head) < count:
        raise refused(artifact, "is empty" if not head else f"has only {len(head)} bytes")
    return head
