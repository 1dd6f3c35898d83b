"""Running a variant on the golden data of its package, and recording golden data from one that is trusted."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgewise._lib.files import write_atomic
from edgewise.models import folder as packages
from edgewise.models.arrays import read_npz
from edgewise.models.gate import INPUT_TOLERANCE, Measurement, compare
from edgewise.models.manifest import Golden
from edgewise.models.model import Model

if TYPE_CHECKING:
    from edgewise.types import Array


def measure(model: Model) -> list[Measurement]:
    """Runs every golden case of a model's package on its open variant.

    Raises:
        PackageError: Golden data is missing or damaged.
        TooLargeError: Golden data is past the bound.
    """
    return [measurement for case in model.manifest.golden for measurement in measure_case(model, case)]


def measure_case(model: Model, case: Golden) -> list[Measurement]:
    """Compares what one golden case gives with what it should give; see ``measure``."""
    tensors = read_npz(packages.inside(model.folder, case.tensors))
    inputs = {spec.name: tensors.get(f"input.{spec.name}") for spec in model.manifest.inputs}
    found = _measure_source(model, case, inputs) if case.source else []
    given = {name: array for name, array in inputs.items() if array is not None}
    if len(given) < len(inputs):
        return found + [
            compare(None, None, case=case.tensors, kind="input", tensor=name, tolerance=0.0)
            for name in inputs
            if name not in given
        ]
    outputs = model.infer(given)
    return found + [
        compare(
            tensors.get(f"output.{name}"),
            outputs.get(name),
            case=case.tensors,
            kind="output",
            tensor=name,
            tolerance=model.variant.tolerance,
        )
        for name in (spec.name for spec in model.manifest.outputs)
    ]


def record(model: Model, source: Path, name: str, *, landmarks: tuple[tuple[float, float], ...] = ()) -> Golden:
    """Makes a golden case from a picture or series in the package and what the open variant makes of it.

    Args:
        model: Open on a folder that may be written to.
        source: A file inside the package.
        name: Path of the ``.npz`` to write, inside the package.
        landmarks: For models that align faces.

    Returns:
        The entry for ``golden`` of the manifest.
    """
    import numpy as np

    inputs = model.preprocess(source, landmarks=landmarks)
    outputs = model.infer(inputs)
    buffer = io.BytesIO()
    arrays = {f"input.{key}": value for key, value in inputs.items()}
    arrays |= {f"output.{key}": value for key, value in outputs.items()}
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy types the keywords as flags
    place = packages.inside(model.folder, name)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(place, buffer.getvalue())
    return Golden(name, source.resolve().relative_to(model.folder.resolve()).as_posix(), landmarks)


def _measure_source(model: Model, case: Golden, inputs: Mapping[str, Array | None]) -> list[Measurement]:
    made = model.preprocess(packages.inside(model.folder, case.source), landmarks=case.landmarks)
    return [
        compare(
            inputs.get(name),
            array,
            case=case.tensors,
            kind="input",
            tensor=name,
            tolerance=INPUT_TOLERANCE * _spread(inputs.get(name)),
        )
        for name, array in made.items()
    ]


def _spread(array: Array | None) -> float:
    return 0.0 if array is None or not array.size else float(array.max()) - float(array.min())
