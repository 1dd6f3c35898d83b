"""Spoken words: one score per word, all of them given, with the author's advice on when a word counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta

from edgewise.models.tasks.base import Context, Head, TaskOptions
from edgewise.models.tasks.classification import ClassificationDecoder, ClassificationOptions
from edgewise.types import Result

if TYPE_CHECKING:
    from edgewise.types import Array


class WordsOptions(TaskOptions, frozen=True, kw_only=True):
    """Options.

    Attributes:
        labels: File with one word a line; what begins with ``_`` (silence, other words) is no command.
        output: The output with the scores; may be left out when there is only one.
        activation: What makes the output probabilities, see the task ``classification``.
        threshold: From this mean score on a word counts as said.
        mean_of: Windows of a stream whose scores are averaged before they are compared with it.
    """

    labels: str
    output: str = ""
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.8
    mean_of: Annotated[int, Meta(ge=1, le=100)] = 3


class WordsDecoder:
    """See the module."""

    Options: ClassVar[type[WordsOptions]] = WordsOptions
    TUNABLE: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: WordsOptions, head: Head) -> None:
        classification = ClassificationOptions(
            kind=options.kind,
            labels=options.labels,
            output=options.output,
            activation=options.activation,
            top=10_000,
        )
        self._decoder = ClassificationDecoder(classification, head)

    def decode(self, outputs: Mapping[str, Array], context: Context) -> list[Result]:
        """See ``Decoder.decode``."""
        return self._decoder.decode(outputs, context)
