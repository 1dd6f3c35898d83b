"""Journal appends against a bare ``write`` + ``fdatasync`` loop of the same batches, eight writers.

Which loop is meant by *bare* matters, so three are measured in turn with the journal, on the same disk:

* ``own``: each writer appends to a file of its own and syncs it. The fastest of the three, but nothing is shared or
  ordered, so it does less than a journal: **the limit asked for is named against this one all the same.**
* ``one``: all writers append to one file (``O_APPEND``), each syncs after its own write.
* ``locked``: as before, but write and sync under a lock, which keeps the order as a journal does. The like of it.

The bare loops write bytes that were encoded beforehand; the journal is handed entries and encodes, checks, numbers and
stores them, ``sealed`` also encrypts. Each round runs all of them, in an order by chance, each on a disk at rest;
ratios are taken within the round. ``alone`` is one writer on an idle disk: what one sync takes, to hold the wait of an
accepted append (eight writers) against.

Last, a full stream that is thinned against one that drops its oldest.

Run: ``python -m benchmarks.journal [--rounds 7] [--seconds 0.5] [--folder DIR] [--only batches|full]``
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edgewise.journal.base import StreamSettings, WhenFull
from edgewise.journal.cipher import KEY_BYTES, Cipher, KeyCipher
from edgewise.journal.codec import Codec
from edgewise.journal.disk import DiskJournal
from edgewise.types import Entry

WRITERS = 8
BATCHES = (1, 10, 100, 1000)
RECORD_BYTES = 200
FULL_BLOCKS = 100_000
PLAIN, SEALED, OWN, SHARED, LOCKED, ALONE = "plain", "sealed", "own", "one", "locked", "alone"
ROOMY = StreamSettings(max_bytes=64 << 30)


class Figures(NamedTuple):
    """Records per second, and how long a call took: the median and the 99th percentile."""

    rate: float
    p50_ms: float
    p99_ms: float


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


def run_journal(
    folder: Path, batch: list[Entry], seconds: float, *, cipher: Cipher | None = None
) -> tuple[float, list[float]]:
    journal = DiskJournal(folder, node="bench", streams={"readings": ROOMY}, cipher=cipher)
    try:
        return measure([lambda: journal.append("readings", batch)] * WRITERS, seconds)
    finally:
        journal.close()


def run_bare(
    folder: Path, content: bytes, seconds: float, *, writers: int = WRITERS, files: int = 1, locked: bool = False
) -> tuple[float, list[float]]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    descriptors = [os.open(folder / str(number % files), flags) for number in range(writers)]
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
        OWN: lambda folder: run_bare(folder, content, seconds, files=WRITERS),
        PLAIN: lambda folder: run_journal(folder, batch, seconds),
        SEALED: lambda folder: run_journal(folder, batch, seconds, cipher=KeyCipher(bytes(KEY_BYTES))),
        SHARED: lambda folder: run_bare(folder, content, seconds),
        LOCKED: lambda folder: run_bare(folder, content, seconds, locked=True),
        ALONE: lambda folder: run_bare(folder, content, seconds, writers=1),
    }


def run_round(parent: Path, batch: list[Entry], seconds: float) -> dict[str, Figures]:
    figures = {}
    order = list(contestants(batch, seconds).items())
    random.shuffle(order)
    for name, run in order:
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            rate, calls = run(folder)
        finally:
            shutil.rmtree(folder)
            os.sync()  # what one leaves for the disk to do is not the next one's
        figures[name] = Figures(rate * len(batch), 1e3 * statistics.median(calls), 1e3 * percentile(calls))
    return figures


def percentile(values: list[float]) -> float:
    """The 99th."""
    return statistics.quantiles(values, n=100)[-1]


def compare_batches(parent: Path, rounds: int, seconds: float) -> None:
    print(f"{WRITERS} writers, records of about {RECORD_BYTES} bytes, {rounds} rounds, medians of them")
    print(
        "        thousand records per second          |  ratio to own  | ratio to locked |  accept p99, ms | sync, ms"
    )
    print("batch   plain  sealed     own     one  locked |  plain  sealed |  plain   sealed |  plain   sealed | alone")
    for size in BATCHES:
        batch = make_batch(size)
        found = [run_round(parent, batch, seconds) for _ in range(rounds)]

        def typical(read: Callable[[dict[str, Figures]], float], found: list[dict[str, Figures]] = found) -> float:
            return statistics.median(read(figures) for figures in found)

        rates = [typical(lambda f, n=name: f[n].rate / 1e3) for name in (PLAIN, SEALED, OWN, SHARED, LOCKED)]
        ratios = [
            typical(lambda f, n=name, b=bare: f[n].rate / f[b].rate)
            for bare in (OWN, LOCKED)
            for name in (PLAIN, SEALED)
        ]
        waits = [typical(lambda f, n=name: f[n].p99_ms) for name in (PLAIN, SEALED)]
        alone = typical(lambda f: f[ALONE].p50_ms), typical(lambda f: f[ALONE].p99_ms)
        print(
            f"{size:5}" + "".join(f"{rate:8,.0f}" for rate in rates) + " | "
            f"{ratios[0]:6.2f} {ratios[1]:7.2f} | {ratios[2]:6.2f} {ratios[3]:8.2f} | "
            f"{waits[0]:6.2f} {waits[1]:8.2f} | {alone[0]:.2f} (p99 {alone[1]:.2f})",
            flush=True,
        )


def compare_full(parent: Path, rounds: int, seconds: float) -> None:
    """Appends to a full stream that drops its oldest, and to one that is thinned, one record each."""
    found: dict[WhenFull, list[tuple[float, float]]] = {WhenFull.DROP_OLDEST: [], WhenFull.THIN: []}
    for _ in range(rounds):
        for policy, figures in found.items():
            folder = Path(tempfile.mkdtemp(dir=parent))
            try:
                rate, calls = run_full(folder, policy, seconds)
            finally:
                shutil.rmtree(folder)
            figures.append((rate, 1e3 * percentile(calls)))
    print(f"\na full stream of {FULL_BLOCKS:,} blocks, one record each, {WRITERS} writers, {rounds} rounds, medians")
    for policy, figures in found.items():
        rate, p99_ms = (statistics.median(values) for values in zip(*figures, strict=True))
        print(f"{policy:12} {rate:8,.0f} appends/s   accept p99 {p99_ms:6.2f} ms")


def run_full(folder: Path, policy: WhenFull, seconds: float) -> tuple[float, list[float]]:
    batch = make_batch(1)
    settings = StreamSettings(max_bytes=FULL_BLOCKS * Codec().encode(batch)[0].size, when_full=policy)
    journal = DiskJournal(folder, node="bench", streams={"readings": settings})
    try:
        fill(journal, batch)
        return measure([lambda: journal.append("readings", batch)] * WRITERS, seconds)
    finally:
        journal.close()


def fill(journal: DiskJournal, batch: list[Entry]) -> None:
    """Appends in the journal's largest groups until twice as much came as is kept."""
    [payload] = Codec().encode(batch)
    stream = journal._target("readings")

    def accept() -> None:
        for _ in range(1000):
            journal._actions.accept(stream, [payload], payload.size)

    while stream.last < 2 * FULL_BLOCKS:
        journal._submit(accept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--only", choices=("batches", "full"))
    arguments = parser.parse_args()
    if arguments.only != "full":
        compare_batches(arguments.folder, arguments.rounds, arguments.seconds)
    if arguments.only != "batches":
        compare_full(arguments.folder, min(arguments.rounds, 3), 6 * arguments.seconds)


if __name__ == "__main__":
    main()
