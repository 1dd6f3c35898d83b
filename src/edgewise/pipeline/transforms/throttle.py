"""At most so many events of a sort in so many seconds; the rest are dropped and counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from edgewise.pipeline.base import Event, Gives, Observation, Tools
from edgewise.pipeline.bursts import Fields, Kinds, Sieve, Times, concerns, key_of


class ThrottleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="throttle"):
    """How many are let through.

    Attributes:
        events: Kinds it concerns, such as ``line.crossed``, or ``line`` for all that begin so; all when empty.
        by: Fields of the body, such as ``zone`` or ``label``: for each of their values there is a limit of its own, as
            there is for each kind.
        most: Events let through in any ``per_s`` seconds.
        per_s: See ``most``.
    """

    events: Kinds = ()
    by: Fields = ()
    most: Annotated[int, Meta(ge=1, le=1000)] = 1
    per_s: Annotated[float, Meta(gt=0, le=86400)] = 60.0


class Throttle:
    """Drops what is too much. It counts what ``passed`` and what was ``dropped``."""

    takes = frozenset(Gives)
    Settings = ThrottleSettings
    name = "throttle"

    def __init__(self, settings: ThrottleSettings, tools: Tools | None = None) -> None:  # noqa: ARG002, it needs none
        self._settings = settings
        self._times = Times(settings.per_s)
        self._sieve = Sieve(self._passes)

    def apply(self, observation: Observation) -> Observation:
        """Passes on what is within the limit."""
        return self._sieve.sift(observation)

    def counts(self) -> Mapping[str, int]:
        """Events that ``passed`` and that were ``dropped``, of those it does not concern too."""
        return self._sieve.counts()

    def _passes(self, event: Event) -> bool:
        if not concerns(self._settings.events, event):
            return True
        times = self._times.recent(key_of(event, self._settings.by), time_ns=event.time_ns)
        if len(times) >= self._settings.most:
            return False
        times.append(event.time_ns)
        return True
