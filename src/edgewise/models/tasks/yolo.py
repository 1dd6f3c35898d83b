"""YOLO-style heads: one output with a row of box, objectness (older ones) and class scores per candidate.

``v5``-style rows are ``x y w h objectness scores...``, ``v8``-style rows lack the objectness and usually come as
columns. Heads that leave the grid to the caller (YOLOX, Ge et al. 2021, arXiv:2107.08430) are decoded when ``strides``
are given: centre = (cell + xy) * stride, size = exp(wh) * stride.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta

from edgewise.models.tasks.base import Context, Head, fault
from edgewise.models.tasks.classification import activate
from edgewise.models.tasks.detection import (
    TUNABLE,
    Candidates,
    DetectionOptions,
    best_class,
    exp_size,
    from_centre,
    grid,
    select,
)
from edgewise.types import Result

if TYPE_CHECKING:
    from edgewise.types import Array


class YoloOptions(DetectionOptions, frozen=True, kw_only=True):
    """Options.

    Attributes:
        output: The output with the candidates; may be left out when there is only one.
        order: ``rows`` for ``[b, candidates, values]``, ``columns`` for ``[b, values, candidates]``.
        objectness: Whether the fifth value is an objectness, which is multiplied with the scores.
        box: ``xywh`` with the centre, or the corners ``xyxy``.
        unit: Whether boxes are in pixels of the tensor or in shares of its sides.
        activation: What makes objectness and scores probabilities; ``none`` when the model did.
        strides: Of the feature maps, for heads that leave the grid to the caller.
    """

    output: str = ""
    order: Literal["rows", "columns"] = "rows"
    objectness: bool = True
    box: Literal["xywh", "xyxy"] = "xywh"
    unit: Literal["pixels", "share"] = "pixels"
    activation: Literal["sigmoid", "none"] = "none"
    strides: tuple[Annotated[int, Meta(ge=1, le=256)], ...] = ()


class YoloDecoder:
    """See the module."""

    Options: ClassVar[type[YoloOptions]] = YoloOptions
    TUNABLE: ClassVar[tuple[str, ...]] = TUNABLE

    def __init__(self, options: YoloOptions, head: Head) -> None:
        import numpy as np

        self._options = options
        output = head.output(options.output)
        if len(output.shape) != 3:
            raise fault("task.output", f"{output.name!r} is {list(output.shape)}, expected three axes")
        self._output = output.name
        self._height, self._width = head.picture_size()
        values = output.shape[2 if options.order == "rows" else 1]
        self._first_score = 5 if options.objectness else 4
        classes = values - self._first_score if values >= 0 else -1
        if values >= 0 and classes < 1:
            raise fault("task.output", f"{values} values per candidate leave none for classes")
        self._labels = head.labels(options.labels, classes=classes) if options.labels else ()
        if options.strides and (options.box, options.unit) != ("xywh", "pixels"):
            raise fault("task.strides", "are for boxes that are 'xywh' in 'pixels'")
        grids = [grid(self._height, self._width, stride) for stride in options.strides]
        self._cells = np.concatenate(grids) if grids else None
        self._strides = np.repeat(options.strides, [len(cells) for cells in grids])[:, None] if grids else None
        rows = output.shape[1 if options.order == "rows" else 2]
        if self._cells is not None and rows not in (-1, len(self._cells)):
            raise fault("task.strides", f"make {len(self._cells)} cells, but the output has {rows} candidates")

    def decode(self, outputs: Mapping[str, Array], context: Context) -> list[Result]:
        """See ``Decoder.decode``."""
        return [
            select(self._candidates(outputs[self._output][item]), self._options, context.geometry(item), self._labels)
            for item in range(len(context.items))
        ]

    def _candidates(self, table: Array) -> Candidates:
        import numpy as np

        rows = (table if self._options.order == "rows" else table.T).astype(np.float32)
        scores = activate(rows[:, self._first_score :], self._options.activation)
        if self._options.objectness:
            scores = scores * activate(rows[:, 4:5], self._options.activation)
        return best_class(self._boxes(rows[:, :4]), scores, self._options.threshold)

    def _boxes(self, boxes: Array) -> Array:
        import numpy as np

        if self._cells is not None and self._strides is not None:
            boxes = np.concatenate((boxes[:, :2] + self._cells, exp_size(boxes[:, 2:])), axis=1) * self._strides
        if self._options.unit == "share":
            boxes = boxes * np.array((self._width, self._height, self._width, self._height), np.float32)
        return from_centre(boxes) if self._options.box == "xywh" else boxes
