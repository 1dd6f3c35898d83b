"""Does anything move? A short memory of what was seen, on downscaled luma, that forgives noise and light.

Each pixel is remembered as a moving average over about a second, so what stops is soon part of the background, and what
moves differs from it where it is and where it was. A light that changes everywhere at once is fitted as gain and
offset, on pixels that fit, and taken out before the comparison; noise is measured on the whole picture (median absolute
deviation) and raises the threshold. What has changed is smoothed, so single pixels do not count.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from edgewise.types import Array

# Every so many rows and columns of the small picture, light and noise are estimated: some hundred pixels suffice.
_SAMPLE = 6
# The standard deviation of normal noise is 1.4826 times its median absolute deviation, and smoothing over 3 x 3 pixels
# leaves a third of it: twice the former is six times the latter.
_NOISES = 2 * 1.4826
# Below this share of pixels that fit, no light change explains the picture: it shows something else.
_FIT = 0.5
# Gains outside are no change of light that leaves a picture comparable.
_GAINS = (0.4, 2.5)


class Movement(msgspec.Struct, frozen=True):
    """What moved in one picture.

    Attributes:
        share: How much of the picture changed, 0..1, where it was looked at.
        cut: The picture shows something else altogether, or it is the first: there is nothing to compare with.
    """

    share: float
    cut: bool = False


class Background:
    """What a camera saw lately. For pictures of one camera in order, from one thread at a time.

    Args:
        threshold: Difference in luma, of 256 levels, from which on a pixel has changed; noise raises it.
        width: Pictures are scaled down to about this width.
        learn_s: In this time it takes over 63 % of what has changed.
    """

    def __init__(self, *, threshold: float, width: int, learn_s: float) -> None:
        self._threshold = threshold
        self._width = width
        self._learn_s = learn_s
        self._model: Any = None
        self._seen_ns = 0

    def compare(self, luma: Array, *, time_ns: int, where: Array | None = None) -> Movement:
        """Takes in a picture.

        Args:
            luma: ``uint8`` ``[height, width]``.
            time_ns: When it was taken; sets how much is learnt from it.
            where: ``uint8`` of ``small_size``, 255 where movement counts and 0 elsewhere; everywhere when None.
        """
        import cv2

        small = self._scaled(luma)
        if self._model is None or self._model.shape != small.shape:
            return self._begin(small, time_ns)
        gain, offset, noise, fit = _light(self._model, small)
        if fit < _FIT:
            return self._begin(small, time_ns)
        expected = cv2.addWeighted(self._model, gain, self._model, 0, offset)
        # What is too bright for the camera is white, however bright.
        _, shown = cv2.threshold(expected, 255, 255, cv2.THRESH_TRUNC)
        difference = cv2.blur(cv2.subtract(small, shown), (3, 3))
        limit = max(self._threshold, _NOISES * noise)
        changed = cv2.inRange(difference, -limit, limit)
        cv2.bitwise_not(changed, changed)
        elapsed_s = max(0.0, (time_ns - self._seen_ns) / 1e9)
        cv2.accumulateWeighted(small, expected, 1 - math.exp(-elapsed_s / self._learn_s))
        self._model, self._seen_ns = expected, time_ns
        if where is not None:
            cv2.bitwise_and(changed, where, changed)
        return Movement(cv2.countNonZero(changed) / changed.size)

    def small_size(self, luma: Array) -> tuple[int, int]:
        """Width and height that pictures are scaled down to: by a whole number, which is cheapest and even."""
        height, width = luma.shape
        step = max(1, round(width / self._width))
        return max(1, width // step), max(1, height // step)

    def _scaled(self, luma: Array) -> Array:
        """The mean of the pixels behind each small one, of every second row where there are enough: half the work."""
        import cv2

        width, height = self.small_size(luma)
        rows = luma[::2] if luma.shape[0] >= 4 * height else luma
        small = cv2.resize(rows, (width, height), interpolation=cv2.INTER_AREA)
        return cast("Array", small.astype("float32"))

    def _begin(self, small: Array, time_ns: int) -> Movement:
        self._model, self._seen_ns = small, time_ns
        return Movement(1.0, cut=True)


def _light(model: Array, small: Array) -> tuple[float, float, float, float]:
    """Gain and offset that turn the background into the picture, the noise that is left (median absolute deviation),
    and the share of pixels that they explain.

    Least squares, twice: the second time without pixels that the first result does not explain.
    """
    import numpy as np

    x, y = model[::_SAMPLE, ::_SAMPLE].ravel(), small[::_SAMPLE, ::_SAMPLE].ravel()
    near = y - x
    near = np.abs(near - _median(near))
    fits = near <= 3 * _median(near) + 1
    gain, offset = 1.0, 0.0
    for _ in range(2):
        gain, offset = _line(x[fits], y[fits])
        rest = np.abs(y - gain * x - offset)
        noise = _median(rest)
        fits = rest <= 6 * noise + 2
    explained = float(fits.mean()) if _GAINS[0] < gain < _GAINS[1] else 0.0
    return gain, offset, noise, explained


def _median(values: Array) -> float:
    """The upper one of two; a quarter of the time that numpy's own takes."""
    import numpy as np

    return float(np.partition(values, values.size // 2)[values.size // 2])


def _line(x: Array, y: Array) -> tuple[float, float]:
    mean_x, mean_y = float(x.mean()), float(y.mean())
    spread = x - mean_x
    variance = float(spread @ spread)
    gain = float(spread @ (y - mean_y)) / variance if variance > x.size else 1.0
    return gain, mean_y - gain * mean_x
