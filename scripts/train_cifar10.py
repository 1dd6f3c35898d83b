"""Trains the shipped picture classifier ``cifar10-resnet`` on one CPU core, measures it, writes its model package.

    python scripts/train_cifar10.py             train, or go on from the last epoch saved; export, measure, package
    python scripts/train_cifar10.py --measure   only measure the shipped package on all 10,000 test pictures

A residual network after He et al. 2015 (arXiv:1512.03385) in the nine-layer shape of D. Page, "How to Train Your
ResNet" (2018), a quarter as wide, trained with one learning-rate cycle (Smith 2018, arXiv:1803.09820) and label
smoothing. The test pictures are used once, for the figure in the manifest, and through Edgewise's own preprocessing;
progress is watched on 1,000 pictures held out of the training set.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import cv2
import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from datasets import CACHE, CIFAR10, Pictures, cifar10
from edgewise.models.manifest import (
    CenterCrop,
    Input,
    Layout,
    Lineage,
    Manifest,
    Metric,
    Normalise,
    Origin,
    Output,
    Resize,
    Variant,
)
from edgewise.models.model import Model
from shipping import ARTIFACT, SHIPPED, classify, ship

NAME = "cifar10-resnet"
CHECKPOINT = CACHE.parent / "train" / f"{NAME}.pt"
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
SIDE, PAD = 32, 4


class Recipe(msgspec.Struct, frozen=True):
    """Everything that decides what the network becomes; it stands in the manifest's lineage."""

    widths: tuple[int, int, int, int] = (16, 32, 64, 96)
    epochs: int = 30
    batch: int = 256
    peak_learning_rate: float = 0.25
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    held_out: int = 1000
    shift_pixels: int = PAD
    flip: bool = True
    precision: str = "bf16 autocast"
    seed: int = 7


class Residual(nn.Module):
    """``x + f(x)`` with two 3 x 3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = convolution(channels, channels), convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """See ``nn.Module``."""
        return torch.add(x, self.second(self.first(x)))


def convolution(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def network(widths: tuple[int, int, int, int]) -> nn.Sequential:
    stem, low, middle, high = widths
    return nn.Sequential(
        convolution(3, stem),
        convolution(stem, low),
        nn.MaxPool2d(2),
        Residual(low),
        convolution(low, middle),
        nn.MaxPool2d(2),
        convolution(middle, high),
        nn.MaxPool2d(2),
        Residual(high),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(high, len(LABELS)),
    )


def normalise(pictures: Tensor) -> Tensor:
    """``uint8 [n, h, w, 3]`` -> float32 ``[n, 3, h, w]``, channels last in memory, as the convolutions like it."""
    return ((pictures.float() - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)


def augmented(padded: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Each chosen picture shifted by up to ``PAD`` pixels each way and mirrored half of the time, in one gather."""
    count = len(chosen)
    top, left = torch.randint(0, 2 * PAD + 1, (2, count, 1), generator=generator)
    mirrored = torch.rand((count, 1), generator=generator) < 0.5
    span = torch.arange(SIDE)
    rows, columns = top + span, left + torch.where(mirrored, SIDE - 1 - span, span)
    return padded[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]


def optimiser(
    model: nn.Module, recipe: Recipe, steps: int
) -> tuple[torch.optim.SGD, torch.optim.lr_scheduler.OneCycleLR]:
    """Weights of convolutions and the head decay; biases and normalisation do not."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    sgd = torch.optim.SGD(groups, lr=recipe.peak_learning_rate, momentum=0.9, nesterov=True)
    return sgd, torch.optim.lr_scheduler.OneCycleLR(sgd, recipe.peak_learning_rate, total_steps=steps, pct_start=0.2)


def accuracy(model: nn.Module, pictures: Pictures) -> float:
    model.eval()
    with torch.inference_mode():
        scores = torch.cat([model(normalise(part)) for part in torch.split(torch.from_numpy(pictures.images), 500)])
    model.train()
    return float((scores.argmax(1).numpy() == pictures.labels).mean())


def train(recipe: Recipe) -> nn.Module:
    """Trains from the checkpoint on, if there is one of the same recipe; saves one after every epoch."""
    pictures = cifar10("train")
    held = Pictures(pictures.images[-recipe.held_out :], pictures.labels[-recipe.held_out :])
    images = torch.from_numpy(pictures.images[: -recipe.held_out])
    labels = torch.from_numpy(pictures.labels[: -recipe.held_out])
    padded = functional.pad(images.permute(0, 3, 1, 2).float(), [PAD] * 4, mode="reflect")
    padded = padded.to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    torch.manual_seed(recipe.seed)
    model: nn.Module = network(recipe.widths).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = len(images) // recipe.batch
    sgd, schedule = optimiser(model, recipe, recipe.epochs * batches)
    parts = {"model": model, "optimiser": sgd, "schedule": schedule}
    for epoch in range(resume(parts, recipe), recipe.epochs):
        started = time.monotonic()
        generator = torch.Generator().manual_seed(recipe.seed * 1000 + epoch)
        order = torch.randperm(len(images), generator=generator)[: batches * recipe.batch]
        total = 0.0
        for chosen in torch.split(order, recipe.batch):
            with torch.autocast("cpu", torch.bfloat16):
                scores = model(normalise(augmented(padded, chosen, generator)))
            loss = functional.cross_entropy(scores.float(), labels[chosen], label_smoothing=recipe.label_smoothing)
            sgd.zero_grad()
            torch.autograd.backward(loss)
            sgd.step()
            schedule.step()
            total += loss.item()
        save(parts, recipe, epoch + 1)
        print(
            f"epoch {epoch + 1:2d}/{recipe.epochs}  loss {total / batches:.3f}  "
            f"held out {accuracy(model, held):.3f}  {time.monotonic() - started:.0f} s",
            flush=True,
        )
    return model


def save(parts: dict[str, Any], recipe: Recipe, epochs: int) -> None:
    CHECKPOINT.parent.mkdir(parents=True, exist_ok=True)
    state = {"recipe": repr(recipe), "epochs": epochs, **{name: part.state_dict() for name, part in parts.items()}}
    temporary = CHECKPOINT.with_suffix(".part")
    torch.save(state, temporary)
    temporary.replace(CHECKPOINT)


def resume(parts: dict[str, Any], recipe: Recipe) -> int:
    """Loads the checkpoint into ``parts``; how many epochs are done."""
    if not CHECKPOINT.exists():
        return 0
    state = torch.load(CHECKPOINT, weights_only=True)
    if state["recipe"] != repr(recipe):
        return 0
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["epochs"])


def drawn_ship() -> bytes:
    """A picture of our own for the golden case, since CIFAR's may not be shipped: a ship at sea, as PNG."""
    picture = np.full((128, 128, 3), (235, 206, 160), np.uint8)
    picture[80:] = (140, 80, 30)

    def shape(points: list[tuple[int, int]], colour: tuple[int, int, int]) -> None:
        cv2.fillPoly(picture, [np.array(points, np.int32)], colour, cv2.LINE_AA)

    shape([(8, 66), (120, 66), (104, 90), (24, 90)], (60, 60, 70))
    shape([(12, 74), (116, 74), (104, 90), (24, 90)], (50, 40, 150))
    shape([(34, 48), (92, 48), (92, 66), (34, 66)], (240, 240, 240))
    shape([(46, 34), (78, 34), (78, 48), (46, 48)], (225, 225, 225))
    shape([(56, 18), (68, 18), (68, 34), (56, 34)], (40, 40, 190))
    return bytes(cv2.imencode(".png", picture)[1])


def draft(recipe: Recipe) -> Manifest:
    """The manifest but for golden case, metrics and digests."""
    return Manifest(
        name=NAME,
        version="1.0.0",
        licence="Apache-2.0",
        summary="Sorts small pictures into the ten classes of CIFAR-10 (a light residual network)",
        task={"kind": "classification", "labels": "labels.txt", "top": 3},
        inputs=(
            Input(
                "image",
                "FP32",
                (-1, 3, SIDE, SIDE),
                kind="image",
                preprocess=(
                    Resize(SIDE, SIDE, interpolation="area", keep="shorter"),
                    CenterCrop(SIDE, SIDE),
                    Normalise(MEAN, STD),
                    Layout("NCHW"),
                ),
            ),
        ),
        outputs=(Output("scores", "FP32", (-1, len(LABELS))),),
        variants=(Variant("onnx-fp32", "onnxruntime", ARTIFACT),),
        origin=Origin(
            "edgewise", "scripts/train_cifar10.py", note="Trained from nothing; the golden picture is drawn."
        ),
        lineage=(
            Lineage("train", f"torch {torch.__version__}", msgspec.to_builtins(recipe), (CIFAR10.origins[0].source,)),
            Lineage("convert", f"torch.onnx {torch.__version__}", {"exporter": "dynamo"}),
        ),
    )


def measure(model: Model) -> tuple[Metric, ...]:
    """Top-1 accuracy of the package, preprocessing and decoding included."""
    pictures = cifar10("test")
    value = float(np.mean(classify(model, pictures.images) == pictures.labels))
    return (Metric("accuracy", round(value, 4), "CIFAR-10", "test, 10,000 pictures", variant="onnx-fp32"),)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="only measure the shipped package")
    if parser.parse_args().measure:
        with Model.open(SHIPPED / NAME) as model:
            print("measured", measure(model)[0].value, "stated", model.manifest.metrics[0].value)
        return
    recipe = Recipe()
    torch.set_num_threads(1)
    labels = "".join(f"{label}\n" for label in LABELS).encode()
    ship(
        draft(recipe),
        train(recipe),
        files={"labels.txt": labels, "golden/picture.png": drawn_ship()},
        source="golden/picture.png",
        measure=measure,
    )


if __name__ == "__main__":
    main()
