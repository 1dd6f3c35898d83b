"""Blanking parts of pictures: what lies inside the polygons is black from here on, and what was there is nowhere.

Whoever takes in pictures of a source (the pipeline, what records its clips) blanks them before anything else is done.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from edgewise.media.picture import Picture

if TYPE_CHECKING:
    from edgewise.types import Array, Image

    Pixels = TypeVar("Pixels", bound=Array)

Polygon = Sequence[tuple[float, float]]
_SHIFT = 4  # corners are given to OpenCV in sixteenths of a pixel


class Mask:
    """Polygons that are blanked. Safe for threads.

    Args:
        polygons: Corners ``(x, y)`` in shares of width and height, 0..1, origin top left, so that a mask holds at any
            resolution. A pixel that an edge touches is blanked too.
    """

    def __init__(self, polygons: Sequence[Polygon]) -> None:
        self._polygons = tuple(tuple(polygon) for polygon in polygons)
        self._corners = functools.lru_cache(maxsize=4)(self._corners_at)

    def __bool__(self) -> bool:
        return bool(self._polygons)

    def blank(self, pixels: Image) -> Image:
        """A copy of the picture (RGB, or one channel) with the masked parts black."""
        blanked = pixels.copy()
        self._paint(blanked)
        return blanked

    def cover(self, picture: Image | Picture) -> Image | Picture:
        """The picture, blanked; one that is not converted yet stays so, and is blanked when it is."""
        return _Masked(picture, self) if isinstance(picture, Picture) else self.blank(picture)

    def _paint(self, pixels: Array) -> None:
        import cv2

        height, width = pixels.shape[:2]
        for corners in self._corners(width, height):
            cv2.fillPoly(pixels, [corners], [0, 0, 0], shift=_SHIFT)
            cv2.polylines(pixels, [corners], True, [0, 0, 0], thickness=2, shift=_SHIFT)

    def _corners_at(self, width: int, height: int) -> list[Array]:
        import numpy as np

        # OpenCV's coordinates are those of pixel centres, ours those of edges: half a pixel apart.
        scaled = [np.array(polygon) * (width, height) - 0.5 for polygon in self._polygons]
        return [np.round(corners * (1 << _SHIFT)).astype(np.int32) for corners in scaled]


class _Masked(Picture):
    def __init__(self, picture: Picture, mask: Mask) -> None:
        super().__init__(picture.width, picture.height)
        self._picture = picture
        self._mask = mask

    def _make_image(self) -> Image:
        return self._mask.blank(self._picture.image)

    def _make_luma(self) -> Array:
        return self._mask.blank(self._picture.luma)
