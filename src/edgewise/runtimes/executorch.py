"""ExecuTorch: ``.pte`` artifacts, run by XNNPACK and ExecuTorch's own kernels.

A program keeps no names and only upper bounds of open sizes. A constant method ``edgewise_json`` that returns a
``Signature`` gives both (``constant_methods={SIGNATURE_METHOD: text}`` when it is lowered); without one the tensors
are ``input_0``..., ``output_0``... in the largest shape.

What the Python runtime cannot do, found by measuring:

* It holds the interpreter lock while it computes, so calls run one after the other; a lock says so.
* It has one pool of threads for the whole process, which ``torch.set_num_threads`` does not touch. All sessions open
  at one time must want the same number; another number is refused.
* It needs PyTorch, about 1.6 s to import.
"""

from __future__ import annotations

import importlib.metadata
import struct
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch  # its libraries must be loaded before the native module's

# The native module itself: the public one imports the whole exporter, 3 s and several warnings.
from executorch.extension.pybindings import _C as native  # noqa: N811  (a module, though named like a constant)

from edgewise.errors import EngineError, TensorError
from edgewise.runtimes.artifacts import Signature, decode_signature, read_head, refused
from edgewise.runtimes.base import Provider, Session, SessionOptions
from edgewise.runtimes.probe import probe
from edgewise.runtimes.providers import Choice, start_best
from edgewise.runtimes.session import GuardedSession, tensor_spec

if TYPE_CHECKING:
    from edgewise.types import Array, TensorSpec

SIGNATURE_METHOD = "edgewise_json"

_FORWARD = "forward"
_SEGMENT_SIZE_SINCE = 32  # length of the first extended header that has the bytes of segments
_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, MemoryError)

# ScalarType of c10, by number; what numpy has no name for is left out.
_NUMPY_NAMES = {
    0: "uint8",
    1: "int8",
    2: "int16",
    3: "int32",
    4: "int64",
    5: "float16",
    6: "float32",
    7: "float64",
    11: "bool",
    27: "uint16",
    28: "uint32",
    29: "uint64",
}


class _Threads:
    """The process's only pool of threads: its size may change while no session is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions = 0

    def acquire(self, count: int) -> None:
        """Joins the sessions that run with ``count`` threads.

        Raises:
            EngineError: Others are open with another number.
        """
        with self._lock:
            current: int = native._threadpool_get_thread_count()
            if current != count:
                if self._sessions:
                    raise EngineError(
                        f"ExecuTorch has one pool of threads, now {current}; a session with {count} cannot join",
                        hint=f"Open it with {current} threads, or close the other ExecuTorch models first.",
                        threads=current,
                    )
                native._unsafe_reset_threadpool(count)
            self._sessions += 1

    def release(self) -> None:
        """Leaves."""
        with self._lock:
            self._sessions -= 1


_threads = _Threads()


class ExecuTorch:
    """ExecuTorch of PyTorch."""

    name = "executorch"

    def version(self) -> str:
        """ExecuTorch's version."""
        return importlib.metadata.version("executorch")

    def providers(self) -> tuple[Provider, ...]:
        """The CPU. Other hardware is chosen when a program is lowered, not when it is opened."""
        return (Provider("cpu", "XNNPACK and portable kernels", available=True),)

    def open(self, artifact: Path, options: SessionOptions) -> Session:
        """See ``Runtime.open``. Also EngineError when other sessions are open with another number of threads."""
        _check_size(artifact)
        if not options.trusted:
            probe(f"{__name__}:ExecuTorch", artifact)
        _threads.acquire(options.threads)
        try:
            program, choice = start_best(self.providers(), options.provider, lambda _: _load(artifact))
            return _ExecuTorchSession(program, _signature(artifact, program), choice)
        except BaseException:
            _threads.release()
            raise


class _ExecuTorchSession(GuardedSession):
    def __init__(self, program: Any, signature: Signature, choice: Choice) -> None:
        super().__init__(signature.inputs, signature.outputs, choice)
        self._program = program
        self._running = threading.Lock()

    def _run(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> list[Array]:
        _refuse_empty(inputs)
        # Copied in, as torch warns of arrays it may not write to; copied out by numpy, as torch's copy would start
        # threads of its own.
        tensors = [torch.from_numpy(np.array(inputs[spec.name], order="C")) for spec in self.inputs]
        places = [self._output_names.index(name) for name in wanted]
        try:
            with self._running:
                results = self._program.forward(tensors, clone_outputs=False)
                return [results[place].numpy().copy() for place in places]
        except _ERRORS as error:
            raise EngineError(f"ExecuTorch failed: {error}") from error

    def _free(self) -> None:
        del self._program
        _threads.release()


def _refuse_empty(inputs: Mapping[str, Array]) -> None:
    """ExecuTorch ends the process when a tensor has no elements."""
    for name, array in inputs.items():
        if array.size == 0:
            raise TensorError(
                f"Input {name!r} is empty, which ExecuTorch does not take",
                tensor=name,
                expected="at least one element",
                actual=list(array.shape),
            )


def _check_size(artifact: Path) -> None:
    """Refuses what does not begin as a program, or is shorter than it says (extended header, all little-endian: mark
    ``eh00``, its length, bytes of the program, offset of the first segment, bytes of segments).
    """
    head = read_head(artifact, 40)
    if not head[4:].startswith(b"ET"):
        raise refused(artifact, "is no ExecuTorch program: it does not have the mark ET")
    if head[8:12] != b"eh00":
        return
    length, program, segments_at, segments = struct.unpack_from("<IQQQ", head, 12)
    needed = max(program, segments_at + segments if length >= _SEGMENT_SIZE_SINCE else 0)
    if artifact.stat().st_size < needed:
        raise refused(artifact, f"was cut short: it says it has {needed} bytes")


def _load(artifact: Path) -> Any:
    try:
        program = native._load_for_executorch(
            str(artifact), program_verification=native.Verification.InternalConsistency
        )
        if _FORWARD not in program.method_names():
            raise refused(artifact, f"has no method {_FORWARD!r}")
        return program
    except _ERRORS as error:
        raise refused(artifact, f"is no valid ExecuTorch program: {error}") from error


def _signature(artifact: Path, program: Any) -> Signature:
    """The signature inside the program, checked against what the program says of itself; else made from that."""
    try:
        meta = program.method_meta(_FORWARD)
        plain = Signature(
            tuple(_spec(f"input_{i}", meta.input_tensor_meta(i)) for i in range(meta.num_inputs())),
            tuple(_spec(f"output_{i}", meta.output_tensor_meta(i)) for i in range(meta.num_outputs())),
        )
        if SIGNATURE_METHOD not in program.method_names():
            return plain
        named = decode_signature(artifact, program.run_method(SIGNATURE_METHOD, [])[0])
    except _ERRORS as error:
        raise refused(artifact, f"is no valid ExecuTorch program: {error}") from error
    if not (_agree(named.inputs, plain.inputs) and _agree(named.outputs, plain.outputs)):
        raise refused(artifact, f"has a method {SIGNATURE_METHOD} that contradicts its tensors")
    return named


def _agree(named: Sequence[TensorSpec], plain: Sequence[TensorSpec]) -> bool:
    return len(named) == len(plain) and all(
        ours.datatype == bound.datatype
        and len(ours.shape) == len(bound.shape)
        and all(size in (-1, most) for size, most in zip(ours.shape, bound.shape, strict=True))
        for ours, bound in zip(named, plain, strict=True)
    )


def _spec(name: str, info: Any) -> TensorSpec:
    scalar_type = info.dtype()
    return tensor_spec(name, _NUMPY_NAMES.get(scalar_type, f"scalar type {scalar_type}"), info.sizes())
