"""TorchScript: ``.pt`` artifacts, run by libtorch.

TorchScript keeps neither names nor shapes of tensors, so ``save`` puts a ``Signature`` beside the code, as the extra
file ``edgewise.json`` of the archive; an artifact without one is refused.

libtorch's number of threads belongs to the calling thread and to the process. A session therefore computes on threads
of its own, each set once to the number it was opened with, and the process is left as it was. With more than one, the
others wait for further work for some milliseconds of CPU time after a call before they fall asleep: that is OpenMP's,
and only the environment of the whole process could forbid it.

The code in an artifact is a program: it can loop for ever and use all memory. What it must not do is touch files,
and code that could is refused before it is loaded.
"""

from __future__ import annotations

import re
import threading
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from edgewise.errors import EngineError
from edgewise.runtimes.artifacts import Signature, decode_signature, read_head, refused
from edgewise.runtimes.base import Provider, Session, SessionOptions
from edgewise.runtimes.providers import Choice, start_best
from edgewise.runtimes.session import GuardedSession, parallel_calls

if TYPE_CHECKING:
    from edgewise.types import Array

SIGNATURE_FILE = "edgewise.json"

_DEVICES = {"cuda": "cuda", "metal": "mps", "cpu": "cpu"}
# The two operators that open files, as bare words: around them code may have spaces, comments and line breaks.
_FILE_ACCESS = re.compile(rb"\b(?:from_file|save)\b")
_MAX_CODE_BYTES = 64 * 1024 * 1024
_ERRORS = (RuntimeError, ValueError, TypeError, NotImplementedError, IndexError)
_setting_threads = threading.Lock()


class TorchScript:
    """The TorchScript interpreter of PyTorch."""

    name = "torchscript"

    def version(self) -> str:
        """PyTorch's version."""
        return str(torch.__version__)

    def providers(self) -> tuple[Provider, ...]:
        """CUDA, Metal and the CPU."""
        cuda, metal = torch.cuda.is_available(), torch.backends.mps.is_available()
        cuda_reason = "no CUDA device" if torch.version.cuda else "this build of PyTorch has no CUDA"
        return (
            Provider("cuda", "CUDA", available=cuda, reason="" if cuda else cuda_reason),
            Provider("metal", "MPS", available=metal, reason="" if metal else "no Metal device"),
            Provider("cpu", "CPU", available=True),
        )

    def open(self, artifact: Path, options: SessionOptions) -> Session:
        """See ``Runtime.open``."""
        _check_archive(artifact)
        module, signature = _load(artifact)
        placed, choice = start_best(self.providers(), options.provider, lambda name: _place(module, name))
        return _TorchScriptSession(placed, signature, choice, threads=options.threads)


class _TorchScriptSession(GuardedSession):
    def __init__(self, module: Any, signature: Signature, choice: Choice, *, threads: int) -> None:
        super().__init__(signature.inputs, signature.outputs, choice)
        self._module = module
        self._device = _DEVICES[choice.provider]
        self._workers = ThreadPoolExecutor(
            parallel_calls(threads), thread_name_prefix="torchscript", initializer=_set_threads, initargs=(threads,)
        )

    def _run(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> list[Array]:
        arrays = [inputs[spec.name] for spec in self.inputs]
        results = self._workers.submit(self._forward, arrays).result()
        return [results[name] for name in wanted]

    def _forward(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """Runs on a worker. Inputs and outputs are copied: scripted code may write to what it is given, and may
        return its own parameters.
        """
        try:
            with torch.inference_mode():
                tensors = [torch.tensor(array, device=self._device) for array in arrays]
                results = _by_name(self._output_names, self._module(*tensors))
                return {name: tensor.cpu().numpy().copy() for name, tensor in results.items()}
        except _ERRORS as error:
            raise EngineError(f"TorchScript failed: {_last_line(error)}") from error

    def _free(self) -> None:
        self._workers.shutdown()
        del self._module


def save(module: Any, path: Path, signature: Signature) -> None:
    """Writes a scripted or traced module as an artifact that this runtime opens.

    Args:
        module: What ``torch.jit.script`` or ``torch.jit.trace`` returned. ``forward`` takes the inputs in the
            signature's order and returns one tensor, a tuple or list in the order of its outputs, or a dictionary.
        path: The file to write.
        signature: Names, datatypes and shapes, ``-1`` for open sizes.
    """
    torch.jit.save(module, str(path), _extra_files={SIGNATURE_FILE: msgspec.json.encode(signature).decode()})


def _check_archive(artifact: Path) -> None:
    """Refuses what is no TorchScript archive, unpacks to too much, or reaches for files."""
    if not read_head(artifact, 4).startswith(b"PK"):
        raise refused(artifact, "is no TorchScript model: it is not a zip archive")
    try:
        with zipfile.ZipFile(artifact) as archive:
            entries = archive.infolist()
            packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
            if sum(entry.file_size for entry in packed) > _MAX_CODE_BYTES:
                raise refused(artifact, f"unpacks to more than {_MAX_CODE_BYTES} bytes of code")
            for entry in entries:
                if _is_code(entry.filename) and _FILE_ACCESS.search(archive.read(entry)):
                    raise refused(artifact, "reads or writes files from its code, which a model must not do")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, *_ERRORS) as error:
        raise refused(artifact, f"is no intact archive: {error}") from error


def _is_code(name: str) -> bool:
    """Whether a file of the archive is compiled; beside each lies, as ``.debug_pkl``, the source it was made from."""
    return "/code/" in name and not name.endswith(".debug_pkl")


def _load(artifact: Path) -> tuple[Any, Signature]:
    extra = {SIGNATURE_FILE: ""}
    try:
        module = torch.jit.load(str(artifact), map_location="cpu", _extra_files=extra)  # type: ignore[no-untyped-call]
    except _ERRORS as error:
        raise refused(artifact, f"is no valid TorchScript model: {_last_line(error)}") from error
    if not extra[SIGNATURE_FILE]:
        raise refused(artifact, f"has no {SIGNATURE_FILE} inside; write it with edgewise.runtimes.torchscript.save")
    return module.eval(), decode_signature(artifact, extra[SIGNATURE_FILE])


def _place(module: Any, provider: str) -> Any:
    try:
        return module.to(_DEVICES[provider])
    except _ERRORS as error:
        raise EngineError(f"PyTorch cannot put the model on {provider}: {_last_line(error)}") from error


def _by_name(names: Sequence[str], result: Any) -> dict[str, Any]:
    """Names the tensors that ``forward`` returned."""
    if isinstance(result, torch.Tensor):
        result = (result,)
    pairs = result.items() if isinstance(result, dict) else zip(names, result, strict=False)
    named = {name: tensor for name, tensor in pairs if isinstance(tensor, torch.Tensor)}
    if missing := [name for name in names if name not in named]:
        raise ValueError(f"it returned no tensor for {', '.join(missing)}")
    return named


def _set_threads(count: int) -> None:
    """Sets the number of threads of the calling thread, and puts that of the process back as it was."""
    with _setting_threads:
        default = torch.get_num_threads()
        torch.set_num_threads(count)
        restore = threading.Thread(target=torch.set_num_threads, args=(default,), name="torchscript-default")
        restore.start()
        restore.join()


def _last_line(error: Exception) -> str:
    """PyTorch puts a trace of the scripted code first and the reason last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
