"""Trains the shipped activity recogniser ``watch-activity``, measures it on people it never saw, packages it.

    python scripts/train_watch.py    five folds by person (about five minutes), then export, measure, package

A convolutional recurrent network (two strided convolutions over time, then a two-way GRU, Cho et al. 2014,
arXiv:1406.1078) on four seconds of a watch's accelerometer and gyroscope. Every figure is on people whose recordings
the network had no part of: five folds of two people each. The shipped network is the one of the last fold, fixed
beforehand: it was trained without people 9 and 10, and its figure is theirs. The settings were chosen among eight by
the mean over the folds, so that mean flatters a little.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from datasets import SEGLEARN, Recordings, obtain, watch
from edgewise.models.manifest import (
    Input,
    Lineage,
    Manifest,
    Metric,
    Normalise,
    Origin,
    Output,
    Variant,
    Window,
)
from edgewise.models.model import Model
from shipping import ARTIFACT, ROOT, classify, ship

NAME = "watch-activity"
DATASET = "seglearn watch data (Burns et al. 2018)"
HELD_OUT = ROOT / "tests" / "data" / "watch_people_9_10.npz"
EXERCISES = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius extension",
    "upright row",
)
CHANNELS = (*(f"acceleration_{axis}_g" for axis in "xyz"), *(f"angular_velocity_{axis}_rad_s" for axis in "xyz"))
# 300 trees of scikit-learn on ten statistics per channel of the same windows, trained on the same people.
RANDOM_FOREST = (0.755, 0.806, 0.958, 0.886, 0.802)
FOLDS = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10))
RATE_HZ, LENGTH = 50.0, 200
MEAN, STD = (0.0, 0.4, -0.15, 0.0, 0.0, 0.0), (0.9, 0.5, 0.55, 1.0, 2.5, 1.0)


class Recipe(msgspec.Struct, frozen=True):
    """Everything that decides what the network becomes; it stands in the manifest's lineage."""

    channels: tuple[int, int] = (32, 64)
    hidden: int = 48
    dropout: float = 0.5
    steps: int = 600
    batch: int = 64
    peak_learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.1
    rotation_degrees: float = 7.0
    stretch: float = 0.3
    noise: float = 0.1
    seed: int = 7


class Network(nn.Module):
    """``[batch, 200, 6]`` -> scores ``[batch, exercises]``."""

    def __init__(self, recipe: Recipe, classes: int) -> None:
        super().__init__()
        low, high = recipe.channels
        self.convolutions = nn.Sequential(
            nn.Conv1d(6, low, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm1d(low),
            nn.ReLU(),
            nn.Conv1d(low, high, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm1d(high),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(recipe.dropout)
        self.recurrent = nn.GRU(high, recipe.hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * recipe.hidden, classes)

    def forward(self, series: Tensor) -> Tensor:
        """See ``nn.Module``."""
        features = self.convolutions(series.transpose(1, 2)).transpose(1, 2)
        states, _ = self.recurrent(self.dropout(features))
        scores: Tensor = self.head(self.dropout(states.mean(1)))
        return scores


def normalise(series: Tensor) -> Tensor:
    return (series - torch.tensor(MEAN)) / torch.tensor(STD)


def rotations(count: int, degrees: float) -> Tensor:
    """Random rotations ``[count, 3, 3]`` about random axes, as of a watch that sits a little differently."""
    x, y, z = (torch.randn(3, count) * np.deg2rad(degrees)).unbind()
    zero = torch.zeros(count)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(count, 3, 3)
    return torch.matrix_exp(skew)


class Windows:
    """Random augmented windows from recordings, each recording equally often."""

    def __init__(self, recordings: Recordings, people: Sequence[int], recipe: Recipe) -> None:
        chosen = [number for number, person in enumerate(recordings.people) if person in people]
        self._samples = torch.from_numpy(np.concatenate([recordings.series[number] for number in chosen]))
        self._lengths = torch.tensor([len(recordings.series[number]) for number in chosen])
        self._starts = self._lengths.cumsum(0) - self._lengths
        self._labels = torch.from_numpy(recordings.labels[chosen])
        self._recipe = recipe

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """A batch ``[count, LENGTH, 6]`` and its labels."""
        which = torch.randint(len(self._lengths), (count,))
        pace = 1 + self._recipe.stretch * (2 * torch.rand(count, 1) - 1)
        span = torch.arange(LENGTH) * pace
        room = self._lengths[which, None] - 1 - span[:, -1:]
        place = self._starts[which, None] + torch.rand(count, 1) * room + span
        below = place.long()
        part = (place - below)[..., None]
        series = self._samples[below] * (1 - part) + self._samples[below + 1] * part
        turn = rotations(count, self._recipe.rotation_degrees).transpose(1, 2)
        acceleration, turning = series[..., :3] @ turn, series[..., 3:] @ turn * pace[..., None]
        series = normalise(torch.cat([acceleration, turning], 2))
        return series + self._recipe.noise * torch.randn_like(series), self._labels[which]


def windows(recordings: Recordings, people: Sequence[int]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """All windows of these people one after the other, without overlap: raw ``[n, LENGTH, 6]``, and their labels."""
    series, labels = [], []
    for recording, label, person in zip(recordings.series, recordings.labels, recordings.people, strict=True):
        if person in people:
            count = len(recording) // LENGTH
            series.append(recording[: count * LENGTH].reshape(count, LENGTH, 6))
            labels += [label] * count
    return np.concatenate(series), np.asarray(labels)


def train(recordings: Recordings, people: Sequence[int], recipe: Recipe) -> Network:
    torch.manual_seed(recipe.seed)
    source = Windows(recordings, people, recipe)
    model = Network(recipe, len(EXERCISES))
    adam = torch.optim.AdamW(model.parameters(), lr=recipe.peak_learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, recipe.peak_learning_rate, total_steps=recipe.steps)
    for _ in range(recipe.steps):
        series, labels = source.draw(recipe.batch)
        loss = functional.cross_entropy(model(series), labels, label_smoothing=recipe.label_smoothing)
        adam.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        schedule.step()
    return model.eval()


def accuracy(model: Network, recordings: Recordings, people: Sequence[int]) -> float:
    series, labels = windows(recordings, people)
    with torch.inference_mode():
        return float((model(normalise(torch.from_numpy(series))).argmax(1).numpy() == labels).mean())


def cross_validate(recordings: Recordings, recipe: Recipe) -> tuple[list[float], Network]:
    """Accuracy per fold, each on the people left out of it, and the network of the last fold."""
    found = []
    for fold, forest in zip(FOLDS, RANDOM_FOREST, strict=True):
        others = [person for people in FOLDS for person in people if people != fold]
        model = train(recordings, others, recipe)
        found.append(accuracy(model, recordings, fold))
        print(f"people {fold}: {found[-1]:.3f}, random forest {forest:.3f}", flush=True)
    print(f"mean {np.mean(found):.3f}; a random forest on the same folds: {np.mean(RANDOM_FOREST):.3f}")
    return found, model


def draft(recipe: Recipe, classes: int) -> Manifest:
    """The manifest but for golden case, metrics and digests."""
    return Manifest(
        name=NAME,
        version="1.0.0",
        licence="Apache-2.0",
        summary="Tells seven shoulder exercises apart by four seconds of a wrist watch's motion (a recurrent network)",
        task={"kind": "classification", "labels": "labels.txt", "top": 3},
        inputs=(
            Input(
                "series",
                "FP32",
                (-1, LENGTH, 6),
                kind="series",
                preprocess=(Window(LENGTH), Normalise(MEAN, STD)),
                channels=CHANNELS,
                rate_hz=RATE_HZ,
            ),
        ),
        outputs=(Output("scores", "FP32", (-1, classes)),),
        variants=(Variant("onnx-fp32", "onnxruntime", ARTIFACT),),
        origin=Origin("edgewise", "scripts/train_watch.py", note="Trained from nothing; the golden series is real."),
        lineage=(
            Lineage("train", f"torch {torch.__version__}", msgspec.to_builtins(recipe), (SEGLEARN.origins[0].source,)),
            Lineage("convert", f"torch.onnx {torch.__version__}", {"exporter": "dynamo"}),
        ),
    )


def measure(model: Model, recordings: Recordings, folds: Sequence[float]) -> tuple[Metric, ...]:
    """The package's own accuracy on the people it never saw, and what the recipe reached in all folds."""
    series, labels = windows(recordings, FOLDS[-1])
    right = classify(model, series) == labels
    people = "people 9 and 10, who are not in the training data"
    each = ", ".join(f"{value:.3f}" for value in folds)
    variant = model.variant.name
    return (
        Metric(
            "accuracy", round(float(np.mean(right)), 4), DATASET, f"{people}; {len(right)} windows of 4 s", "", variant
        ),
        Metric("accuracy_folds", round(float(np.mean(folds)), 4), DATASET, f"mean of five folds by person: {each}"),
    )


def save_held_out(series: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> None:
    """Keeps every second held-out window for the tests, which check the stated accuracy without the whole data."""
    HELD_OUT.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(HELD_OUT, series=series[::2].astype(np.float16), labels=labels[::2].astype(np.uint8))
    HELD_OUT.with_suffix(".LICENSE").write_bytes(watch_licence())


def watch_licence() -> bytes:
    """Whose recordings these are, and their licence."""
    with zipfile.ZipFile(obtain(SEGLEARN)) as wheel:
        licence = wheel.read("seglearn-1.2.5.dist-info/LICENSE")
    return b"Recordings from the watch data of seglearn 1.2.5, under this licence:\n\n" + licence


def npy(array: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    recipe, recordings = Recipe(), watch()
    folds, network = cross_validate(recordings, recipe)
    series, labels = windows(recordings, FOLDS[-1])
    save_held_out(series, labels)
    ship(
        draft(recipe, len(EXERCISES)),
        network,
        files={
            "labels.txt": "".join(f"{label}\n" for label in EXERCISES).encode(),
            "golden/series.npy": npy(series[0]),
            "golden/CREDITS.txt": watch_licence(),
        },
        source="golden/series.npy",
        measure=lambda model: measure(model, recordings, folds),
    )


if __name__ == "__main__":
    main()
