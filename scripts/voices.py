"""Spoken words for training, from programs and people: who speaks, what is said, and how it is fetched.

Synthetic voices need Debian's packages ``espeak-ng``, ``flite``, ``festival``, ``festvox-kallpc16k``,
``festvox-kdlpc16k`` and ``festvox-us-slt-hts``. Five were made from recordings of real people (``kal``, ``ked``,
``awb``, ``rms``, ``slt`` below); espeak-ng computes formants. Real people speak in the prompts of Asterisk (one each
for English, French, Italian and Russian, CC-BY-SA 3.0), which are fetched by digest and never shipped.
"""

from __future__ import annotations

import functools
import io
import itertools
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datasets import obtain
from edgewise.errors import DecodeError
from edgewise.media import sound
from edgewise.zoo.catalog import File
from edgewise.zoo.origins.base import Origin

Samples = npt.NDArray[np.float32]
RATE = sound.RATE_HZ


def _prompts(language: str, sha256: str) -> File:
    package = f"asterisk-core-sounds-{language}-wav"
    return File(f"{package}.deb", sha256, (Origin("debian", package),))


PROMPTS = {
    "en": _prompts("en", "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d"),
    "fr": _prompts("fr", "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e"),
    "it": _prompts("it", "5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb"),
    "ru": _prompts("ru", "ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201"),
}
SPHINX = File(
    "pocketsphinx-testdata.deb",
    "eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0",
    (Origin("debian", "pocketsphinx-testdata"),),
)


class Voice(NamedTuple):
    """Who speaks: ``program`` and what it calls the voice."""

    program: str
    name: str

    def __str__(self) -> str:
        return f"{self.program} {self.name}"


class Saying(NamedTuple):
    """What is said and how: ``pace`` stretches the time, ``pitch`` is 0..99 (espeak-ng) or ignored."""

    text: str
    pace: float = 1.0
    pitch: int = 50


_ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
_TRAINED = (
    *("", "klatt", "klatt2", "klatt4", "m1", "m2", "m3", "m5", "m6", "m8", "f1", "f2", "f4", "f5", "adam", "Alicia"),
    *(
        "Andy",
        "Annie",
        "belinda",
        "boris",
        "david",
        "Denis",
        "ed",
        "Gene",
        "Henrique",
        "Hugo",
        "Jacky",
        "john",
        "linda",
    ),
    *("marcelo", "max", "michel", "Nguyen", "pablo", "paul", "pedro", "quincy", "rob", "steph", "steph2", "anika"),
    *("grandma", "norbert", "sandro", "shelby"),
)
_CHOOSING = ("klatt5", "m4", "benjamin", "Diogo", "iven2")
_TESTING = ("klatt3", "m7", "f3", "Andrea", "Michael", "steph3", "travis", "grandpa")


def _espeak(variants: Sequence[str]) -> list[Voice]:
    pairs = itertools.product(_ACCENTS, variants)
    return [Voice("espeak-ng", f"{accent}+{variant}" if variant else accent) for accent, variant in pairs]


FLITE_TRAINED = [Voice("flite", name) for name in ("kal", "kal16", "awb", "slt")]
FESTIVAL_TRAINED = [Voice("festival", name) for name in ("kal_diphone", "cmu_us_slt_arctic_hts")]
TRAINED = [*_espeak(_TRAINED), *FLITE_TRAINED, *FESTIVAL_TRAINED]
CHOOSING = _espeak(_CHOOSING)
"""For choosing thresholds."""
TESTING = [*_espeak(_TESTING), Voice("flite", "rms"), Voice("festival", "ked_diphone")]
"""Heard in training and choosing never."""


def say(voice: Voice, sayings: Sequence[Saying]) -> list[Samples]:
    """The sayings in that voice at 16 kHz, without the silence around them."""
    speak = {"espeak-ng": _say_espeak, "flite": _say_flite, "festival": _say_festival}[voice.program]
    return [trimmed(samples) for samples in speak(voice.name, sayings)]


@functools.cache
def _espeak_variants() -> str:
    return subprocess.run(["espeak-ng", "--voices=variant"], check=True, capture_output=True, text=True).stdout


def _say_espeak(name: str, sayings: Sequence[Saying]) -> Iterator[Samples]:
    variant = name.partition("+")[2]
    if variant and f"!v/{variant} " not in _espeak_variants():  # it would speak with another voice and say nothing
        raise SystemExit(f"espeak-ng has no variant {variant}")
    for saying in sayings:
        speed, pitch = str(round(165 / saying.pace)), str(saying.pitch)
        command = ["espeak-ng", "-v", name, "-s", speed, "-p", pitch, "--stdout", saying.text]
        yield _wav(subprocess.run(command, check=True, capture_output=True).stdout)


def _wav(data: bytes) -> Samples:
    """espeak-ng does not know the length when it writes the header to a pipe."""
    data = (
        data[:4]
        + (len(data) - 8).to_bytes(4, "little")
        + data[8:40]
        + (len(data) - 44).to_bytes(4, "little")
        + data[44:]
    )
    return sound.decode(data)


def _say_flite(name: str, sayings: Sequence[Saying]) -> Iterator[Samples]:
    with tempfile.TemporaryDirectory() as folder:
        for saying in sayings:
            target = Path(folder, "said.wav")
            stretch = f"duration_stretch={saying.pace}"
            subprocess.run(["flite", "-voice", name, "--setf", stretch, "-t", saying.text, "-o", target], check=True)
            yield sound.read(target)


def _say_festival(name: str, sayings: Sequence[Saying]) -> Iterator[Samples]:
    """One process for all, since it takes a second to start."""
    with tempfile.TemporaryDirectory() as folder:
        script = [f"(voice_{name})"]
        for number, saying in enumerate(sayings):
            script += [
                f"(Parameter.set 'Duration_Stretch {saying.pace})",
                f'(utt.save.wave (utt.synth (Utterance Text "{saying.text}")) "{folder}/{number}.wav" \'riff)',
            ]
        Path(folder, "say.scm").write_text("\n".join(script))
        subprocess.run(["festival", "--batch", f"{folder}/say.scm"], check=True)
        for number in range(len(sayings)):
            yield sound.read(Path(folder, f"{number}.wav"))


def trimmed(samples: Samples, *, below_db: float = -38.0) -> Samples:
    """Without what lies before and behind the first and last 10 ms that are louder than a part of the loudest."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    energy = (frames**2).mean(1)
    loud = np.flatnonzero(energy > energy.max() * 10 ** (below_db / 10))
    return samples[loud[0] * 160 : (loud[-1] + 1) * 160]


def real_speech(file: File) -> dict[str, Samples]:
    """Every recording of a Debian package, by file name, at 16 kHz; ``.raw`` is 16 kHz already."""
    archive = subprocess.run(["dpkg-deb", "--fsys-tarfile", obtain(file)], check=True, capture_output=True).stdout
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isfile() else None
            if stream is None or not member.name.endswith((".wav", ".raw")):
                continue
            data = stream.read()
            if member.name.endswith(".raw"):
                found[member.name] = np.frombuffer(data, "<i2").astype(np.float32) / 32768
                continue
            try:
                found[member.name] = sound.decode(data)
            except DecodeError as error:
                print(f"left out: {member.name}: {error}")
    return found
