"""A picture that is turned into RGB when somebody looks at it.

Decoders give luma and chroma. Of most frames of a quiet camera only the luma is needed (nothing moved), so the
conversion waits until it is asked for, and is done once.
"""

from __future__ import annotations

import abc
import threading
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from edgewise.types import Array, Image


class Picture(abc.ABC):
    """One picture, upright. Safe for threads.

    Args:
        width: Pixels.
        height: Pixels.

    Attributes:
        jpeg: The very picture as its source sent it, where that was JPEG; empty otherwise.
    """

    jpeg: bytes = b""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._lock = threading.Lock()
        self._image: Image | None = None
        self._luma: Array | None = None

    @property
    def image(self) -> Image:
        """``uint8`` ``[height, width, 3]`` RGB. Nobody writes into it."""
        with self._lock:
            if self._image is None:
                self._image = self._make_image()
            return self._image

    @property
    def luma(self) -> Array:
        """Brightness, ``uint8`` ``[height, width]``: as it was coded where the decoder gives it (video mostly uses
        16..235), else computed by Rec. 601. Nobody writes into it.
        """
        with self._lock:
            if self._luma is None:
                self._luma = self._make_luma()
            return self._luma

    @abc.abstractmethod
    def _make_image(self) -> Image:
        """Called once, under the lock."""

    @abc.abstractmethod
    def _make_luma(self) -> Array:
        """Called once, under the lock."""


def luma_of(image: Image) -> Array:
    """Brightness of an RGB picture by Rec. 601, ``uint8`` ``[height, width]``."""
    import cv2

    return cast("Array", cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
