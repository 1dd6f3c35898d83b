"""What a node makes of spoken commands (streams, windows, means, events), measured on voices that were never heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import soundfile

import voices
from edgewise.models.manifest import Metric
from edgewise.models.model import Model
from edgewise.models.stream import Stream
from edgewise.pipeline.transforms.command import CommandDecider, Said
from edgewise.types import Classification
from shipping import ROOT
from spoken_commands import UNHEARD_WORDS, WORDS, Spoken, prompts, spoken
from voices import RATE, Samples, Voice

MEAN_OF = 3


DATASET = "synthetic voices, never heard in training"


HELD_OUT = ROOT / "tests" / "data"


BEFORE_S, AFTER_S = 1.3, 0.7


SLOT_S, START_S = 2.0, 0.6


LIMITS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


ALLOWED_PER_HOUR = 6.0


class Trial(msgspec.Struct):
    """A word in a quiet room, as scores of windows, and when it ended."""

    word: str
    end_s: float
    scores: list[tuple[dict[str, float], float]]


class Figures(msgspec.Struct):
    """Shares of words heard rightly, heard as another one, and seconds from the word's end to the event."""

    right: float
    wrong: float
    count: int
    delay_s: npt.NDArray[np.float64]


class Listener(msgspec.Struct):
    """Whom the package is measured on."""

    name: str
    noise_db: float
    heard: Spoken


def scores_of(stream: Stream, samples: Samples) -> list[tuple[dict[str, float], float]]:
    """What the model makes of each window of a sound."""
    found = []
    for heard in stream.feed(samples):
        assert isinstance(heard.result, Classification)
        found.append(({label.name: label.score for label in heard.result.labels}, heard.end_s))
    return found


def said(scores: Sequence[tuple[dict[str, float], float]], threshold: float, mean_of: int) -> list[Said]:
    """What a node makes of it."""
    decider = CommandDecider(threshold=threshold, mean_of=mean_of, quiet_s=1.0)
    return [each for values, end_s in scores if (each := decider.add(values, end_s))]


def trials(model: Model, heard: Spoken, *, noise_db: float, limit: int, seed: int) -> list[Trial]:
    """Up to ``limit`` sayings of each word with noise around and under them."""
    random, found = np.random.default_rng(seed), []
    for word, sounds in zip(WORDS, heard.words, strict=True):
        chosen = random.permutation(len(sounds))[:limit]
        for number in chosen:
            samples = sounds[number] / np.abs(sounds[number]).max() * 0.3
            quiet = [np.zeros(int(seconds * RATE), np.float32) for seconds in (BEFORE_S, AFTER_S)]
            whole = np.concatenate([quiet[0], samples, quiet[1]])
            whole += random.normal(size=len(whole)).astype(np.float32) * samples.std() * 10 ** (-noise_db / 20)
            end_s = BEFORE_S + len(samples) / RATE
            found.append(Trial(word, end_s, scores_of(model.stream(), np.clip(whole, -1, 1))))
    return found


def judge(found: Sequence[Trial], threshold: float, mean_of: int) -> Figures:
    results = [(trial, said(trial.scores, threshold, mean_of)) for trial in found]
    right = [trial for trial, events in results if events and events[0].word == trial.word]
    wrong = [trial for trial, events in results if any(event.word != trial.word for event in events)]
    delays = [events[0].end_s - trial.end_s for trial, events in results if events and events[0].word == trial.word]
    return Figures(len(right) / len(found), len(wrong) / len(found), len(found), np.asarray(delays))


def false_alarms(scores: Sequence[Sequence[tuple[dict[str, float], float]]], threshold: float, mean_of: int) -> int:
    return sum(len(said(each, threshold, mean_of)) for each in scores)


def choose(model: Model, heard: Spoken, talk: Sequence[Samples], *, mean_of: int) -> float:
    """The lowest threshold at which speech without commands gives few of them, on voices that were not trained on."""
    scores = [scores_of(model.stream(), each) for each in talk]
    hours = sum(map(len, talk)) / RATE / 3600
    found = trials(model, heard, noise_db=20, limit=30, seed=4)
    for threshold in LIMITS:
        alarms, figures = false_alarms(scores, threshold, mean_of) / hours, judge(found, threshold, mean_of)
        print(f"threshold {threshold}: {figures.right:.3f} right, {figures.wrong:.3f} wrong, {alarms:.1f} per hour")
        if alarms <= ALLOWED_PER_HOUR:
            return threshold
    return LIMITS[-1]


def measure(model: Model, listeners: Sequence[Listener], threshold: float) -> tuple[Metric, ...]:
    """Words and delays on voices that were never heard, and what is taken for a command in real speech."""
    variant, found = model.variant.name, []
    everything: list[Trial] = []
    for listener in listeners:
        tried = trials(model, listener.heard, noise_db=listener.noise_db, limit=10, seed=5)
        everything += tried
        figures = judge(tried, threshold, MEAN_OF)
        split = f"{listener.name}, noise {listener.noise_db:g} dB below; {figures.count} words"
        found.append(Metric("words_right", round(figures.right, 4), DATASET, split, "", variant))
        found.append(Metric("words_wrong", round(figures.wrong, 4), DATASET, split, "", variant))
    figures = judge(everything, threshold, MEAN_OF)
    found.insert(
        0,
        Metric(
            "accuracy", round(figures.right, 4), DATASET, f"all of these voices; {figures.count} words", "", variant
        ),
    )
    found.append(
        Metric(
            "delay_p95",
            round(float(np.quantile(figures.delay_s, 0.95)), 3),
            DATASET,
            "all of these voices",
            "s",
            variant,
        )
    )
    talk = prompts("en")
    hours = sum(map(len, talk)) / RATE / 3600
    alarms = false_alarms([scores_of(model.stream(), each) for each in talk], threshold, MEAN_OF)
    real = "a real speaker, 25 minutes, listening always; the prompts hold some of the words, which count too"
    found.append(
        Metric("commands_per_hour", round(alarms / hours, 1), "Asterisk prompts, English", real, "1/h", variant)
    )
    return tuple(found)


def by_program(heard: Callable[[Sequence[Voice]], Spoken]) -> list[Listener]:
    """The voices of the tests: those of real men's recordings one by one, and in noise."""
    groups = {
        "espeak-ng, 8 variants in 7 accents": [voice for voice in voices.TESTING if voice.program == "espeak-ng"],
        "flite rms": [voice for voice in voices.TESTING if voice.program == "flite"],
        "festival ked": [voice for voice in voices.TESTING if voice.program == "festival"],
    }
    found = [Listener(name, 30, heard(speakers)) for name, speakers in groups.items()]
    return [*found, *(Listener(each.name, 10, each.heard) for each in found)]


def testing(speakers: Sequence[Voice]) -> Spoken:
    name = f"testing-{speakers[0].program}"
    return spoken(name, speakers, UNHEARD_WORDS, per_word=1 if len(speakers) > 1 else 3, seed=3)


def save_held_out(listeners: Sequence[Listener]) -> None:
    """Keeps one saying of each word by the two men for the tests: word by word, each in two seconds of silence."""
    for listener, name in ((listeners[1], "rms"), (listeners[2], "ked")):
        slots = np.zeros((len(WORDS), int(SLOT_S * RATE)), np.float32)
        for slot, sayings in zip(slots, listener.heard.words, strict=True):
            word = sayings[0] / np.abs(sayings[0]).max() * 0.5
            start = int(START_S * RATE)
            slot[start : start + len(word)] = word[: len(slot) - start]
        soundfile.write(HELD_OUT / f"commands_{name}.ogg", slots.reshape(-1), RATE, format="OGG", subtype="VORBIS")
