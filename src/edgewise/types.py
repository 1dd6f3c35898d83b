"""Values that travel between packages: tensor descriptions, results, records. Frozen, msgspec-encodable.

Arrays themselves are plain ``numpy.ndarray``; numpy is imported only where one is made, so importing this module is
cheap. Picture coordinates are pixels of the *original* picture, origin top left, x to the right; pictures are
``uint8`` of shape ``[height, width, 3]`` in RGB order everywhere outside an adapter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]
    Image: TypeAlias = npt.NDArray[np.uint8]

# The tensor datatypes of the Open Inference Protocol v2, with numpy's names. BYTES is numpy "object".
DATATYPES: dict[str, str] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}

Datatype: TypeAlias = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name, datatype and shape of one input or output; ``-1`` stands for any size (Open Inference Protocol v2)."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class Box(msgspec.Struct, frozen=True):
    """A rectangle in pixels of the original picture; ``x2`` and ``y2`` are exclusive edges."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.y2 - self.y1


class Label(msgspec.Struct, frozen=True):
    """One class with its score in 0..1."""

    name: str
    score: float
    index: int = -1


class Detection(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object in a picture.

    Attributes:
        box: Where it is, in pixels of the original picture.
        label: Class name, such as ``person`` or ``face``.
        score: 0..1.
        landmarks: Points ``(x, y)`` in pixels of the original picture; for faces right eye, left eye, nose tip,
            right and left mouth corner, as seen on the person.
        name: Who or what it was recognised as; empty when it was not matched or is unknown.
        similarity: Cosine similarity behind ``name``.
        track: The same for one object from picture to picture, counted from 1; 0 when it is not tracked.
    """

    box: Box
    label: str
    score: float
    landmarks: tuple[tuple[float, float], ...] = ()
    name: str = ""
    similarity: float = 0.0
    track: int = 0


class Classification(msgspec.Struct, frozen=True, tag="classification", tag_field="task"):
    """Labels, best first."""

    labels: tuple[Label, ...]


class Detections(msgspec.Struct, frozen=True, tag="detection", tag_field="task"):
    """Objects found in a picture of ``width`` x ``height`` pixels, best first."""

    objects: tuple[Detection, ...]
    width: int
    height: int


class Embedding(msgspec.Struct, frozen=True, tag="embedding", tag_field="task"):
    """A vector of unit length (L2) for comparison by dot product."""

    vector: tuple[float, ...]


class Regression(msgspec.Struct, frozen=True, tag="regression", tag_field="task"):
    """Named numbers, with the unit each is in (empty when it has none)."""

    values: dict[str, float]
    units: dict[str, str] = {}


Result: TypeAlias = Classification | Detections | Embedding | Regression


class Record(msgspec.Struct, frozen=True):
    """One entry of the journal.

    ``(node, stream, sequence)`` names it for ever; sequences of a stream start at 1 and have no gaps.

    Attributes:
        node: The node that produced it.
        stream: Ordered stream within that node, such as ``events``.
        sequence: Position in the stream, from 1.
        time_ns: When it was accepted, nanoseconds since the Unix epoch (UTC).
        kind: What it is, such as ``face.known``; dotted, most general word first.
        body: JSON-compatible facts.
        blobs: Hex SHA-256 digests of the blobs it points to.
    """

    node: str
    stream: str
    sequence: int
    time_ns: int
    kind: str
    body: dict[str, Any]
    blobs: tuple[str, ...] = ()


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What a producer hands to the journal; the journal adds node, sequence and time (unless ``time_ns`` is given).

    Encoded by position, not by name, since millions of them are stored: new fields go last and have a default.
    """

    kind: str
    body: dict[str, Any]
    blobs: tuple[str, ...] = ()
    time_ns: int = 0
