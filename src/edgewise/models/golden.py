"""Running a variant on the golden data of its package, and recording golden data from one that is trusted."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgewise._lib.files import write_atomic
from edgewise.errors import InputError
from edgewise.models import folder as packages
from edgewise.models.arrays import read_npz
from edgewise.models.gate import INPUT_TOLERANCE, Measurement, compare
from edgewise.models.inputs import read_input
from edgewise.models.manifest import Golden
from edgewise.models.model import Model
from edgewise.models.stream import listening_input

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
        source: A picture, series or sound inside the package.
        name: Path of the ``.npz`` to write, inside the package.
        landmarks: For models that align faces.

    Returns:
        The entry for ``golden`` of the manifest.
    """
    inputs = model.preprocess(source, landmarks=landmarks)
    _write(model, name, inputs, model.infer(inputs))
    return Golden(name, source.resolve().relative_to(model.folder.resolve()).as_posix(), landmarks)


def record_later(model: Model, source: Path, name: str, *, windows: int) -> Golden:
    """Makes a golden case of a model that remembers from what it remembers after so many windows of a sound.

    Args:
        model: Open on a folder that may be written to.
        source: A sound, long enough.
        name: Path of the ``.npz`` to write, inside the package.
        windows: How many windows it hears; the last one is the case.

    Returns:
        The entry for ``golden`` of the manifest.
    """
    stream = model.stream()
    spec = listening_input(model.manifest)
    if sum(1 for _ in itertools.islice(stream.outputs_of(read_input(source, spec)), windows)) < windows:
        raise InputError(f"{source.name} has fewer than {windows} windows", limit=windows)
    _write(model, name, stream.inputs, stream.outputs)
    return Golden(name)


def _write(model: Model, name: str, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    import numpy as np

    buffer = io.BytesIO()
    arrays = {f"input.{key}": value for key, value in inputs.items()}
    arrays |= {f"output.{key}": value for key, value in outputs.items()}
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy types the keywords as flags
    place = packages.inside(model.folder, name)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(place, buffer.getvalue())


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
