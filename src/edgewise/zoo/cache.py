"""Where pulled models lie, and the rules by which they get there.

::

    CACHE/packages/NAME/    finished model packages, each appearing in one step
    CACHE/work/NAME/        downloads and the package under way; gone when the pull is done, kept when it breaks off
    CACHE/locks/NAME        held by the one process that works on a model

A process that is killed leaves its downloads for the next pull to resume from, and never half a package.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from edgewise._lib.files import TEMPORARY_PREFIX, publish_folder, remove_leftovers


class Cache:
    """One folder of pulled models.

    Args:
        folder: Is made when something is first pulled.
    """

    def __init__(self, folder: Path) -> None:
        self._packages = folder / "packages"
        self._work = folder / "work"
        self._locks = folder / "locks"

    def names(self) -> list[str]:
        """Names of the packages that lie here."""
        found = self._packages.iterdir() if self._packages.is_dir() else ()
        return sorted(path.name for path in found if not path.name.startswith(TEMPORARY_PREFIX))

    def find(self, name: str) -> Path | None:
        """The folder of a package; None when it was not pulled."""
        folder = self._packages / name
        return folder if (folder / "model.yaml").is_file() else None

    @contextlib.contextmanager
    def working(self, name: str, *, on_wait: Callable[[], None]) -> Iterator[Path]:
        """A folder to work on a model in, which no other process uses meanwhile; kept when the block fails.

        Args:
            name: Of the model.
            on_wait: Called when another process has it and this one waits.
        """
        work = self._work / name
        for folder in (self._packages, work, self._locks):
            folder.mkdir(parents=True, exist_ok=True)
        with _locked(self._locks / name, on_wait):
            work.mkdir(parents=True, exist_ok=True)
            yield work
            shutil.rmtree(work, ignore_errors=True)

    def publish(self, name: str, built: Path) -> Path:
        """Makes a package that was built in the working folder the one that ``find`` returns."""
        remove_leftovers(self._packages)
        final = self._packages / name
        publish_folder(built, final)
        return final


@contextlib.contextmanager
def _locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds a lock between processes; the system lets go of it when a process dies."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
