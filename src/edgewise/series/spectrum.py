"""What stands in the spectrum of a piece of a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgewise.types import Array

MIN_VALUES = 8
"""Fewer have no spectrum worth the name."""


def evenly(times_ns: Sequence[int], values: Sequence[float], *, rate_hz: float, end_ns: int, count: int) -> Array:
    """Values at ``count`` even times, the last one step before ``end_ns``; linear between neighbours, held at the ends.

    Args:
        times_ns: When they were measured, growing.
        values: One each.
        rate_hz: Steps a second.
        end_ns: End of the grid, nanoseconds since the Unix epoch.
        count: Length of the grid.

    Returns:
        ``float64 [count]``.
    """
    import numpy as np

    grid = (np.arange(count) - count) / rate_hz
    return np.interp(grid, [(time_ns - end_ns) / 1e9 for time_ns in times_ns], values)


def spectrum(values: Array, rate_hz: float) -> tuple[Array, Array]:
    """Frequencies (Hz) and power of evenly spaced values, without their mean, under a Hann window (Harris 1978).

    The power sums up to the variance of the windowed values, as Parseval has it.
    """
    import numpy as np

    count = len(values)
    window = np.hanning(count + 1)[:-1]  # periodic
    amplitudes = np.fft.rfft((values - values.mean()) * window)
    power = np.abs(amplitudes) ** 2 / (count * (window**2).sum())
    power[1 : (count + 1) // 2] *= 2  # negative frequencies, which a real series mirrors
    power[0] = 0.0
    return np.fft.rfftfreq(count, 1 / rate_hz), power


def describe(values: Array, rate_hz: float, bands: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Features of a spectrum.

    Args:
        values: Evenly spaced, at least ``MIN_VALUES``.
        rate_hz: Values a second.
        bands: Name -> from (inclusive) and to (exclusive), Hz.

    Returns:
        ``dominant_hz`` (strongest line), ``centroid_hz`` (mean frequency, weighted by power), ``energy`` (variance in
        the spectrum) and ``band.NAME`` (a band's part of the energy, 0..1). A constant has zeros.
    """
    frequencies, power = spectrum(values, rate_hz)
    total = float(power.sum())
    # What rounding leaves of a constant is no vibration.
    if total <= 1e-24 * max(1.0, float((values**2).mean())):
        return {"dominant_hz": 0.0, "centroid_hz": 0.0, "energy": 0.0, **{f"band.{name}": 0.0 for name in bands}}
    found: dict[str, Any] = {
        "dominant_hz": frequencies[power.argmax()],
        "centroid_hz": (frequencies * power).sum() / total,
        "energy": total,
    }
    for name, (low, high) in bands.items():
        found[f"band.{name}"] = power[(frequencies >= low) & (frequencies < high)].sum() / total
    return {name: float(value) for name, value in found.items()}
