"""A camera on this machine, by OpenCV (Video4Linux)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.errors import UnavailableError
from edgewise.pipeline.base import Frame, Gives, WhenFull
from edgewise.pipeline.queue import BoundedQueue


class CameraSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="camera"):
    """A camera. Width, height and rate are wishes: 0 leaves the driver's choice, and it gives the nearest it can.

    Attributes:
        device: Device file.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
    """

    device: Annotated[str, Meta(pattern=r"^/dev/")] = "/dev/video0"
    width: Annotated[int, Meta(ge=0, le=16384)] = 0
    height: Annotated[int, Meta(ge=0, le=16384)] = 0
    fps: Annotated[float, Meta(ge=0, le=1000)] = 0.0


class CameraSource:
    """Watches a camera. Keeps the ``Source`` seam.

    Video4Linux may wait ten seconds for a camera that gives nothing, so a thread of its own waits with it. A picture
    that nobody has taken when the next one comes counts as dropped.
    """

    gives = Gives.FRAME
    Settings = CameraSettings

    def __init__(self, name: str, settings: CameraSettings, *, clock: Clock) -> None:
        self.name = name
        self.live = True
        self.unreadable = 0
        self._settings = settings
        self._clock = clock
        self._number = 0
        self._lock = threading.Lock()
        self._closed = False
        self._dropped = 0
        self._queue: BoundedQueue[Frame | UnavailableError] | None = None

    @property
    def dropped(self) -> int:
        """Pushed out by newer ones."""
        with self._lock:
            return self._dropped + (self._queue.dropped if self._queue else 0)

    def read(self) -> Iterator[Frame]:
        """Yields what the camera sees; see ``Source``."""
        with self._lock:
            if self._closed:
                return
            queue = self._queue = BoundedQueue(1, WhenFull.DROP_OLDEST)
        threading.Thread(target=self._watch, args=(queue,), name=f"{self.name}-camera", daemon=True).start()
        try:
            while (taken := queue.get()) is not None:
                if isinstance(taken, UnavailableError):
                    raise taken
                yield taken
        finally:
            queue.close(discard=True)
            with self._lock:
                self._dropped += queue.dropped
                self._queue = None

    def close(self) -> None:
        """Ends ``read``."""
        with self._lock:
            self._closed = True
            if self._queue is not None:
                self._queue.close(discard=True)

    def _watch(self, queue: BoundedQueue[Frame | UnavailableError]) -> None:
        import cv2

        try:
            capture = self._open()
        except UnavailableError as error:
            queue.put(error)
            return
        try:
            taken, picture = capture.read()
            while taken:
                self._number += 1
                image: Any = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
                if not queue.put(Frame(self.name, self._number, self._clock.time_ns(), image)):
                    return
                taken, picture = capture.read()
            device = self._settings.device
            queue.put(
                UnavailableError(f"Camera {device} gives no more pictures", hint="Check its cable.", device=device)
            )
        finally:
            capture.release()

    def _open(self) -> Any:
        import cv2

        device = Path(self._settings.device)
        if not device.exists():
            present = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
            raise UnavailableError(
                f"There is no camera {device}", hint=f"Cameras here: {present}. Plug it in.", device=str(device)
            )
        capture = cv2.VideoCapture(str(device), cv2.CAP_V4L2)
        if not capture.isOpened():
            raise UnavailableError(
                f"Camera {device} cannot be opened",
                hint="Is another program using it, or is this user not in the group 'video'?",
                device=str(device),
            )
        wishes = {
            cv2.CAP_PROP_FRAME_WIDTH: self._settings.width,
            cv2.CAP_PROP_FRAME_HEIGHT: self._settings.height,
            cv2.CAP_PROP_FPS: self._settings.fps,
        }
        for wish, value in wishes.items():
            if value:
                capture.set(wish, value)
        return capture
