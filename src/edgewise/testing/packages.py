"""Small model packages on the fake runtime, for tests of everything around a model and for measuring it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgewise.models.folder import save
from edgewise.models.manifest import Input, Layout, Manifest, Output, Resize, Variant
from edgewise.types import Datatype, TensorSpec

ARTIFACT = "model.json"


def write_fake(
    folder: Path,
    name: str,
    *,
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    task: dict[str, Any] | None = None,
    files: dict[str, bytes] | None = None,
    **fake: Any,
) -> Path:
    """Writes a package whose one variant runs on the fake runtime.

    Args:
        folder: Where packages lie; the package becomes ``folder/name``.
        name: The model's name.
        inputs: Its inputs.
        outputs: Its outputs.
        task: Its task; an embedding of the first output when not given.
        files: More files of the package.
        fake: Fields of ``edgewise.runtimes.fake.FakeModel``, such as ``behaviour``.
    """
    package = folder / name
    package.mkdir(parents=True)
    artifact = {
        "inputs": [_spec(tensor) for tensor in inputs],
        "outputs": [_spec(tensor) for tensor in outputs],
        **fake,
    }
    (package / ARTIFACT).write_bytes(msgspec.json.encode(artifact))
    for path, content in (files or {}).items():
        (package / path).write_bytes(content)
    manifest = Manifest(
        name=name,
        version="1",
        licence="Apache-2.0",
        summary="A model for tests.",
        task=task or {"kind": "embedding", "output": outputs[0].name},
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        variants=(Variant(name="fake", runtime="fake", artifact=ARTIFACT),),
    )
    save(package, manifest)
    return package


def write_echo(
    folder: Path, name: str = "echo", *, shape: tuple[int, ...] = (-1, 1000), datatype: Datatype = "FP32"
) -> Path:
    """Writes a model that answers with its input: ``x`` in, ``y`` out."""
    return write_fake(
        folder,
        name,
        inputs=[Input(name="x", datatype=datatype, shape=shape)],
        outputs=[Output(name="y", datatype=datatype, shape=shape)],
    )


def write_classifier(folder: Path, name: str = "colours", *, labels: Sequence[str] = ("red", "green", "blue")) -> Path:
    """Writes a classifier of pictures that finds all classes alike."""
    return write_fake(
        folder,
        name,
        inputs=[
            Input(
                name="picture",
                datatype="UINT8",
                shape=(-1, 3, 32, 32),
                kind="image",
                preprocess=(Resize(height=32, width=32), Layout(to="NCHW")),
            )
        ],
        outputs=[Output(name="scores", datatype="FP32", shape=(-1, len(labels)))],
        task={"kind": "classification", "labels": "labels.txt"},
        files={"labels.txt": "\n".join(labels).encode()},
        behaviour="constant",
        value=1.0,
    )


def _spec(tensor: Input | Output) -> TensorSpec:
    return TensorSpec(tensor.name, tensor.datatype, tensor.shape)
