"""How often the example's watch knows what its wearer does, on the two people the model never saw.

    python measure.py

Each recording is played through the example's own transforms. A result is right when it is the exercise of that moment;
``told`` is what ``activity.changed`` said last, which is steadier and some seconds later.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from edgewise import load
from edgewise.node.settings import load as load_settings
from edgewise.pipeline.base import Observation, Reading
from edgewise.pipeline.transforms.classify import Classify, ClassifySettings
from edgewise.series.table import Block

HERE = Path(__file__).resolve().parent


class Result(NamedTuple):
    """What was found at a time: the newest result, what was told last, and whether that is new."""

    time_ns: int
    label: str
    told: str | None
    changed: bool


class Models:
    """What the classify transform needs of a node."""

    def model(self, name: str) -> Any:
        return load(name)


def results(block: Block) -> list[Result]:
    """Every result of the example's classify transform."""
    transforms = load_settings(HERE / "edgewise.yaml").pipelines["wrist"].transforms
    [settings] = [each for each in transforms if isinstance(each, ClassifySettings)]
    classify = Classify(settings, Models())
    found = []
    for number, time_ns in enumerate(block.times_ns):
        values = {name: column[number] for name, column in block.columns.items()}
        reading = Reading("wrist", number + 1, time_ns, values)
        observation = classify.apply(Observation(reading, readings=(reading,)))
        if facts := observation.facts.get("classify"):
            found.append(Result(time_ns, facts["label"], facts["said"], bool(observation.events)))
    return found


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from prepare import person

    right, told, late = [], [], []
    for number in (9, 10):
        block, truth = person(number)
        found = results(block)
        for exercise in truth:
            own = [result for result in found if exercise.start_ns <= result.time_ns <= exercise.end_ns]
            right += [result.label == exercise.name for result in own]
            told += [result.told == exercise.name for result in own]
            first = next((result.time_ns for result in own if result.told == exercise.name), None)
            late.append(None if first is None else (first - exercise.start_ns) / 1e9)
    known = sorted(second for second in late if second is not None)
    print(f"{len(right)} results, one a second: {sum(right) / len(right):.3f} right; told: {sum(told) / len(told):.3f}")
    print(f"{len(known)} of {len(late)} exercises told, the middle one after {known[len(known) // 2]:.1f} s")


if __name__ == "__main__":
    main()
