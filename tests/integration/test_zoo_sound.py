"""Models that listen, pulled from the registries, on real and synthetic speech."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgewise import zoo
from edgewise.media import sound
from edgewise.models.model import Model
from edgewise.types import Classification
from edgewise.zoo.builders.base import SOUNDS
from edgewise.zoo.catalog import File
from edgewise.zoo.origins.base import Origin
from edgewise.zoo.sources import Sources

pytestmark = pytest.mark.zoo

SPEECH = SOUNDS / "wake-words.flac"
SAID_AT_S = {"hey-jarvis": (0.3, 1.7), "alexa": (1.7, 3.0), "okay-nabu": (3.0, 4.55), "hey-mycroft": (4.5, 5.7)}
"""When each phrase is said in it, with half a second behind it."""
NOVEL = ("0870", "0880", "0890", "0920", "0930")


@pytest.fixture
def opened(zoo_cache: Path) -> Iterator[Callable[[str], Model]]:
    models: list[Model] = []

    def open_model(name: str) -> Model:
        models.append(Model.open(zoo.pull(name, zoo_cache)))
        return models[-1]

    yield open_model
    for model in models:
        model.close()


@pytest.fixture(scope="module")
def novel(zoo_cache: Path) -> list[np.ndarray]:
    """A person who reads from a novel (LibriVox), from Debian's test data for PocketSphinx."""
    origin = "usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-{}.wav"
    digests = {
        "0870": "b0557cf95c974d930577e58e46b7f068c432a6e3afcc286563d88922b2a5315c",
        "0880": "fbec491ef00ee734a67f0ee318e98c51c157b479e1629ff4f4426861ecac0414",
        "0890": "5793ffbdee55fb8bfd284943a6866864c832d9d4accf2661cabd39915c84ee10",
        "0920": "40882414ef4cc51f3ff7a63bad0c8c87e7f595ffeb8209fbf756c8ebc5c28a59",
        "0930": "954adbf0b56ac8a148cbe77b39ca18d76b5f2a1e1f405565bd786ce3e68a68b7",
    }
    folder = zoo_cache.parent / "speech"
    folder.mkdir(parents=True, exist_ok=True)
    sources = Sources(folder)
    found = []
    for part in NOVEL:
        file = File(part, digests[part], (Origin("debian", "pocketsphinx-testdata", origin.format(part)),))
        found.append(sound.decode(sources.obtain(file).read_bytes()))
    return found


def scores(model: Model, samples: np.ndarray) -> np.ndarray:
    """End and score of each window."""
    found = []
    for heard in model.stream().feed(samples):
        assert isinstance(heard.result, Classification)
        found.append((heard.end_s, heard.result.labels[0].score))
    return np.asarray(found)


def others() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    time = np.arange(5 * 16_000) / 16_000
    return {
        "silence": np.zeros(5 * 16_000, np.float32),
        "noise": (0.1 * random.normal(size=5 * 16_000)).clip(-1, 1).astype(np.float32),
        "a tone": (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32),
    }


def test_silero_hears_a_person_and_nothing_in_noise(opened: Callable[[str], Model], novel: list[np.ndarray]) -> None:
    model = opened("silero-vad")
    for passage in novel:
        assert (scores(model, passage)[:, 1] > 0.5).mean() > 0.7
    for name, samples in others().items():
        assert (scores(model, samples)[:, 1] > 0.5).mean() < 0.01, name


@pytest.mark.parametrize("name", SAID_AT_S)
def test_a_wake_word_is_heard_where_it_is_said_and_nowhere_else(
    opened: Callable[[str], Model], novel: list[np.ndarray], name: str
) -> None:
    model = opened(name)
    threshold, count = model.manifest.task["threshold"], model.manifest.task["mean_of"]

    def heard_at(samples: np.ndarray) -> np.ndarray:
        found = scores(model, samples)
        means = np.convolve(found[:, 1], np.ones(count) / count, "valid")
        return found[count - 1 :, 0][means > threshold]

    at = heard_at(sound.read(SPEECH))
    first, last = SAID_AT_S[name]
    assert len(at)
    assert first < at.min()
    assert at.max() < last + 0.5
    for samples in (*novel, *others().values()):
        assert not len(heard_at(samples))


def test_wake_words_are_those_of_the_package_they_come_from(opened: Callable[[str], Model]) -> None:
    """What a node remembers for itself gives the score that the interpreter gave that remembered."""
    model = opened("hey-jarvis")
    [conversion] = model.manifest.lineage
    assert conversion.settings["largest_relative_difference"] == 0.0
    whole = scores(model, sound.read(SPEECH))
    pieces = model.stream()
    samples = sound.read(SPEECH)
    cut = list(
        itertools.chain.from_iterable(
            pieces.feed(samples[start : start + 512]) for start in range(0, len(samples), 512)
        )
    )
    assert [heard.end_s for heard in cut] == pytest.approx(whole[:, 0].tolist())
    assert [heard.result.labels[0].score for heard in cut] == whole[:, 1].tolist()  # type: ignore[union-attr]
