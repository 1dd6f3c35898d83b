"""Frames of a video file, by PyAV."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from edgewise._lib.clock import Clock
from edgewise.errors import DecodeError, NotFoundError
from edgewise.media.packets import Packet
from edgewise.pipeline.base import Frame, Gives


class VideoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="video"):
    """A video file.

    Attributes:
        path: The file.
        loop: Starts again at its end.
        realtime: Gives frames at the file's own pace, as a camera would, and loses those that are not taken in time;
            otherwise every frame, as fast as they are taken.
    """

    path: str
    loop: bool = False
    realtime: bool = True


class VideoSource:
    """Plays a video file. Keeps the ``Source`` and ``Encoded`` seams."""

    gives = Gives.FRAME
    Settings = VideoSettings

    def __init__(self, name: str, settings: VideoSettings, *, clock: Clock) -> None:
        self.name = name
        self.live = settings.realtime
        self.dropped = 0
        self.unreadable = 0
        self._settings = settings
        self._clock = clock
        self._number = 0
        self._closed = threading.Event()
        self._take: Callable[[Packet], None] | None = None

    def read(self) -> Iterator[Frame]:
        """Yields the frames; see ``Source``."""
        path = Path(self._settings.path)
        if not path.is_file():
            raise NotFoundError(
                f"There is no video {path}", hint="Check the source's path.", kind="file", name=str(path)
            )
        while not self._closed.is_set():
            before = self._number
            yield from self._play(path)
            if self._number == before and not self._closed.is_set():
                raise DecodeError(f"{path} holds no frames", file=str(path))
            if not self._settings.loop:
                return

    def tap(self, take: Callable[[Packet], None]) -> None:
        """Hands on the file's packets as they are read; see ``Encoded``."""
        self._take = take

    def close(self) -> None:
        """Ends ``read``."""
        self._closed.set()

    def _play(self, path: Path) -> Iterator[Frame]:
        from edgewise.media import video

        start = self._clock.monotonic()
        for time_s, picture in video.pictures(path, on_packet=self._take):
            early_s = start + time_s - self._clock.monotonic() if self.live else 0.0
            if self._closed.wait(early_s) if early_s > 0 else self._closed.is_set():
                return
            self._number += 1
            yield Frame(self.name, self._number, self._clock.time_ns(), picture)
