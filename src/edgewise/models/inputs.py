"""What a caller hands to ``predict``, as what ``Preprocessor`` takes: files and bytes are decoded here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewise.errors import DecodeError, TensorError
from edgewise.media import images, sound
from edgewise.models import arrays

if TYPE_CHECKING:
    from edgewise.models.manifest import Input


def read_input(raw: object, spec: Input) -> Any:
    """Turns raw input of any accepted form into an array.

    Args:
        raw: A path (picture; sound; ``.npy`` or ``.csv`` for numbers), the bytes of such a file, an array or whatever
            has ``__array__`` (Pillow's pictures do), or nested lists of numbers.
        spec: The input it is for.

    Raises:
        NotFoundError: There is no such file.
        DecodeError: The content is not what the input takes.
        TensorError: It is of a type that is not accepted.
    """
    import numpy as np

    if isinstance(raw, str | Path):
        if spec.kind == "image":
            return images.read(raw)
        if spec.kind == "audio":
            return sound.read(raw, rate=int(spec.rate_hz))
        return _numbers(images.read_bounded(Path(raw), limit=arrays.MAX_ARRAY_BYTES))
    if isinstance(raw, bytes | bytearray | memoryview):
        if spec.kind == "audio":
            return sound.decode(bytes(raw), rate=int(spec.rate_hz))
        return images.decode(bytes(raw)) if spec.kind == "image" else _numbers(bytes(raw))
    if isinstance(raw, np.ndarray) or (isinstance(raw, list | tuple) and spec.kind != "image"):
        return raw
    if hasattr(raw, "__array__"):
        return np.asarray(raw)
    raise TensorError(
        f"Input {spec.name!r} cannot be made from {type(raw).__name__}",
        hint="Give a path, bytes, or an array.",
        tensor=spec.name,
    )


def _numbers(data: bytes) -> Any:
    if data.startswith(arrays.MAGIC):
        return arrays.read_npy(data)
    if b"\0" in data[:1024]:
        raise DecodeError("These bytes are no series", hint="Accepted: .npy, and .csv with numbers.")
    return arrays.read_csv(data)
