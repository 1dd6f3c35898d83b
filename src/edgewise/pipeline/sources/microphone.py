"""A microphone of this machine, by PortAudio (package ``libportaudio2``) and sounddevice, which the extra ``audio``
installs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.errors import MissingExtraError, UnavailableError
from edgewise.media.sound import Resampler
from edgewise.pipeline.base import Gives, Sound
from edgewise.pipeline.sources.sound import PieceMs, Rate

if TYPE_CHECKING:
    from edgewise.types import Array

# A microphone that gives nothing for so long is gone: PortAudio does not always say so.
_STALLED_S = 2.0
# PortAudio looks for devices when it is started, so it is started again whenever none of ours is open.
_library_lock = threading.Lock()
_open_streams = 0


class MicrophoneSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="microphone"):
    """A microphone.

    Attributes:
        device: Its name or a part of it, or its number, as ``python -m sounddevice`` lists them; empty takes the
            system's default.
        rate: Values a second; one that the microphone does not know is made from its own.
        piece_ms: Length of a piece, milliseconds.
        queue: Pieces that wait at most; a newer one pushes the oldest out, which is counted.
    """

    device: Annotated[str, Meta(max_length=200)] = ""
    rate: Rate = 16_000
    piece_ms: PieceMs = 32
    queue: Annotated[int, Meta(ge=1, le=256)] = 16


class MicrophoneSource:
    """Listens to a microphone. Keeps the ``Source`` seam."""

    gives = Gives.SOUND
    Settings = MicrophoneSettings

    def __init__(self, name: str, settings: MicrophoneSettings, *, clock: Clock) -> None:
        self.name = name
        self.live = True
        self.dropped = 0
        self.unreadable = 0
        self._settings = settings
        self._clock = clock
        self._number = 0
        self._length = settings.rate * settings.piece_ms // 1000
        self._changed = threading.Condition()
        self._waiting: deque[Sound] = deque()
        self._closed = False
        self._ended = False

    def read(self) -> Iterator[Sound]:
        """Yields what the microphone hears; see ``Source``."""
        with self._changed:
            self._ended = False
            self._waiting.clear()
        if self._closed:
            return
        with _Recording(self._settings, self._take, self._end):
            while (piece := self._next()) is not None:
                yield piece

    def close(self) -> None:
        """Ends ``read``."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self) -> Sound | None:
        with self._changed:
            came = self._changed.wait_for(lambda: self._waiting or self._closed or self._ended, _STALLED_S)
            if self._closed:
                return None
            if self._waiting:
                return self._waiting.popleft()
        reason = "was disconnected" if came else "gives no more sound"
        raise UnavailableError(f"The microphone {reason}", hint="Check its cable.", device=self._settings.device)

    def _take(self, samples: Array, *, lost: bool) -> None:
        """Called by PortAudio's thread with a piece; ``lost`` when something before it was."""
        import numpy as np

        time_ns = self._clock.time_ns() - round(len(samples) * 1e9 / self._settings.rate)
        with self._changed:
            if lost:  # how much is not known; the number that is left out tells who listens that there is a gap
                self._number += 1
                self.dropped += 1
            self._number += 1
            whole = np.nan_to_num(np.clip(samples, -1.0, 1.0))
            self._waiting.append(Sound(self.name, self._number, time_ns, whole, self._settings.rate))
            if len(self._waiting) > self._settings.queue:
                self._waiting.popleft()
                self.dropped += 1
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class _Recording:
    """An open microphone that hands pieces on, as a context."""

    def __init__(self, settings: MicrophoneSettings, take: Any, end: Any) -> None:
        self._settings = settings
        self._take = take
        self._end = end
        self._length = settings.rate * settings.piece_ms // 1000
        self._stream: Any = None

    def __enter__(self) -> None:
        global _open_streams
        import numpy as np

        library = _sounddevice()
        with _library_lock:
            if not _open_streams:
                library._terminate()
                library._initialize()
            try:
                device, rate = self._chosen(library)
                self._resampler = Resampler(rate, self._settings.rate)
                self._left = np.zeros(0, np.float32)
                self._stream = library.InputStream(
                    samplerate=rate,
                    blocksize=rate * self._settings.piece_ms // 1000,
                    device=device,
                    channels=1,
                    dtype="float32",
                    callback=self._heard,
                    finished_callback=self._end,
                )
                self._stream.start()
            except (library.PortAudioError, ValueError) as error:
                if self._stream is not None:
                    self._stream.close()
                raise UnavailableError(
                    f"No microphone can be opened: {error}",
                    hint="List what there is: python -m sounddevice",
                    device=self._settings.device,
                ) from error
            _open_streams += 1

    def __exit__(self, *_: object) -> None:
        global _open_streams
        with _library_lock:
            _open_streams -= 1
            self._stream.close(ignore_errors=True)

    def _chosen(self, library: Any) -> tuple[int | str | None, int]:
        """The device and the rate it is opened with: the wanted one, else its own."""
        name = self._settings.device
        device = int(name) if name.isdecimal() else name or None
        found = library.query_devices(device, "input")
        try:
            library.check_input_settings(device, channels=1, dtype="float32", samplerate=self._settings.rate)
        except library.PortAudioError:
            return device, int(found["default_samplerate"])
        return device, self._settings.rate

    def _heard(self, block: Array, _frames: int, _time: object, status: Any) -> None:
        import numpy as np

        self._left = np.concatenate([self._left, self._resampler.feed(block[:, 0].copy())])
        lost = bool(status.input_overflow)
        while len(self._left) >= self._length:
            self._take(self._left[: self._length], lost=lost)
            self._left = self._left[self._length :]
            lost = False


def _sounddevice() -> Any:
    try:
        import sounddevice  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise MissingExtraError(
            "A microphone needs sounddevice", hint="pip install 'edgewise[audio]'", extra="audio"
        ) from error
    except OSError as error:
        raise UnavailableError(
            "A microphone needs PortAudio, which is not on this machine", hint="apt install libportaudio2"
        ) from error
    return sounddevice
