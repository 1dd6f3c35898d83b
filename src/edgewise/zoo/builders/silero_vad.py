"""Silero VAD: the published file for 16 kHz, used as it is."""

from __future__ import annotations

from edgewise.models.manifest import Input, Manifest, Output, State, Variant, Window
from edgewise.zoo.builders.base import Workshop

RATE_HZ = 16_000
PIECE, CONTEXT = 512, 64
"""Samples that are new in a window, and those before them that are repeated."""
_STATE = (2, 1, 128)


def build(workshop: Workshop) -> Manifest:
    """Names what the network takes and remembers."""
    workshop.place("LICENSE")
    window = CONTEXT + PIECE
    return Manifest(
        **workshop.known(),
        task={"kind": "score", "label": "speech", "output": "output", "threshold": 0.5},
        inputs=(
            Input(
                "input",
                "FP32",
                (1, window),
                "audio",
                (Window(window),),
                rate_hz=RATE_HZ,
                step=PIECE,
                lead=CONTEXT,
            ),
            Input("state", "FP32", _STATE),
        ),
        outputs=(Output("output", "FP32", (1, 1)), Output("stateN", "FP32", _STATE)),
        variants=(Variant("onnx-fp32", "onnxruntime", workshop.place("silero_vad.onnx")),),
        state=(State("state", "stateN"),),
    )
