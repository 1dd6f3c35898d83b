"""Cutting a part out of a picture and scaling it down."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from edgewise.types import Box, Image


def crop(image: Image, box: Box, *, margin: float = 0.0, side_px: int = 192) -> Image:
    """Cuts out the square around a box, as far as the picture reaches.

    Args:
        image: RGB picture.
        box: What is in the middle.
        margin: Added on each side, in shares of the box's longer side.
        side_px: The result's longer side.
    """
    import cv2

    height, width = image.shape[:2]
    side = max(box.width, box.height) * (1 + 2 * margin)
    left, top = (box.x1 + box.x2 - side) / 2, (box.y1 + box.y2 - side) / 2
    x1, y1 = min(max(0, int(left)), width - 1), min(max(0, int(top)), height - 1)
    x2, y2 = max(x1 + 1, min(width, int(left + side))), max(y1 + 1, min(height, int(top + side)))
    scale = side_px / max(x2 - x1, y2 - y1)
    size = max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cast("Image", cv2.resize(image[y1:y2, x1:x2], size, interpolation=way))
