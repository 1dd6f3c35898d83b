"""Of events of a sort that follow each other closely only the first: a contact that bounces, a box that flickers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from edgewise.pipeline.base import Event, Gives, Observation, Tools
from edgewise.pipeline.bursts import Fields, Kinds, Sieve, Times, concerns, key_of


class DebounceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="debounce"):
    """What is one and the same.

    Attributes:
        events: Kinds it concerns, such as ``zone.entered``, or ``zone`` for all that begin so; all when empty.
        by: Fields of the body, such as ``zone`` or ``label``: events that differ in one are not the same, as those of
            different kinds are not.
        quiet_s: An event passes when the one before it, passed or not, is at least this long ago.
    """

    events: Kinds = ()
    by: Fields = ()
    quiet_s: Annotated[float, Meta(gt=0, le=86400)] = 5.0


class Debounce:
    """Drops repetitions. It counts what ``passed`` and what was ``dropped``."""

    takes = frozenset(Gives)
    Settings = DebounceSettings
    name = "debounce"

    def __init__(self, settings: DebounceSettings, tools: Tools | None = None) -> None:  # noqa: ARG002, it needs none
        self._settings = settings
        self._times = Times(settings.quiet_s)
        self._sieve = Sieve(self._passes)

    def apply(self, observation: Observation) -> Observation:
        """Passes on the first of each burst."""
        return self._sieve.sift(observation)

    def counts(self) -> Mapping[str, int]:
        """Events that ``passed`` and that were ``dropped``, of those it does not concern too."""
        return self._sieve.counts()

    def _passes(self, event: Event) -> bool:
        if not concerns(self._settings.events, event):
            return True
        times = self._times.recent(key_of(event, self._settings.by), time_ns=event.time_ns)
        quiet = not times
        times[:] = [event.time_ns]
        return quiet
