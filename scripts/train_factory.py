"""Trains the inspector of ``examples/factory``, measures it on products it never saw, packages it into the example.

    python scripts/train_factory.py    about three minutes on one core

A small convolutional network that tells good products from scratched, blotted and broken ones. Products are the
pictures of Fashion-MNIST (MIT); the defects are drawn on them anew in every step (``examples/factory/products.py``).
Half of what it sees is good. The figures are on the other part of the data set, 9,700 products, a fifth of them with
a defect: there ``recall`` is the part of the defective ones that it calls defective, ``precision`` the part of those it
calls defective that are.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from types import ModuleType

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from datasets import FASHION, obtain
from edgewise.models.manifest import (
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
from shipping import ARTIFACT, ROOT, classify, ship

NAME = "inspector"
EXAMPLE = ROOT / "examples" / "factory"
DATASET = "Fashion-MNIST (Xiao et al. 2017) with drawn defects"
SIDE = 28
MEAN, STD = (73.0, 73.0, 73.0), (90.0, 90.0, 90.0)


class Recipe(msgspec.Struct, frozen=True):
    """Everything that decides what the network becomes; it stands in the manifest's lineage."""

    widths: tuple[int, int, int] = (24, 48, 64)
    steps: int = 2600
    batch: int = 128
    peak_learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.02
    good: float = 0.5
    pool: int = 120_000
    seed: int = 7


def drawing() -> ModuleType:
    """The example's own program, which draws defects."""
    spec = importlib.util.spec_from_file_location("products", EXAMPLE / "products.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["products"] = module
    spec.loader.exec_module(module)
    return module


def network(recipe: Recipe) -> nn.Sequential:
    low, middle, high = recipe.widths

    def convolution(taken: int, given: int) -> list[nn.Module]:
        return [nn.Conv2d(taken, given, 3, padding=1, bias=False), nn.BatchNorm2d(given), nn.ReLU()]

    return nn.Sequential(
        *convolution(3, low),
        *convolution(low, low),
        nn.MaxPool2d(2),
        *convolution(low, middle),
        *convolution(middle, middle),
        nn.MaxPool2d(2),
        *convolution(middle, high),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(high, 4),
    )


def tensor(pictures: npt.NDArray[np.uint8]) -> Tensor:
    """``uint8 [n, 28, 28]`` as the network takes them."""
    grey = (torch.from_numpy(pictures).float() - MEAN[0]) / STD[0]
    return grey[:, None].expand(-1, 3, -1, -1)


def examples(
    pictures: npt.NDArray[np.uint8], count: int, *, good: float, random: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """That many products, ``good`` of them without a defect, the others with each kind equally often."""
    tools = drawing()
    chosen = (
        random.permutation(len(pictures))[:count]
        if count <= len(pictures)
        else random.integers(len(pictures), size=count)
    )
    labels = np.where(random.random(count) < good, 0, random.integers(1, 4, size=count))
    drawn = [tools.drawn(pictures[i], tools.DEFECTS[label], random) for i, label in zip(chosen, labels, strict=True)]
    return np.stack(drawn), labels


def train(recipe: Recipe) -> nn.Module:
    torch.manual_seed(recipe.seed)
    random = np.random.default_rng(recipe.seed)
    pictures, labels = examples(
        drawing().products(obtain(FASHION), "train"), recipe.pool, good=recipe.good, random=random
    )
    model = network(recipe)
    adam = torch.optim.AdamW(model.parameters(), lr=recipe.peak_learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, recipe.peak_learning_rate, total_steps=recipe.steps)
    for step in range(recipe.steps):
        chosen = random.integers(len(pictures), size=recipe.batch)
        batch = pictures[chosen]
        if step % 2:
            batch = batch[:, :, ::-1].copy()
        with torch.autocast("cpu", torch.bfloat16):
            scores = model(tensor(batch))
        loss = functional.cross_entropy(
            scores.float(), torch.from_numpy(labels[chosen]), label_smoothing=recipe.label_smoothing
        )
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
        schedule.step()
        if step % 200 == 199:
            print(f"step {step + 1}/{recipe.steps}  loss {loss.item():.3f}", flush=True)
    return model.eval()


def measure(model: Model) -> tuple[Metric, ...]:
    """The package's own precision and recall on the half of the data that training did not see."""
    tools = drawing()
    pictures = tools.products(obtain(FASHION), "t10k")
    pictures, labels = examples(pictures, len(pictures), good=0.8, random=np.random.default_rng(1))
    found = classify(model, np.repeat(pictures[..., None], 3, axis=3))
    bad, called = labels > 0, found > 0
    split = f"test half, {len(labels)} products, {bad.sum()} with a defect"
    values = {
        "recall": (bad & called).sum() / bad.sum(),
        "precision": (bad & called).sum() / called.sum(),
        "accuracy": (labels == found).mean(),
    }
    for number, defect in enumerate(tools.DEFECTS[1:], 1):
        values[f"recall_{defect}"] = called[labels == number].mean()
    return tuple(
        Metric(name, round(float(value), 4), DATASET, split, "", model.variant.name) for name, value in values.items()
    )


def draft(recipe: Recipe) -> Manifest:
    """The manifest but for golden case, metrics and digests."""
    return Manifest(
        name=NAME,
        version="1.0.0",
        licence="Apache-2.0",
        summary="Tells good products from scratched, blotted and broken ones (a small convolutional network)",
        task={"kind": "classification", "labels": "labels.txt", "top": 4},
        inputs=(
            Input(
                "image",
                "FP32",
                (-1, 3, SIDE, SIDE),
                kind="image",
                preprocess=(Resize(SIDE, SIDE, interpolation="area"), Normalise(MEAN, STD), Layout("NCHW")),
            ),
        ),
        outputs=(Output("scores", "FP32", (-1, 4)),),
        variants=(Variant("onnx-fp32", "onnxruntime", ARTIFACT),),
        origin=Origin("edgewise", "scripts/train_factory.py", note="Trained from nothing; the defects are drawn."),
        lineage=(
            Lineage("train", f"torch {torch.__version__}", msgspec.to_builtins(recipe), (FASHION.origins[0].source,)),
            Lineage("convert", f"torch.onnx {torch.__version__}", {"exporter": "dynamo"}),
        ),
    )


def main() -> None:
    torch.set_num_threads(1)
    recipe, tools, started = Recipe(), drawing(), time.monotonic()
    product = tools.products(obtain(FASHION), "t10k")[0]
    scratched = tools.drawn(product, "scratch", np.random.default_rng(3))
    model = train(recipe)
    print(f"trained in {time.monotonic() - started:.0f} s", flush=True)
    ship(
        draft(recipe),
        model,
        files={
            "labels.txt": "".join(f"{label}\n" for label in tools.DEFECTS).encode(),
            "golden/scratched.png": bytes(cv2.imencode(".png", scratched)[1]),
        },
        source="golden/scratched.png",
        measure=measure,
        folder=EXAMPLE,
    )


if __name__ == "__main__":
    main()
