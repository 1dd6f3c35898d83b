"""Embeddings: one vector per item, brought to unit length so that a dot product is the cosine similarity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from edgewise.errors import EngineError
from edgewise.models.tasks.base import Context, Head, TaskOptions, float_rows
from edgewise.types import Embedding, Result

if TYPE_CHECKING:
    from edgewise.types import Array


class EmbeddingOptions(TaskOptions, frozen=True, kw_only=True):
    """Options.

    Attributes:
        output: The output with the vector; may be left out when there is only one.
    """

    output: str = ""


class EmbeddingDecoder:
    """See the module."""

    Options: ClassVar[type[EmbeddingOptions]] = EmbeddingOptions
    TUNABLE: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: EmbeddingOptions, head: Head) -> None:
        self._output = head.output(options.output).name

    def decode(self, outputs: Mapping[str, Array], context: Context) -> list[Result]:
        """See ``Decoder.decode``.

        Raises:
            EngineError: The model gave a vector of zeros, which has no direction.
        """
        import numpy as np

        vectors = float_rows(outputs[self._output], len(context.items)).astype(np.float64)
        lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
        if not lengths.all():
            raise EngineError("The model gave a vector of zeros", tensor=self._output)
        return [Embedding(tuple(vector)) for vector in (vectors / lengths).tolist()]
