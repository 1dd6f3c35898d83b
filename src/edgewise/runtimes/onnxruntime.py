"""ONNX Runtime: ``.onnx`` and ``.ort`` artifacts.

Threads do not spin: an idle session costs nothing. External weights are read from the artifact's own folder only;
ONNX Runtime itself refuses a location that leads out of it, and a test holds that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as native

from edgewise.errors import EngineError, TensorError
from edgewise.runtimes.artifacts import read_head, refused
from edgewise.runtimes.base import Provider, Session, SessionOptions
from edgewise.runtimes.providers import Choice, start_best
from edgewise.runtimes.session import GuardedSession, tensor_spec
from edgewise.types import TensorSpec

if TYPE_CHECKING:
    from edgewise.types import Array

# ONNX Runtime's names of tensor types where they are not numpy's.
_NUMPY_NAMES = {"float": "float32", "double": "float64", "string": "object"}


class _Hardware(NamedTuple):
    name: str
    engine_name: str
    package: str


# Best first. TensorRT comes after CUDA because it compiles for minutes at the first start; it is taken when asked for.
_HARDWARE = (
    _Hardware("cuda", "CUDAExecutionProvider", "onnxruntime-gpu"),
    _Hardware("tensorrt", "TensorrtExecutionProvider", "onnxruntime-gpu"),
    _Hardware("migraphx", "MIGraphXExecutionProvider", "onnxruntime-migraphx"),
    _Hardware("qnn", "QNNExecutionProvider", "onnxruntime-qnn"),
    _Hardware("coreml", "CoreMLExecutionProvider", "onnxruntime"),
    _Hardware("directml", "DmlExecutionProvider", "onnxruntime-directml"),
    _Hardware("openvino", "OpenVINOExecutionProvider", "onnxruntime-openvino"),
    _Hardware("cpu", "CPUExecutionProvider", "onnxruntime"),
)
_ENGINE_NAMES = {row.name: row.engine_name for row in _HARDWARE}

# What ONNX Runtime raises for bytes that are no model, and for a model that breaks the ONNX specification.
_INVALID = (
    native.InvalidProtobuf,
    native.InvalidGraph,
    native.InvalidArgument,
    native.NoSuchFile,
    native.Fail,
    native.ModelRequiresCompilation,
)
_ERRORS = (
    *_INVALID,
    native.EPFail,
    native.EngineError,
    native.ModelLoaded,
    native.NoModel,
    native.NotImplemented,
    native.NotFound,
    native.RuntimeException,
    RuntimeError,
    ValueError,
)


class OnnxRuntime:
    """ONNX Runtime of Microsoft."""

    name = "onnxruntime"

    def version(self) -> str:
        """ONNX Runtime's version."""
        return str(ort.__version__)

    def providers(self) -> tuple[Provider, ...]:
        """Execution providers, best first."""
        built_in = set(ort.get_available_providers())
        return tuple(
            Provider(
                row.name,
                row.engine_name,
                available=row.engine_name in built_in,
                reason="" if row.engine_name in built_in else f"not in this build; {row.package} has it",
            )
            for row in _HARDWARE
        )

    def open(self, artifact: Path, options: SessionOptions) -> Session:
        """See ``Runtime.open``."""
        read_head(artifact, 8)
        engine, choice = start_best(
            self.providers(), options.provider, lambda name: _start(artifact, options, name), not_auto={"tensorrt"}
        )
        try:
            return _OnnxSession(engine, choice)
        except UnicodeDecodeError as error:
            raise refused(artifact, f"names a tensor or size in broken UTF-8: {error}") from error


class _OnnxSession(GuardedSession):
    def __init__(self, engine: ort.InferenceSession, choice: Choice) -> None:
        super().__init__(
            [_spec(node) for node in engine.get_inputs()], [_spec(node) for node in engine.get_outputs()], choice
        )
        self._engine = engine

    def _run(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> Sequence[Array]:
        if not wanted:
            return []
        try:
            results: list[Array] = self._engine.run(wanted, inputs)
        except native.InvalidArgument as error:
            raise TensorError(f"ONNX Runtime refused the input: {_reason(error)}") from error
        except _ERRORS as error:
            raise EngineError(f"ONNX Runtime failed: {_reason(error)}") from error
        return results

    def _free(self) -> None:
        del self._engine


def _start(artifact: Path, options: SessionOptions, provider: str) -> ort.InferenceSession:
    engine_name = _ENGINE_NAMES[provider]
    try:
        engine = ort.InferenceSession(str(artifact), _settings(options), providers=[engine_name], enable_fallback=0)
    except _ERRORS as error:
        if provider == "cpu" and isinstance(error, _INVALID):  # hardware fails with the same classes
            raise refused(artifact, f"is no valid ONNX model: {_reason(error, artifact)}") from error
        raise EngineError(f"ONNX Runtime cannot run {artifact.name}: {_reason(error, artifact)}") from error
    if engine.get_providers()[0] != engine_name:  # it falls back by itself, and says so only in its log
        raise EngineError(f"{engine_name} did not start")
    return engine


def _settings(options: SessionOptions) -> ort.SessionOptions:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.inter_op.allow_spinning", "0")
    settings.log_severity_level = 4  # errors are raised; what it would write to stderr says the same once more
    return settings


def _spec(node: ort.NodeArg) -> TensorSpec:
    """``node.type`` is such as ``tensor(float)`` or ``seq(map(int64,tensor(float)))``."""
    element = node.type.removeprefix("tensor(").removesuffix(")")
    sizes = (size if isinstance(size, int) else -1 for size in node.shape)
    return tensor_spec(node.name, _NUMPY_NAMES.get(element, element), sizes)


def _reason(error: Exception, artifact: Path | None = None) -> str:
    """The first line of what ONNX Runtime says, without the folder the artifact lies in."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line.replace(f"{artifact.parent}/", "") if artifact else line
