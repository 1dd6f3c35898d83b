"""How well the example's anomalies are found: known faults are put into the real readings of 2015.

    python measure.py [--faults 20] [--seed 1]

The data names no failures, so none could be measured otherwise. Each turbine learns from its real 2014. Then 2015 is
played with faults put in at times drawn by chance, in stretches without gaps where the wind would give 500 kW on
average (less power cannot be seen where there is no wind): standstill, power capped at 600 kW, a fifth and a tenth less
power, and a wind sensor that stands still. A fault is found when an anomaly starts in it or within six hours. An alarm
outside of all faults counts as false, unless the turbine really stood still in good wind for half an hour: maintenance
and real failures are in the data, unnamed.
"""

import argparse
import random
import sys
import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgewise.node.settings import load
from edgewise.pipeline.base import Observation, Reading
from edgewise.pipeline.transforms.anomaly import Anomaly, AnomalySettings
from edgewise.pipeline.transforms.clean import Clean, CleanSettings
from edgewise.series.table import Block

HERE = Path(__file__).resolve().parent
HOUR_NS = 3600 * 10**9
POWER, WIND = "power_kw", "wind_speed_ms"
FAULTS = {"standstill": 12, "capped": 48, "a fifth less": 72, "a tenth less": 120, "sensor stuck": 24}
GRACE_NS = 6 * HOUR_NS


class Fault(NamedTuple):
    kind: str
    start_ns: int
    end_ns: int


class Found(NamedTuple):
    """What came of it: faults found and put in, by kind; alarms in faults, in real standstills, and false ones."""

    hits: Counter[str]
    faults: Counter[str]
    right: int
    standstills: int
    false: int


class Folder:
    """What the anomaly transform needs of a node: a place for what it learns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def folder(self, _name: str) -> Path:
        return self._path


def transforms(folder: Path, *, learn_s: float = 0.0) -> list:
    """The example's own, fresh."""
    chosen = []
    for settings in load(HERE / "edgewise.yaml").pipelines["r80711"].transforms:
        if isinstance(settings, CleanSettings):
            chosen.append(Clean(settings))
        if isinstance(settings, AnomalySettings):
            learn = learn_s or settings.learn_s
            chosen.append(Anomaly(msgspec.structs.replace(settings, learn_s=learn), Folder(folder)))
    return chosen


def damaged(block: Block, faults: list[Fault]) -> Block:
    """The readings with the faults in them."""
    power, wind = list(block.columns[POWER]), list(block.columns[WIND])
    for fault in faults:
        places = [i for i, time_ns in enumerate(block.times_ns) if fault.start_ns <= time_ns < fault.end_ns]
        for i in places:
            kw = power[i]
            power[i] = {
                "standstill": -5.0,
                "capped": min(kw, 600.0),
                "a fifth less": kw * 0.8 if kw > 0 else kw,
                "a tenth less": kw * 0.9 if kw > 0 else kw,
                "sensor stuck": kw,
            }[fault.kind]
            wind[i] = wind[places[0]] if fault.kind == "sensor stuck" else wind[i]
    return Block(block.times_ns, {**block.columns, POWER: power, WIND: wind})


def drawn(block: Block, count: int, *, after_ns: int, random: random.Random) -> list[Fault]:
    """Faults at times by chance, three days apart at least, each kind equally often."""
    faults: list[Fault] = []
    for _ in range(100_000):
        kind, hours = list(FAULTS.items())[len(faults) % len(FAULTS)]
        start_ns = random.choice(block.times_ns)
        end_ns = start_ns + hours * HOUR_NS
        near = [f for f in faults if start_ns < f.end_ns + 72 * HOUR_NS and f.start_ns < end_ns + 72 * HOUR_NS]
        if start_ns < after_ns + 72 * HOUR_NS or end_ns + 12 * HOUR_NS > block.times_ns[-1] or near:
            continue
        power = block.columns[POWER][bisect_left(block.times_ns, start_ns) : bisect_left(block.times_ns, end_ns)]
        if len(power) < hours * 6 or None in power or sum(power) / len(power) < 500:
            continue
        faults.append(Fault(kind, start_ns, end_ns))
        if len(faults) == count:
            return sorted(faults, key=lambda fault: fault.start_ns)
    raise SystemExit(f"no room for {count} faults, only for {len(faults)}")


def alarms(block: Block, folder: Path, *, learn_s: float = 0.0) -> Iterator[tuple[int, int]]:
    """Start and end of each anomaly."""
    chain = transforms(folder, learn_s=learn_s)
    start_ns = None
    for number, time_ns in enumerate(block.times_ns):
        values = {name: block.columns[name][number] for name in (POWER, WIND)}
        reading = Reading("turbine", number + 1, time_ns, values)
        observation = Observation(reading, readings=(reading,))
        for transform in chain:
            observation = transform.apply(observation)
        for event in observation.events:
            if event.kind == "anomaly.started":
                start_ns = time_ns
            else:
                yield start_ns, time_ns
                start_ns = None
    for transform in chain:
        transform.flush()
    if start_ns is not None:
        yield start_ns, block.times_ns[-1]


def stood_still(block: Block, start_ns: int, end_ns: int) -> bool:
    """Whether it made no power in good wind, three readings or more, about that time."""
    rows = zip(block.times_ns, block.columns[POWER], block.columns[WIND], strict=True)
    about = [(kw, ms) for time_ns, kw, ms in rows if start_ns - GRACE_NS <= time_ns <= end_ns]
    return sum(kw is not None and ms is not None and kw < 10 and ms > 4.5 for kw, ms in about) >= 3


def judge(block: Block, faults: list[Fault], found: list[tuple[int, int]]) -> Found:
    """Compares alarms with the faults that were put in."""
    hits = Counter(
        fault.kind for fault in faults if any(fault.start_ns <= start <= fault.end_ns + GRACE_NS for start, _ in found)
    )
    inside = [any(f.start_ns <= start <= f.end_ns + GRACE_NS for f in faults) for start, _ in found]
    outside = [alarm for alarm, right in zip(found, inside, strict=True) if not right]
    real = sum(stood_still(block, *alarm) for alarm in outside)
    return Found(hits, Counter(fault.kind for fault in faults), sum(inside), real, len(outside) - real)


def part(block: Block, start_ns: int, end_ns: int) -> Block:
    """The readings of a stretch."""
    chosen = [i for i, time_ns in enumerate(block.times_ns) if start_ns <= time_ns < end_ns]
    return Block(
        [block.times_ns[i] for i in chosen],
        {name: [values[i] for i in chosen] for name, values in block.columns.items()},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=20, help="for each turbine")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    sys.path.append(str(HERE.parents[1] / "scripts"))
    from datasets import turbines

    year_ns = 1_420_070_400 * 10**9
    total = Found(Counter(), Counter(), 0, 0, 0)
    for turbine, block in turbines().items():
        last = part(block, year_ns, 2 * year_ns)
        faults = drawn(last, given.faults, after_ns=year_ns, random=random.Random(f"{turbine} {given.seed}"))
        with tempfile.TemporaryDirectory() as folder:
            found = [alarm for alarm in alarms(damaged(block, faults), Path(folder)) if alarm[0] >= year_ns]
        one = judge(block, faults, found)
        print(
            f"{turbine}: {sum(one.hits.values())} of {len(faults)} faults found, {one.right} alarms in them, "
            f"{one.standstills} in real standstills, {one.false} false"
        )
        total = Found(*(mine + its for mine, its in zip(total, one, strict=True)))
    for kind in FAULTS:
        print(f"{kind}: {total.hits[kind]} of {total.faults[kind]}")
    recall = sum(total.hits.values()) / sum(total.faults.values())
    told = total.right + total.standstills + total.false
    print(
        f"recall {recall:.3f}; precision {(total.right + total.standstills) / told:.3f}, "
        f"or {total.right / told:.3f} if real standstills count as false"
    )


if __name__ == "__main__":
    main()
