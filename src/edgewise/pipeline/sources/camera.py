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
from edgewise.pipeline.base import Frame, Gives


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
    """Reads a camera. Keeps the ``Source`` seam. A camera that gives nothing for long holds ``frames`` up for as long
    as Video4Linux waits, ten seconds.
    """

    gives = Gives.FRAME
    Settings = CameraSettings

    def __init__(self, name: str, settings: CameraSettings, *, clock: Clock) -> None:
        self.name = name
        self.live = True
        self.dropped = 0
        self.unreadable = 0
        self._settings = settings
        self._clock = clock
        self._number = 0
        self._closed = threading.Event()

    def read(self) -> Iterator[Frame]:
        """Yields what the camera sees; see ``Source``."""
        import cv2

        capture = self._open()
        try:
            while not self._closed.is_set():
                taken, picture = capture.read()
                if not taken:
                    raise UnavailableError(
                        f"Camera {self._settings.device} gives no more pictures",
                        hint="Check its cable.",
                        device=self._settings.device,
                    )
                self._number += 1
                image: Any = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
                yield Frame(self.name, self._number, self._clock.time_ns(), image)
        finally:
            capture.release()

    def close(self) -> None:
        """Ends ``frames`` with the next picture."""
        self._closed.set()

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
