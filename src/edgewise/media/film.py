"""Making a video: encoding frames, and moving a still photograph as if somebody walked up to the camera."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgewise.errors import MissingExtraError

if TYPE_CHECKING:
    from edgewise.types import Image

BACKGROUND = (38, 42, 48)


def write_video(
    path: Path, frames: Iterable[Image], *, fps: int = 10, codec: str = "mpeg4", keyframe_every: int = 12
) -> None:
    """Writes pictures of one size as a video; the file's ending chooses the container.

    Args:
        path: The file to write.
        frames: RGB pictures with even width and height.
        fps: Frames per second.
        codec: An encoder of FFmpeg.
        keyframe_every: Frames from one key frame to the next, at most.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise MissingExtraError("Writing a video needs PyAV", hint="pip install 'edgewise[video]'")
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(fps))
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = keyframe_every
        for image in frames:
            if not stream.codec_context.is_open:
                stream.height, stream.width = image.shape[:2]
                stream.bit_rate = 8 * image.shape[0] * image.shape[1]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def approach(
    photo: Image, *, frames: int, width: int = 640, height: int = 480, start: float = 0.45, end: float = 0.95
) -> Iterator[Image]:
    """A photograph that comes nearer and sways a little.

    Args:
        photo: RGB picture.
        frames: How many pictures.
        width: Of each, pixels.
        height: Of each, pixels.
        start: Height of the photograph at first, in shares of the picture's.
        end: Height of the photograph at last.
    """
    import cv2
    import numpy as np

    for index in range(frames):
        share = index / max(1, frames - 1)
        scale = height * (start + (end - start) * share) / photo.shape[0]
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=way)
        sway = 0.05 * width * math.sin(4 * math.pi * share)
        place = np.array([[1, 0, (width - small.shape[1]) / 2 + sway], [0, 1, (height - small.shape[0]) / 2]])
        yield cast("Image", cv2.warpAffine(small, place, (width, height), borderValue=BACKGROUND))


def pause(*, frames: int, width: int = 640, height: int = 480) -> Iterator[Image]:
    """Nobody there."""
    import numpy as np

    for _ in range(frames):
        yield np.full((height, width, 3), BACKGROUND, np.uint8)
