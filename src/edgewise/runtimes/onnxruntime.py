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
from edgewise.runtimes.session import GuardedSession
from edgewise.types import Datatype, TensorSpec

if TYPE_CHECKING:
    from edgewise.types import Array

_DATATYPES: dict[str, Datatype] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


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
        """See ``Runtime.open``. A provider that does not start is passed over for the next one, and said so."""
        read_head(artifact, 8)
        reasons = []
        for provider, why_not in self._candidates(options.provider):
            if why_not:
                reasons.append(why_not)
                continue
            try:
                engine = _start(artifact, options, provider)
            except EngineError as error:
                if provider == "cpu":
                    raise
                reasons.append(f"{provider}: {error.message}")
                continue
            if engine.get_providers()[0] == _ENGINE_NAMES[provider]:
                break
            reasons.append(f"{provider} did not start")
        return _OnnxSession(engine, provider=provider, fallback="; ".join(reasons))

    def _candidates(self, wanted: str) -> list[tuple[str, str]]:
        """Providers to try in order, each with the reason why it cannot be tried (empty when it can)."""
        known = {provider.name: provider for provider in self.providers()}
        if wanted == "auto":
            return [(name, "") for name, row in known.items() if row.available and name != "tensorrt"]
        if wanted not in known:
            return [(wanted, f"{wanted} is unknown to ONNX Runtime"), ("cpu", "")]
        reason = f"{wanted} is {known[wanted].reason}" if not known[wanted].available else ""
        return [(wanted, reason)] + ([("cpu", "")] if wanted != "cpu" else [])


class _OnnxSession(GuardedSession):
    def __init__(self, engine: ort.InferenceSession, *, provider: str, fallback: str) -> None:
        super().__init__(
            [_spec(node) for node in engine.get_inputs()],
            [_spec(node) for node in engine.get_outputs()],
            provider=provider,
            fallback=fallback,
        )
        self._engine = engine

    def _run(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> Sequence[Array]:
        if not wanted:
            return []
        try:
            results: list[Array] = self._engine.run(wanted, inputs)
        except native.InvalidArgument as error:
            raise TensorError(f"ONNX Runtime refused the input: {_first_line(error)}") from error
        except _ERRORS as error:
            raise EngineError(f"ONNX Runtime failed: {_first_line(error)}") from error
        return results

    def _free(self) -> None:
        del self._engine


def _start(artifact: Path, options: SessionOptions, provider: str) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(str(artifact), _settings(options), providers=[_ENGINE_NAMES[provider]])
    except _INVALID as error:
        raise refused(artifact, f"is no valid ONNX model: {_first_line(error)}") from error
    except _ERRORS as error:
        raise EngineError(f"ONNX Runtime cannot run {artifact.name}: {_first_line(error)}") from error


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
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise EngineError(
            f"Tensor {node.name!r} is a {node.type}, which cannot be passed through",
            hint="Convert the model so that it takes and gives plain tensors (for scikit-learn: zipmap=False).",
        )
    return TensorSpec(node.name, datatype, tuple(size if isinstance(size, int) else -1 for size in node.shape))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
