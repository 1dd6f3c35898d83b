"""What the recogniser of commands is trained on: twelve words in many voices, and everything that is none of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor

import voices
from datasets import CACHE
from edgewise.models.features import make_front
from edgewise.models.manifest import Input, LogMel, Normalise, Window
from sounds import Room, recorded, sped
from voices import RATE, Samples, Saying, Voice, say

NAME = "voice-commands"


WORDS = ("on", "off", "up", "down", "open", "close", "lock", "unlock", "stop", "yes", "no", "help")


LABELS = (*WORDS, "_unknown", "_silence")


UNKNOWN, SILENCE = len(WORDS), len(WORDS) + 1


FRAMES, STEP = 100, 6


FEATURES = LogMel(bins=40, low_hz=60.0, high_hz=7600.0)


LENGTH = (FRAMES - 1) * 160 + 400


MEAN, STD = 12.0, 4.0


INPUT = Input(
    "features",
    "FP32",
    (-1, FRAMES, FEATURES.bins),
    "audio",
    (FEATURES, Window(FRAMES), Normalise((MEAN,), (STD,))),
    rate_hz=RATE,
    step=STEP,
)


OTHER_WORDS = (Path(__file__).parent / "other_words.txt").read_text().split()


UNHEARD_WORDS = (
    *("pencil", "basket", "ladder", "simple", "rocket", "thunder", "purple", "monkey", "candle", "butter", "silver"),
    *("picture", "carpet"),
)


SENTENCES = (
    "The weather was fine this morning and we went for a walk along the river.",
    "I have been thinking about what you told me, and I believe it is true.",
    "Could you pass me the salt and the pepper please, dinner is getting cold.",
    "There were seven people waiting in front of the station when the train came.",
    "My brother bought a used car last week, but it breaks every other day.",
    "She said that the meeting had been moved to Thursday at half past nine.",
    "In the middle of the night we heard a strange noise from the garden.",
    "Please remember to buy milk, bread, cheese and two bottles of water.",
    "He was born in a small village in the mountains, far away from the sea.",
    "The children are playing in the street because the playground is full.",
    "What do you think about the new teacher, is she as strict as they say?",
    "We should leave early, otherwise there will be a lot of traffic.",
    "Hey Jarvis, what is the time? Okay Nabu, tell me a story. Alexa, play some music.",
)


class Spoken(msgspec.Struct):
    """Sounds by what was said: ``words[i]`` of command ``i``, ``others`` single words, ``talk`` longer speech."""

    words: list[list[Samples]]
    others: list[Samples]
    talk: list[Samples]


def spoken(name: str, speakers: Sequence[Voice], others: Sequence[str], *, per_word: int, seed: int) -> Spoken:
    """Lets every voice say the words, some other words and a sentence; kept in ``.cache/data``."""
    file = CACHE / f"commands-{name}-1.npz"
    if not file.exists():
        texts, sounds = [], []
        for number, voice in enumerate(speakers):
            sayings = _sayings(voice, others, per_word, np.random.default_rng((seed, number)))
            texts += [saying.text for saying in sayings]
            sounds += say(voice, sayings)
            print(f"\r{name}: {number + 1} of {len(speakers)} voices", end="", flush=True)
        print()
        flat = np.concatenate([np.rint(each * 32767).astype(np.int16) for each in sounds])
        np.savez(file, texts=np.asarray(texts), lengths=[len(each) for each in sounds], samples=flat)
    with np.load(file) as data:
        sounds = np.split(data["samples"].astype(np.float32) / 32768, np.cumsum(data["lengths"])[:-1])
        found = Spoken([[] for _ in WORDS], [], [])
        for text, each in zip(data["texts"], sounds, strict=True):
            word = text.rstrip(".!?")
            if word in WORDS:
                found.words[WORDS.index(word)].append(each)
            else:
                (found.talk if " " in word else found.others).append(each)
    return found


def _sayings(voice: Voice, others: Sequence[str], per_word: int, random: np.random.Generator) -> list[Saying]:
    """Voices that come from real recordings are few, so they say more, and mark their sentences differently."""
    real = voice.program != "espeak-ng"
    many = per_word * (10 if real else 1)

    def saying(text: str) -> Saying:
        mark = random.choice([".", "!", "?"]) if " " not in text else ""
        return Saying(text + mark, round(random.uniform(0.75, 1.4), 2), int(random.integers(15, 86)))

    chosen = random.choice(list(others), min(len(others), 120 if real else 14), replace=False)
    sentences = random.choice(SENTENCES, len(SENTENCES) if real else 1, replace=False)
    return [saying(str(text)) for text in (*(word for word in WORDS for _ in range(many)), *chosen, *sentences)]


def prompts(*languages: str) -> list[Samples]:
    """Real speech, each recording by itself."""
    return [each for language in languages for each in voices.real_speech(voices.PROMPTS[language]).values()]


class Mixing(msgspec.Struct, frozen=True):
    """How windows are drawn."""

    words_share: float = 0.56
    silence_share: float = 0.08
    speed: float = 0.14
    reverb: float = 0.4
    telephone: float = 0.25
    seed: int = 7


class Mixer:
    """Draws windows with what is heard in them."""

    def __init__(self, heard: Spoken, real: Sequence[Samples], mixing: Mixing) -> None:
        self._heard, self._mixing = heard, mixing
        self._talk = [each for each in (*heard.talk, *real) if len(each) > LENGTH]
        self._room = Room(speed=mixing.speed, reverb=mixing.reverb, telephone=mixing.telephone)
        self._random = np.random.default_rng(mixing.seed)

    def draw(self) -> tuple[Samples, int]:
        """Samples of one window, and the label."""
        dice, window = self._random.random(), np.zeros(LENGTH, np.float32)
        if dice < self._mixing.words_share:
            label = int(self._random.integers(len(WORDS)))
            window = self._word(label)
        elif dice < 1 - self._mixing.silence_share:
            label, window = UNKNOWN, self._unknown()
        else:
            label = SILENCE
            if self._random.random() < 0.3:
                window[self._random.integers(LENGTH)] = 1e-3  # a click
        return recorded(window, self._random, self._room), label

    def _one(self, sounds: Sequence[Samples]) -> Samples:
        made = sped(sounds[self._random.integers(len(sounds))], 1 + self._random.uniform(-1, 1) * self._mixing.speed)
        return made / max(float(np.abs(made).max()), 1e-6)

    def _word(self, label: int) -> Samples:
        """The word ends 0.03 to 0.45 s before the window does; before it there may be other speech."""
        word = self._one(self._heard.words[label])
        window = np.zeros(LENGTH, np.float32)
        end = LENGTH - int(self._random.uniform(0.03, 0.45) * RATE)
        end = max(end, min(len(word), LENGTH))
        word = word[-end:]
        window[end - len(word) : end] = word
        gap = end - len(word) - int(self._random.uniform(0.08, 0.3) * RATE)
        if gap > 0 and self._random.random() < 0.35:
            before = self._piece(gap)
            window[gap - len(before) : gap] = before * self._random.uniform(0.3, 1.0)
        return window

    def _piece(self, length: int) -> Samples:
        sounds = self._talk if self._random.random() < 0.7 else self._heard.others
        return self._one(sounds)[-length:]

    def _unknown(self) -> Samples:
        """Another word, talk, or a part of a command."""
        dice, window = self._random.random(), np.zeros(LENGTH, np.float32)
        if dice < 0.45:
            talk = self._talk[self._random.integers(len(self._talk))]
            start = int(self._random.integers(len(talk) - LENGTH))
            window[:] = talk[start : start + LENGTH]
            return window
        if dice < 0.75:
            other = self._one(self._heard.others)
            place = int(self._random.integers(-len(other) // 3, LENGTH - len(other) * 2 // 3))
            return _laid(window, other, place)
        word = self._one(self._heard.words[int(self._random.integers(len(WORDS)))])
        if dice < 0.88:  # it has only begun
            return _laid(window, word, LENGTH - int(len(word) * self._random.uniform(0.15, 0.5)))
        return _laid(window, word, -int(len(word) * self._random.uniform(0.5, 0.85)))  # it is nearly over


def _laid(window: Samples, word: Samples, place: int) -> Samples:
    start, end = max(place, 0), min(place + len(word), len(window))
    window[start:end] = word[start - place : end - place]
    return window


def pool(mixer: Mixer, count: int) -> tuple[Tensor, Tensor]:
    """That many windows as features ``[count, FRAMES, bins]``, by the manifest's own preprocessing, and labels."""
    features = np.empty((count, FRAMES, FEATURES.bins), np.float16)
    labels = np.empty(count, np.int64)
    for number in range(count):
        samples, labels[number] = mixer.draw()
        features[number] = (make_front(INPUT).feed(samples) - MEAN) / STD
    return torch.from_numpy(features), torch.from_numpy(labels)
