"""Frames that somebody pushes in, over HTTP for one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.errors import ClosedError
from edgewise.pipeline.base import Frame, Gives, WhenFull
from edgewise.pipeline.queue import BoundedQueue

if TYPE_CHECKING:
    from edgewise.types import Image


class UploadSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="upload"):
    """Pushed frames.

    Attributes:
        queue: Pictures that wait at most; a newer one pushes the oldest out, which is counted.
    """

    queue: Annotated[int, Meta(ge=1, le=64)] = 4


class UploadSource:
    """Gives what is pushed. Keeps the ``Source`` and ``Pushable`` seams."""

    gives = Gives.FRAME
    Settings = UploadSettings

    def __init__(self, name: str, settings: UploadSettings, *, clock: Clock) -> None:
        self.name = name
        self.live = True
        self.unreadable = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._number = 0
        self._queue: BoundedQueue[Frame] = BoundedQueue(settings.queue, WhenFull.DROP_OLDEST)

    @property
    def dropped(self) -> int:
        """Pushed out by newer ones."""
        return self._queue.dropped

    def push(self, image: Image) -> int:
        """Takes a picture (RGB); returns its frame number."""
        with self._lock:
            number = self._number + 1
            if not self._queue.put(Frame(self.name, number, self._clock.time_ns(), image)):
                raise ClosedError(f"Source {self.name!r} was closed")
            self._number = number
        return number

    def read(self) -> Iterator[Frame]:
        """Yields what is pushed, until it is closed."""
        while (frame := self._queue.get()) is not None:
            yield frame

    def close(self) -> None:
        """Ends ``read``."""
        self._queue.close(discard=True)
