"""What a larger model above is worth to a small one, and what it costs: accuracy and bytes, by when it is asked.

    python -m benchmarks.joint [--pictures 10000]

The small model is a residual network like the shipped one, much narrower, trained here for eight epochs (a minute and a
half of one core; kept in ``.cache/joint``). The larger one is the shipped ``cifar10-resnet``. Both see the 10,000 test
pictures of CIFAR-10, on which neither was trained. A picture that is asked about goes up as a node sends it (so small a
one as PNG); its bytes are counted with those of the request's proof and of both heads.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from pathlib import Path

import msgspec
import numpy as np

from edgewise.link.base import encode
from edgewise.link.consult import Opinion, Question
from edgewise.models import golden
from edgewise.models.model import Model
from edgewise.models.package import save
from edgewise.node.second import as_sent
from edgewise.pipeline.base import Frame
from edgewise.types import Classification

ROOT = Path(__file__).resolve().parent.parent
SMALL, LARGE = "cifar10-tiny", "cifar10-resnet"
FOLDER = ROOT / ".cache" / "joint"
BOUNDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# Of a request besides its body: the proof, the access token and the heads both ways (link.client counts the same).
OVERHEAD_BYTES = 700 + 400 + 128 + 256

sys.path.insert(0, str(ROOT / "scripts"))
import train_cifar10  # noqa: E402, a script beside this folder
from datasets import cifar10  # noqa: E402, the same
from shipping import ARTIFACT, SHIPPED, export  # noqa: E402, the same


def small() -> Model:
    """The small model, trained when there is none yet."""
    package = FOLDER / SMALL
    if not (package / "model.yaml").exists():
        import torch

        torch.set_num_threads(1)
        train_cifar10.CHECKPOINT = train_cifar10.CHECKPOINT.with_stem(SMALL)
        recipe = train_cifar10.Recipe(widths=(6, 8, 12, 16), epochs=8)
        network = train_cifar10.train(recipe)
        shutil.rmtree(package, ignore_errors=True)
        (package / "golden").mkdir(parents=True)
        (package / "labels.txt").write_text("".join(f"{label}\n" for label in train_cifar10.LABELS))
        (package / "golden" / "picture.png").write_bytes(train_cifar10.drawn_ship())
        (package / "LICENSE").write_bytes((ROOT / "LICENSE").read_bytes())
        manifest = msgspec.structs.replace(train_cifar10.draft(recipe), name=SMALL)
        export(network, manifest, package / ARTIFACT)
        save(package, manifest)
        with Model.open(package) as model:
            case = golden.record(model, package / "golden" / "picture.png", "golden/case.npz")
        save(package, msgspec.structs.replace(manifest, golden=(case,)))
    return Model.open(package)


def said(model: Model, picture: object) -> Opinion:
    """What a model says, as a parent sends it."""
    found = model.predict(picture)
    return Opinion(found.result, "gateway", found.model, found.version, found.variant, found.timing.total_ms)


def best(opinion: Opinion) -> tuple[int, float]:
    assert isinstance(opinion.result, Classification)
    return opinion.result.labels[0].index, opinion.result.labels[0].score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000)
    wanted = parser.parse_args()
    pictures = cifar10("test")
    labels = pictures.labels[: wanted.pictures]
    with small() as little, Model.open(SHIPPED / LARGE) as larger:
        own, above, costs = [], [], []
        for image in pictures.images[: wanted.pictures]:
            own.append(best(said(little, image)))
            sent = as_sent(Frame("camera", 1, 0, image))
            opinion = said(larger, sent)
            above.append(best(opinion)[0])
            costs.append(len(encode(Question(sent, 0.3))) + len(encode(opinion)) + OVERHEAD_BYTES)
        sizes = {model.manifest.name: (model.folder / ARTIFACT).stat().st_size for model in (little, larger)}
    mine, scores = np.array([index for index, _ in own]), np.array([score for _, score in own])
    theirs, cost = np.array(above), np.array(costs)
    print(f"{len(labels)} pictures; {', '.join(f'{name} {size:,} bytes' for name, size in sizes.items())}; ", end="")
    print(f"a picture that is asked about costs {statistics.median(costs):.0f} bytes")
    print()
    print("| asked below | pictures asked about | accuracy | bytes a picture |\n|---|---|---|---|")
    for below in (0.0, *BOUNDS, 1.01):
        asked = scores < below
        right = np.where(asked, theirs, mine) == labels
        name = "never (small alone)" if not below else "always (large alone)" if below > 1 else f"{below}"
        print(f"| {name} | {asked.mean():.1%} | {right.mean():.4f} | {(cost * asked).sum() / len(labels):,.0f} |")


if __name__ == "__main__":
    main()
