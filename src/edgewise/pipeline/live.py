"""Pictures for those who look: each is made once however many look, and none while nobody does.

Boxes are not drawn into them unless somebody asks; whoever shows them draws the boxes over them. Where the source sends
JPEG, that is what is shown: then looking costs nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from edgewise.media.picture import Picture
from edgewise.pipeline.base import Frame, Observation

T = TypeVar("T")


class LivePictures:
    """JPEGs of what one pipeline sees. Safe for threads.

    Args:
        turn: Waits for a turn to compute, and holds it.
    """

    def __init__(self, turn: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self._turn = turn
        self._making = threading.Lock()
        self._plain: tuple[int, bytes] = (0, b"")
        self._drawn: tuple[int, bytes] = (0, b"")

    def plain(self, frame: Frame) -> bytes:
        """The picture as it was taken; the source's own JPEG where there is one."""
        if isinstance(frame.picture, Picture) and frame.picture.jpeg:
            return frame.picture.jpeg
        from edgewise.media.images import encode_jpeg

        with self._making:
            if self._plain[0] != frame.number:
                with self._turn():
                    self._plain = (frame.number, encode_jpeg(frame.image))
            return self._plain[1]

    def drawn(self, observation: Observation) -> bytes:
        """The picture with boxes and names drawn into it."""
        from edgewise.media.draw import draw_detections
        from edgewise.media.images import encode_jpeg

        frame = observation.frame
        with self._making:
            if self._drawn[0] != frame.number:
                with self._turn():
                    self._drawn = (frame.number, encode_jpeg(draw_detections(frame.image, observation.objects)))
            return self._drawn[1]


class Listeners(Generic[T]):
    """Who wants to hear of each frame, or each observation. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: tuple[Callable[[T], None], ...] = ()

    @contextlib.contextmanager
    def listening(self, listener: Callable[[T], None]) -> Iterator[None]:
        """Calls ``listener`` with each while the block runs, in the pipeline's thread: it returns at
        once and does not raise.
        """
        with self._lock:
            self._listeners += (listener,)
        try:
            yield
        finally:
            with self._lock:
                left = list(self._listeners)
                left.remove(listener)
                self._listeners = tuple(left)

    def tell(self, news: T) -> None:
        """Tells all."""
        for listener in self._listeners:
            listener(news)
