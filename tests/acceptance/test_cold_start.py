"""A node that starts with no network at all decides from what its disk holds: models, rules, people, its parent's name.

``EDGEWISE_REBOOTS`` sets how often it is switched on; each time the power is cut again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgewise.errors import EdgewiseError
from edgewise.journal.reader import DiskReader
from edgewise.testing.node import RunningNode
from edgewise.testing.tree import until
from edgewise.types import Record

pytestmark = pytest.mark.zoo

REBOOTS = int(os.environ.get("EDGEWISE_REBOOTS", "3"))
PHOTO = Path(__file__).parents[1] / "data" / "astronaut.jpg"
PATIENCE_S = 60.0

DEVICE = """
node: {name: home, data: ./data}
http: {port: 0}
models: [yunet, mobilefacenet]
pipelines:
  door:
    source: {kind: folder, path: pictures}
    transforms: [{kind: recognise}, {kind: presence, needed: 1, unknown_needed: 1, absent_s: 0}]
devices:
  front-door: {kind: lock}
rules:
  - name: let-in
    on: face.known
    do: [{device: front-door, command: unlock}]
"""


def decisions(folder: Path) -> list[Record]:
    try:
        with contextlib.closing(DiskReader(folder / "data" / "journal", node="home")) as reader:
            return [each for each in reader.read("decisions", limit=10**6) if each.kind == "decision.done"]
    except EdgewiseError:
        return []


def boot_without_network(folder: Path, cache: Path) -> float:
    """Switches it on where no network is, cuts the power once it has decided; the seconds that took."""
    before = len(decisions(folder))
    begun = time.monotonic()
    process = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", f"ip link set lo up; exec {sys.executable} -m edgewise up"],
        cwd=folder,
        env={**os.environ, "EDGEWISE_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        while len(decisions(folder)) == before:
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            assert time.monotonic() - begun < PATIENCE_S, "it did not decide"
            time.sleep(0.02)
        return time.monotonic() - begun
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_node_with_no_network_decides_again_after_every_reboot(tmp_path: Path, zoo_cache: Path) -> None:
    if os.geteuid() or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        pytest.skip("taking the network away needs root")
    center, home = tmp_path / "center", tmp_path / "home"
    for folder in (center, home / "pictures"):
        folder.mkdir(parents=True)
    shutil.copy(PHOTO, home / "pictures")
    (center / "edgewise.yaml").write_text("node: {name: center, data: data}\nhttps: {host: 127.0.0.1, port: 0}\n")
    (home / "edgewise.yaml").write_text(DEVICE)
    environment = {"EDGEWISE_CACHE": str(zoo_cache)}

    def command(folder: Path, *words: str) -> str:
        arguments = [sys.executable, "-m", "edgewise", *words]
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment})
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    command(home, "people", "add", "Eileen", str(PHOTO))
    with RunningNode(center) as running:
        said = until(lambda: [line for line in running.output if "children" in line])  # it stands behind the address
        port = said[0].rpartition(":")[2]
        command(home, "join", f"https://127.0.0.1:{port}", command(center, "token", "create"))
    took = [boot_without_network(home, zoo_cache) for _ in range(REBOOTS)]
    print(
        f"{len(took)} of {REBOOTS} reboots with no network decided again: median {statistics.median(took):.1f} s, "
        f"longest {max(took):.1f} s"
    )
    command(home, "journal", "audit")
    assert [each.body["actions"][0]["status"] for each in decisions(home)] == ["done"] * len(decisions(home))
    assert len(decisions(home)) >= REBOOTS
