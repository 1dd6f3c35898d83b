"""Trains the shipped recogniser of commands ``voice-commands``, measures it on voices it never heard.

    python scripts/train_commands.py    speak (4 min the first time), mix, train, measure, package: one core

Twelve words, from synthetic voices (see ``voices.py``) changed as rooms and microphones change them; everything else
that people say (other words, sentences, parts of the words themselves, real telephone prompts in three languages) is
the class ``_unknown``, noise is ``_silence``. A small convolutional network on log-mel features looks at one second.

Split by voice: eight variants of espeak-ng in every accent, ``rms`` of flite and ``ked`` of festival (both made from
recordings of real men), and the real English speaker are heard in no training and chose no threshold; five other
variants of espeak-ng chose it. What is measured is what a node does: a stream, windows, means, events.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import voices
from datasets import CACHE
from edgewise.media import sound
from edgewise.models.manifest import Lineage, Manifest, Metric, Origin, Output, Variant
from edgewise.models.model import Model
from measured_commands import MEAN_OF, Listener, by_program, choose, measure, save_held_out, testing
from shipping import ARTIFACT, SHIPPED, ship
from spoken_commands import INPUT, LABELS, LENGTH, NAME, OTHER_WORDS, STD, WORDS, Mixer, Mixing, pool, prompts, spoken
from voices import Samples


class Recipe(msgspec.Struct, frozen=True):
    """Everything that decides what the network becomes; it stands in the manifest's lineage."""

    windows: int = 40_000
    mixing: Mixing = Mixing()
    channels: tuple[int, int, int, int] = (24, 32, 48, 96)
    dropout: float = 0.2
    steps: int = 2400
    batch: int = 128
    peak_learning_rate: float = 6e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.05
    seed: int = 7


RANGE = 10.0
"""Natural logarithm of energy, 43 dB: about what speech has above the noise of a quiet room."""


class Network(nn.Module):
    """``[batch, FRAMES, bins]`` -> scores ``[batch, labels]``.

    Separable convolutions over time and frequency (Howard et al. 2017, arXiv:1704.04861), then over time alone with all
    frequencies gathered, as in BC-ResNet (Kim et al. 2021, arXiv:2106.04140) but without its broadcast.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        one, two, three, four = recipe.channels
        self.picture = nn.Sequential(
            nn.Conv2d(1, one, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(one),
            nn.ReLU(),
            _separable(one, two, stride=(1, 2)),
            _separable(two, three, stride=(2, 2)),
            Residual(_separable(three, three, stride=(1, 1))),
        )
        self.gather = nn.Sequential(nn.Conv2d(three, four, (1, 5), bias=False), nn.BatchNorm2d(four), nn.ReLU())
        self.time = nn.Sequential(*[Residual(_over_time(four, 9)) for _ in range(2)])
        self.dropout = nn.Dropout(recipe.dropout)
        self.head = nn.Linear(four, len(LABELS))

    def forward(self, features: Tensor) -> Tensor:
        """See ``nn.Module``. What lies far below the loudest is raised, so that digital silence around a word is
        like a quiet room; loudness is taken off, so that a quiet voice is no other word.
        """
        raised = torch.maximum(features, features.amax((1, 2), keepdim=True) - RANGE / STD)
        level = raised - raised.mean((1, 2), keepdim=True)
        seen = self.gather(self.picture(level.unsqueeze(1))).squeeze(3)
        scores: Tensor = self.head(self.dropout(self.time(seen).mean(2)))
        return scores


class Residual(nn.Module):
    """What is inside, added to what came in."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, values: Tensor) -> Tensor:
        """See ``nn.Module``."""
        result: Tensor = values + self.inside(values)
        return result


def _separable(into: int, out: int, *, stride: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(into, into, 3, stride=stride, padding=1, groups=into, bias=False),
        nn.BatchNorm2d(into),
        nn.Conv2d(into, out, 1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    )


def _over_time(channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False),
        nn.BatchNorm1d(channels),
        nn.Conv1d(channels, channels, 1, bias=False),
        nn.BatchNorm1d(channels),
        nn.ReLU(),
    )


def train(features: Tensor, labels: Tensor, recipe: Recipe) -> Network:
    torch.manual_seed(recipe.seed)
    model = Network(recipe)
    adam = torch.optim.AdamW(model.parameters(), lr=recipe.peak_learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, recipe.peak_learning_rate, total_steps=recipe.steps)
    order = itertools.chain.from_iterable(_batches(len(labels), recipe.batch) for _ in itertools.count())
    for step, chosen in enumerate(itertools.islice(order, recipe.steps)):
        scores = model(masked(features[chosen].float()))
        loss = functional.cross_entropy(scores, labels[chosen], label_smoothing=recipe.label_smoothing)
        adam.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        schedule.step()
        if step % 200 == 199:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    return model.eval()


def _batches(count: int, size: int) -> Iterator[Tensor]:
    order = torch.randperm(count)
    return (order[start : start + size] for start in range(0, count - size + 1, size))


def masked(features: Tensor) -> Tensor:
    """A band of frequencies and a stretch of time are hidden (Park et al. 2019, arXiv:1904.08779)."""
    for axis, widest in ((1, 12), (2, 6)):
        size = features.shape[axis]
        start = torch.randint(0, size, (len(features), 1))
        width = torch.randint(0, widest + 1, (len(features), 1))
        places = torch.arange(size)[None]
        hidden = (places >= start) & (places < start + width)
        features = features.masked_fill(hidden.unsqueeze(3 - axis), 0.0)
    return features


def draft(recipe: Recipe, threshold: float, mean_of: int) -> Manifest:
    """The manifest but for golden case, metrics and digests."""
    return Manifest(
        name=NAME,
        version="1.0.0",
        licence="Apache-2.0",
        summary=f"Understands {len(WORDS)} spoken commands: {', '.join(WORDS)}",
        task={"kind": "words", "labels": "labels.txt", "threshold": threshold, "mean_of": mean_of},
        inputs=(INPUT,),
        outputs=(Output("scores", "FP32", (-1, len(LABELS))),),
        variants=(Variant("onnx-fp32", "onnxruntime", ARTIFACT),),
        origin=Origin(
            "edgewise",
            "scripts/train_commands.py",
            note="Trained from nothing, on synthetic voices: no person was recorded saying these words.",
        ),
        lineage=(
            Lineage(
                "train",
                f"torch {torch.__version__}",
                msgspec.to_builtins(recipe),
                (
                    "debian:espeak-ng",
                    "debian:flite",
                    "debian:festival",
                    *(voices.PROMPTS[k].origins[0].source for k in ("fr", "it", "ru")),
                ),
            ),
            Lineage("convert", f"torch.onnx {torch.__version__}", {"exporter": "dynamo"}),
        ),
    )


def example(listeners: Sequence[Listener]) -> Samples:
    """One second with the word "open" of a voice that was never heard, for the golden case."""
    window = np.zeros(LENGTH, np.float32)
    word = listeners[1].heard.words[WORDS.index("open")][0][: LENGTH - 3200]
    window[LENGTH - 3200 - len(word) : LENGTH - 3200] = word / np.abs(word).max() * 0.5
    return window


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    recipe = Recipe()
    heard = spoken("training", voices.TRAINED, OTHER_WORDS, per_word=2, seed=1)
    choosing = spoken("choosing", voices.CHOOSING, OTHER_WORDS, per_word=1, seed=2)
    listeners = by_program(testing)
    started = time.process_time()
    real = prompts("fr", "it", "ru")
    features, labels = pool(Mixer(heard, real, recipe.mixing), recipe.windows)
    print(f"mixed {recipe.windows} windows in {time.process_time() - started:.0f} s")
    network = train(features, labels, recipe)
    print(
        f"trained {sum(part.numel() for part in network.parameters())} parameters, "
        f"{time.process_time() - started:.0f} s with mixing"
    )
    files = {
        "labels.txt": "".join(f"{label}\n" for label in LABELS).encode(),
        "golden/open.flac": sound.encode(example(listeners)),
    }
    build(recipe, network, files, threshold=0.5, folder=CACHE, measure=lambda _: ())
    with Model.open(CACHE / NAME) as model:
        threshold = choose(model, choosing, [*choosing.talk, *real[1::6]], mean_of=MEAN_OF)
    save_held_out(listeners)
    build(
        recipe,
        network,
        files,
        threshold=threshold,
        folder=SHIPPED,
        measure=lambda model: measure(model, listeners, threshold),
    )


def build(
    recipe: Recipe,
    network: Network,
    files: dict[str, bytes],
    *,
    threshold: float,
    folder: Path,
    measure: Callable[[Model], tuple[Metric, ...]],
) -> None:
    ship(
        draft(recipe, threshold, MEAN_OF),
        network,
        files=files,
        source="golden/open.flac",
        measure=measure,
        folder=folder,
    )
