"""Readings of the nodes below this one, as they arrive: a gateway makes less of them before it sends them on."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.pipeline.base import Gives
from edgewise.pipeline.rules import Name
from edgewise.pipeline.sources.readings import ReadingsSettings, ReadingsSource


class BelowSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="below"):
    """Readings of the nodes below.

    A channel is called ``NODE.SOURCE.CHANNEL``: many nodes are one series of readings here, told apart by that.

    Attributes:
        nodes: Which; empty takes all, also those that join later.
        queue: Readings that wait at most to be worked on. While they do, the rest stays in the journal.
    """

    nodes: tuple[Name, ...] = ()
    queue: Annotated[int, Meta(ge=1, le=65536)] = 4096


class BelowSource(ReadingsSource):
    """Gives what the node hands it from its journal."""

    gives = Gives.READING
    Settings = BelowSettings  # type: ignore[assignment]

    def __init__(self, name: str, settings: BelowSettings, *, clock: Clock) -> None:
        super().__init__(name, ReadingsSettings(queue=settings.queue), clock=clock)
        self.nodes = frozenset(settings.nodes)
