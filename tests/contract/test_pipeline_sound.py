"""Sources of sound keep the contract; the microphone is a real one to PortAudio: ALSA plays a file into it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgewise._lib.clock import Clock, SystemClock
from edgewise.errors import DecodeError, UnavailableError
from edgewise.media import sound
from edgewise.pipeline.base import Source
from edgewise.pipeline.sources.microphone import MicrophoneSettings, MicrophoneSource
from edgewise.pipeline.sources.sound import SoundSettings, SoundSource
from edgewise.testing.pipeline import NAME, SourceContract
from edgewise.zoo.builders.base import SOUNDS

SPEECH = SOUNDS / "wake-words.flac"
CLOCK = SystemClock()


class TestSoundAtItsOwnPace(SourceContract):
    def make(self, tmp_path: Path, clock: Clock) -> Source:
        return SoundSource(NAME, SoundSettings(str(SPEECH), loop=True), clock=clock)

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source:
        return SoundSource(NAME, SoundSettings("/none/speech.wav"), clock=clock)


class TestSoundAsFastAsItIsTaken(TestSoundAtItsOwnPace):
    def make(self, tmp_path: Path, clock: Clock) -> Source:
        return SoundSource(NAME, SoundSettings(str(SPEECH), loop=True, realtime=False), clock=clock)


@pytest.fixture
def cable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes ALSA's only device one that records a file (32-bit floats), as fast as it is asked; the file."""
    pytest.importorskip("sounddevice", reason="PortAudio is not on this machine", exc_type=OSError)
    file, settings = tmp_path / "sound.raw", tmp_path / "asound.conf"
    np.tile(sound.read(SPEECH), 50).tofile(file)
    settings.write_text(
        f"""
pcm.!default {{ type plug slave.pcm cable }}
pcm.cable {{ type file slave.pcm nothing file /dev/null infile {file} format raw }}
pcm.nothing {{ type null }}
ctl.!default {{ type null }}
"""
    )
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(settings))
    return file


class TestMicrophone(SourceContract):
    @pytest.fixture(autouse=True)
    def plugged(self, cable: Path) -> None:
        """Every story here has the cable in."""

    def make(self, tmp_path: Path, clock: Clock) -> Source:
        return MicrophoneSource(NAME, MicrophoneSettings(queue=256), clock=clock)

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source:
        return MicrophoneSource(NAME, MicrophoneSettings(device="nobody has this"), clock=clock)


def test_a_microphone_hears_what_is_played_into_it(cable: Path) -> None:
    source = MicrophoneSource(NAME, MicrophoneSettings(queue=256), clock=CLOCK)
    pieces = list(itertools.islice(source.read(), 100))
    source.close()
    numbers = [piece.number for piece in pieces]
    assert numbers == sorted(set(numbers))  # the cable gives faster than anybody speaks: some may be left out
    played = np.fromfile(cable, np.float32)[: numbers[-1] * 512].reshape(-1, 512)
    heard = np.array([piece.samples for piece in pieces])
    np.testing.assert_allclose(heard, played[[number - 1 for number in numbers]], atol=1e-6)


def test_of_a_microphone_the_newest_pieces_win_and_the_others_are_counted(cable: Path) -> None:
    source = MicrophoneSource(NAME, MicrophoneSettings(queue=4), clock=CLOCK)
    reading = source.read()
    next(reading)
    with source._changed:
        assert source._changed.wait_for(lambda: source.dropped >= 20, 10)
        dropped = source.dropped  # PortAudio goes on meanwhile, and drops more
    following = next(reading)
    source.close()
    assert following.number > dropped


def test_an_unknown_device_is_told_with_how_to_list_those_there_are(cable: Path) -> None:
    source = MicrophoneSource(NAME, MicrophoneSettings(device="nobody has this"), clock=CLOCK)
    with pytest.raises(UnavailableError, match="nobody has this") as caught:
        next(source.read())
    assert "python -m sounddevice" in caught.value.hint


def test_without_portaudio_it_says_what_to_install() -> None:
    """In an interpreter of its own, where the library cannot be found."""
    code = """
import ctypes.util, sys
ctypes.util.find_library = lambda name: None
from edgewise._lib.clock import SystemClock
from edgewise.errors import UnavailableError
from edgewise.pipeline.sources.microphone import MicrophoneSettings, MicrophoneSource
try:
    next(MicrophoneSource("m", MicrophoneSettings(), clock=SystemClock()).read())
except UnavailableError as error:
    print(error, "|", error.hint)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "PortAudio" in done.stdout
    assert "apt install libportaudio2" in done.stdout


def test_a_file_comes_in_pieces_of_one_length_with_the_times_of_the_recording(tmp_path: Path) -> None:
    samples = sound.read(SPEECH)[:20_000]
    file = tmp_path / "speech.flac"
    file.write_bytes(sound.encode(samples))
    source = SoundSource(NAME, SoundSettings(str(file), realtime=False), clock=CLOCK)
    pieces = list(source.read())
    assert {len(piece.samples) for piece in pieces} == {512}
    whole = np.concatenate([piece.samples for piece in pieces])
    np.testing.assert_allclose(whole[:20_000], samples, atol=1e-4)
    assert not whole[20_000:].any()
    assert {after.time_ns - before.time_ns for before, after in itertools.pairwise(pieces)} == {32_000_000}


def test_a_file_of_another_rate_is_changed(tmp_path: Path) -> None:
    file = tmp_path / "tone.flac"
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    file.write_bytes(sound.encode(tone.astype(np.float32), rate=44_100))
    source = SoundSource(NAME, SoundSettings(str(file), realtime=False, piece_ms=100), clock=CLOCK)
    pieces = list(source.read())
    assert len(pieces) == 10
    assert {piece.rate for piece in pieces} == {16_000}


def test_what_is_no_sound_is_told_and_not_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "notes.wav"
    file.write_text("buy milk")
    with pytest.raises(DecodeError, match=r"notes\.wav"):
        list(SoundSource(NAME, SoundSettings(str(file)), clock=CLOCK).read())
