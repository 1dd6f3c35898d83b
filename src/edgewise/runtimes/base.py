"""The seam between Edgewise and inference engines: artifact + options -> session; session: tensors -> tensors.

One engine is one file with one class that keeps ``Runtime``; its row in ``catalog.py`` says which extra installs it.
Every engine passes ``edgewise.testing.runtimes.RuntimeContract``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from edgewise.types import TensorSpec

if TYPE_CHECKING:
    from edgewise.types import Array


class Provider(msgspec.Struct, frozen=True):
    """Hardware an engine can run on.

    Attributes:
        name: Lower-case short name: ``cpu``, ``cuda``, ``openvino``, ``coreml``, ``gpu``, ``npu``...
        device: What the engine calls it, for people.
        available: Whether it can be used on this machine now.
        reason: Why not, when it is not available.
    """

    name: str
    device: str
    available: bool
    reason: str = ""


class SessionOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a session runs.

    Attributes:
        threads: Threads inside one ``infer`` call. 1 is right inside a pool of workers.
        provider: ``auto`` takes the best available one; a name takes that one or falls back to ``cpu``, visibly.
        precision: ``f32`` forbids an engine to compute in a narrower type by itself; ``auto`` lets it choose.
    """

    threads: int = 1
    provider: str = "auto"
    precision: str = "f32"


class Session(Protocol):
    """A loaded model. ``infer`` may be called from several threads at once: an engine whose interpreter is not safe for
    that keeps a lock or a pool inside. Nothing runs and no thread spins between calls.

    Attributes:
        inputs: Input tensors in the artifact's order, with its names.
        outputs: Output tensors in the artifact's order.
        provider: What it really runs on.
        fallback: Why it does not run on the provider that was asked for; empty when it does.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    provider: str
    fallback: str

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Runs the model once.

        Args:
            inputs: One C-contiguous array per input name. They are not modified and not kept.
            outputs: Names wanted; all when None.

        Returns:
            New arrays by output name, in the order asked for, not overwritten by later calls.

        Raises:
            TensorError: A name, datatype or shape does not fit. Facts: ``tensor``, ``expected``, ``actual``.
            EngineError: The engine failed.
            ClosedError: The session was closed.
        """
        ...

    def close(self) -> None:
        """Frees the model. Waits for calls under way; may be called twice."""
        ...


class Runtime(Protocol):
    """One inference engine."""

    name: str

    def version(self) -> str:
        """The engine's own version."""
        ...

    def providers(self) -> tuple[Provider, ...]:
        """Hardware it knows on this machine, best first; ``cpu`` is always among them."""
        ...

    def open(self, artifact: Path, options: SessionOptions) -> Session:
        """Loads an artifact.

        Raises:
            PackageError: The file is not a valid artifact of this engine.
            EngineError: It is valid but the engine cannot run it here.
        """
        ...


def check_inputs(specs: Sequence[TensorSpec], inputs: Mapping[str, Array]) -> None:
    """Raises TensorError unless ``inputs`` has exactly the named tensors, each of its datatype and shape."""
    from edgewise.errors import TensorError
    from edgewise.types import DATATYPES

    names = [spec.name for spec in specs]
    for name in inputs:
        if name not in names:
            raise TensorError(f"No input is named {name!r}", hint=f"Inputs: {', '.join(names)}", tensor=name)
    for spec in specs:
        if spec.name not in inputs:
            raise TensorError(f"Input {spec.name!r} is missing", hint=f"Inputs: {', '.join(names)}", tensor=spec.name)
        array = inputs[spec.name]
        if array.dtype.name != DATATYPES[spec.datatype]:
            raise TensorError(
                f"Input {spec.name!r} has datatype {array.dtype.name}, expected {spec.datatype}",
                tensor=spec.name,
                expected=spec.datatype,
                actual=array.dtype.name,
            )
        fits = len(array.shape) == len(spec.shape) and all(
            want in (-1, have) for want, have in zip(spec.shape, array.shape, strict=True)
        )
        if not fits:
            raise TensorError(
                f"Input {spec.name!r} has shape {list(array.shape)}, expected {list(spec.shape)}",
                tensor=spec.name,
                expected=list(spec.shape),
                actual=list(array.shape),
            )
