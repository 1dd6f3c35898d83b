"""A runtime without an engine, for tests and for measuring everything around an engine.

Its artifact is a small JSON file, ``FakeModel``::

    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1000]}],
     "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1000]}],
     "behaviour": "echo"}
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from edgewise.errors import EngineError
from edgewise.runtimes.artifacts import read_head, refused
from edgewise.runtimes.base import Provider, Session, SessionOptions
from edgewise.runtimes.providers import Choice, start_best
from edgewise.runtimes.session import GuardedSession
from edgewise.types import DATATYPES, TensorSpec

if TYPE_CHECKING:
    from edgewise.types import Array

_MAX_BYTES = 1024 * 1024


class FakeModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The artifact.

    Attributes:
        inputs: Input tensors.
        outputs: Output tensors; for ``echo`` and ``sleep`` as many as inputs, each of its input's datatype and shape.
        behaviour: ``echo`` copies each input to the output at the same place; ``sleep`` does so after ``seconds``;
            ``constant`` fills outputs with ``value``; ``fail`` raises EngineError.
        value: See ``constant``.
        seconds: See ``sleep``.
    """

    inputs: Annotated[tuple[TensorSpec, ...], Meta(min_length=1)]
    outputs: Annotated[tuple[TensorSpec, ...], Meta(min_length=1)]
    behaviour: Literal["echo", "constant", "fail", "sleep"] = "echo"
    value: float = 0.0
    seconds: Annotated[float, Meta(ge=0, le=60)] = 0.0


class FakeRuntime:
    """Opens ``FakeModel`` artifacts; runs on the caller's thread, whatever the options say of threads."""

    name = "fake"

    def version(self) -> str:
        """The version of the artifact format."""
        return "1"

    def providers(self) -> tuple[Provider, ...]:
        """Only ``cpu``."""
        return (Provider("cpu", "none needed", available=True),)

    def open(self, artifact: Path, options: SessionOptions) -> Session:
        """See ``Runtime.open``."""
        read_head(artifact, 2)
        if artifact.stat().st_size > _MAX_BYTES:
            raise refused(artifact, f"is larger than {_MAX_BYTES} bytes")
        try:
            model = msgspec.json.decode(artifact.read_bytes(), type=FakeModel)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise refused(artifact, f"is not a fake model: {error}") from error
        _check_echo(artifact, model)
        return _FakeSession(*start_best(self.providers(), options.provider, lambda _: model))


class _FakeSession(GuardedSession):
    def __init__(self, model: FakeModel, choice: Choice) -> None:
        super().__init__(model.inputs, model.outputs, choice)
        self._model = model
        self._source = {to.name: by.name for to, by in zip(model.outputs, model.inputs, strict=False)}

    def _run(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> list[Array]:
        match self._model.behaviour:
            case "fail":
                raise EngineError("The fake model failed, as it was told to")
            case "constant":
                return [self._filled(name, inputs) for name in wanted]
            case "sleep":
                time.sleep(self._model.seconds)
        return [inputs[self._source[name]].copy() for name in wanted]

    def _filled(self, name: str, inputs: Mapping[str, Array]) -> Array:
        """A constant output; its open sizes are those of the first input at the same place, else 1."""
        spec = next(spec for spec in self.outputs if spec.name == name)
        like = inputs[self.inputs[0].name].shape
        shape = [
            (like[axis] if axis < len(like) else 1) if size == -1 else size for axis, size in enumerate(spec.shape)
        ]
        return np.full(shape, self._model.value, dtype=DATATYPES[spec.datatype])

    def _free(self) -> None:
        """Nothing is held."""


def _check_echo(artifact: Path, model: FakeModel) -> None:
    if model.behaviour not in {"echo", "sleep"}:
        return
    takes = [(spec.datatype, spec.shape) for spec in model.inputs]
    gives = [(spec.datatype, spec.shape) for spec in model.outputs]
    if takes != gives:
        raise refused(artifact, f"is told to {model.behaviour}, but its outputs differ from its inputs")
