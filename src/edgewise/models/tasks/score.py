"""One score: how sure it is that one thing is there, such as speech, or a phrase that wakes a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta

from edgewise.models.tasks.base import Context, Head, TaskOptions, classes_of, fault, float_rows
from edgewise.types import Classification, Label, Result

if TYPE_CHECKING:
    from edgewise.types import Array


class ScoreOptions(TaskOptions, frozen=True, kw_only=True):
    """Options.

    Attributes:
        label: What the score is about.
        output: The output with the score; may be left out when there is only one.
        scale: The score is the output times this; for quantised outputs.
        threshold: From this score on it counts as there, as the model's author advises.
        mean_of: Scores of a stream that are averaged before they are compared with it.
    """

    label: str
    output: str = ""
    scale: Annotated[float, Meta(gt=0, le=1)] = 1.0
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    mean_of: Annotated[int, Meta(ge=1, le=100)] = 1


class ScoreDecoder:
    """See the module."""

    Options: ClassVar[type[ScoreOptions]] = ScoreOptions
    TUNABLE: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: ScoreOptions, head: Head) -> None:
        self._options = options
        output = head.output(options.output)
        if classes_of(output) not in (-1, 1):
            raise fault("outputs", f"{output.name!r} is {list(output.shape)}, the task expects one value")
        self._output = output.name

    def decode(self, outputs: Mapping[str, Array], context: Context) -> list[Result]:
        """See ``Decoder.decode``."""
        rows = float_rows(outputs[self._output], len(context.items))
        scores = rows[:, 0] * self._options.scale
        return [Classification((Label(self._options.label, float(score), 0),)) for score in scores]
