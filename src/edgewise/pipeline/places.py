"""Places in a picture: points, lines and zones, in shares of its width and height, so that they hold at any resolution.

All of it is pure. A place is where something stands: the middle of a box's lower edge, where feet and wheels are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from edgewise.pipeline.base import Frame
    from edgewise.types import Box

Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Point: TypeAlias = tuple[Share, Share]
"""``[x, y]`` in shares of width and height, 0..1, from the top left corner."""
Polygon: TypeAlias = Annotated[tuple[Point, ...], Meta(min_length=3, max_length=64)]
"""A zone: its corners in order, joined by straight edges, the last one to the first."""


class Line(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """From one point to another, written ``[[x, y], [x, y]]``. Crossing it *forward* is passing from its left-hand to
    its right-hand side, as somebody sees them who walks from the first point to the second.
    """

    start: Point
    end: Point

    def __post_init__(self) -> None:
        if self.start == self.end:
            raise ValueError("a line needs two different points")


def foot(box: Box, frame: Frame) -> tuple[float, float]:
    """Where the object in a box stands: the middle of the lower edge, in shares of the picture."""
    return (box.x1 + box.x2) / 2 / frame.width, box.y2 / frame.height


def inside(polygon: Sequence[tuple[float, float]], point: tuple[float, float]) -> bool:
    """Whether a point lies in a polygon (even-odd rule: what it encloses twice is outside)."""
    x, y = point
    within = False
    for (x1, y1), (x2, y2) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            within = not within
    return within


def side(line: Line, point: tuple[float, float]) -> float:
    """How far a point lies from the (endless) line, in shares of the picture: above 0 on its right-hand side."""
    (x1, y1), (x2, y2) = line.start, line.end
    length = math.hypot(x2 - x1, y2 - y1)
    return ((x2 - x1) * (point[1] - y1) - (y2 - y1) * (point[0] - x1)) / length


def crosses(line: Line, before: tuple[float, float], after: tuple[float, float]) -> int:
    """Whether the way from one point to another leads over the line between its ends.

    Returns:
        1 forward, -1 backward, 0 when it does not. The way back gives the opposite, to the last bit.
    """
    if (side(line, before) > 0) == (side(line, after) > 0):
        return 0
    if side(line, before) > 0:
        return -crosses(line, after, before)
    share = side(line, before) / (side(line, before) - side(line, after))
    meets = tuple(a + share * (b - a) for a, b in zip(before, after, strict=True))
    (x1, y1), (x2, y2) = line.start, line.end
    along = (meets[0] - x1) * (x2 - x1) + (meets[1] - y1) * (y2 - y1)
    return int(0 <= along <= (x2 - x1) ** 2 + (y2 - y1) ** 2)
