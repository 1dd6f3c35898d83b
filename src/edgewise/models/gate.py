"""The gate: whether a variant may be used, decided from what it made of the golden data. Pure.

``compare`` measures one tensor against its golden twin, ``decide`` turns all measurements into a verdict. Running the
variant is the business of ``golden``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from edgewise.types import Array

INPUT_TOLERANCE = 0.01
"""How far preprocessing may be from the stored inputs, as a share of their range: interpolation rounds differently on
other processors, by a few of the 256 levels."""


class Measurement(msgspec.Struct, frozen=True):
    """One tensor of one golden case compared with its golden twin.

    Attributes:
        case: File of the golden case.
        kind: ``input`` for what preprocessing made, ``output`` for what the model gave.
        tensor: Name in the manifest.
        difference: Largest absolute difference; infinite when it cannot be compared.
        tolerance: Largest that passes.
        note: Why it cannot be compared; empty when it can.
    """

    case: str
    kind: Literal["input", "output"]
    tensor: str
    difference: float
    tolerance: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance."""
        return not self.note and self.difference <= self.tolerance


class Verdict(msgspec.Struct, frozen=True):
    """The decision, with a reason for each tensor that failed."""

    passed: bool
    reasons: tuple[str, ...]
    worst: float = 0.0


def compare(
    expected: Array | None,
    actual: Array | None,
    *,
    case: str,
    kind: Literal["input", "output"],
    tensor: str,
    tolerance: float,
) -> Measurement:
    """Measures how far a tensor is from its golden twin."""
    import numpy as np

    def cannot(note: str) -> Measurement:
        return Measurement(case, kind, tensor, float("inf"), tolerance, note)

    if expected is None:
        return cannot("is not in the golden data")
    if actual is None:
        return cannot("was not given by the model")
    if expected.shape != actual.shape:
        return cannot(f"has shape {list(actual.shape)}, expected {list(expected.shape)}")
    if not np.can_cast(actual.dtype, np.float64, casting="same_kind"):
        return cannot(f"has datatype {actual.dtype}, which has no distance")
    with np.errstate(invalid="ignore"):
        distance = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    largest = float(distance.max()) if distance.size else 0.0
    if not np.isfinite(largest):
        return cannot("holds NaN or infinite values")
    return Measurement(case, kind, tensor, largest, tolerance)


def decide(measurements: Sequence[Measurement]) -> Verdict:
    """Passes when there is golden data and every measurement is within its tolerance."""
    if not measurements:
        return Verdict(passed=False, reasons=("there is no golden data to judge by",))
    reasons = tuple(_reason(measurement) for measurement in measurements if not measurement.passed)
    outputs = [each.difference for each in measurements if each.kind == "output" and not each.note]
    return Verdict(not reasons, reasons, max(outputs, default=0.0))


def _reason(measurement: Measurement) -> str:
    what = f"{measurement.case}: {measurement.kind} {measurement.tensor!r}"
    if measurement.note:
        return f"{what} {measurement.note}"
    return f"{what} is off by {measurement.difference:.3g}, more than {measurement.tolerance:.3g}"
