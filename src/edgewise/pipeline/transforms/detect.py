"""Objects in the picture, by any model whose task is detection."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class DetectSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="detect"):
    """Which model, and what of its result is kept.

    Attributes:
        model: Name of a model of this node.
        labels: Classes kept; all when empty.
        min_score: Objects below are dropped.
    """

    model: str
    labels: tuple[str, ...] = ()
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.0
