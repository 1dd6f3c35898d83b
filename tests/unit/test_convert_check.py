"""The comparison that decides whether a conversion may be used."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.convert.check import Difference, compare
from edgewise.errors import PackageError

ORIGINAL = {"y": np.array([[1.0, -200.0, 3.0]], np.float32)}


def changed(value: float) -> dict[str, np.ndarray]:
    return {"y": np.array([[1.0, -200.0, value]], np.float32)}


def test_the_difference_is_told_against_the_largest_value() -> None:
    assert compare(ORIGINAL, changed(3.5), tolerance=0.01) == (Difference("y", 0.5, 0.0025),)


def test_past_the_tolerance_the_conversion_is_refused_with_the_figures() -> None:
    with pytest.raises(PackageError, match="differs from its original") as caught:
        compare(ORIGINAL, changed(3.5), tolerance=0.002)
    assert caught.value.facts == {"tensor": "y", "limit": 0.002, "actual": 0.0025}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(PackageError, match="differs"):
        compare(ORIGINAL, changed(value), tolerance=1e9)


def test_a_missing_output_is_named() -> None:
    with pytest.raises(PackageError, match="'y' of the converted model is missing"):
        compare(ORIGINAL, {}, tolerance=1.0)


def test_another_shape_is_refused_even_where_it_would_broadcast() -> None:
    with pytest.raises(PackageError, match=r"of shape \[3\], expected \[1, 3\]"):
        compare(ORIGINAL, {"y": ORIGINAL["y"][0]}, tolerance=1.0)


def test_an_original_of_zeros_allows_only_zeros() -> None:
    zeros = {"y": np.zeros(3, np.float32)}
    assert compare(zeros, zeros, tolerance=1e-6)[0].relative == 0.0
    with pytest.raises(PackageError):
        compare(zeros, {"y": np.full(3, 1e-3, np.float32)}, tolerance=1e-6)
