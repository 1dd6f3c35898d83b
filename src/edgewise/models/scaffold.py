"""A new package around an artifact: what the artifact tells of itself is filled in, the rest is a start to edit."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgewise import runtimes
from edgewise._lib.documents import nearest
from edgewise._lib.files import TEMPORARY_PREFIX, publish_folder
from edgewise.errors import ConflictError, MissingExtraError, NotFoundError, PackageError
from edgewise.models import folder as packages
from edgewise.models import tasks
from edgewise.models.manifest import Input, Layout, Manifest, Normalise, Operation, Output, Resize, Variant
from edgewise.runtimes.base import SessionOptions
from edgewise.types import TensorSpec

LABELS = "labels.txt"
_GUESSED_SIDE = 224


def new(
    folder: Path,
    *,
    artifact: Path,
    task: str = "classification",
    labels: Path | None = None,
    licence: str = "unstated",
    name: str = "",
    version: str = "1",
) -> Manifest:
    """Makes a package around an artifact.

    Tensors are read from the artifact. For a picture input the preprocessing is a guess (stretched to the input's
    size, scaled to 0..1); the model's author knows better.

    Args:
        folder: The folder to make; it appears whole or not at all.
        artifact: A file of one of the runtimes.
        task: A kind of task; its options with no default are the author's to fill in.
        labels: Text file with one class name a line.
        licence: Under which the model may be used, as an SPDX name.
        name: Of the model; the folder's, when empty.
        version: Of the model.

    Raises:
        ConflictError: The folder exists.
        NotFoundError: There is no such artifact or task.
        PackageError: No runtime opens the artifact, or the task needs options that have no default.
        MissingExtraError: Its runtime is not installed.
    """
    if folder.exists():
        raise ConflictError(f"{folder} exists already", hint="Choose another place.", name=str(folder))
    for file in (artifact, *([labels] if labels else [])):
        if not file.is_file():
            raise NotFoundError(f"There is no file {file}", kind="file", name=str(file))
    tasks.decoder_class(task)
    runtime = _runtime_of(artifact)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{folder.name}-", dir=folder.parent))
    try:
        for file, final in ((artifact, artifact.name), *([(labels, LABELS)] if labels else [])):
            shutil.copyfile(file, aside / final)
        inputs, outputs = _tensors(runtime, aside / artifact.name)
        options: dict[str, Any] = {"kind": task} | ({"labels": LABELS} if labels else {})
        manifest = Manifest(
            name=name or _name_from(folder.name),
            version=version,
            licence=licence,
            task=options,
            inputs=tuple(_input(spec) for spec in inputs),
            outputs=tuple(Output(spec.name, spec.datatype, spec.shape) for spec in outputs),
            variants=(Variant(runtime, runtime, artifact.name),),
        )
        sealed = packages.save(aside, manifest)
        aside.chmod(0o755)
        publish_folder(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return sealed


def _runtime_of(artifact: Path) -> str:
    known = {suffix: name for name, status in runtimes.available().items() for suffix in status.row.suffixes}
    if artifact.suffix not in known:
        raise PackageError(
            f"No runtime opens files that end in {artifact.suffix or artifact.name!r}",
            hint=nearest(artifact.suffix, known),
            file=artifact.name,
        )
    name = known[artifact.suffix]
    status = runtimes.available()[name]
    if not status.installed:
        raise MissingExtraError(f"{artifact.name} needs the runtime {name!r}", hint=status.hint, runtime=name)
    return name


def _tensors(runtime: str, artifact: Path) -> tuple[Sequence[TensorSpec], Sequence[TensorSpec]]:
    session = runtimes.open_runtime(runtime).open(artifact, SessionOptions())
    try:
        return session.inputs, session.outputs
    finally:
        session.close()


def _input(spec: TensorSpec) -> Input:
    planar, interleaved = spec.shape[1:2] == (3,), spec.shape[3:4] == (3,)
    if len(spec.shape) != 4 or not (planar or interleaved):
        return Input(spec.name, spec.datatype, spec.shape)
    sides = spec.shape[2:4] if planar else spec.shape[1:3]
    height, width = (side if side > 0 else _GUESSED_SIDE for side in sides)
    operations: list[Operation] = [Resize(height, width)]
    if spec.datatype in {"FP16", "FP32"}:
        operations.append(Normalise((0.0,), (255.0,)))
    if planar:
        operations.append(Layout("NCHW"))
    shape = (spec.shape[0], 3, height, width) if planar else (spec.shape[0], height, width, 3)
    return Input(spec.name, spec.datatype, shape, "image", tuple(operations))


def _name_from(text: str) -> str:
    """The nearest text that is a valid name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:64] or "model"
