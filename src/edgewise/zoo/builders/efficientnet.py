"""EfficientNet-Lite0, published as PyTorch weights, converted to ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgewise.convert import torch
from edgewise.convert.check import Artifact, compare
from edgewise.models.manifest import CenterCrop, Colour, Input, Layout, Manifest, Normalise, Output, Resize, Variant
from edgewise.zoo.builders.base import Workshop, picture

if TYPE_CHECKING:
    from edgewise.types import Array

SIDE = 224
CLASSES = 1000
TOLERANCE = 1e-4
_MEAN, _STD = 127.0, 128.0


def build(workshop: Workshop) -> Manifest:
    """Exports and compares with PyTorch on a real picture."""
    from edgewise.zoo.builders.efficientnet_network import EfficientNetLite0

    workshop.place("LICENSE")
    network = EfficientNetLite0()
    network.load_state_dict(torch.load_weights(workshop.files["efficientnet-lite0.pth"]))
    inputs, outputs = {"images": reference_input()}, ["logits"]
    target = workshop.folder / "efficientnet-lite0.onnx"
    torch.convert(network, inputs, target, outputs=outputs)
    original = torch.run(network, inputs, outputs=outputs)
    differences = compare(original, Artifact("onnxruntime", target).run(inputs), tolerance=TOLERANCE)
    # As the evaluation of EfficientNet-Lite does it: 32 more pixels than are used, bicubic, the middle of that.
    preprocess = (
        Resize(SIDE + 32, SIDE + 32, "cubic", "shorter"),
        CenterCrop(SIDE, SIDE),
        Colour("rgb"),
        Normalise((_MEAN,), (_STD,)),
        Layout("NCHW"),
    )
    return Manifest(
        **workshop.known(),
        task={"kind": "classification", "labels": workshop.place_labels("imagenet1k"), "activation": "softmax"},
        inputs=(Input("images", "FP32", (-1, 3, SIDE, SIDE), "image", preprocess),),
        outputs=(Output("logits", "FP32", (-1, CLASSES)),),
        variants=(Variant("onnx-fp32", "onnxruntime", target.name),),
        lineage=(workshop.converted("torch.onnx", differences=differences, against="PyTorch"),),
    )


def reference_input() -> Array:
    """Two squares of a real picture, enlarged by repeating pixels."""
    import numpy as np

    half = SIDE // 2
    squares = [picture("cat")[top : top + half, 60 : 60 + half] for top in (20, 80)]
    large = np.stack(squares).repeat(2, axis=1).repeat(2, axis=2).transpose(0, 3, 1, 2)
    return np.ascontiguousarray((large.astype(np.float32) - np.float32(_MEAN)) / np.float32(_STD))
