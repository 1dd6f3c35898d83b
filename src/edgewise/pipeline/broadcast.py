"""One camera, encoded once for all who watch it live, and not at all while nobody does."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from edgewise.media.clips import FrameEncoder
from edgewise.media.packets import Packet
from edgewise.pipeline.base import Frame
from edgewise.pipeline.live import Listeners

MAX_HEIGHT = 720
_QUALITY = 55
# A picture that no other follows is sent again.
_REPEAT_S = 1.0

Taker: TypeAlias = Callable[[Packet], None]

logger = logging.getLogger(__name__)


class Broadcast:
    """Encodes the pictures of a camera while somebody watches: the newest one each time. Safe for threads.

    Args:
        name: Of the camera.
        frames: Tells of its pictures.
        encoder: One of FFmpeg's.
        turn: Waits for a turn to compute, and holds it.
    """

    def __init__(
        self,
        name: str,
        frames: Listeners[Frame],
        *,
        encoder: str,
        turn: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        self._name = name
        self._frames = frames
        self._encoder = encoder
        self._turn = turn
        self._changed = threading.Condition()
        self._takers: tuple[Taker, ...] = ()
        self._newest: Frame | None = None
        self._last: Frame | None = None
        self._key_wanted = False
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watching(self, taker: Taker) -> Iterator[None]:
        """Gives ``taker`` each packet while the block runs, in the encoder's thread; it returns at once."""
        with self._changed:
            self._takers += (taker,)
            self._key_wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"{self._name}-live", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                left = list(self._takers)
                left.remove(taker)
                self._takers = tuple(left)
                self._changed.notify_all()

    def ask_for_key(self) -> None:
        """Makes the next picture one with which decoding can begin."""
        with self._changed:
            self._key_wanted = True

    def _run(self) -> None:
        encoder: FrameEncoder | None = None
        with self._frames.listening(self._take):
            while (work := self._next()) is not None:
                frame, key = work
                self._last = frame
                try:
                    with self._turn():
                        if encoder is None or encoder.size != (frame.width, frame.height):
                            encoder = self._make(frame)
                        packets = encoder.encode(frame.image, time_ns=frame.time_ns, key=key)
                except Exception:
                    logger.exception("%s: a picture of the live view cannot be encoded", self._name)
                    continue
                for packet in packets:
                    for taker in self._takers:
                        taker(packet)

    def _make(self, frame: Frame) -> FrameEncoder:
        return FrameEncoder(
            frame.width, frame.height, max_height=MAX_HEIGHT, quality=_QUALITY, encoder=self._encoder, live=True
        )

    def _take(self, frame: Frame) -> None:
        with self._changed:
            self._newest = frame
            self._changed.notify_all()

    def _next(self) -> tuple[Frame, bool] | None:
        with self._changed:
            while self._takers:
                came = self._changed.wait_for(lambda: self._newest is not None or not self._takers, _REPEAT_S)
                if came and self._newest is None:
                    break
                frame, self._newest = self._newest, None
                if frame is None and self._last is not None:
                    # Whoever came since, or lost a packet, sees a camera that stands still too.
                    later_ns = self._last.time_ns + int(_REPEAT_S * 1e9)
                    frame = msgspec.structs.replace(self._last, time_ns=later_ns)
                if frame is not None:
                    key, self._key_wanted = self._key_wanted, False
                    return frame, key
            self._thread = None
            return None
