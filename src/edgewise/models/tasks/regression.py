"""Regression: named numbers, taken back to the units the model was trained in before they were normalised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgewise.models.tasks.base import Context, Head, TaskOptions, classes_of, fault, float_rows
from edgewise.types import Regression, Result

if TYPE_CHECKING:
    from edgewise.types import Array


class RegressionOptions(TaskOptions, frozen=True, kw_only=True):
    """Options.

    Attributes:
        names: Of the numbers, in the order of the output.
        units: Of those that have one, by name.
        mean: Added after multiplying by ``std``; one for all or one each.
        std: See ``mean``.
        output: The output with the numbers; may be left out when there is only one.
    """

    names: Annotated[tuple[str, ...], Meta(min_length=1, max_length=10_000)]
    units: dict[str, str] = msgspec.field(default_factory=dict)
    mean: Annotated[tuple[float, ...], Meta(min_length=1)] = (0.0,)
    std: Annotated[tuple[Annotated[float, Meta(gt=0)], ...], Meta(min_length=1)] = (1.0,)
    output: str = ""


class RegressionDecoder:
    """See the module."""

    Options: ClassVar[type[RegressionOptions]] = RegressionOptions
    TUNABLE: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: RegressionOptions, head: Head) -> None:
        self._options = options
        output = head.output(options.output)
        self._output = output.name
        count = len(options.names)
        if classes_of(output) not in (-1, count):
            raise fault("task.names", f"has {count} names, but the output has {classes_of(output)} numbers")
        for field, values in (("mean", options.mean), ("std", options.std)):
            if len(values) not in {1, count}:
                raise fault(f"task.{field}", f"has {len(values)} numbers, expected 1 or {count}")
        if unknown := options.units.keys() - set(options.names):
            raise fault("task.units", f"no number is named {min(unknown)!r}")

    def decode(self, outputs: Mapping[str, Array], context: Context) -> list[Result]:
        """See ``Decoder.decode``."""
        import numpy as np

        rows = float_rows(outputs[self._output], len(context.items)).astype(np.float64)
        values = rows * np.array(self._options.std) + np.array(self._options.mean)
        names, units = self._options.names, self._options.units
        return [Regression(dict(zip(names, row, strict=True)), dict(units)) for row in values.tolist()]
