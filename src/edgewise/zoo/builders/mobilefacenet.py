"""MobileFaceNet: the LiteRT file as published, and an ONNX form of it that the base install runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgewise.convert import tflite
from edgewise.convert.check import Artifact, Difference
from edgewise.models.manifest import AlignFace, Input, Manifest, Normalise, Output, Variant
from edgewise.zoo.builders.base import Workshop, check_reference, picture

if TYPE_CHECKING:
    from edgewise.types import Array

SIDE = 112
VALUES = 192
TOLERANCE = 1e-4
_MEAN, _STD = 127.5, 128.0


def build(workshop: Workshop) -> Manifest:
    """Makes what the workshop asks for."""
    differences: tuple[Difference, ...] = ()
    variants = []
    if "onnx-fp32" in workshop.variants:
        differences = _convert(workshop)
        variants.append(Variant("onnx-fp32", "onnxruntime", "mobilefacenet.onnx", tolerance=TOLERANCE))
    variants.append(Variant("litert-fp32", "litert", workshop.place("mobilefacenet.tflite"), tolerance=TOLERANCE))
    against = "outputs of the original on LiteRT"
    return Manifest(
        **workshop.known(),
        task={"kind": "embedding"},
        inputs=(Input("input", "FP32", (-1, SIDE, SIDE, 3), "image", (AlignFace(SIDE), Normalise((_MEAN,), (_STD,)))),),
        outputs=(Output("embeddings", "FP32", (-1, VALUES)),),
        variants=tuple(variants),
        lineage=(workshop.converted("edgewise.convert.tflite", differences=differences, against=against),)
        if differences
        else (),
    )


def _convert(workshop: Workshop) -> tuple[Difference, ...]:
    target = workshop.folder / "mobilefacenet.onnx"
    tflite.convert(workshop.files["mobilefacenet.tflite"], target)
    return check_reference(
        "mobilefacenet", Artifact("onnxruntime", target), {"input": reference_input()}, tolerance=TOLERANCE
    )


def reference_input() -> Array:
    """A real face, cut out without any interpolation."""
    import numpy as np

    face = picture("astronaut")[4 : 4 + SIDE, 36 : 36 + SIDE]
    return ((face.astype(np.float32) - np.float32(_MEAN)) / np.float32(_STD))[None]
