"""The seam between Edgewise and inference engines: artifact + options -> session; session: tensors -> tensors.

One engine is one file with one class that keeps ``Runtime``; its row in ``catalog.py`` says which extra installs it.
Every engine passes ``edgewise.testing.runtimes.RuntimeContract``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

from edgewise.errors import TensorError
from edgewise.types import DATATYPES, TensorSpec

if TYPE_CHECKING:
    import numpy as np

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
        trusted: The artifact is known to be whole and well meant, such as by a digest pinned in this program. An
            engine that a damaged artifact can crash then skips the trial run in another process.
    """

    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    provider: str = "auto"
    precision: Literal["f32", "auto"] = "f32"
    trusted: bool = False


class Session(Protocol):
    """A loaded model. ``infer`` may be called from several threads at once: an engine whose interpreter is not safe for
    that keeps a lock or a pool inside. Between calls nothing runs: threads fall asleep within milliseconds.

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
    for spec in specs:
        if spec.name not in inputs:
            raise _wrong_names(specs, f"Input {spec.name!r} is missing", spec.name)
        _check_tensor(spec, inputs[spec.name])
    if len(inputs) != len(specs):
        stranger = next(name for name in inputs if all(name != spec.name for spec in specs))
        raise _wrong_names(specs, f"No input is named {stranger!r}", stranger)


def _check_tensor(spec: TensorSpec, array: Array) -> None:
    dtype = getattr(array, "dtype", None)
    if dtype is None or dtype != _numpy_dtype(spec.datatype):
        actual = type(array).__name__ if dtype is None else dtype.name if dtype.isnative else dtype.str
        raise TensorError(
            f"Input {spec.name!r} has datatype {actual}, expected {spec.datatype}",
            tensor=spec.name,
            expected=spec.datatype,
            actual=actual,
        )
    shape = array.shape
    if shape != spec.shape and not _fits(shape, spec.shape):
        raise TensorError(
            f"Input {spec.name!r} has shape {list(shape)}, expected {list(spec.shape)}",
            tensor=spec.name,
            expected=list(spec.shape),
            actual=list(shape),
        )


@functools.cache
def _numpy_dtype(datatype: str) -> np.dtype[Any]:
    """Numpy's native type; comparing with it is a hundred times as fast as asking an array's type for its name."""
    import numpy as np

    return np.dtype(DATATYPES[datatype])


# Models see few shapes, and see them in every request.
@functools.lru_cache(maxsize=1024)
def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(want in (-1, have) for have, want in zip(shape, wanted, strict=True))


def _wrong_names(specs: Sequence[TensorSpec], message: str, name: str) -> TensorError:
    names = [spec.name for spec in specs]
    return TensorError(message, hint=f"Inputs: {', '.join(names)}", tensor=name, expected=names)
