"""What this process and machine use, read from /proc: CPU time, memory, temperature.

Reading is cheap (some 100 microseconds), so a node can keep a history without showing up in it. On systems without
/proc the figures that cannot be had are absent (None), not guessed.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from pathlib import Path

import msgspec


class Sample(msgspec.Struct, frozen=True):
    """One look at the process.

    Attributes:
        time_ns: Wall clock.
        cpu: Cores in use since the sample before (1.0 = one whole core).
        machine_cpu: Share of all cores of the machine in use, 0..1.
        rss_bytes: Resident memory.
        temperature_c: Hottest thermal zone.
    """

    time_ns: int
    cpu: float
    machine_cpu: float | None
    rss_bytes: int | None
    temperature_c: float | None


def rss_bytes(pid: int | str = "self") -> int | None:
    """Resident memory of a process in bytes."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def pss_bytes(pid: int | str = "self") -> int | None:
    """Proportional memory of a process in bytes: shared pages are divided among those who share them."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return None
    return None


def temperature_c() -> float | None:
    """The hottest thermal zone in degrees Celsius."""
    readings = []
    for path in Path("/sys/class/thermal").glob("thermal_zone*/temp"):
        try:
            readings.append(int(path.read_text()) / 1000)
        except (OSError, ValueError):
            continue
    return max(readings, default=None)


class ResourceMonitor:
    """Keeps a bounded history of samples, taken by a thread that sleeps in between.

    Args:
        interval_s: Seconds between samples.
        keep: Samples kept.
    """

    def __init__(self, *, interval_s: float = 5.0, keep: int = 720) -> None:
        self._interval_s = interval_s
        self._samples: deque[Sample] = deque(maxlen=keep)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)
        self._before = (time.monotonic(), time.process_time(), _machine_times())

    def start(self) -> None:
        """Starts sampling."""
        self._thread.start()

    def stop(self) -> None:
        """Stops sampling."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def samples(self) -> list[Sample]:
        """The history, oldest first."""
        return list(self._samples)

    def sample(self) -> Sample:
        """Takes one sample now and keeps it."""
        wall, cpu, machine = time.monotonic(), time.process_time(), _machine_times()
        before_wall, before_cpu, before_machine = self._before
        self._before = (wall, cpu, machine)
        total = machine[1] - before_machine[1] if machine and before_machine else 0
        taken = Sample(
            time_ns=time.time_ns(),
            cpu=(cpu - before_cpu) / max(wall - before_wall, 1e-3),
            machine_cpu=(machine[0] - before_machine[0]) / total if machine and before_machine and total else None,
            rss_bytes=rss_bytes(),
            temperature_c=temperature_c(),
        )
        self._samples.append(taken)
        return taken

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self.sample()


def _machine_times() -> tuple[int, int] | None:
    try:
        with open("/proc/stat") as file:
            fields = [int(field) for field in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    return sum(fields) - fields[3] - fields[4], sum(fields)
