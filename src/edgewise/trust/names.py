"""What nodes are called in everything that is signed: the same words as in the settings file."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from msgspec import Meta

from edgewise.errors import InputError

_PATTERN = r"^[a-z0-9]+(?:[-_][a-z0-9]+)*\Z"
_MAX_NAME = 64

NodeName: TypeAlias = Annotated[str, Meta(pattern=_PATTERN, max_length=_MAX_NAME)]
KeyName: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""The hex form of an Ed25519 public key."""
Digest: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""A SHA-256, hex."""


def check_name(name: str) -> str:
    """The name itself.

    Raises:
        InputError: No node can be called so.
    """
    if len(name) > _MAX_NAME or not re.match(_PATTERN, name):
        raise InputError(
            f"{name[:_MAX_NAME]!r} is no name of a node",
            hint="Up to 64 lower-case letters and digits, with single - or _ between them.",
            name=name[:_MAX_NAME],
        )
    return name
