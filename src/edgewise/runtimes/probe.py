"""Trying an artifact in a process of its own, for engines that a damaged one can crash.

LiteRT and ExecuTorch check an artifact less than they should: with a few bytes changed, some end the process (see
``docs/decisions/artifact-probe.md``). Their adapters call ``probe`` first. It opens the artifact and runs it once on
zeros, in a child that the kernel may kill before us when memory runs out. What passed is remembered by its digest
for the life of the process; options with ``trusted`` skip it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from edgewise.errors import EdgewiseError, EngineError, PackageError
from edgewise.runtimes.artifacts import refused
from edgewise.runtimes.base import Session, SessionOptions
from edgewise.types import DATATYPES

if TYPE_CHECKING:
    from edgewise.runtimes.base import Runtime

_TIMEOUT_S = 60
_MAX_ELEMENTS = 100_000_000
_MARK = b"\nedgewise-probe:"


class _Report(msgspec.Struct, frozen=True):
    """The error of opening; an empty code when there was none."""

    code: str = ""
    message: str = ""
    hint: str = ""


_passed: set[tuple[str, str]] = set()


def probe(location: str, artifact: Path) -> None:
    """Tries an artifact unless its content passed before.

    Args:
        location: ``module:Class`` of the runtime.
        artifact: The file.

    Raises:
        PackageError: It crashed the engine, did not finish, or was refused.
        EngineError: It is valid but the engine cannot run it here.
    """
    with open(artifact, "rb") as file:
        key = (location, hashlib.file_digest(file, "sha256").hexdigest())
    if key in _passed:
        return
    command = [sys.executable, "-m", __name__, location, str(artifact)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        child = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise refused(artifact, f"did not finish one run within {_TIMEOUT_S} s") from error
    if child.returncode:
        raise refused(artifact, f"crashes its engine (exit status {child.returncode})")
    _raise_report(artifact, child.stdout)
    _passed.add(key)


def _raise_report(artifact: Path, report: bytes) -> None:
    """Raises what the child says it met. An engine may write to the same pipe, so the mark is looked for."""
    found = report.rpartition(_MARK)[2]
    if not found:
        raise refused(artifact, "ended its trial run without a word")
    error = msgspec.json.decode(found, type=_Report)
    if error.code == EngineError.code:
        raise EngineError(error.message, hint=error.hint)
    if error.code:
        raise PackageError(error.message, hint=error.hint, file=artifact.name)


def main(location: str, artifact: str) -> None:
    """What the child does: opens, runs, closes, and says how opening went. A run that fails in an orderly way may do so
    again where it is wanted.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # only Linux has it
        Path("/proc/self/oom_score_adj").write_text("1000")
    module, _, attribute = location.partition(":")
    runtime = cast("Runtime", getattr(importlib.import_module(module), attribute)())
    report = _Report()
    try:
        session = runtime.open(Path(artifact), SessionOptions(trusted=True))
    except EdgewiseError as error:
        report = _Report(error.code, error.message, error.hint)
    else:
        with contextlib.suppress(EdgewiseError):
            _run_once(session)
        session.close()
    sys.stdout.buffer.write(_MARK + msgspec.json.encode(report))
    sys.stdout.buffer.flush()
    os._exit(0)  # without the engine's own clean-up at exit, which is not what is tried


def _run_once(session: Session) -> None:
    import numpy as np

    shapes = {spec.name: [1 if size == -1 else size for size in spec.shape] for spec in session.inputs}
    if sum(float(np.prod(shape, dtype=float)) for shape in shapes.values()) > _MAX_ELEMENTS:
        return
    session.infer({spec.name: np.zeros(shapes[spec.name], DATATYPES[spec.datatype]) for spec in session.inputs})


if __name__ == "__main__":
    main(*sys.argv[1:])
