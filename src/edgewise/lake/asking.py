"""Running a query in a process of its own.

DuckDB's memory limit holds for its own buffers alone: one long string goes past it by gigabytes, and while that is made
nothing interrupts it. A process can be bounded and ended from outside, and if strange SQL ever gets the better of the
engine, it has only brought down its own process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from typing import IO

import msgspec

from edgewise import errors
from edgewise.errors import BusyError, ClosedError, EdgewiseError, EngineError, InputError, TooLargeError
from edgewise.lake.base import MIB, Limits, Result, Stop
from edgewise.lake.questions import OUT_OF_TIME, OVERHEAD_BYTES, Answer, Question

MAX_SQL = 256 * 1024
# Past its limit a query is first asked to stop, then its process ends itself, and at last it is killed.
_GRACE_S = 15.0
# What libraries take of memory before any work, kept small: threads that would only wait, and arenas.
_ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKIO_WORKER_THREADS": "2",
}


def ask(question: Question, stop: Stop) -> Result:
    """Runs a query; see ``base.Lake`` for what it raises."""
    if len(question.sql) > MAX_SQL:
        raise TooLargeError(f"The query is longer than {MAX_SQL} characters", limit=MAX_SQL, actual=len(question.sql))
    with tempfile.TemporaryFile() as said, _start(question, said) as process, stop.ends(process.kill):
        killer = threading.Timer(question.limits.timeout_s + _GRACE_S, process.kill)
        killer.start()
        try:
            content = _converse(process, question)
        finally:
            killer.cancel()
            process.kill()
            process.wait()
        if stop.called:
            raise ClosedError("The query was called off")
        said.seek(0)
        return _understand(content, process.returncode, question.limits, said.read(64 * 1024).decode(errors="replace"))


def _start(question: Question, said: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "edgewise.lake.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            pass_fds=(question.descriptor,) if question.format else (),
            env={**os.environ, **_ENVIRONMENT},
        )
    except OSError as error:
        raise BusyError(f"No process for a query: {error}", hint="Try again.") from error


def _converse(process: subprocess.Popen[bytes], question: Question) -> bytes:
    """Sends the question and reads the answer. The way in stays open: its end tells the process that nobody waits."""
    assert process.stdin  # noqa: S101 - it is a pipe
    assert process.stdout  # noqa: S101
    try:
        process.stdin.write(msgspec.json.encode(question) + b"\n")
        process.stdin.flush()
    except BrokenPipeError:  # it is gone already, and its exit code says why
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    most = question.limits.max_bytes + OVERHEAD_BYTES
    content = process.stdout.read(most)
    if len(content) < most:  # that was the end, so its exit code is its own
        process.wait()
    return content


def _understand(content: bytes, code: int, limits: Limits, said: str) -> Result:
    try:
        answer = msgspec.json.decode(content, type=Answer)
    except msgspec.DecodeError:
        raise _died(code, limits, said) from None
    if answer.result is not None:
        return answer.result
    if answer.refusal is None:
        raise _died(code, limits, said)
    refusal = answer.refusal
    kind = getattr(errors, refusal.error, InputError)
    error: EdgewiseError = kind(refusal.message, hint=refusal.hint, **refusal.facts)
    raise error


def _died(code: int, limits: Limits, said: str) -> EdgewiseError:
    if code == OUT_OF_TIME:
        return out_of_time(limits)
    if code in {-signal.SIGABRT, -signal.SIGKILL} or "MemoryError" in said:
        return out_of_memory(limits)
    lines = said.strip().splitlines()
    return EngineError(f"The process of the query ended with {code}: {lines[-1] if lines else 'it said nothing'}")


def out_of_time(limits: Limits) -> TooLargeError:
    """The error for a query that ran into its limit of time."""
    return TooLargeError(
        f"The query did not end within {limits.timeout_s:g} s",
        hint="Ask for less: a range of time, fewer columns; or give it longer (--timeout, `timeout_s`).",
        limit=limits.timeout_s,
        resource="time",
    )


def out_of_memory(limits: Limits) -> TooLargeError:
    """The error for a query that ran into its limit of memory."""
    return TooLargeError(
        f"The query needs more than {limits.memory_bytes // MIB} MiB of memory",
        hint="Ask for less: a range of time, fewer columns or groups; or give it more "
        "(--memory, `lake.query_memory_bytes`).",
        limit=limits.memory_bytes,
        resource="memory",
    )
