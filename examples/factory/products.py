"""Real product pictures (Fashion-MNIST, Xiao et al. 2017, arXiv:1708.07747) with defects drawn on some of them.

    apt-get download dataset-fashion-mnist
    python products.py dataset-fashion-mnist_*.deb products [--count 200] [--seed 1]

Writes pictures into the folder as PNG, named by number alone, and ``truth.csv`` beside it, which says what is wrong
with each. The pictures are of the test half, of which the inspector's training saw nothing. No photographs of real
defects are to be had freely, so the defects are drawn: scratches (a thin bent line), blots (a round stain) and missing
parts (a piece cut off).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
DEFECTS = ("good", "scratch", "blot", "missing")
# A defect changes at least this many pixels by at least this much, or nobody could see it.
_CHANGED, _BY = 8, 60
# Fewer bright pixels than this, and there is no room for a defect: thin sandals and black shirts, 3 % of the pictures.
_LEAST_BRIGHT = 100


def products(package: Path, part: str) -> Grey:
    """The pictures of one half, ``train`` or ``t10k``: uint8 ``[n, 28, 28]``, dark background. Those that are too thin
    or too dark for a defect to be seen on them are left out.
    """
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", str(package), folder], check=True)
        file = Path(folder) / "usr/share/datasets/fashion-mnist" / f"{part}-images-idx3-ubyte.gz"
        content = gzip.decompress(file.read_bytes())
    pictures = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)
    return pictures[(pictures >= _BY).sum((1, 2)) >= _LEAST_BRIGHT]


def drawn(picture: Grey, defect: str, random: np.random.Generator) -> Grey:
    """The picture with a defect of that kind on the product; one that can be seen."""
    if defect == "good":
        return picture.copy()
    draw = {"scratch": _scratch, "blot": _blot, "missing": _missing}[defect]
    while True:
        damaged = draw(picture.copy(), random)
        if (cv2.absdiff(damaged, picture) >= _BY).sum() >= _CHANGED:
            return damaged


def _place(picture: Grey, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """A point ``(x, y)`` on the product."""
    rows, columns = np.nonzero(picture > 40)
    chosen = random.integers(len(rows))
    return np.array([columns[chosen], rows[chosen]])


def _contrast(picture: Grey, place: npt.NDArray[np.int64], random: np.random.Generator) -> int:
    """A grey far from the one at a place."""
    here = int(picture[place[1], place[0]])
    return int(np.clip(here + (-1 if here > 127 else 1) * random.integers(100, 180), 0, 255))


def _scratch(picture: Grey, random: np.random.Generator) -> Grey:
    start = _place(picture, random)
    grey, direction, point = _contrast(picture, start, random), random.uniform(0, 2 * np.pi), start.astype(float)
    canvas = picture.copy()
    for _ in range(random.integers(2, 4)):  # a scratch bends a little
        direction += random.normal(0, 0.3)
        following = point + random.uniform(4, 7) * np.array([np.cos(direction), np.sin(direction)])
        ends = [tuple(int(value) for value in np.round(place)) for place in (point, following)]
        cv2.line(canvas, ends[0], ends[1], grey, 1)
        point = following
    return np.where(picture > 20, canvas, picture)  # the background cannot be scratched


def _blot(picture: Grey, random: np.random.Generator) -> Grey:
    x, y = (int(value) for value in _place(picture, random))
    axes = (int(random.integers(2, 5)), int(random.integers(2, 5)))
    canvas = picture.copy()
    grey = _contrast(picture, np.array([x, y]), random)
    cv2.ellipse(canvas, (x, y), axes, float(random.uniform(0, 180)), 0, 360, grey, -1)
    return np.where(picture > 20, canvas, picture)


def _missing(picture: Grey, random: np.random.Generator) -> Grey:
    """Cuts a notch out of the edge of the product."""
    edge = (picture > 40) & (cv2.erode((picture > 40).astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    rows, columns = np.nonzero(edge)
    chosen = random.integers(len(rows))
    angles = np.sort(random.uniform(0, 2 * np.pi, 6))
    reach = random.uniform(4, 7)
    notch = np.stack([columns[chosen] + reach * np.cos(angles), rows[chosen] + reach * np.sin(angles)], 1)
    cv2.fillPoly(picture, [np.round(notch).astype(np.int32)], 0)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    random = np.random.default_rng(given.seed)
    pictures = products(given.package, "t10k")
    given.folder.mkdir(parents=True, exist_ok=True)
    with (given.folder.parent / "truth.csv").open("w", newline="") as file:
        truth = csv.writer(file)
        truth.writerow(("picture", "defect"))
        for number, chosen in enumerate(random.choice(len(pictures), given.count, replace=False), 1):
            defect = DEFECTS[random.integers(1, 4)] if random.random() < 0.2 else "good"
            picture = drawn(pictures[chosen], defect, random)
            cv2.imwrite(str(given.folder / f"{number:05d}.png"), picture)
            truth.writerow((f"{number:05d}.png", defect))
    print(f"{given.count} pictures in {given.folder}, what is wrong with them in {given.folder.parent / 'truth.csv'}")


if __name__ == "__main__":
    main()
