"""Results drawn on pictures: boxes, landmarks, names and labels, in any script.

Text uses the fonts built into OpenCV 5, which cover Latin, Greek, Cyrillic, Chinese, Japanese and Korean. Line width
and text size follow the size of the picture; each label keeps one colour of a palette that colour-blind people can tell
apart (Okabe and Ito 2008). Text stands on a filled chip, black or white, whichever has more contrast.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgewise.types import Detection, Image, Label

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
MAX_TEXT = 80
"""Characters of a name or label that are drawn."""


def draw_detections(image: Image, detections: Sequence[Detection]) -> Image:
    """A copy of the picture with boxes, landmarks, and label or name of each object; the best ones on top."""
    canvas = image.copy()
    for detection in reversed(detections):
        _draw_box(canvas, detection)
    for detection in reversed(detections):
        _draw_chip(canvas, _caption(detection), (detection.box.x1, detection.box.y1), _colour(detection))
    return canvas


def draw_labels(image: Image, labels: Sequence[Label]) -> Image:
    """A copy of the picture with labels and scores in its top left corner, best first."""
    canvas = image.copy()
    size = _text_size(canvas)
    top = float(size * 2)
    for label in labels:
        if top > canvas.shape[0]:
            break
        _draw_chip(canvas, f"{label.name[:MAX_TEXT]} {label.score:.0%}", (size * 0.5, top), _palette(label.name))
        top += size * 1.7
    return canvas


def _draw_box(canvas: Image, detection: Detection) -> None:
    import cv2

    box, colour = detection.box, _colour(detection)
    width = max(2, round(min(canvas.shape[:2]) / 240))
    corners = (round(box.x1), round(box.y1)), (round(box.x2) - 1, round(box.y2) - 1)
    cv2.rectangle(canvas, *corners, _contrast(colour), width + 2, cv2.LINE_AA)
    cv2.rectangle(canvas, *corners, colour, width, cv2.LINE_AA)
    for x, y in detection.landmarks:
        cv2.circle(canvas, (round(x), round(y)), width + 1, _contrast(colour), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(canvas, (round(x), round(y)), width, colour, cv2.FILLED, cv2.LINE_AA)


def _draw_chip(canvas: Image, text: str, corner: tuple[float, float], colour: Colour) -> None:
    """Text on a filled rectangle that stands on ``corner``, moved to lie inside the picture as far as it can."""
    import cv2

    height, width = canvas.shape[:2]
    size = _text_size(canvas)
    pad = max(2, size // 4)
    font = cv2.FontFace("sans")
    _, _, text_width, _ = cv2.getTextSize((1 << 14, 1 << 14), text, (0, 0), font, size, 600)
    chip_width, chip_height = text_width + 2 * pad, size + 2 * pad
    left = max(0, min(round(corner[0]), width - chip_width))
    top = max(0, min(round(corner[1]) - chip_height, height - chip_height))
    cv2.rectangle(canvas, (left, top), (left + chip_width - 1, top + chip_height - 1), colour, cv2.FILLED)
    baseline = (left + pad, top + pad + round(size * 0.8))
    cv2.putText(canvas, text, baseline, _contrast(colour), font, size, 600)


def _caption(detection: Detection) -> str:
    name, score = detection.label, detection.score
    if detection.name:
        name, score = detection.name, detection.similarity
    return f"{name[:MAX_TEXT]} {score:.0%}"


def _text_size(canvas: Image) -> int:
    shorter: int = min(canvas.shape[:2])
    return max(12, min(64, round(shorter / 28)))


def _colour(detection: Detection) -> Colour:
    return _palette(detection.name or detection.label)


def _palette(name: str) -> Colour:
    return PALETTE[zlib.crc32(name.encode()) % len(PALETTE)]


def _contrast(colour: Colour) -> Colour:
    """Black or white, by the luma of Rec. 601."""
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if luma > 140 else (255, 255, 255)
