"""How near N nodes are to N times as fast as one, when a model's requests are spread over them.

    python -m benchmarks.spread [--nodes 4] [--seconds 6] [--only fixed|throttled] [--share 0.2]

A gateway and its devices, each a process of its own that computes one call at a time, joined over TLS as they would be
on machines of their own. Devices are added one by one; each time the gateway is asked as much as all together can do.

* ``fixed``: single requests to a model that takes 20 ms whatever the machine does (the fake runtime's ``sleep``). What
  is lost is lost to spreading: the link, the queue, the gateway's own work.
* ``throttled``: batches of 32 pictures to a network four times as wide as ``cifar10-resnet`` (its weights are drawn,
  not trained: only its work counts), each process stopped and continued every 20 ms so that it runs a share of the time
  (``SIGSTOP``, ``SIGCONT``), with all that the link costs it. On a machine that does other work too this says little:
  a process that may run does not get the core then.

Efficiency is the rate of N nodes over N times the rate of one.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import numpy as np

from edgewise.models.manifest import Input, Output
from edgewise.models.package import save
from edgewise.testing.packages import write_fake
from edgewise.testing.tree import Member, until

SERVICE_S = 0.02
CLIENTS_PER_NODE = 4
PERIOD_S = 0.02
ROWS = 32
WIDE = Path(__file__).resolve().parent.parent / ".cache" / "spread" / "cifar10-wide"
PATIENCE_S = 120.0


class Throttle:
    """Lets a process run a share of the time. A context manager."""

    def __init__(self, pid: int, share: float) -> None:
        self._pid = pid
        self._share = share
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Throttle:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGCONT)

    def _run(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            while not self._stopped.is_set():
                os.kill(self._pid, signal.SIGCONT)
                time.sleep(self._share * PERIOD_S)
                os.kill(self._pid, signal.SIGSTOP)
                time.sleep((1 - self._share) * PERIOD_S)


def rate(ask: Callable[[httpx.Client], int], *, address: str, clients: int, seconds: float) -> float:
    """Things done a second by so many clients that ask without a pause, from a second after they began."""
    done: list[tuple[float, int]] = []
    begun = time.monotonic()

    def run() -> None:
        with httpx.Client(base_url=address, timeout=PATIENCE_S) as client:
            while time.monotonic() < begun + 1 + seconds:
                count = ask(client)
                done.append((time.monotonic(), count))

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = [(at, count) for at, count in done if at >= begun + 1]
    return sum(count for _, count in counted) / (max(at for at, _ in counted) - begun - 1)


@contextlib.contextmanager
def grown(folder: Path, models: str, *, nodes: int) -> Iterator[Iterator[list[Member]]]:
    """A tree that grows by one node each time it is asked."""
    members: list[Member] = []

    def grow() -> Iterator[list[Member]]:
        for number in range(nodes):
            sections = f"models: [{models}]\n"
            member = Member(folder / f"n{number}", f"n{number}", sections=sections)
            settings = folder / f"n{number}" / "edgewise.yaml"
            settings.write_text(settings.read_text().replace("data: ./data", "data: ./data, workers: 1"))
            member.node.start()
            members.append(member)
            if number:
                member.join(members[0])
                address = members[0].node.address
                until(lambda: httpx.get(f"{address}/v1/nodes/{member.name}/v1/health").status_code == 200)  # noqa: B023
            yield members

    try:
        yield grow()
    finally:
        for member in reversed(members):
            member.node.kill()


def table(rates: list[float]) -> None:
    print("| nodes | a second | speed-up | efficiency |\n|---|---|---|---|")
    for number, each in enumerate(rates, start=1):
        print(f"| {number} | {each:.1f} | {each / rates[0]:.2f} | {each / rates[0] / number:.2f} |", flush=True)


def fixed(nodes: int, seconds: float) -> list[float]:
    """Single requests of a fixed service time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package = write_fake(
            folder / "models",
            "fixed",
            inputs=[Input(name="x", datatype="FP32", shape=(-1, 3))],
            outputs=[Output(name="y", datatype="FP32", shape=(-1, 3))],
            behaviour="sleep",
            seconds=SERVICE_S,
        )
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}

        def ask(client: httpx.Client) -> int:
            client.post("/v1/spread/v2/models/fixed/infer", json=body).raise_for_status()
            return 1

        rates = []
        with grown(folder, str(package), nodes=nodes) as growing:
            for members in growing:
                clients = CLIENTS_PER_NODE * len(members)
                rates.append(rate(ask, address=members[0].node.address, clients=clients, seconds=seconds))
        return rates


def wide() -> Path:
    """The package of the wide network; made when there is none yet."""
    if (WIDE / "model.yaml").exists():
        return WIDE
    sys.path.insert(0, str(WIDE.parents[2] / "scripts"))
    import torch

    import train_cifar10
    from shipping import ARTIFACT, export

    torch.manual_seed(7)
    recipe = train_cifar10.Recipe(widths=(64, 128, 256, 384))
    WIDE.mkdir(parents=True, exist_ok=True)
    (WIDE / "labels.txt").write_text("".join(f"{label}\n" for label in train_cifar10.LABELS))
    manifest = msgspec.structs.replace(train_cifar10.draft(recipe), name=WIDE.name)
    export(train_cifar10.network(recipe.widths), manifest, WIDE / ARTIFACT)
    save(WIDE, manifest)
    return WIDE


def throttled(nodes: int, seconds: float, share: float) -> list[float]:
    """Batches, on nodes that have a share of a core each."""
    pictures = np.random.default_rng(7).normal(size=(ROWS, 3, 32, 32)).astype(np.float32)
    head = (
        b'{"inputs":[{"name":"image","datatype":"FP32","shape":[%d,3,32,32],"parameters":{"binary_data_size":%d}}]}'
        % (ROWS, pictures.nbytes)
    )
    body = head + pictures.tobytes()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}

    def ask(client: httpx.Client) -> int:
        client.post(f"/v1/spread/v2/models/{WIDE.name}/infer", content=body, headers=headers).raise_for_status()
        return ROWS

    rates = []
    with tempfile.TemporaryDirectory() as name, grown(Path(name), str(wide()), nodes=nodes) as growing:
        for members in growing:
            with contextlib.ExitStack() as limited:
                for member in members:
                    limited.enter_context(Throttle(member.node.pid, share))
                rates.append(rate(ask, address=members[0].node.address, clients=3, seconds=seconds))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--share", type=float, default=0.2, help="of a core, for each throttled node")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=["fixed", "throttled"])
    wanted = parser.parse_args()
    ways = {"fixed": fixed, "throttled": functools.partial(throttled, share=wanted.share)}
    for name, measure in ways.items():
        if wanted.only in (None, name):
            rounds = [measure(wanted.nodes, wanted.seconds) for _ in range(wanted.rounds)]
            print(f"\n{name} (median of {wanted.rounds})\n")
            table([statistics.median(each) for each in zip(*rounds, strict=True)])


if __name__ == "__main__":
    main()
