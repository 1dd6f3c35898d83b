"""Sound files: bytes to samples and back, for bytes that may come from anyone, by libsndfile and soxr.

Whatever comes in, one channel of ``float32`` in -1..1 comes out, at the rate that was asked for: channels are averaged,
the rate is changed by soxr (a linear-phase filter, so nothing above half the new rate folds back). Files are decoded in
pieces, so that what a header claims takes no memory.

Accepted: WAV, FLAC, Ogg (Vorbis, Opus), MP3 and AIFF. Other formats of libsndfile are refused, so that their decoders
are out of a stranger's reach.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgewise.errors import DecodeError, MissingExtraError, NotFoundError, TooLargeError

if TYPE_CHECKING:
    from edgewise.types import Array

RATE_HZ = 16_000
"""What speech models take."""
MAX_BYTES = 64 * 1024 * 1024
MAX_SECONDS = 600.0
MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 192_000
MAX_CHANNELS = 16

_FORMATS = "WAV, FLAC, Ogg, MP3, AIFF"
_BLOCK_S = 1.0


class Resampler:
    """Changes the rate of a stream of one channel, piece by piece; the whole is the same however it is cut.

    Args:
        rate_in: Hz.
        rate_out: Hz.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._stream: Any = None
        if rate_in != rate_out:
            self._stream = _import("soxr").ResampleStream(rate_in, rate_out, 1, dtype="float32", quality="HQ")

    def feed(self, samples: Array, *, last: bool = False) -> Array:
        """What can be given out once these samples (float32) are in; after the ``last`` ones nothing may follow."""
        import numpy as np

        if self._stream is None:
            return samples
        changed: Array = np.clip(self._stream.resample_chunk(samples, last=last), -1.0, 1.0)
        return changed


def read(path: Path | str, *, rate: int = RATE_HZ, max_seconds: float = MAX_SECONDS) -> Array:
    """The samples of a file; see ``decode``.

    Raises:
        NotFoundError: There is no such file.
    """
    import numpy as np

    found = list(_bounded(pieces(path, rate=rate), rate, max_seconds))
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def decode(data: bytes, *, rate: int = RATE_HZ, max_seconds: float = MAX_SECONDS) -> Array:
    """The samples in the bytes of a file: ``float32 [n]``, one channel, -1..1, at ``rate``.

    Raises:
        MissingExtraError: The extra ``audio`` is not installed.
        DecodeError: No sound of an accepted format, damaged, or empty.
        TooLargeError: More than ``MAX_BYTES``, or longer than ``max_seconds``.
    """
    import numpy as np

    if len(data) > MAX_BYTES:
        raise TooLargeError(f"A sound of {len(data)} bytes is larger than {MAX_BYTES}", limit=MAX_BYTES)
    return np.concatenate(list(_bounded(_pieces(io.BytesIO(data), rate, "This sound"), rate, max_seconds)))


def pieces(path: Path | str, *, rate: int = RATE_HZ) -> Iterator[Array]:
    """The samples of a file in pieces of about a second, however long it is.

    Raises:
        NotFoundError: There is no such file.
        MissingExtraError: The extra ``audio`` is not installed.
        DecodeError: No sound of an accepted format, damaged, or empty.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"There is no sound {path}", kind="file", name=str(path))
    with open(path, "rb") as file:
        yield from _pieces(file, rate, str(path))


def encode(samples: Array, *, rate: int = RATE_HZ) -> bytes:
    """One channel as FLAC of 16 bits a sample."""
    buffer = io.BytesIO()
    _import("soundfile").write(buffer, samples, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _bounded(blocks: Iterable[Array], rate: int, max_seconds: float) -> Iterator[Array]:
    total = 0
    for block in blocks:
        total += len(block)
        if total > max_seconds * rate:
            raise TooLargeError(f"The sound is longer than {max_seconds:g} s", limit=max_seconds)
        yield block


def _pieces(file: IO[bytes], rate: int, what: str) -> Iterator[Array]:
    import numpy as np

    soundfile = _import("soundfile")
    _check_format(file, what)
    empty = True
    try:
        with soundfile.SoundFile(file) as source:
            _check_header(source, what)
            resampler = Resampler(source.samplerate, rate)
            for block in source.blocks(int(_BLOCK_S * source.samplerate), dtype="float32", always_2d=True):
                if not np.isfinite(block).all():
                    raise DecodeError(f"{what} holds NaN or infinite samples", file=what)
                empty = False
                yield resampler.feed(np.clip(block.mean(axis=1), -1.0, 1.0))
            yield resampler.feed(np.zeros(0, np.float32), last=True)
    except soundfile.LibsndfileError as error:
        raise DecodeError(f"{what} cannot be decoded: {error.error_string}", file=what) from error
    if empty:
        raise DecodeError(f"{what} holds no samples", file=what)


def _check_format(file: IO[bytes], what: str) -> None:
    head = file.read(12)
    file.seek(0)
    known = (
        head[:4] in {b"fLaC", b"OggS"}
        or (head[:4] in {b"RIFF", b"RF64"} and head[8:] == b"WAVE")
        or (head[:4] == b"FORM" and head[8:] in {b"AIFF", b"AIFC"})
        or head[:3] == b"ID3"
        or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2)  # frame of MPEG layer 3
    )
    if not known:
        message = f"{what} is no sound that is accepted" if head else f"{what} is empty"
        raise DecodeError(message, hint=f"Accepted formats: {_FORMATS}.", file=what)


def _check_header(source: Any, what: str) -> None:
    if not MIN_RATE_HZ <= source.samplerate <= MAX_RATE_HZ:
        raise DecodeError(f"{what} claims {source.samplerate} samples a second", file=what)
    if not 1 <= source.channels <= MAX_CHANNELS:
        raise DecodeError(f"{what} claims {source.channels} channels", file=what)


def _import(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: the library behind the module is not there
        raise MissingExtraError(
            "Sound needs libsndfile and soxr", hint="pip install 'edgewise[audio]'", extra="audio"
        ) from error
