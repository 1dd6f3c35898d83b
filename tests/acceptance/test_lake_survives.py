"""SIGKILL at any moment: every record is in the lake once, and what was told to be taken is there.

A process feeds three streams, some of whose records land in two tables, beside its own compaction. It is killed at
random moments, again and again on the same folder, and each time hands over again some of what it had.
``EDGEWISE_LAKE_KILLS`` sets how often.
"""

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from edgewise.lake import open_lake
from edgewise.lake.base import LakeSettings, Limits

KILLS = int(os.environ.get("EDGEWISE_LAKE_KILLS", "8"))

FEEDER = """
import os, random, sys, threading
from edgewise.lake import open_lake
from edgewise.lake.base import LakeSettings
from edgewise.types import Record

STREAMS = [("shed", "readings"), ("attic", "readings"), ("shed", "events")]
chance = random.Random(int(sys.argv[2]))
lake = open_lake(LakeSettings(folder=sys.argv[1]))

def record(node, stream, sequence):
    if stream == "events":
        return Record(node, stream, sequence, sequence * 10**9, "face.known", {"source": "door"})
    values = {"nested": []} if sequence % 7 == 0 else {"temperature": sequence / 2}  # every seventh lands in records
    return Record(node, stream, sequence, sequence * 10**9, "reading", {"source": "boiler", "values": values})

def compact():
    while True:
        lake.compact()

os.write(1, b"ready\\n")
marks = dict(lake.marks(STREAMS))
threading.Thread(target=compact, daemon=True).start()
while True:
    batch = []
    for node, stream in STREAMS:
        first = max(1, marks[node, stream] + 1 - chance.randrange(20))
        last = marks[node, stream] + chance.randrange(1, 12)
        batch += [record(node, stream, n) for n in range(first, last + 1)]
    marks = dict(lake.take(batch))
    os.write(1, (" ".join(f"{node}/{stream}={last}" for (node, stream), last in marks.items()) + "\\n").encode())
"""


def run_until_killed(folder: Path, after_s: float, seed: int, *, while_opening: bool) -> dict[str, int]:
    """How far each stream was told to be. The time counts from the first commit, or from the start."""
    command = [sys.executable, "-c", FEEDER, str(folder), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        first = b"" if while_opening else process.stdout.readline()
        killer = threading.Timer(after_s, process.kill)
        killer.start()
        told = (first + process.stdout.read()).decode()
        killer.join()
    assert process.returncode == -signal.SIGKILL
    lines = [line for line in told.splitlines(keepends=True) if line.endswith("\n")]
    return {stream: int(last) for stream, last in (word.split("=") for word in lines[-1].split())} if lines else {}


def check(folder: Path, told: dict[str, int]) -> dict[str, int]:
    """Opens what the kill left, and holds it against what was told; returns the streams' marks."""
    lake = open_lake(LakeSettings(folder=str(folder)))
    marks = lake.marks([("shed", "readings"), ("attic", "readings"), ("shed", "events")])
    reached = {"/".join(key): mark for key, mark in marks.items()}
    assert {stream: mark for stream, mark in reached.items() if mark < told.get(stream, 0)} == {}
    sql = """
        SELECT node || '/readings', sequence FROM readings UNION ALL
        SELECT node || '/events', sequence FROM events UNION ALL
        SELECT node || '/' || stream, sequence FROM records"""
    landed: dict[str, Counter[int]] = {stream: Counter() for stream in reached}
    for stream, sequence in lake.query(sql, Limits(max_rows=1_000_000, max_bytes=64 * 1024 * 1024)).rows:
        landed[stream][sequence] += 1
    for stream, mark in reached.items():
        assert {n: landed[stream][n] for n in range(1, mark + 1) if landed[stream][n] != 1} == {}, stream
        # Past the mark only what does not fit its table may be there: the kill came between two tables.
        ahead = [n for n in landed[stream] if n > mark]
        assert [n for n in ahead if n % 7 or landed[stream][n] != 1] == [], stream
    return reached


def test_every_record_is_there_once_however_often_the_process_is_killed(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    print(f"seed {seed}")
    told: dict[str, int] = {}
    reached: dict[str, int] = {}
    for kill in range(KILLS):
        told |= run_until_killed(tmp_path, chance.uniform(0, 1.0), seed + kill, while_opening=kill % 5 == 4)
        reached = check(tmp_path, told)
    print(f"{KILLS} kills, {sum(reached.values())} records: each in the lake once")
    assert min(reached.values()) > 5 * KILLS
