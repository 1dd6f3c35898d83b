"""Journal appends against a bare ``write`` + ``fdatasync`` loop of the same batches, eight writers.

Which loop is meant by *bare* matters, so three are measured in turn with the journal, on the same disk:

* ``own file``: each writer appends to a file of its own and syncs it. The fastest of the three, nothing is shared or
  ordered: **the headline ratio is against this one.**
* ``one file``: all writers append to one file (``O_APPEND``), each syncs after its own write.
* ``one file, locked``: as before, but write and sync under a lock, which keeps the order as a journal does.

The bare loops write bytes that were encoded beforehand; the journal is handed entries and encodes, checks, numbers and
stores them. Each round runs all four side by side; the ratio is taken within the round, the table shows medians.

Run: ``python benchmarks/journal.py [--rounds 7] [--seconds 0.5] [--folder DIR]``
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edgewise.journal.base import StreamSettings
from edgewise.journal.codec import Codec
from edgewise.journal.disk import DiskJournal
from edgewise.types import Entry

WRITERS = 8
BATCHES = (1, 10, 100, 1000)
RECORD_BYTES = 200
HEADLINE = "own file"
ROOMY = StreamSettings(max_bytes=64 << 30)


def make_batch(size: int) -> list[Entry]:
    """Sensor readings of about 200 encoded bytes each."""
    note = "x" * (RECORD_BYTES - 81)
    return [
        Entry(
            "reading.temperature", {"sensor": "kitchen/temperature", "value": 20 + n / 1000, "unit": "°C", "note": note}
        )
        for n in range(size)
    ]


def measure(steps: list[Callable[[], object]], seconds: float) -> tuple[float, list[float]]:
    """Runs one step function per thread over and over; calls per second, and each call's seconds."""
    taken: list[list[float]] = [[] for _ in steps]
    barrier = threading.Barrier(len(steps) + 1)

    def work(step: Callable[[], object], times: list[float]) -> None:
        barrier.wait()
        end = time.perf_counter() + seconds
        while (before := time.perf_counter()) < end:
            step()
            times.append(time.perf_counter() - before)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(steps, taken, strict=True)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    calls = [one for times in taken for one in times]
    return len(calls) / (time.perf_counter() - start), calls


def run_journal(folder: Path, batch: list[Entry], seconds: float) -> tuple[float, list[float]]:
    journal = DiskJournal(folder, node="bench", streams={"readings": ROOMY})
    try:
        return measure([lambda: journal.append("readings", batch)] * WRITERS, seconds)
    finally:
        journal.close()


def run_bare(folder: Path, content: bytes, seconds: float, *, files: int, locked: bool) -> tuple[float, list[float]]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    descriptors = [os.open(folder / str(number % files), flags) for number in range(WRITERS)]
    lock = threading.Lock()

    def step(descriptor: int) -> None:
        os.write(descriptor, content)
        os.fdatasync(descriptor)

    def locked_step(descriptor: int) -> None:
        with lock:
            step(descriptor)

    call = locked_step if locked else step
    try:
        return measure([lambda fd=fd: call(fd) for fd in descriptors], seconds)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def contestants(batch: list[Entry], seconds: float) -> dict[str, Callable[[Path], tuple[float, list[float]]]]:
    content = Codec().encode(batch)[0].content
    return {
        "own file": lambda folder: run_bare(folder, content, seconds, files=WRITERS, locked=False),
        "journal": lambda folder: run_journal(folder, batch, seconds),
        "one file": lambda folder: run_bare(folder, content, seconds, files=1, locked=False),
        "one file, locked": lambda folder: run_bare(folder, content, seconds, files=1, locked=True),
    }


def run_round(parent: Path, batch: list[Entry], seconds: float) -> dict[str, tuple[float, float]]:
    """Records per second and 99th percentile in milliseconds, by contestant."""
    figures = {}
    for name, run in contestants(batch, seconds).items():
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            rate, calls = run(folder)
        finally:
            shutil.rmtree(folder)
        figures[name] = (rate * len(batch), 1e3 * statistics.quantiles(calls, n=100)[-1])
    return figures


def median(values: list[float]) -> float:
    return statistics.median(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    print(f"{WRITERS} writers, records of about {RECORD_BYTES} bytes, {arguments.rounds} rounds, medians")
    print("                      records per second              |      journal's ratio to each       |     p99 ms")
    print("batch    journal  own file  one file    locked | own file (min..max)  one file  locked | journal  own file")
    for size in BATCHES:
        batch = make_batch(size)
        rounds = [run_round(arguments.folder, batch, arguments.seconds) for _ in range(arguments.rounds)]
        rate = {name: median([r[name][0] for r in rounds]) for name in rounds[0]}
        ratios = {name: [r["journal"][0] / r[name][0] for r in rounds] for name in rounds[0]}
        low, high = min(ratios[HEADLINE]), max(ratios[HEADLINE])
        print(
            f"{size:5} {rate['journal']:10,.0f} {rate['own file']:9,.0f} {rate['one file']:9,.0f} "
            f"{rate['one file, locked']:9,.0f} | {median(ratios[HEADLINE]):8.2f} ({low:.2f}..{high:.2f}) "
            f"{median(ratios['one file']):9.2f} {median(ratios['one file, locked']):7.2f} | "
            f"{median([r['journal'][1] for r in rounds]):7.1f} {median([r['own file'][1] for r in rounds]):9.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
