"""YuNet, a face detector with five landmarks (Wu, Peng, Yu 2023, doi:10.1007/s11633-023-1423-y), release 2023mar.

Per stride four outputs ``cls_S [b, n, 1]``, ``obj_S [b, n, 1]``, ``bbox_S [b, n, 4]`` and ``kps_S [b, n, 10]`` over a
grid of cells. With column and row of the cell: centre = (cell + offset) * stride, size = exp(bbox) * stride, landmark =
(cell + kps) * stride, score = sqrt(cls * obj); as OpenCV's ``FaceDetectorYN`` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta

from edgewise.models.tasks.base import Context, Head
from edgewise.models.tasks.detection import TUNABLE, Candidates, DetectionOptions, exp_size, from_centre, grid, select
from edgewise.types import Result

if TYPE_CHECKING:
    from edgewise.types import Array


class YunetOptions(DetectionOptions, frozen=True, kw_only=True):
    """Options.

    Attributes:
        strides: Of the feature maps; their outputs are named ``cls_8`` and so on.
    """

    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.7
    iou: Annotated[float, Meta(ge=0, le=1)] = 0.3
    strides: tuple[Annotated[int, Meta(ge=1, le=256)], ...] = (8, 16, 32)


class YunetDecoder:
    """See the module."""

    Options: ClassVar[type[YunetOptions]] = YunetOptions
    TUNABLE: ClassVar[tuple[str, ...]] = TUNABLE

    def __init__(self, options: YunetOptions, head: Head) -> None:
        self._options = options
        self._labels = head.labels(options.labels, classes=1) if options.labels else ("face",)
        height, width = head.picture_size()
        self._grids = {stride: grid(height, width, stride) for stride in options.strides}
        for stride, cells in self._grids.items():
            for name, size in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
                head.rows(f"{name}_{stride}", rows=len(cells), columns=size)

    def decode(self, outputs: Mapping[str, Array], context: Context) -> list[Result]:
        """See ``Decoder.decode``."""
        return [
            select(self._candidates(outputs, item), self._options, context.geometry(item), self._labels)
            for item in range(len(context.items))
        ]

    def _candidates(self, outputs: Mapping[str, Array], item: int) -> Candidates:
        import numpy as np

        parts = [self._of_stride(outputs, item, stride) for stride in self._options.strides]
        boxes, scores, points = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Candidates(boxes, scores, np.zeros(len(scores), int), points)

    def _of_stride(self, outputs: Mapping[str, Array], item: int, stride: int) -> tuple[Array, Array, Array]:
        import numpy as np

        def rows(name: str, columns: int) -> Array:
            table: Array = outputs[f"{name}_{stride}"][item].reshape(-1, columns).astype(np.float32)
            return table

        scores = np.sqrt(np.clip(rows("cls", 1), 0, 1) * np.clip(rows("obj", 1), 0, 1))[:, 0]
        keep = scores >= self._options.threshold
        cells, bbox = self._grids[stride][keep], rows("bbox", 4)[keep]
        centred = np.concatenate((cells + bbox[:, :2], exp_size(bbox[:, 2:])), axis=1) * stride
        points = (rows("kps", 10)[keep].reshape(-1, 5, 2) + cells[:, None]) * stride
        return from_centre(centred), scores[keep], points
