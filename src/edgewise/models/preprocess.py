"""From raw input to tensors: the one implementation of the manifest's operations, used by every caller.

A picture enters as RGB ``uint8 [height, width, 3]`` and carries its ``Geometry`` along, so that decoders take boxes
back to the original picture. A series enters as numbers ``[time, channels]``, sound as ``[samples]``. The last step,
casting to the input's datatype and adding the batch axis, is implied.

The tensors of one picture do not depend on what else is in its batch, and channels-first is channels-last transposed,
bit for bit: both read the same table of ``(x - mean) / std`` for the 256 values a sample can have.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgewise.errors import InputError, PackageError, TensorError, TooLargeError
from edgewise.media.sound import MAX_RATE_HZ, MIN_RATE_HZ, RATE_HZ
from edgewise.models import features, manifest
from edgewise.models.geometry import Geometry, Matrix, invert
from edgewise.types import DATATYPES

if TYPE_CHECKING:
    from edgewise.types import Array, Image

Landmarks = Sequence[tuple[float, float]]

MAX_SIDE = 16384
"""Longest side of a picture between two operations; a thin picture scaled by its shorter side could get any length."""

ARCFACE_TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""Right eye, left eye, nose tip, right and left mouth corner in a 112 x 112 picture (Deng et al. 2019)."""

_PICTURE_LAYOUTS = {"NCHW", "NHWC"}


class Prepared:
    """One item ready for inference: its tensor with a batch axis of 1, and its geometry when it is a picture."""

    __slots__ = ("geometry", "tensor")

    def __init__(self, tensor: Array, geometry: Geometry | None) -> None:
        self.tensor = tensor
        self.geometry = geometry


class Preprocessor:
    """The operations of one input, checked once and applied to many items. Stateless after that, so thread-safe.

    Args:
        spec: The input of the manifest.
        field: Its path in the manifest, for errors.

    Raises:
        PackageError: The operations do not fit the kind of input, each other, or the stated shape.
    """

    def __init__(self, spec: manifest.Input, *, field: str = "inputs[0]") -> None:
        self.spec = spec
        self._dtype = DATATYPES[spec.datatype]
        self._layout = "NHWC" if spec.kind == "image" else "NTC"
        _check_operations(spec, field)
        for operation in spec.preprocess:
            if isinstance(operation, manifest.Layout):
                self._layout = operation.to
        self._batched = _check_shape(spec, self._layout, field)

    def __call__(self, raw: object, *, landmarks: Landmarks = ()) -> Prepared:
        """Prepares one item.

        Args:
            raw: An RGB picture, a series, or for ``tensor`` inputs the array itself.
            landmarks: The five points of a face in the picture, for ``align_face``.

        Raises:
            TensorError: It is not what the input takes, or holds NaN or infinite values.
            InputError: The picture cannot be prepared this way, such as a face without landmarks.
        """
        if self.spec.kind == "image":
            return self._picture(_as_picture(raw, self.spec.name), landmarks)
        if self.spec.kind == "series":
            return Prepared(self._series(as_finite(raw, self.spec.name)), None)
        if self.spec.kind == "audio":
            return Prepared(self.window(self.front().feed(self.samples(raw))), None)
        return Prepared(self._tensor(raw), None)

    def _picture(self, pixels: Array, landmarks: Landmarks) -> Prepared:
        height, width = pixels.shape[:2]
        geometry = Geometry(width, height)
        operations = self.spec.preprocess
        planar = self._layout == "NCHW"
        for position, operation in enumerate(operations):
            match operation:
                case manifest.Resize():
                    pixels, geometry = _resize(pixels, geometry, operation)
                case manifest.Letterbox():
                    pixels, geometry = _letterbox(pixels, geometry, operation)
                case manifest.CenterCrop():
                    pixels, geometry = _center_crop(pixels, geometry, operation)
                case manifest.AlignFace():
                    pixels, geometry = _align_face(pixels, geometry, operation, landmarks)
                case manifest.Colour():
                    pixels = _colour(pixels, operation.to)
                case manifest.Normalise():
                    if planar and position + 2 == len(operations) and pixels.dtype == "uint8":
                        return Prepared(self._finish(_normalise_planar(pixels, operation)), geometry)
                    pixels = _normalise(pixels, operation)
                case manifest.Quantise():
                    pixels = _quantise(pixels, operation, self._dtype)
        return Prepared(self._finish(_to_planes(pixels, self._dtype) if planar else pixels), geometry)

    def samples(self, raw: object) -> Array:
        """Sound as float32 ``[samples]``, checked.

        Raises:
            TensorError: It is not one channel of numbers in -1..1.
        """
        import numpy as np

        array = as_finite(raw, self.spec.name)
        if array.ndim != 1 or not array.size or np.abs(array).max() > 1:
            raise TensorError(
                f"Input {self.spec.name!r} takes one channel of sound, -1..1, not {list(array.shape)}",
                hint=f"Give an array [samples] at {self.spec.rate_hz:g} Hz, or a sound file.",
                tensor=self.spec.name,
            )
        return array

    def front(self) -> features.Front:
        """A new stream of the features of an ``audio`` input."""
        return features.make_front(self.spec)

    def window(self, frames: Array) -> Array:
        """The tensor of sound whose features are made."""
        return self._numbers(frames)

    def _series(self, series: Array) -> Array:
        self._check_channels(series)
        return self._numbers(series)

    def _numbers(self, series: Array) -> Array:
        for operation in self.spec.preprocess:
            match operation:
                case manifest.Window():
                    series = _window(series, operation)
                case manifest.Normalise():
                    series = _normalise(series, operation)
                case manifest.Quantise():
                    series = _quantise(series, operation, self._dtype)
        return self._finish(series.T if self._layout == "NCT" else series)

    def _tensor(self, raw: object) -> Array:
        import numpy as np

        given = isinstance(raw, np.ndarray)
        try:
            array = np.asarray(raw, dtype=None if given else self._dtype)
        except (ValueError, TypeError, OverflowError) as error:
            raise _not_numbers(self.spec.name) from error
        if not given and array.dtype.kind in "iub" and not np.array_equal(array, np.asarray(raw)):
            raise TensorError(
                f"Input {self.spec.name!r} is {self.spec.datatype}, but holds other values",
                tensor=self.spec.name,
                expected=self.spec.datatype,
            )
        check_finite(array, self.spec.name)
        return np.ascontiguousarray(array)

    def _check_channels(self, series: Array) -> None:
        axis = {"NTC": -1, "NCT": -2}[self._layout]
        expected = len(self.spec.channels) or self.spec.shape[axis]
        if series.ndim != 2 or not len(series) or expected not in (-1, series.shape[1]):
            raise TensorError(
                f"Input {self.spec.name!r} takes a series of shape [time, {expected}], not {list(series.shape)}",
                hint=f"Channels: {', '.join(self.spec.channels)}." if self.spec.channels else "",
                tensor=self.spec.name,
                expected=[-1, expected],
                actual=list(series.shape),
            )

    def _finish(self, array: Array) -> Array:
        import numpy as np

        array = np.ascontiguousarray(array, dtype=self._dtype)
        return array[None] if self._batched else array


def as_finite(raw: object, name: str) -> Array:
    """Numbers as float32.

    Raises:
        TensorError: They are no rectangular array of numbers, or NaN or infinite as float32.
    """
    import numpy as np

    try:
        with np.errstate(over="ignore"):
            array = np.asarray(raw).astype(np.float32, casting="same_kind" if isinstance(raw, np.ndarray) else "unsafe")
    except (ValueError, TypeError, OverflowError) as error:
        raise _not_numbers(name) from error
    check_finite(array, name)
    return array


def check_finite(array: Array, name: str) -> None:
    """Raises TensorError when a float array holds NaN or an infinity."""
    import numpy as np

    # Counting is quicker than ``all`` for small arrays and as quick for large ones.
    if array.dtype.kind == "f" and np.count_nonzero(np.isfinite(array)) != array.size:
        raise TensorError(f"Input {name!r} holds NaN or infinite values", tensor=name, expected="finite numbers")


def _not_numbers(name: str) -> TensorError:
    return TensorError(f"Input {name!r} is not a rectangular array of numbers", tensor=name)


def _as_picture(raw: object, name: str) -> Image:
    import numpy as np

    if isinstance(raw, np.ndarray) and raw.dtype == np.uint8 and raw.ndim == 3 and raw.shape[2] == 3 and raw.size:
        return raw
    actual = f"{raw.dtype} {list(raw.shape)}" if isinstance(raw, np.ndarray) else type(raw).__name__
    raise TensorError(
        f"Input {name!r} takes an RGB picture, uint8 [height, width, 3], not {actual}",
        tensor=name,
        expected="uint8 [height, width, 3]",
        actual=actual,
    )


def _resize(pixels: Array, geometry: Geometry, operation: manifest.Resize) -> tuple[Array, Geometry]:
    height, width = pixels.shape[:2]
    to_height, to_width = operation.height, operation.width
    if operation.keep == "shorter":
        shorter = min(to_height, to_width)
        # Truncated, as torchvision does, whose pictures such models were trained on.
        to_height = max(shorter, shorter * height // min(width, height))
        to_width = max(shorter, shorter * width // min(width, height))
    return _scale(pixels, to_height, to_width, operation.interpolation), geometry.scaled(
        x=width / to_width, y=height / to_height
    )


def _letterbox(pixels: Array, geometry: Geometry, operation: manifest.Letterbox) -> tuple[Array, Geometry]:
    import numpy as np

    height, width = pixels.shape[:2]
    ratio = min(operation.height / height, operation.width / width)
    inner_height = min(operation.height, max(1, round(height * ratio)))
    inner_width = min(operation.width, max(1, round(width * ratio)))
    centered = operation.anchor == "center"
    top = (operation.height - inner_height) // 2 if centered else 0
    left = (operation.width - inner_width) // 2 if centered else 0
    canvas = np.full((operation.height, operation.width, pixels.shape[2]), operation.fill, pixels.dtype)
    canvas[top : top + inner_height, left : left + inner_width] = _scale(
        pixels, inner_height, inner_width, operation.interpolation
    )
    return canvas, geometry.scaled(x=width / inner_width, y=height / inner_height, left=left, top=top)


def _scale(pixels: Array, height: int, width: int, interpolation: str) -> Array:
    import cv2

    if pixels.shape[:2] == (height, width):
        return pixels
    if max(height, width) > MAX_SIDE:
        raise TooLargeError(
            f"The picture is too long and thin: it would be scaled to {width} x {height}", limit=MAX_SIDE
        )
    return _with_channels(cv2.resize(pixels, (width, height), interpolation=_interpolation(interpolation)))


def _center_crop(pixels: Array, geometry: Geometry, operation: manifest.CenterCrop) -> tuple[Array, Geometry]:
    height, width = pixels.shape[:2]
    if height < operation.height or width < operation.width:
        raise InputError(
            f"A crop of {operation.width} x {operation.height} does not fit a picture of {width} x {height}",
            limit=[operation.width, operation.height],
        )
    top, left = round((height - operation.height) / 2), round((width - operation.width) / 2)
    cut = pixels[top : top + operation.height, left : left + operation.width]
    return cut, geometry.after((1.0, 0.0, left, 0.0, 1.0, top))


def _align_face(
    pixels: Array, geometry: Geometry, operation: manifest.AlignFace, landmarks: Landmarks
) -> tuple[Array, Geometry]:
    import cv2
    import numpy as np

    size = operation.size
    if not landmarks:
        if pixels.shape[:2] == (size, size):
            return pixels, geometry
        raise InputError(
            f"A face is aligned by its five landmarks, or must be {size} x {size} pixels already",
            hint="Find the face first with a detector that gives landmarks, such as yunet.",
        )
    points = geometry.inverse(as_finite(landmarks, "landmarks").reshape(-1, 2))
    forward = similarity(points, np.array(ARCFACE_TEMPLATE) * (size / 112))
    warped = cv2.warpAffine(
        pixels, np.array(forward).reshape(2, 3), (size, size), flags=_interpolation(operation.interpolation)
    )
    return _with_channels(warped), geometry.after(invert(forward))


def similarity(source: Array, target: Array) -> Matrix:
    """The rotation, uniform scaling and shift that take ``source`` closest to ``target`` (least squares).

    In the complex plane this is the regression ``target = a * source + b``, the two-dimensional case of Umeyama 1991
    without reflection.

    Args:
        source: Points ``[n, 2]``.
        target: Points ``[n, 2]``.

    Raises:
        InputError: The numbers of points differ, or the source points are (nearly) one point.
    """
    if len(source) != len(target):
        raise InputError(f"A face has {len(target)} landmarks, not {len(source)}", expected=len(target))
    z, w = source[:, 0] + 1j * source[:, 1], target[:, 0] + 1j * target[:, 1]
    centred = z - z.mean()
    spread = float((abs(centred) ** 2).sum())
    if spread < 1e-6:
        raise InputError("The landmarks of a face are all one point")
    a = complex((centred.conj() * (w - w.mean())).sum() / spread)
    if abs(a) < 1e-9:
        raise InputError("The landmarks of a face are no face")
    b = complex(w.mean() - a * z.mean())
    return (a.real, -a.imag, b.real, a.imag, a.real, b.imag)


def _colour(pixels: Array, to: str) -> Array:
    import cv2

    if to == "rgb":
        return pixels
    if to == "bgr":
        return pixels[..., ::-1]
    return _with_channels(cv2.cvtColor(_contiguous(pixels), cv2.COLOR_RGB2GRAY))


def _normalise(array: Array, operation: manifest.Normalise) -> Array:
    import cv2
    import numpy as np

    if array.dtype == np.uint8 and array.ndim == 3:
        return _with_channels(cv2.LUT(_contiguous(array), _table(operation, array.shape[2])[None]))
    mean, std = _parameters(operation)
    return (array.astype(np.float32) - mean) / std


def _normalise_planar(pixels: Array, operation: manifest.Normalise) -> Array:
    """Normalises and moves channels to the front in one pass over the pixels."""
    import cv2
    import numpy as np

    height, width, channels = pixels.shape
    table = _table(operation, channels).T.copy()
    split = np.empty((channels, height, width), np.uint8)
    cv2.split(pixels, list(split))
    planes = np.empty((channels, height, width), np.float32)
    for channel in range(channels):
        cv2.LUT(split[channel], table[channel], dst=planes[channel])
    return planes


@functools.lru_cache(maxsize=64)
def _table(operation: manifest.Normalise, channels: int) -> Array:
    """``(x - mean) / std`` in float32 for the 256 values of each channel, ``[256, channels]``."""
    import numpy as np

    mean, std = _parameters(operation)
    values = np.arange(256, dtype=np.float32)[:, None]
    return np.ascontiguousarray(np.broadcast_to((values - mean) / std, (256, channels)))


def _parameters(operation: manifest.Normalise) -> tuple[Array, Array]:
    import numpy as np

    return np.array(operation.mean, np.float32), np.array(operation.std, np.float32)


def _to_planes(pixels: Array, dtype: str) -> Array:
    import numpy as np

    planes = np.empty((pixels.shape[2], *pixels.shape[:2]), dtype)
    planes[:] = pixels.transpose(2, 0, 1)
    return planes


def _quantise(array: Array, operation: manifest.Quantise, dtype: str) -> Array:
    import numpy as np

    bounds = np.iinfo(dtype)
    levels = np.rint(array.astype(np.float32) / np.float32(operation.scale)) + operation.zero_point
    clipped: Array = np.clip(levels, bounds.min, bounds.max).astype(dtype)
    return clipped


def _window(series: Array, operation: manifest.Window) -> Array:
    import numpy as np

    length = len(series)
    if length >= operation.length:
        start = (length - operation.length) // 2
        return series[start : start + operation.length]
    padding = ((0, operation.length - length), *[(0, 0)] * (series.ndim - 1))
    return np.pad(series, padding, constant_values=operation.fill)


def _with_channels(pixels: Any) -> Array:
    """OpenCV drops the axis of a single channel; this puts it back."""
    import numpy as np

    with_axis: Array = np.atleast_3d(pixels)
    return with_axis


def _contiguous(pixels: Array) -> Array:
    import numpy as np

    return np.ascontiguousarray(pixels)


def _interpolation(name: str) -> int:
    import cv2

    return {
        "nearest": cv2.INTER_NEAREST_EXACT,
        "linear": cv2.INTER_LINEAR,
        "cubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
        "lanczos": cv2.INTER_LANCZOS4,
    }[name]


_GEOMETRIC = manifest.Resize | manifest.Letterbox | manifest.CenterCrop | manifest.AlignFace
_ALLOWED: dict[str, tuple[type, ...]] = {
    "image": (
        manifest.Resize,
        manifest.Letterbox,
        manifest.CenterCrop,
        manifest.AlignFace,
        manifest.Colour,
        manifest.Normalise,
        manifest.Layout,
        manifest.Quantise,
    ),
    "series": (manifest.Window, manifest.Normalise, manifest.Layout, manifest.Quantise),
    "audio": (*features.FEATURES, manifest.Window, manifest.Normalise, manifest.Layout, manifest.Quantise),
    "tensor": (),
}


def _check_operations(spec: manifest.Input, field: str) -> None:
    """Each operation must fit the kind of input, and geometry and colour come before numbers."""
    numbers = False
    if spec.kind == "audio":
        _check_sound(spec, field)
    for index, operation in enumerate(spec.preprocess):
        where = f"{field}.preprocess[{index}]"
        name = type(operation).__struct_config__.tag
        if not isinstance(operation, _ALLOWED[spec.kind]):
            raise _fault(where, f"{name!r} does not apply to an input of kind {spec.kind!r}")
        if isinstance(operation, manifest.Layout):
            if (operation.to in _PICTURE_LAYOUTS) != (spec.kind == "image"):
                raise _fault(where, f"layout {operation.to} does not apply to an input of kind {spec.kind!r}")
            if index + 1 != len(spec.preprocess):
                raise _fault(where, "'layout' must be the last operation")
        if index and isinstance(operation, features.FEATURES):
            raise _fault(where, f"{name!r} must be the first operation")
        if numbers and isinstance(operation, _GEOMETRIC | manifest.Colour):
            raise _fault(where, f"{name!r} must come before 'normalise' and 'quantise'")
        numbers |= isinstance(operation, manifest.Normalise | manifest.Quantise)
        _check_values(spec, operation, where)


def _check_sound(spec: manifest.Input, field: str) -> None:
    feature = features.feature_of(spec)
    length = window_length(spec)
    if not MIN_RATE_HZ <= spec.rate_hz <= MAX_RATE_HZ or spec.rate_hz != int(spec.rate_hz):
        raise _fault(f"{field}.rate_hz", f"sound needs a whole rate of {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
    if isinstance(feature, manifest.MicroFeatures) and spec.rate_hz != RATE_HZ:
        raise _fault(f"{field}.rate_hz", f"'micro_features' are made at {RATE_HZ} Hz")
    if (
        isinstance(feature, manifest.LogMel | manifest.Mfcc)
        and not feature.low_hz < feature.high_hz <= spec.rate_hz / 2
    ):
        raise _fault(f"{field}.preprocess[0]", f"high_hz must lie above low_hz and at most at {spec.rate_hz / 2:g}")
    if spec.step and not spec.step <= length:
        raise _fault(f"{field}.step", "must be at most the 'window', which a model that listens needs")
    if spec.lead and spec.lead >= max(length, 1):
        raise _fault(f"{field}.lead", "must be less than the window")


def window_length(spec: manifest.Input) -> int:
    """Length of the window of a series or sound; 0 when it has none."""
    lengths = [operation.length for operation in spec.preprocess if isinstance(operation, manifest.Window)]
    return lengths[-1] if lengths else 0


def _check_values(spec: manifest.Input, operation: manifest.Operation, where: str) -> None:
    channels = _width(spec)
    if isinstance(operation, manifest.Normalise):
        sizes = {len(operation.mean), len(operation.std)} - {1}
        if 0 in sizes or len(sizes) > 1 or (channels and sizes - {channels}):
            raise _fault(where, f"mean and std take 1 value or one for each of {channels or 'the'} channels")
    if isinstance(operation, manifest.Quantise) and "INT" not in spec.datatype:
        raise _fault(where, f"'quantise' makes integers, but the input is {spec.datatype}")


def _width(spec: manifest.Input) -> int:
    """Channels of a picture or series, numbers in a frame of sound; 0 where it is not known."""
    if spec.kind == "audio":
        feature = features.feature_of(spec)
        return features.width_of(feature) if feature else 1
    return len(spec.channels) if spec.kind == "series" else _picture_channels(spec)


def _picture_channels(spec: manifest.Input) -> int:
    grey = any(isinstance(operation, manifest.Colour) and operation.to == "grey" for operation in spec.preprocess)
    return 1 if grey else 3


def _check_shape(spec: manifest.Input, layout: str, field: str) -> bool:
    """Whether the stated shape has a batch axis, after checking that the operations make that shape."""
    if spec.kind == "tensor":
        return False
    made = _made_shape(spec, layout)
    batched = len(spec.shape) == len(made) + 1
    stated = spec.shape[1:] if batched else spec.shape
    fits = len(stated) == len(made) and all(-1 in (a, b) or a == b for a, b in zip(stated, made, strict=True))
    if not fits:
        raise _fault(f"{field}.shape", f"is {list(spec.shape)}, but preprocessing makes {[-1, *made]}")
    return batched


def _made_shape(spec: manifest.Input, layout: str) -> tuple[int, ...]:
    """The shape that comes out, without the batch axis; ``-1`` where it depends on the item."""
    if spec.kind in {"series", "audio"}:
        time, channels = window_length(spec) or -1, _width(spec) or -1
        if spec.kind == "audio" and features.feature_of(spec) is None:
            return (time,)
        return (channels, time) if layout == "NCT" else (time, channels)
    height = width = -1
    for operation in spec.preprocess:
        if isinstance(operation, manifest.AlignFace):
            height = width = operation.size
        elif isinstance(operation, manifest.Resize) and operation.keep == "shorter":
            height = width = -1
        elif isinstance(operation, manifest.Resize | manifest.Letterbox | manifest.CenterCrop):
            height, width = operation.height, operation.width
    channels = _picture_channels(spec)
    return (channels, height, width) if layout == "NCHW" else (height, width, channels)


def _fault(field: str, message: str) -> PackageError:
    return PackageError(f"model.yaml, {field}: {message}", file="model.yaml", field=field)
