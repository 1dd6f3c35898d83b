"""Wake words of microWakeWord: LiteRT models of int8 that remember, turned into pure functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from edgewise.convert import tflite_state
from edgewise.errors import PackageError
from edgewise.models.manifest import Input, Lineage, Manifest, MicroFeatures, Output, Quantise, State, Variant, Window
from edgewise.runtimes.base import SessionOptions
from edgewise.zoo.builders.base import Workshop

if TYPE_CHECKING:
    from edgewise.convert.tflite_state import Variable
    from edgewise.types import Array

RATE_HZ = 16_000
FRAMES = 3
_BINS = 40
_CHECKED_WINDOWS = 100
# As published: the input's quantisation, and a score of 1 / 256 a step.
_INPUT_SCALE, _INPUT_ZERO = 0.10196078568696976, -128
_OUTPUT_SCALE = 1 / 256
_INPUT, _OUTPUT = "serving_default_input_audio:0", "StatefulPartitionedCall:0"


def build(workshop: Workshop) -> Manifest:
    """Converts, compares with the original window by window, and takes the author's settings over."""
    source = workshop.files["model.tflite"]
    settings = json.loads(workshop.files["model.json"].read_bytes())
    workshop.place("LICENSE")
    target = workshop.folder / f"{workshop.recipe.name}.tflite"
    variables = tflite_state.convert(source, target)
    _compare(source, target, variables)
    states = [(variable.input, variable.output) for variable in variables]
    return Manifest(
        **workshop.known(),
        task={
            "kind": "score",
            "label": str(settings["wake_word"]).lower(),
            "output": "score",
            "scale": _OUTPUT_SCALE,
            "threshold": float(settings["micro"]["probability_cutoff"]),
            "mean_of": int(settings["micro"]["sliding_window_size"]),
        },
        inputs=(
            Input(
                "features",
                "INT8",
                (1, FRAMES, _BINS),
                "audio",
                (MicroFeatures(), Window(FRAMES), Quantise(_INPUT_SCALE, _INPUT_ZERO)),
                rate_hz=RATE_HZ,
                step=FRAMES,
            ),
            *(Input(variable.input, "INT8", variable.shape) for variable in variables),
        ),
        outputs=(
            Output("score", "UINT8", (1, 1)),
            *(Output(variable.output, "INT8", variable.shape) for variable in variables),
        ),
        variants=(
            Variant(
                "litert-int8",
                "litert",
                target.name,
                precision="int8",
                tensors={"features": _INPUT, "score": _OUTPUT},
                tolerance=2.0,  # steps of the quantisation: other processors round the last one differently
            ),
        ),
        state=tuple(State(taken, given, variables[0].start) for taken, given in states),
        lineage=(
            Lineage(
                "convert",
                "edgewise.convert.tflite_state",
                {
                    "compared_with": f"the original on LiteRT, {_CHECKED_WINDOWS} windows",
                    "largest_relative_difference": 0.0,
                },
                (workshop.recipe.files[0].sha256,),
            ),
        ),
    )


def _compare(source: Path, target: Path, variables: tuple[Variable, ...]) -> None:
    """The same operators on the same numbers: any difference at all is a fault."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    from edgewise.runtimes.litert import LiteRT

    if any(variable.start != variables[0].start or variable.datatype != "int8" for variable in variables):
        raise PackageError("The variables of this model do not begin alike")
    original = Interpreter(model_path=str(source))
    original.allocate_tensors()
    [taken], [given] = original.get_input_details(), original.get_output_details()
    session = LiteRT().open(target, SessionOptions())
    state: dict[str, Array] = {each.input: np.full(each.shape, each.start, np.int8) for each in variables}
    noise = np.random.default_rng(0)
    for _ in range(_CHECKED_WINDOWS):
        features = noise.integers(-128, 127, (1, FRAMES, _BINS), np.int8)
        original.set_tensor(taken["index"], features)
        original.invoke()
        outputs = session.infer({_INPUT: features, **state})
        if outputs[_OUTPUT] != original.get_tensor(given["index"]):
            raise PackageError("The converted model differs from the original", hint="Please report it.")
        state = {each.input: outputs[each.output] for each in variables}
    session.close()
