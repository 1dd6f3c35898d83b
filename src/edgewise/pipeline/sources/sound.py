"""A sound file, by libsndfile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.errors import NotFoundError
from edgewise.pipeline.base import Gives, Sound

if TYPE_CHECKING:
    from edgewise.types import Array

Rate = Annotated[int, Meta(ge=8_000, le=48_000)]
PieceMs = Annotated[int, Meta(ge=8, le=1_000)]


class SoundSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="sound"):
    """A sound file.

    Attributes:
        path: The file: WAV, FLAC, Ogg, MP3 or AIFF.
        loop: Starts again at its end.
        realtime: Gives pieces at the file's own pace, as a microphone would, and loses those that are not taken in
            time; otherwise every piece, as fast as they are taken.
        rate: Values a second it is changed to; 16,000 is what models of speech take.
        piece_ms: Length of a piece, milliseconds.
    """

    path: str
    loop: bool = False
    realtime: bool = True
    rate: Rate = 16_000
    piece_ms: PieceMs = 32


class SoundSource:
    """Plays a sound file. Keeps the ``Source`` seam. Times are those of the recording: they begin when it is opened and
    go on by the length of each piece, however fast the pieces are taken.
    """

    gives = Gives.SOUND
    Settings = SoundSettings

    def __init__(self, name: str, settings: SoundSettings, *, clock: Clock) -> None:
        self.name = name
        self.live = settings.realtime
        self.dropped = 0
        self.unreadable = 0
        self._settings = settings
        self._clock = clock
        self._number = 0
        self._closed = threading.Event()

    def read(self) -> Iterator[Sound]:
        """Yields the pieces; see ``Source``."""
        path = Path(self._settings.path)
        if not path.is_file():
            raise NotFoundError(
                f"There is no sound {path}", hint="Check the source's path.", kind="file", name=str(path)
            )
        rate, length = self._settings.rate, self._settings.rate * self._settings.piece_ms // 1000
        start, start_ns = self._clock.monotonic(), self._clock.time_ns()
        for place, samples in enumerate(self._pieces(path, length)):
            early_s = start + (place + 1) * length / rate - self._clock.monotonic() if self.live else 0.0
            if self._closed.wait(early_s) if early_s > 0 else self._closed.is_set():
                return
            self._number += 1
            yield Sound(self.name, self._number, start_ns + place * length * 1_000_000_000 // rate, samples, rate)

    def close(self) -> None:
        """Ends ``read``."""
        self._closed.set()

    def _pieces(self, path: Path, length: int) -> Iterator[Array]:
        """Pieces of one length; the last one of a file that is not played again ends in silence."""
        import numpy as np

        from edgewise.media import sound

        left = np.zeros(0, np.float32)
        while not self._closed.is_set():
            for block in sound.pieces(path, rate=self._settings.rate):
                left = np.concatenate([left, block])
                whole = len(left) // length * length
                yield from left[:whole].reshape(-1, length)
                left = left[whole:]
            if not self._settings.loop:
                break
        if len(left):
            yield np.pad(left, (0, length - len(left)))
