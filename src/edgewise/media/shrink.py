"""Smaller copies of pictures, for showing."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from edgewise.types import Image


def shrink(image: Image, width: int) -> Image:
    """The picture at most ``width`` pixels wide, each pixel the mean of those it stands for; itself if not wider."""
    import cv2

    if image.shape[1] <= width:
        return image
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return cast("Image", cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
