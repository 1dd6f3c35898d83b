"""NanoDet (RangiLyu 2020, Apache-2.0): class scores and box edges as distributions, after Generalized Focal Loss.

Per stride one output of class scores ``[b, n, classes]`` and one of distances ``[b, n, 4 * bins]``: for left, top,
right and bottom a distribution over 0..bins-1, whose mean times the stride is the distance of that edge from the
centre of the cell (Li et al. 2020, arXiv:2006.04388).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta

from edgewise.models.tasks.base import Context, Head, fault
from edgewise.models.tasks.classification import activate
from edgewise.models.tasks.detection import TUNABLE, Candidates, DetectionOptions, best_class, grid, select
from edgewise.types import Result

if TYPE_CHECKING:
    from edgewise.types import Array

Names = Annotated[tuple[str, ...], Meta(min_length=1, max_length=16)]


class NanodetOptions(DetectionOptions, frozen=True, kw_only=True):
    """Options.

    Attributes:
        scores: Outputs with class scores, one per stride.
        distances: Outputs with distances, one per stride.
        strides: Of the feature maps, in the order of the outputs.
        activation: What makes the scores probabilities; ``none`` when the model did.
        bins: Values of one distribution.
        offset: Where the centre lies in a cell: 0.5 for NanoDet, 0 for NanoDet-Plus.
    """

    scores: Names
    distances: Names
    strides: tuple[Annotated[int, Meta(ge=1, le=256)], ...] = (8, 16, 32)
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.4
    iou: Annotated[float, Meta(ge=0, le=1)] = 0.5
    activation: Literal["sigmoid", "none"] = "none"
    bins: Annotated[int, Meta(ge=2, le=256)] = 11
    offset: Annotated[float, Meta(ge=0, le=1)] = 0.5


class NanodetDecoder:
    """See the module."""

    Options: ClassVar[type[NanodetOptions]] = NanodetOptions
    TUNABLE: ClassVar[tuple[str, ...]] = TUNABLE

    def __init__(self, options: NanodetOptions, head: Head) -> None:
        if not len(options.scores) == len(options.distances) == len(options.strides):
            raise fault("task", "scores, distances and strides must be equally many")
        self._options = options
        height, width = head.picture_size()
        self._heads = list(zip(options.scores, options.distances, options.strides, strict=True))
        self._grids = [grid(height, width, stride) for stride in options.strides]
        classes = {head.columns(name) for name in options.scores}
        self._labels = head.labels(options.labels, classes=max(classes)) if options.labels else ()
        self._classes = max(classes)
        for (scores, distances, _), cells in zip(self._heads, self._grids, strict=True):
            head.rows(scores, rows=len(cells), columns=self._classes)
            head.rows(distances, rows=len(cells), columns=4 * options.bins)

    def decode(self, outputs: Mapping[str, Array], context: Context) -> list[Result]:
        """See ``Decoder.decode``."""
        return [
            select(self._candidates(outputs, item), self._options, context.geometry(item), self._labels)
            for item in range(len(context.items))
        ]

    def _candidates(self, outputs: Mapping[str, Array], item: int) -> Candidates:
        import numpy as np

        parts = [
            self._of_stride(outputs[scores][item], outputs[distances][item], cells, stride)
            for (scores, distances, stride), cells in zip(self._heads, self._grids, strict=True)
        ]
        return Candidates(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.classes for part in parts]),
        )

    def _of_stride(self, scores: Array, distances: Array, cells: Array, stride: int) -> Candidates:
        import numpy as np

        scores = activate(scores.reshape(len(cells), -1), self._options.activation)
        # Distributions are turned into boxes only for cells that can count: a few of thousands.
        keep = np.flatnonzero(scores.max(axis=1) >= self._options.threshold)
        bins = self._options.bins
        spread = activate(distances.reshape(len(cells), 4, bins)[keep], "softmax")
        edges = spread @ np.arange(bins) * stride
        centres = (cells[keep] + self._options.offset) * stride
        boxes = np.concatenate((centres - edges[:, :2], centres + edges[:, 2:]), axis=1)
        return best_class(boxes, scores[keep], self._options.threshold)
