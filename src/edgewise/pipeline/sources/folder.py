"""The pictures of a folder in the order of their names."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.errors import DecodeError, NotFoundError, TooLargeError
from edgewise.pipeline.base import Frame, Gives

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# How often a watched folder is looked at. A file counts as written once it did not change between two looks.
_LOOK_S = 0.2

logger = logging.getLogger(__name__)


class FolderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="folder"):
    """A folder of pictures.

    Attributes:
        path: The folder; it is not searched deeper.
        watch: Goes on with files that appear later, instead of ending.
        loop: Starts again after the last one; not together with ``watch``.
        interval_s: Least time between two pictures; 0 gives them as fast as they are taken.
    """

    path: str
    watch: bool = False
    loop: bool = False
    interval_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0

    def __post_init__(self) -> None:
        if self.watch and self.loop:
            raise ValueError("watch and loop exclude each other")


class FolderSource:
    """Gives the pictures of a folder. Keeps the ``Source`` seam. A file that is no picture is left out and counted."""

    gives = Gives.FRAME
    Settings = FolderSettings

    def __init__(self, name: str, settings: FolderSettings, *, clock: Clock) -> None:
        self.name = name
        self.live = False
        self.dropped = 0
        self.unreadable = 0
        self._settings = settings
        self._folder = Path(settings.path)
        self._clock = clock
        self._number = 0
        self._closed = threading.Event()

    def read(self) -> Iterator[Frame]:
        """Yields the pictures; see ``Source``."""
        if not self._folder.is_dir():
            raise NotFoundError(
                f"There is no folder {self._folder}",
                hint="Check the source's path.",
                kind="folder",
                name=str(self._folder),
            )
        for path in self._written() if self._settings.watch else self._listed():
            frame = self._read(path)
            if self._closed.is_set():
                return
            if frame is not None:
                yield frame
                if self._closed.wait(self._settings.interval_s):
                    return

    def close(self) -> None:
        """Ends ``read``."""
        self._closed.set()

    def _listed(self) -> Iterator[Path]:
        while True:
            before = self._number
            yield from self._paths()
            if self._number == before:
                raise NotFoundError(
                    f"No picture in {self._folder}",
                    hint=f"Endings: {', '.join(sorted(SUFFIXES))}.",
                    kind="picture",
                    name=str(self._folder),
                )
            if not self._settings.loop:
                return

    def _written(self) -> Iterator[Path]:
        """Files in the order they were complete, those of one look by name."""
        given: dict[Path, tuple[int, int]] = {}
        seen: dict[Path, tuple[int, int]] = {}
        while not self._closed.is_set():
            now = {path: stamp for path in self._paths() if (stamp := _stamp(path)) is not None}
            for path, stamp in now.items():
                if seen.get(path) == stamp and given.get(path) != stamp:
                    given[path] = stamp
                    yield path
            given = {path: stamp for path, stamp in given.items() if path in now}
            seen = now
            self._closed.wait(_LOOK_S)

    def _paths(self) -> list[Path]:
        found = (path for path in self._folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
        return sorted(found, key=lambda path: path.name)

    def _read(self, path: Path) -> Frame | None:
        from edgewise.media import images

        try:
            image = images.read(path)
        except (DecodeError, TooLargeError, NotFoundError) as error:
            self.unreadable += 1
            logger.warning("%s: %s left out: %s", self.name, path.name, error)
            return None
        self._number += 1
        return Frame(self.name, self._number, self._clock.time_ns(), image)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
