"""MobileFaceNet: the LiteRT file as published, and an ONNX form of it that the base install runs."""

from edgewise.models.manifest import AlignFace, Input, Manifest, Normalise, Output, Variant
from edgewise.zoo.builders.base import Workshop

SIDE = 112
VALUES = 192


def build(workshop: Workshop) -> Manifest:
    """Makes what the workshop asks for."""
    variants = {"onnx-fp32": _onnx, "litert-fp32": _litert}
    converted = "onnx-fp32" in workshop.variants
    return workshop.manifest(
        task={"kind": "embedding"},
        inputs=(
            Input("input", "FP32", (-1, SIDE, SIDE, 3), "image", (AlignFace(SIDE), Normalise((127.5,), (128.0,)))),
        ),
        outputs=(Output("embeddings", "FP32", (-1, VALUES)),),
        variants=tuple(variants[name](workshop) for name in workshop.variants),
        lineage=(workshop.converted("edgewise.convert.tflite", dynamic_batch=True),) if converted else (),
    )


def _onnx(workshop: Workshop) -> Variant:
    from edgewise.convert import tflite

    tflite.convert(workshop.files["mobilefacenet.tflite"], workshop.folder / "mobilefacenet.onnx")
    workshop.check_reference("mobilefacenet.onnx", tolerance=1e-4)
    return Variant("onnx-fp32", "onnxruntime", "mobilefacenet.onnx", tolerance=1e-4)


def _litert(workshop: Workshop) -> Variant:
    return Variant("litert-fp32", "litert", workshop.place("mobilefacenet.tflite"), tolerance=1e-4)
