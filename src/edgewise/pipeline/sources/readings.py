"""Readings that somebody pushes in, over HTTP for one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.errors import BusyError, ClosedError, TooLargeError
from edgewise.pipeline.base import Gives, Measured, Reading


class ReadingsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="readings"):
    """Pushed readings.

    Attributes:
        queue: Readings that wait at most to be worked on. What would not fit is refused, not dropped: who pushes keeps
            it and tries again.
    """

    queue: Annotated[int, Meta(ge=1, le=65536)] = 1024


class ReadingsSource:
    """Gives what is pushed, in its order. Keeps the ``Source`` and ``Accepting`` seams. Nothing that was accepted is
    dropped while the node runs.
    """

    gives = Gives.READING
    Settings = ReadingsSettings

    def __init__(self, name: str, settings: ReadingsSettings, *, clock: Clock) -> None:
        self.name = name
        self.live = False
        self.dropped = 0
        self.unreadable = 0
        self.capacity = settings.queue
        self._clock = clock
        self._number = 0
        self._waiting: deque[Reading] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def accept(self, measured: Sequence[Measured]) -> int:
        """Takes readings, all or none; returns the number of the last; see ``Accepting``."""
        now = self._clock.time_ns()
        with self._changed:
            if self._closed:
                raise ClosedError(f"Source {self.name!r} was closed", hint="Start the node again.")
            self._check_room(len(measured))
            for each in measured:
                self._number += 1
                time_ns = now if each.time_ns is None else each.time_ns
                self._waiting.append(Reading(self.name, self._number, time_ns, each.values))
            self._changed.notify_all()
            return self._number

    def read(self) -> Iterator[Reading]:
        """Yields what is pushed, until it is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                reading = self._waiting.popleft()
            yield reading

    def close(self) -> None:
        """Ends ``read``."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _check_room(self, count: int) -> None:
        if count > self.capacity:
            raise TooLargeError(
                f"{count} readings at once, and {self.name!r} lets {self.capacity} wait",
                hint="Send fewer at once, or raise the source's queue.",
                limit=self.capacity,
                actual=count,
            )
        if len(self._waiting) + count > self.capacity:
            raise BusyError(
                f"{len(self._waiting)} readings of {self.name!r} wait to be worked on",
                hint="Send them again a little later.",
                limit=self.capacity,
            )
