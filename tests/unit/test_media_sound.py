"""Sound files from anyone: what is sound becomes one channel at the rate asked for, what is not is refused."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import DecodeError, EdgewiseError, NotFoundError, TooLargeError
from edgewise.media import sound
from edgewise.zoo.builders.base import SOUNDS

SPEECH = SOUNDS / "wake-words.flac"


def tone(seconds: float = 0.5, *, rate: int = 16_000, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples: np.ndarray, *, rate: int = 16_000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "subtype", "close"),
    [
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_U8", 1e-2),
        ("WAV", "ULAW", 2e-2),
        ("WAV", "FLOAT", 1e-7),
        ("FLAC", None, 1e-4),
        ("AIFF", None, 1e-4),
        ("OGG", "VORBIS", 0.05),
        ("MP3", None, 0.05),
    ],
)
def test_every_accepted_format_gives_the_sound_that_went_in(kind: str, subtype: str | None, close: float) -> None:
    found = sound.decode(encoded(tone(), kind=kind, subtype=subtype))
    assert found.dtype == np.float32
    if kind == "MP3":  # padded in front by the encoder
        assert abs(found).max() == pytest.approx(0.5, abs=close)
    else:
        np.testing.assert_allclose(found[: len(tone())], tone(), atol=close)


def test_channels_are_averaged_and_the_rate_is_changed_without_folding() -> None:
    high = tone(1.0, rate=48_000, hertz=11_000)  # cannot be there at 16 kHz
    low = tone(1.0, rate=48_000)
    found = sound.decode(encoded(np.stack([high, low], axis=1), rate=48_000))
    assert len(found) == 16_000
    np.testing.assert_allclose(found[500:-500], tone(1.0)[500:-500] / 2, atol=0.01)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=12), st.sampled_from([8_000, 22_050, 44_100, 16_000]))
def test_a_resampled_stream_is_the_same_however_it_is_cut(cuts: list[int], rate: int) -> None:
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, sum(cuts)).astype(np.float32)
    whole = sound.Resampler(rate, 16_000).feed(samples, last=True)
    stream = sound.Resampler(rate, 16_000)
    pieces = [stream.feed(piece) for piece in np.split(samples, np.cumsum(cuts)[:-1])]
    pieces.append(stream.feed(np.zeros(0, np.float32), last=True))
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)


def test_what_encode_wrote_comes_back() -> None:
    np.testing.assert_allclose(sound.decode(sound.encode(tone())), tone(), atol=1e-4)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a sound",
        b"RIFF\0\0\0\0WAVE",
        encoded(tone())[:40],
        encoded(np.zeros(0, np.float32)),
        encoded(np.array([0.1, np.nan], np.float32), subtype="FLOAT"),
        encoded(tone(), rate=1_000),
        encoded(np.zeros((100, 17), np.float32)),
        b"caff\0\1\0\0" + bytes(64),
    ],
    ids=["nothing", "text", "head", "cut", "silence of no length", "NaN", "rate", "channels", "format not accepted"],
)
def test_what_is_no_sound_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        sound.decode(data)


def test_a_header_that_claims_hours_takes_no_memory() -> None:
    data = bytearray(encoded(tone(), subtype="PCM_16"))
    data[40:44] = struct.pack("<I", 0xFFFFFFF0)
    found = sound.decode(bytes(data))
    assert len(found) <= len(tone())


def test_longer_than_the_bound_is_refused() -> None:
    with pytest.raises(TooLargeError, match=r"longer than 0\.2 s"):
        sound.decode(encoded(tone()), max_seconds=0.2)


@given(st.data())
def test_damaged_files_are_refused_or_give_finite_sound(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([("WAV", "PCM_16"), ("FLAC", None), ("OGG", "VORBIS"), ("MP3", None)]))
    content = bytearray(encoded(tone(0.1), kind=kind[0], subtype=kind[1]))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = sound.decode(bytes(content))
    except EdgewiseError:
        return
    assert np.isfinite(found).all()
    assert abs(found).max(initial=0.0) <= 1


def test_a_file_is_read_in_pieces_and_a_missing_one_is_named(tmp_path: Path) -> None:
    pieces = list(sound.pieces(SPEECH))
    assert len(pieces) > 4
    np.testing.assert_array_equal(np.concatenate(pieces), sound.read(SPEECH))
    with pytest.raises(NotFoundError, match=r"none\.wav"):
        sound.read(tmp_path / "none.wav")
