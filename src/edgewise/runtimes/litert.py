"""LiteRT (formerly TensorFlow Lite): ``.tflite`` artifacts, run by XNNPACK on the CPU.

An interpreter is not safe for concurrent calls, so a session keeps a pool of them; the weights are mapped from the
file and shared. Tensors have the names that stand in the artifact; open sizes come from its shape signature and are
set by resizing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ai_edge_litert
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgewise.errors import EngineError
from edgewise.runtimes.artifacts import read_head, refused
from edgewise.runtimes.base import Provider, Session, SessionOptions
from edgewise.runtimes.probe import probe
from edgewise.runtimes.providers import Choice, start_best
from edgewise.runtimes.session import GuardedSession, Pool, parallel_calls, tensor_spec
from edgewise.types import TensorSpec

if TYPE_CHECKING:
    from edgewise.types import Array

_ERRORS = (RuntimeError, ValueError, TypeError, MemoryError)


class LiteRT:
    """LiteRT of Google."""

    name = "litert"

    def version(self) -> str:
        """LiteRT's version."""
        return str(ai_edge_litert.__version__)

    def providers(self) -> tuple[Provider, ...]:
        """The CPU; the Python interpreter takes no other hardware without a vendor's delegate library."""
        return (
            Provider("gpu", "GPU delegate", available=False, reason="not in LiteRT's Python interpreter"),
            Provider("cpu", "XNNPACK", available=True),
        )

    def open(self, artifact: Path, options: SessionOptions) -> Session:
        """See ``Runtime.open``."""
        if read_head(artifact, 8)[4:] != b"TFL3":
            raise refused(artifact, "is no LiteRT model: it does not have the mark TFL3")
        if not options.trusted:
            probe(f"{__name__}:LiteRT", artifact)
        first, choice = start_best(
            self.providers(), options.provider, lambda _: _start(artifact, threads=options.threads)
        )
        return _LiteRTSession(artifact, first, choice, threads=options.threads)


class _Worker:
    """One interpreter, with the input shapes it was last resized to."""

    def __init__(self, artifact: Path, *, threads: int) -> None:
        self.interpreter = Interpreter(model_path=str(artifact), num_threads=threads)
        self.interpreter.allocate_tensors()
        self.inputs: list[dict[str, Any]] = self.interpreter.get_input_details()
        self.outputs: list[dict[str, Any]] = self.interpreter.get_output_details()
        self._index = {detail["name"]: detail["index"] for detail in self.outputs}
        self._shapes = {detail["name"]: tuple(detail["shape"]) for detail in self.inputs}

    def run(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> list[Array]:
        self._resize(inputs)
        for detail in self.inputs:
            self.interpreter.set_tensor(detail["index"], inputs[detail["name"]])
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(self._index[name]) for name in wanted]

    def _resize(self, inputs: Mapping[str, Array]) -> None:
        changed = False
        for detail in self.inputs:
            name, shape = detail["name"], inputs[detail["name"]].shape
            if shape != self._shapes[name]:
                self.interpreter.resize_tensor_input(detail["index"], shape)
                self._shapes[name] = shape
                changed = True
        if changed:
            self.interpreter.allocate_tensors()


class _LiteRTSession(GuardedSession):
    def __init__(self, artifact: Path, first: _Worker, choice: Choice, *, threads: int) -> None:
        super().__init__(
            [_spec(detail) for detail in first.inputs], [_spec(detail) for detail in first.outputs], choice
        )
        self._workers = Pool(lambda: _Worker(artifact, threads=threads), limit=parallel_calls(threads), first=first)

    def _run(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> list[Array]:
        try:
            with self._workers.lend() as worker:
                return worker.run(inputs, wanted)
        except _ERRORS as error:
            raise EngineError(f"LiteRT failed: {error}") from error

    def _free(self) -> None:
        self._workers.clear()


def _start(artifact: Path, *, threads: int) -> _Worker:
    try:
        return _Worker(artifact, threads=threads)
    except _ERRORS as error:
        raise refused(artifact, f"is no valid LiteRT model: {error}") from error


def _spec(detail: Mapping[str, Any]) -> TensorSpec:
    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return tensor_spec(detail["name"], np.dtype(detail["dtype"]).name, shape)
