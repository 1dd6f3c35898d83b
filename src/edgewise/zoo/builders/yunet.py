"""YuNet as the OpenCV model zoo publishes it."""

from edgewise.models.manifest import Colour, Input, Layout, Letterbox, Manifest, Normalise, Output, Variant
from edgewise.zoo.builders.base import Workshop

SIDE = 640
STRIDES = (8, 16, 32)
_VALUES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


def build(workshop: Workshop) -> Manifest:
    """Uses the file as it is; its input is BGR without normalisation."""
    workshop.place("LICENSE")
    preprocess = (
        Letterbox(SIDE, SIDE, anchor="top_left", fill=0),
        Colour("bgr"),
        Normalise((0.0,), (1.0,)),
        Layout("NCHW"),
    )
    return workshop.manifest(
        task={"kind": "yunet"},
        inputs=(Input("input", "FP32", (1, 3, SIDE, SIDE), "image", preprocess),),
        outputs=tuple(
            Output(f"{part}_{stride}", "FP32", (1, (SIDE // stride) ** 2, values))
            for part, values in _VALUES.items()
            for stride in STRIDES
        ),
        variants=(Variant("onnx-fp32", "onnxruntime", workshop.place("yunet.onnx")),),
    )
