"""What a model's outputs mean: one decoder per kind of head; see ``base`` for the seam and ``catalog`` for the names.

Decoders come from ``catalog`` and from installed packages with an entry point in the group ``edgewise.tasks``; a name
in the catalogue cannot be taken over from outside.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING

from edgewise._lib.documents import nearest
from edgewise.errors import MissingExtraError, NotFoundError
from edgewise.models.tasks.catalog import CATALOG

if TYPE_CHECKING:
    from edgewise.models.tasks.base import Decoder

ENTRY_POINTS = "edgewise.tasks"


def kinds() -> tuple[str, ...]:
    """Every kind of task, the catalogue's first. Imports no decoder."""
    outside = {point.name for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    return (*CATALOG, *sorted(outside - CATALOG.keys()))


def decoder_class(kind: str) -> type[Decoder]:
    """The decoder of a kind of task.

    Raises:
        NotFoundError: There is none; the hint names the nearest.
        MissingExtraError: The package that brings it does not load.
    """
    location = CATALOG.get(kind) or _outside(kind)
    module, _, name = location.partition(":")
    try:
        decoder: type[Decoder] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MissingExtraError(f"The task {kind!r} does not load: {error}", hint=f"It is {location}.") from error
    return decoder


def _outside(kind: str) -> str:
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=kind):
        return point.value
    raise NotFoundError(f"No task is of kind {kind!r}", hint=nearest(kind, kinds()), kind="task", name=kind)
