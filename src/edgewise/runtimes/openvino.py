"""OpenVINO: intermediate representation, ``.xml`` with its weights in the ``.bin`` of the same name beside it.

OpenVINO computes in bfloat16 by itself where the CPU can; ``precision: f32`` forbids that. It also computes 64-bit
tensors in 32 bits without a word: integers that do not fit are refused, and so are FP64 models unless ``precision`` is
``auto``. Its telemetry, which is on by default and sends at import, stays off.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewise.errors import EngineError, TensorError
from edgewise.runtimes.artifacts import read_head, refused
from edgewise.runtimes.base import Provider, Session, SessionOptions
from edgewise.runtimes.providers import Choice, start_best
from edgewise.runtimes.session import GuardedSession, Pool, parallel_calls, tensor_spec
from edgewise.types import TensorSpec

if TYPE_CHECKING:
    from edgewise.types import Array


def _import_openvino() -> Any:
    """Imports OpenVINO as if its telemetry package were not installed, which it allows for."""
    hidden = "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules
    if hidden:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # the import system's "not found"
    try:
        import openvino
    finally:
        if hidden:
            del sys.modules["openvino_telemetry"]
    return openvino


ov = _import_openvino()

# numpy's names; what is missing has none (OpenVINO's own mapping calls bfloat16 float16 and one bit uint8).
_NUMPY_NAMES = {
    "boolean": "bool",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
}
_COMPUTED_AS_INT32 = {"INT64", "UINT64", "UINT32"}
_INT32 = np.iinfo(np.int32)
_ERRORS = (RuntimeError, ValueError, TypeError)
_BEST_FIRST = ("NPU", "GPU", "CPU")


class OpenVINO:
    """OpenVINO of Intel."""

    name = "openvino"

    def __init__(self) -> None:
        self._core = ov.Core()

    def version(self) -> str:
        """OpenVINO's version."""
        return str(ov.__version__).partition("-")[0]

    def providers(self) -> tuple[Provider, ...]:
        """NPU, GPU and CPU; several of a kind count as one."""
        found = {device.partition(".")[0] for device in self._core.available_devices}
        return tuple(
            Provider(
                device.lower(),
                self._core.get_property(device, "FULL_DEVICE_NAME") if device in found else f"Intel {device}",
                available=device in found,
                reason="" if device in found else "OpenVINO finds no such device or no driver for it",
            )
            for device in _BEST_FIRST
        )

    def open(self, artifact: Path, options: SessionOptions) -> Session:
        """See ``Runtime.open``."""
        model = self._read(artifact)
        compiled, choice = start_best(
            self.providers(), options.provider, lambda name: self._compile(model, name, options)
        )
        try:
            session = _OpenVINOSession(compiled, choice, parallel=parallel_calls(options.threads))
        except _ERRORS as error:
            raise refused(artifact, f"is no valid OpenVINO model: {_last_line(error)}") from error
        if options.precision == "f32" and any(spec.datatype == "FP64" for spec in session.inputs + session.outputs):
            raise EngineError(
                "OpenVINO computes FP64 in FP32", hint="Open the model with precision auto, or convert it to FP32."
            )
        return session

    def _read(self, artifact: Path) -> Any:
        if not read_head(artifact, 5).lstrip().startswith((b"<?xml", b"<net")):
            raise refused(artifact, "is no OpenVINO model: it is not XML")
        try:  # the one reader, as read_model would try those of all other formats too
            reader = ov.frontend.FrontEndManager().load_by_framework("ir")
            return reader.convert(reader.load(str(artifact)))
        except _ERRORS as error:
            raise refused(artifact, f"is no valid OpenVINO model: {_last_line(error)}") from error

    def _compile(self, model: Any, provider: str, options: SessionOptions) -> Any:
        settings: dict[str, Any] = {}
        if options.precision == "f32":
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        if provider == "cpu":
            streams = parallel_calls(options.threads)
            settings |= {
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": streams * options.threads,
                "ENABLE_CPU_PINNING": False,  # other sessions and the rest of the node share the cores
            }
        try:
            return self._core.compile_model(model, provider.upper(), settings)
        except _ERRORS as error:
            raise EngineError(f"OpenVINO cannot run the model on {provider}: {_last_line(error)}") from error


class _OpenVINOSession(GuardedSession):
    def __init__(self, compiled: Any, choice: Choice, *, parallel: int) -> None:
        super().__init__([_spec(port) for port in compiled.inputs], [_spec(port) for port in compiled.outputs], choice)
        make = compiled.create_infer_request
        self._requests = Pool(make, limit=parallel, first=make())

    def _run(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> list[Array]:
        for spec in self.inputs:
            if spec.datatype in _COMPUTED_AS_INT32:
                _check_fits_int32(spec.name, inputs[spec.name])
        places = [self._output_names.index(name) for name in wanted]
        try:
            with self._requests.lend() as request:
                request.infer([inputs[spec.name] for spec in self.inputs])
                return [request.get_output_tensor(place).data.copy() for place in places]
        except _ERRORS as error:
            raise EngineError(f"OpenVINO failed: {_last_line(error)}") from error

    def _free(self) -> None:
        self._requests.clear()


def _spec(port: Any) -> TensorSpec:
    name = min(port.get_names(), default=port.get_node().get_friendly_name())  # one tensor may have several names
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise EngineError(f"Tensor {name!r} has no fixed number of dimensions", hint="Convert the model with shapes.")
    sizes = (-1 if size.is_dynamic else size.get_length() for size in shape)
    element = port.get_element_type().get_type_name()
    return tensor_spec(name, _NUMPY_NAMES.get(element, element), sizes)


def _check_fits_int32(name: str, array: Array) -> None:
    if array.size and not (_INT32.min <= array.min() and array.max() <= _INT32.max):
        raise TensorError(
            f"Input {name!r} has values outside 32 bits, in which OpenVINO computes",
            tensor=name,
            expected=f"{_INT32.min}..{_INT32.max}",
            actual=f"{array.min()}..{array.max()}",
        )


def _last_line(error: Exception) -> str:
    """OpenVINO puts file and line of its source first and the reason last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
