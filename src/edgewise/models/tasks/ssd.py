"""SSD-style heads (Liu et al. 2016, arXiv:1512.02325), in the three forms they are exported in.

* ``priors``: boxes are offsets from prior boxes: centre = prior centre + offset * variance * prior size, size = prior
  size * exp(offset * variance). Priors come from a file or are generated per stride, as for RetinaFace.
* ``corners``: boxes are corners already, with scores per class.
* ``detections``: the model did everything (TensorFlow's post-processing): boxes, classes, scores of what was found.

Boxes are in shares of the tensor's sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta

from edgewise.errors import DecodeError
from edgewise.models.arrays import read_npy
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

Positive = Annotated[float, Meta(gt=0)]


class SsdOptions(DetectionOptions, frozen=True, kw_only=True):
    """Options.

    Attributes:
        boxes: The output with boxes ``[b, n, 4]``.
        scores: The output with scores, ``[b, n, classes]``, or ``[b, n]`` for ``detections``.
        classes: The output with class numbers ``[b, n]``; only for ``detections``.
        form: See the module.
        order: ``xy`` for x before y in boxes and offsets, ``yx`` for TensorFlow's y before x.
        priors: File ``.npy`` ``[n, 4]``: centre x, centre y, width, height in shares.
        strides: Of the feature maps, when priors are generated.
        sizes: Sides of the square priors of each stride, in pixels of the tensor.
        variances: Of centre and size.
        background: Whether class 0 is the background; it is then left out, and labels begin after it.
        activation: What makes scores probabilities; ``none`` when the model did.
    """

    boxes: str
    scores: str
    classes: str = ""
    form: Literal["priors", "corners", "detections"] = "priors"
    order: Literal["xy", "yx"] = "xy"
    priors: str = ""
    strides: tuple[Annotated[int, Meta(ge=1, le=256)], ...] = ()
    sizes: tuple[tuple[Positive, ...], ...] = ()
    variances: tuple[Positive, Positive] = (0.1, 0.2)
    background: bool = True
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"


class SsdDecoder:
    """See the module."""

    Options: ClassVar[type[SsdOptions]] = SsdOptions
    TUNABLE: ClassVar[tuple[str, ...]] = TUNABLE

    def __init__(self, options: SsdOptions, head: Head) -> None:
        self._options = options
        self._height, self._width = head.picture_size()
        boxes = head.output(options.boxes, field="task.boxes")
        if len(boxes.shape) != 3:
            raise fault("task.boxes", f"{boxes.name!r} is {list(boxes.shape)}, expected three axes")
        head.output(options.scores, field="task.scores")
        finished = options.form == "detections"
        if finished:
            head.output(options.classes, field="task.classes")
        classes = -1 if finished else head.columns(options.scores)
        self._skip = 1 if options.background and not finished else 0
        expected = classes - self._skip if classes >= 0 else -1
        self._labels = head.labels(options.labels, classes=expected) if options.labels else ()
        self._priors = self._make_priors(head) if options.form == "priors" else None
        if self._priors is not None:
            head.rows(options.boxes, rows=len(self._priors), columns=4)

    def decode(self, outputs: Mapping[str, Array], context: Context) -> list[Result]:
        """See ``Decoder.decode``."""
        return [
            select(self._candidates(outputs, item), self._options, context.geometry(item), self._labels)
            for item in range(len(context.items))
        ]

    def _candidates(self, outputs: Mapping[str, Array], item: int) -> Candidates:
        import numpy as np

        boxes = outputs[self._options.boxes][item].reshape(-1, 4).astype(np.float64)
        if self._options.order == "yx":
            boxes = boxes[:, [1, 0, 3, 2]]
        scores = outputs[self._options.scores][item]
        if self._priors is not None:
            boxes = self._from_priors(boxes)
        boxes = boxes * (self._width, self._height, self._width, self._height)
        if self._options.form == "detections":
            return self._finished(boxes, scores.ravel(), outputs[self._options.classes][item].ravel())
        scores = activate(scores.reshape(len(boxes), -1), self._options.activation)
        return best_class(boxes, scores[:, self._skip :], self._options.threshold)

    def _finished(self, boxes: Array, scores: Array, classes: Array) -> Candidates:
        import numpy as np

        numbers = classes.astype(np.int64)
        known = (numbers >= 0) & (numbers < (len(self._labels) or np.iinfo(np.int32).max))
        return Candidates(boxes[known], scores[known], numbers[known])

    def _from_priors(self, offsets: Array) -> Array:
        import numpy as np

        assert self._priors is not None  # noqa: S101 - narrows for the type checker
        centre, size = self._priors[:, :2], self._priors[:, 2:]
        of_centre, of_size = self._options.variances
        moved = centre + offsets[:, :2] * of_centre * size
        scaled = size * exp_size(offsets[:, 2:] * of_size)
        return from_centre(np.concatenate((moved, scaled), axis=1))

    def _make_priors(self, head: Head) -> Array:
        import numpy as np

        options = self._options
        if options.priors:
            return _read_priors(head, options.priors)
        if not options.strides or len(options.strides) != len(options.sizes):
            raise fault("task", "needs priors: a file in 'priors', or 'strides' with as many 'sizes'")
        sides = np.array((self._width, self._height), np.float64)
        parts = []
        for stride, sizes in zip(options.strides, options.sizes, strict=True):
            centres = (grid(self._height, self._width, stride) + 0.5) * stride / sides
            shares = np.array(sizes)[:, None] / sides
            pairs = np.broadcast_arrays(centres[:, None], shares[None])
            parts.append(np.concatenate(pairs, axis=-1).reshape(-1, 4))
        return np.concatenate(parts)


def _read_priors(head: Head, path: str) -> Array:
    import numpy as np

    try:
        priors = read_npy(head.read(path)).astype(np.float64)
    except (DecodeError, ValueError, TypeError) as error:
        raise fault("task.priors", f"{path} is no array of numbers: {error}") from error
    if priors.ndim != 2 or priors.shape[1] != 4 or not len(priors):
        raise fault("task.priors", f"{path} is {list(priors.shape)}, expected [n, 4]")
    return priors
