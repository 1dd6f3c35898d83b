"""Telling events apart, and remembering when those that are alike came: for throttling and debouncing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from edgewise.pipeline.base import Event, Observation

MAX_KEYS = 4096
"""Sorts of events that are remembered apart; those past it are taken for one sort."""

Kinds: TypeAlias = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=128)], ...], Meta(max_length=64)]
Fields: TypeAlias = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(max_length=8)]
Key: TypeAlias = tuple[str, ...]


def concerns(kinds: Kinds, event: Event) -> bool:
    """Whether an event is of one of these kinds (``line`` stands for ``line.crossed`` too); all are when empty."""
    return not kinds or any(event.kind == kind or event.kind.startswith(f"{kind}.") for kind in kinds)


def key_of(event: Event, fields: Fields) -> Key:
    """What events that are alike have in common: kind, source, and these fields of the body."""
    return (event.kind, event.source, *(repr(event.body.get(field)) for field in fields))


class Sieve:
    """Leaves out events of an observation, and counts them.

    Args:
        passes: Whether an event stays.
    """

    def __init__(self, passes: Callable[[Event], bool]) -> None:
        self._passes = passes
        self._counts = {"passed": 0, "dropped": 0}

    def sift(self, observation: Observation) -> Observation:
        """The observation with only the events that stay."""
        if not observation.events:
            return observation
        kept = tuple(event for event in observation.events if self._passes(event))
        self._counts["passed"] += len(kept)
        self._counts["dropped"] += len(observation.events) - len(kept)
        return msgspec.structs.replace(observation, events=kept)

    def counts(self) -> Mapping[str, int]:
        """Events that ``passed`` and that were ``dropped``."""
        return dict(self._counts)


class Times:
    """When events came, by sort. What is older than ``keep_s`` is forgotten.

    A clock that was set back makes everything remembered as old as now, so nothing is held back for longer than
    ``keep_s``.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_ns = int(keep_s * 1e9)
        self._times: dict[Key, list[int]] = {}

    def recent(self, key: Key, *, time_ns: int) -> list[int]:
        """Times of this sort of event less than ``keep_s`` ago, oldest first; the caller adds to the list."""
        if key not in self._times and len(self._times) >= MAX_KEYS:
            self._forget(time_ns)
        if key not in self._times and len(self._times) >= MAX_KEYS:
            key = ()
        times = [min(each, time_ns) for each in self._times.get(key, ())]
        self._times[key] = [each for each in times if time_ns - each < self._keep_ns]
        return self._times[key]

    def _forget(self, time_ns: int) -> None:
        self._times = {
            key: times for key, times in self._times.items() if times and time_ns - times[-1] < self._keep_ns
        }
