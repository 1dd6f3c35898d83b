"""Whether a converted model computes what its original does, by numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgewise import runtimes
from edgewise.errors import PackageError
from edgewise.runtimes.base import SessionOptions

if TYPE_CHECKING:
    from edgewise.types import Array


class Difference(msgspec.Struct, frozen=True):
    """How far one output of a model is from its original.

    Attributes:
        tensor: Name of the output.
        absolute: Largest absolute difference of two elements.
        relative: The same, divided by the largest magnitude in the original.
    """

    tensor: str
    absolute: float
    relative: float


class Artifact(msgspec.Struct, frozen=True):
    """A model that a runtime can open."""

    runtime: str
    path: Path

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Its outputs, computed in float32.

        Raises:
            MissingExtraError: The runtime is not installed.
            EdgewiseError: As ``Runtime.open`` and ``Session.infer`` say.
        """
        session = runtimes.open_runtime(self.runtime).open(self.path, SessionOptions(provider="cpu", precision="f32"))
        try:
            return session.infer(inputs)
        finally:
            session.close()


def check_conversion(
    original: Artifact, converted: Artifact, inputs: Mapping[str, Array], *, tolerance: float
) -> tuple[Difference, ...]:
    """Runs both on the same inputs and compares; see ``compare``."""
    return compare(original.run(inputs), converted.run(inputs), tolerance=tolerance)


def compare(expected: Mapping[str, Array], actual: Mapping[str, Array], *, tolerance: float) -> tuple[Difference, ...]:
    """Compares outputs by name.

    Args:
        expected: What the original gave.
        actual: What the converted model gave.
        tolerance: Largest relative difference that passes.

    Returns:
        One difference per output.

    Raises:
        PackageError: An output is missing, has another shape, is not finite, or differs by more. Facts: ``tensor``,
            ``limit``, ``actual``.
    """
    return tuple(_difference(name, array, actual.get(name), tolerance) for name, array in expected.items())


def _difference(name: str, expected: Array, actual: Array | None, tolerance: float) -> Difference:
    import numpy as np

    if actual is None or actual.shape != expected.shape:
        shape = "missing" if actual is None else f"of shape {list(actual.shape)}"
        raise PackageError(f"Output {name!r} of the converted model is {shape}, expected {list(expected.shape)}")
    wide = expected.astype(np.float64)
    absolute = float(np.abs(actual - wide).max(initial=0.0))
    relative = absolute / max(float(np.abs(wide).max(initial=0.0)), float(np.finfo(np.float32).tiny))
    if not relative <= tolerance:
        raise PackageError(
            f"Output {name!r} of the converted model differs from its original by {relative:.2g} of its largest value",
            hint="The conversion is wrong or lost precision; this model is not usable.",
            tensor=name,
            limit=tolerance,
            actual=relative,
        )
    return Difference(name, absolute, relative)
