"""Recordings of a real wrist watch as CSV files that the example replays: ``people/9.csv`` and ``people/10.csv``.

    python prepare.py

Fetches the Python package ``seglearn`` 1.2.5 by pip, in which the recordings stand (Burns et al. 2018,
arXiv:1802.01489, BSD-3-Clause): seven shoulder exercises, 50 Hz. People 9 and 10 are those of whom the shipped model
saw nothing. A person's recordings follow each other with five seconds between them; ``people/9.truth.csv`` says which
exercise each is.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "scripts"))

from datasets import watch  # noqa: E402
from edgewise import load  # noqa: E402
from edgewise.series.table import Block, write_csv  # noqa: E402

STEP_NS = 20_000_000
PAUSE_NS = 5_000_000_000
START_NS = 1_767_225_600 * 10**9


class Exercise(NamedTuple):
    """A stretch in which one exercise was done."""

    start_ns: int
    end_ns: int
    name: str


def person(number: int) -> tuple[Block, list[Exercise]]:
    """A person's readings, one recording after the other, and what they are."""
    recordings = watch()
    with load("watch-activity") as model:
        channels = model.manifest.inputs[0].channels
        exercises = (model.folder / "labels.txt").read_text().splitlines()
    times: list[int] = []
    columns: dict[str, list[float]] = {name: [] for name in channels}
    truth = []
    start_ns = START_NS
    for series, label, who in zip(recordings.series, recordings.labels, recordings.people, strict=True):
        if who != number:
            continue
        times += [start_ns + i * STEP_NS for i in range(len(series))]
        for place, name in enumerate(channels):
            columns[name] += [float(value) for value in series[:, place]]
        truth.append(Exercise(start_ns, times[-1], exercises[label]))
        start_ns = times[-1] + PAUSE_NS
    return Block(times, columns), truth


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    folder = HERE / "people"
    folder.mkdir(exist_ok=True)
    for number in (9, 10):
        block, truth = person(number)
        with (folder / f"{number}.csv").open("w") as file:
            write_csv(file, block)
        with (folder / f"{number}.truth.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Exercise._fields)
            writer.writerows(truth)
        print(f"{folder / str(number)}.csv: {len(block.times_ns)} readings, {len(truth)} exercises")


if __name__ == "__main__":
    main()
