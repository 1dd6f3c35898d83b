"""Running a registry's client within bounds of time and bytes."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from edgewise.errors import NotFoundError, TooLargeError, UnavailableError
from edgewise.zoo.origins.base import Origin

TIMEOUT_S = 1800.0
_POLL_S = 0.05
_SLACK = 3  # a client may hold a download, its cache of it and a copy at once
_MISSING = ("no matching distribution", "e404", "404 not found", "unable to locate package", "no packages found")


def download(
    origin: Origin, arguments: Sequence[str], *, folder: Path, pattern: str, timeout_s: float = TIMEOUT_S
) -> Path:
    """Runs a client in an empty folder and takes the one file it leaves there.

    Args:
        origin: What is fetched; its bounds hold, its key names the result.
        arguments: The command line; ``{folder}`` in an argument stands for the folder it runs in.
        folder: Where the result goes.
        pattern: Matches the file that the client leaves.
        timeout_s: The client is stopped after that.

    Returns:
        ``folder / origin.key``.

    Raises:
        NotFoundError, TooLargeError, UnavailableError: As ``Fetcher.fetch`` says.
    """
    with tempfile.TemporaryDirectory(prefix=f"{origin.key}-", dir=folder) as name:
        room = Path(name).absolute()
        _run(origin, [argument.replace("{folder}", str(room)) for argument in arguments], room, timeout_s)
        found = sorted(room.glob(pattern))
        if len(found) != 1:
            raise UnavailableError(f"{origin.source}: the client left {len(found)} files, expected one")
        if (size := found[0].stat().st_size) > origin.max_bytes:
            raise TooLargeError(f"{origin.source} is too large", limit=origin.max_bytes, actual=size)
        return found[0].replace(folder / origin.key)


def require(program: str, *, hint: str) -> str:
    """The path of a client.

    Raises:
        UnavailableError: It is not installed; the hint says how to get it.
    """
    path = shutil.which(program)
    if path is None:
        raise UnavailableError(f"{program} is not installed", hint=hint, program=program)
    return path


def _run(origin: Origin, arguments: list[str], room: Path, timeout_s: float) -> None:
    """Runs to the end, or kills the client and all it started at a bound."""
    log = room / "client.log"
    deadline = time.monotonic() + timeout_s
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            cwd=room,
            env={**os.environ, "TMPDIR": str(room)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while not _ended(process):
                if (size := _size(room)) > origin.max_bytes * _SLACK:
                    raise TooLargeError(f"{origin.source} is too large", limit=origin.max_bytes, actual=size)
                if time.monotonic() > deadline:
                    raise UnavailableError(f"{origin.source}: no result after {timeout_s:.0f} s")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if process.returncode != 0:
        raise _failure(origin, log.read_text(errors="replace"))


def _ended(process: "subprocess.Popen[bytes]") -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_POLL_S)
        return True
    return False


def _size(folder: Path) -> int:
    """Bytes below a folder, in which files and folders come and go meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118  many files, often
    return total


def _failure(origin: Origin, log: str) -> NotFoundError | UnavailableError:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "e:", "npm err"))]
    reason = (errors or lines or ["the client gave no reason"])[-1]
    if any(mark in log.lower() for mark in _MISSING):
        return NotFoundError(f"{origin.source}: {reason}", kind="package", name=origin.package)
    return UnavailableError(f"{origin.source}: {reason}", hint="Check the network, then retry.")
