"""What a person waits for and what an idle machine pays: import, start to first prediction, idle CPU, memory.

    python -m benchmarks.start

* ``import edgewise`` in a fresh interpreter, against ``import numpy`` and an interpreter that does nothing.
* From starting ``edgewise up`` to the answer to the first JPEG, with the shipped picture classifier.
* The same node left alone: CPU time over a while, and its PSS (shared pages divided among those who share them).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from edgewise.telemetry.resources import pss_bytes
from edgewise.testing.node import RunningNode

ROUNDS = 5
IDLE_S = 20.0
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "cat.jpg"


def main() -> None:
    nothing, edgewise, numpy = (import_ms(code) for code in ("pass", "import edgewise", "import numpy"))
    print(f"import edgewise      {edgewise - nothing:7.1f} ms   (import numpy {numpy - nothing:.1f} ms)")
    first = [start_ms() for _ in range(ROUNDS)]
    print(f"first prediction     {statistics.median(first):7.0f} ms   from starting the process, median of {ROUNDS}")
    cpu, pss = idle()
    print(f"idle node            {cpu:7.2%} of one core over {IDLE_S:.0f} s, PSS {pss / 1e6:.0f} MB")


def import_ms(code: str) -> float:
    """Wall time of a fresh interpreter, median."""
    times = []
    for _ in range(2 * ROUNDS + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def new_node(folder: str) -> RunningNode:
    """A node without a settings file, on a free port."""
    return RunningNode(Path(folder), environment={"EDGEWISE_HTTP__PORT": "0"})


def predict(address: str) -> None:
    """One JPEG to the shipped classifier."""
    request = urllib.request.Request(
        f"{address}/v1/models/cifar10-resnet/predict",
        data=PICTURE.read_bytes(),
        headers={"content-type": "image/jpeg"},
    )
    urllib.request.urlopen(request).read()


def start_ms() -> float:
    """From starting the process to the first answer."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with new_node(folder) as node:
            predict(node.address)
            return 1000 * (time.perf_counter() - started)


def idle() -> tuple[float, int]:
    """Share of one core, and bytes of memory, of a node that has worked and is left alone."""
    with tempfile.TemporaryDirectory() as folder, new_node(folder) as node:
        predict(node.address)
        time.sleep(5)  # whatever it puts off until after the first request
        before = cpu_seconds(node.pid)
        time.sleep(IDLE_S)
        return (cpu_seconds(node.pid) - before) / IDLE_S, pss_bytes(node.pid) or 0


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
