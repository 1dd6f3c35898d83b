"""YuNet as the OpenCV model zoo publishes it."""

from edgewise.models.manifest import Colour, Input, Layout, Letterbox, Manifest, Output, Variant
from edgewise.zoo.builders.base import Workshop

SIDE = 640
STRIDES = (8, 16, 32)
_VALUES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


def build(workshop: Workshop) -> Manifest:
    """Uses the file as it is; its input is BGR, 0 to 255."""
    workshop.place("LICENSE")
    preprocess = (Letterbox(SIDE, SIDE, anchor="top_left", fill=0), Colour("bgr"), Layout("NCHW"))
    return Manifest(
        **workshop.known(),
        task={"kind": "yunet", "strides": list(STRIDES)},
        inputs=(Input("input", "FP32", (1, 3, SIDE, SIDE), "image", preprocess),),
        outputs=tuple(
            Output(f"{part}_{stride}", "FP32", (1, (SIDE // stride) ** 2, values))
            for part, values in _VALUES.items()
            for stride in STRIDES
        ),
        variants=(Variant("onnx-fp32", "onnxruntime", workshop.place("yunet.onnx")),),
    )
