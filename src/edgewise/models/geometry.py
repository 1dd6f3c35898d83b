"""Where a tensor's pixels lie in the original picture: an affine map that every geometric operation extends.

Coordinates are continuous: pixel ``i`` covers ``[i, i + 1)``, its centre is ``i + 0.5``. A picture of ``w`` pixels
resized to ``v`` pixels is then simply scaled by ``v / w``, which is what OpenCV, Pillow and PyTorch
(``align_corners=False``) do with half-pixel centres. All arithmetic is float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from edgewise.types import Array

Matrix = tuple[float, float, float, float, float, float]


class Geometry(msgspec.Struct, frozen=True):
    """The way from tensor coordinates back to a picture of ``width`` x ``height`` pixels.

    Attributes:
        matrix: ``a b c d e f`` of ``x' = a x + b y + c``, ``y' = d x + e y + f``.
    """

    width: int
    height: int
    matrix: Matrix = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

    def after(self, step: Matrix) -> Geometry:
        """This map after one more operation; ``step`` takes coordinates of its result to those of its input."""
        a, b, c, d, e, f = self.matrix
        p, q, r, s, t, u = step
        product = (a * p + b * s, a * q + b * t, a * r + b * u + c, d * p + e * s, d * q + e * t, d * r + e * u + f)
        return Geometry(self.width, self.height, product)

    def scaled(self, *, x: float, y: float, left: float = 0.0, top: float = 0.0) -> Geometry:
        """After a scaling: the picture's point is ``((x' - left) * x, (y' - top) * y)``."""
        return self.after((x, 0.0, -left * x, 0.0, y, -top * y))

    def points(self, points: Array) -> Array:
        """Points ``[..., 2]`` of the tensor, in the picture."""
        import numpy as np

        a, b, c, d, e, f = self.matrix
        x, y = points[..., 0].astype(np.float64), points[..., 1].astype(np.float64)
        return np.stack((a * x + b * y + c, d * x + e * y + f), axis=-1)

    def boxes(self, boxes: Array) -> Array:
        """Boxes ``[n, 4]`` (x1, y1, x2, y2) of the tensor, in the picture and cut at its edges.

        Under a rotation the upright rectangle around the turned box is given.
        """
        import numpy as np

        a, b, c, d, e, f = self.matrix
        x1, y1, x2, y2 = boxes.astype(np.float64).reshape(-1, 4).T
        xs = _interval(a, x1, x2) + _interval(b, y1, y2) + c
        ys = _interval(d, x1, x2) + _interval(e, y1, y2) + f
        mapped = np.stack((xs[0], ys[0], xs[1], ys[1]), axis=-1)
        edges = np.array((self.width, self.height, self.width, self.height), np.float64)
        within: Array = np.minimum(np.maximum(mapped, 0.0), edges)
        return within

    def inverse(self, points: Array) -> Array:
        """Points ``[..., 2]`` of the picture, in the tensor."""
        import numpy as np

        a, b, c, d, e, f = self.matrix
        x, y = points[..., 0].astype(np.float64) - c, points[..., 1].astype(np.float64) - f
        determinant = a * e - b * d
        return np.stack(((e * x - b * y) / determinant, (a * y - d * x) / determinant), axis=-1)


def _interval(factor: float, low: Array, high: Array) -> Array:
    import numpy as np

    return np.stack((factor * low, factor * high) if factor >= 0 else (factor * high, factor * low))


def invert(matrix: Matrix) -> Matrix:
    """The inverse of an affine map."""
    a, b, c, d, e, f = matrix
    determinant = a * e - b * d
    p, q, s, t = e / determinant, -b / determinant, -d / determinant, a / determinant
    return (p, q, -(p * c + q * f), s, t, -(s * c + t * f))
