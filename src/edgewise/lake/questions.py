"""What a node and the process that runs a query say to each other."""

from __future__ import annotations

from typing import Any

import msgspec

from edgewise.lake.base import Format, LakeSettings, Limits, Result

OUT_OF_TIME = 75
"""Exit code of a process that ended itself because its query did not stop."""
OVERHEAD_BYTES = 1024 * 1024
"""What an answer may hold besides its rows."""


class Question(msgspec.Struct, frozen=True):
    """A query; with ``format`` it is written to the open file ``descriptor``, and its rows are counted."""

    settings: LakeSettings
    sql: str
    limits: Limits
    format: Format | None = None
    descriptor: int = -1


class Refusal(msgspec.Struct, frozen=True):
    """An error of the tree, by its class's name."""

    error: str
    message: str
    hint: str
    facts: dict[str, Any]


class Answer(msgspec.Struct, frozen=True):
    """One of the two."""

    result: Result | None = None
    refusal: Refusal | None = None
