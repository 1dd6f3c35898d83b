"""Classification of pictures and series: one score per class, best first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta

from edgewise.models.tasks.base import Context, Head, TaskOptions, class_name, classes_of, float_rows
from edgewise.types import Classification, Label, Result

if TYPE_CHECKING:
    from edgewise.types import Array


class ClassificationOptions(TaskOptions, frozen=True, kw_only=True):
    """Options.

    Attributes:
        labels: File with one class name a line; without one, classes are named by their number.
        output: The output with the scores; may be left out when there is only one.
        activation: What makes the output probabilities: ``softmax`` (one class is right), ``sigmoid`` (each on its
            own), or ``none`` when the model did that itself.
        top: At most so many labels are given.
        threshold: Labels below this score are left out.
    """

    labels: str = ""
    output: str = ""
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    top: Annotated[int, Meta(ge=1, le=10_000)] = 5
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.0


class ClassificationDecoder:
    """See the module."""

    Options: ClassVar[type[ClassificationOptions]] = ClassificationOptions
    TUNABLE: ClassVar[tuple[str, ...]] = ("top", "threshold")

    def __init__(self, options: ClassificationOptions, head: Head) -> None:
        self._options = options
        output = head.output(options.output)
        self._output = output.name
        self._labels = head.labels(options.labels, classes=classes_of(output)) if options.labels else ()

    def decode(self, outputs: Mapping[str, Array], context: Context) -> list[Result]:
        """See ``Decoder.decode``."""
        logits = float_rows(outputs[self._output], len(context.items))
        return [self._best(scores) for scores in activate(logits, self._options.activation)]

    def _best(self, scores: Array) -> Classification:
        found = best(scores, self._options.top)
        return Classification(
            tuple(
                Label(class_name(self._labels, index), score, index)
                for index, score in zip(found.tolist(), scores[found].tolist(), strict=True)
                if score >= self._options.threshold
            )
        )


def best(scores: Array, count: int) -> Array:
    """Indices of the ``count`` highest scores, highest first, of equal ones the first; without sorting the rest."""
    import numpy as np

    candidates = np.arange(len(scores))
    if count < len(scores):
        bound = np.partition(scores, -count)[-count]
        candidates = np.flatnonzero(scores >= bound)
    order: Array = candidates[(-scores[candidates]).argsort(kind="stable")][:count]
    return order


def activate(values: Array, activation: str) -> Array:
    """Softmax over the last axis, or a sigmoid of each value, in float64 and without overflow."""
    import numpy as np

    if activation == "none":
        return values
    wide = values.astype(np.float64)
    if activation == "sigmoid":
        return sigmoid(wide)
    exponentials = np.exp(wide - wide.max(axis=-1, keepdims=True))
    probabilities: Array = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(values: Array) -> Array:
    """``1 / (1 + exp(-x))``, written so that it cannot overflow."""
    import numpy as np

    probabilities: Array = 0.5 * (1.0 + np.tanh(0.5 * values))
    return probabilities
