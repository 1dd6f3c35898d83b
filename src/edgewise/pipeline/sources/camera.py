"""A camera on this machine, by OpenCV (Video4Linux)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


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
