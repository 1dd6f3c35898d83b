"""Encoding a pipeline's pictures as they come, for the clips of those that have no video of their own to copy.

One thread, which takes its turns like all that computes, and stays within its share of the machine: pictures that do
not fit are left out, and counted.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from edgewise._lib.clock import Clock
from edgewise.media.clips import FrameEncoder
from edgewise.media.packets import Packet
from edgewise.pipeline.base import Frame
from edgewise.pipeline.recording import RecordSettings

# Pictures that wait to be encoded; newer ones push out older ones.
_WAITING = 4
# Encoding may be ahead of its share of a core by so much.
_BURST_S = 0.5

logger = logging.getLogger(__name__)


class Turns(Protocol):
    """Whose turns encoding takes (``edgewise.pipeline.scheduler.Lane``)."""

    def turn(self) -> contextlib.AbstractContextManager[None]:
        """Waits for a turn and holds it."""
        ...


class Encoding:
    """The thread. Safe for threads.

    Args:
        name: Of the pipeline.
        settings: Rate, size, quality, and the share of the machine.
        give: Takes the packets of a picture, and when it was taken.
        fail: Told what is wrong when a picture cannot be encoded.
        clock: Time.
        lane: Whose turns it takes.

    Attributes:
        skipped: Pictures that were left out, to stay within the share.
    """

    def __init__(
        self,
        name: str,
        settings: RecordSettings,
        give: Callable[[Sequence[Packet], int], None],
        fail: Callable[[Exception], None],
        *,
        clock: Clock,
        lane: Turns,
    ) -> None:
        self.skipped = 0
        self._name = name
        self._settings = settings
        self._give = give
        self._fail = fail
        self._clock = clock
        self._lane = lane
        self._frames: deque[Frame] = deque(maxlen=_WAITING)
        self._changed = threading.Condition()
        self._stopping = False
        self._encoder: FrameEncoder | None = None
        self._budget = _Budget(settings.max_cores)
        self._thread = threading.Thread(target=self._run, name=f"{name}-encoder", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; what waits is left out. May be called twice."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def put(self, frame: Frame) -> None:
        """Takes a picture, and returns at once."""
        with self._changed:
            self._frames.append(frame)
            self._changed.notify_all()

    def clear(self) -> None:
        """Forgets the pictures that wait."""
        with self._changed:
            self._frames.clear()

    def _run(self) -> None:
        last_ns = 0
        while (frame := self._next()) is not None:
            if frame.time_ns - last_ns < 0.9e9 / self._settings.max_fps:
                continue
            if not self._budget.allows(self._clock.monotonic()):
                self.skipped += 1
                continue
            last_ns = frame.time_ns
            try:
                self._give(self._encode(frame), frame.time_ns)
            except Exception as error:
                logger.exception("%s: a picture cannot be encoded", self._name)
                self._encoder = None
                self._fail(error)

    def _next(self) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._stopping)
            return None if self._stopping else self._frames.popleft()

    def _encode(self, frame: Frame) -> list[Packet]:
        with self._lane.turn():
            start = time.thread_time()
            if self._encoder is None or self._encoder.size != (frame.width, frame.height):
                settings = self._settings
                self._encoder = FrameEncoder(
                    frame.width, frame.height, max_height=settings.max_height, quality=settings.quality
                )
            packets = self._encoder.encode(frame.image, time_ns=frame.time_ns)
            self._budget.spend(time.thread_time() - start)
        return packets


class _Budget:
    """A share of a core: time comes in steadily, and work takes it out."""

    def __init__(self, cores: float) -> None:
        self._cores = cores
        self._left_s = _BURST_S
        self._last: float | None = None

    def allows(self, now: float) -> bool:
        """Whether there is time left."""
        if self._last is not None:
            self._left_s = min(_BURST_S, self._left_s + (now - self._last) * self._cores)
        self._last = now
        return self._left_s > 0

    def spend(self, seconds: float) -> None:
        """Takes time out."""
        self._left_s -= seconds
