"""NanoDet, published for TensorFlow.js, converted to ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgewise.convert import tfjs
from edgewise.convert.check import Artifact
from edgewise.models.manifest import Colour, Input, Layout, Letterbox, Manifest, Normalise, Output, Variant
from edgewise.zoo.builders.base import Workshop, check_reference, picture

if TYPE_CHECKING:
    from edgewise.types import Array

SIDE = 416
STRIDES = (8, 16, 32)
CLASSES = 80
BINS = 11
TOLERANCE = 1e-4
# Of blue, green and red, as NanoDet was trained.
MEAN = (103.53, 116.28, 123.675)
STD = (57.375, 57.12, 58.395)

# The converter to TensorFlow.js named the outputs by number: scores of the strides first, then distances.
_SCORES = {"scores_8": "Identity", "scores_16": "Identity_1", "scores_32": "Identity_2"}
_DISTANCES = {"distances_8": "Identity_3", "distances_16": "Identity_4", "distances_32": "Identity_5"}


def build(workshop: Workshop) -> Manifest:
    """Converts, compares, and gives the outputs names that say what they are."""
    workshop.place("LICENSE")
    target = workshop.folder / "nanodet.onnx"
    tfjs.convert(workshop.files["nanodet.json"], target, weights=[workshop.files["nanodet.bin"]])
    differences = check_reference(
        "nanodet", Artifact("onnxruntime", target), {"input_1": reference_input()}, tolerance=TOLERANCE
    )
    preprocess = (Letterbox(SIDE, SIDE, fill=0), Colour("bgr"), Normalise(MEAN, STD), Layout("NCHW"))
    cells = [(SIDE // stride) ** 2 for stride in STRIDES]
    return Manifest(
        **workshop.known(),
        task={
            "kind": "nanodet",
            "scores": list(_SCORES),
            "distances": list(_DISTANCES),
            "strides": list(STRIDES),
            "bins": BINS,
            "labels": workshop.place_labels("coco80"),
        },
        inputs=(Input("images", "FP32", (-1, 3, SIDE, SIDE), "image", preprocess),),
        outputs=(
            *(Output(name, "FP32", (-1, count, CLASSES)) for name, count in zip(_SCORES, cells, strict=True)),
            *(Output(name, "FP32", (-1, count, 4 * BINS)) for name, count in zip(_DISTANCES, cells, strict=True)),
        ),
        variants=(
            Variant("onnx-fp32", "onnxruntime", target.name, tensors={"images": "input_1", **_SCORES, **_DISTANCES}),
        ),
        lineage=(
            workshop.converted(
                "edgewise.convert.tfjs", differences=differences, against="outputs of the original on TensorFlow.js"
            ),
        ),
    )


def reference_input() -> Array:
    """A real picture, enlarged by repeating pixels."""
    import numpy as np

    large = picture("astronaut").repeat(2, axis=0).repeat(2, axis=1)[..., ::-1]
    normalised = (large.astype(np.float32) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])
