"""What all detectors share: choosing among candidates, and taking them back to the original picture.

A detector's own file turns its head's tensors into ``Candidates`` in tensor pixels; everything after that is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from edgewise.models.tasks.base import TaskOptions, class_name
from edgewise.types import Box, Detection, Detections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgewise.models.geometry import Geometry
    from edgewise.types import Array

MAX_CANDIDATES = 1000
"""Best candidates that enter the suppression, whose cost grows with their square."""


class DetectionOptions(TaskOptions, frozen=True, kw_only=True):
    """Options of every detector.

    Attributes:
        labels: File with one class name a line; without one, classes are named by their number.
        threshold: Candidates below this score are left out.
        iou: Of two candidates of one class that overlap by more than this (intersection over union), the better stays.
        limit: At most so many objects are given.
    """

    labels: str = ""
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    iou: Annotated[float, Meta(ge=0, le=1)] = 0.45
    limit: Annotated[int, Meta(ge=1, le=MAX_CANDIDATES)] = 100


TUNABLE = ("threshold", "iou", "limit")


@dataclass(frozen=True)
class Candidates:
    """Possible objects in one picture, before suppression.

    Attributes:
        boxes: ``[n, 4]``: x1, y1, x2, y2 in pixels of the tensor.
        scores: ``[n]``.
        classes: ``[n]``, integers.
        landmarks: ``[n, points, 2]`` in pixels of the tensor, or None.
    """

    boxes: Array
    scores: Array
    classes: Array
    landmarks: Array | None = None


def best_class(boxes: Array, scores: Array, threshold: float) -> Candidates:
    """Candidates from scores per class ``[n, classes]``: each box counts for its best class."""
    import numpy as np

    classes = scores.argmax(axis=1)
    best = np.take_along_axis(scores, classes[:, None], axis=1)[:, 0]
    keep = best >= threshold
    return Candidates(boxes[keep], best[keep], classes[keep])


def select(candidates: Candidates, options: DetectionOptions, geometry: Geometry, labels: Sequence[str]) -> Detections:
    """Suppresses overlaps and gives what is left in pixels of the original picture, best first.

    Args:
        candidates: In tensor pixels.
        options: Threshold, overlap and limit.
        geometry: The way back to the picture.
        labels: Class names; when empty, classes are named by their number.
    """
    kept = suppress(candidates, options)
    boxes = geometry.boxes(candidates.boxes[kept]).tolist()
    scores = candidates.scores[kept].tolist()
    classes = candidates.classes[kept].tolist()
    points = None if candidates.landmarks is None else geometry.points(candidates.landmarks[kept]).tolist()
    return Detections(
        tuple(
            Detection(
                Box(*box),
                class_name(labels, number),
                score,
                () if points is None else tuple((x, y) for x, y in points[index]),
            )
            for index, (box, score, number) in enumerate(zip(boxes, scores, classes, strict=True))
            if box[2] > box[0] and box[3] > box[1]
        ),
        geometry.width,
        geometry.height,
    )


def suppress(candidates: Candidates, options: DetectionOptions) -> Array:
    """Non-maximum suppression per class: indices of the candidates that stay, best first.

    Equal scores keep the order of the candidates, so the outcome does not depend on the machine.
    """
    import numpy as np

    above = np.flatnonzero(candidates.scores >= options.threshold)
    order = above[np.argsort(-candidates.scores[above], kind="stable")][:MAX_CANDIDATES]
    clash = (overlaps(candidates.boxes[order]) > options.iou) & (
        candidates.classes[order][:, None] == candidates.classes[order][None, :]
    )
    alive = np.ones(len(order), bool)
    kept: list[int] = []
    for rank in range(len(order)):
        if alive[rank]:
            kept.append(rank)
            alive &= ~clash[rank]
            if len(kept) == options.limit:
                break
    chosen: Array = order[np.array(kept, int)]
    return chosen


def overlaps(boxes: Array) -> Array:
    """Intersection over union of every pair, ``[n, n]``; empty boxes overlap nothing."""
    import numpy as np

    x1, y1, x2, y2 = boxes.astype(np.float64).reshape(-1, 4).T
    width = np.minimum(x2[:, None], x2[None, :]) - np.maximum(x1[:, None], x1[None, :])
    height = np.minimum(y2[:, None], y2[None, :]) - np.maximum(y1[:, None], y1[None, :])
    shared = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    area = np.maximum(x2 - x1, 0.0) * np.maximum(y2 - y1, 0.0)
    union = area[:, None] + area[None, :] - shared
    result: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return result


def from_centre(boxes: Array) -> Array:
    """Centre x, centre y, width, height as x1, y1, x2, y2."""
    import numpy as np

    half = boxes[..., 2:] / 2
    return np.concatenate((boxes[..., :2] - half, boxes[..., :2] + half), axis=-1)


def exp_size(logarithms: Array) -> Array:
    """``exp`` of predicted sizes; those past any picture stay finite."""
    import numpy as np

    sizes: Array = np.exp(np.minimum(logarithms, 16.0))
    return sizes


def grid(height: int, width: int, stride: int) -> Array:
    """Column and row of each cell of a feature map of a ``height`` x ``width`` tensor, row by row: ``[n, 2]``."""
    import numpy as np

    rows, columns = np.mgrid[0 : -(-height // stride), 0 : -(-width // stride)]
    return np.stack((columns.ravel(), rows.ravel()), axis=-1).astype(np.float32)
