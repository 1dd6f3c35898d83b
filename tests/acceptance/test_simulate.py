"""Many small children of one parent, by the command: they join, send, lose their connections, come back, and go."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from edgewise.testing.node import RunningNode


@pytest.fixture
def center(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    (tmp_path / "edgewise.yaml").write_text(
        f"node: {{name: center, data: ./data}}\nhttp: {{port: 0}}\nhttps: {{host: 127.0.0.1, port: {port}}}\n"
    )
    with RunningNode(tmp_path) as node:
        yield tmp_path, port, node


def simulate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgewise", "simulate", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_a_swarm_joins_sends_breaks_off_comes_back_and_leaves_nothing_behind(center) -> None:
    folder, _, node = center
    done = simulate(folder, "--nodes", "20", "--rate", "2", "--seconds", "4", "--churn", "0.1", "--storm", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    figures, storm = told["figures"], told["storm"]
    assert (figures["nodes"], figures["connected"], figures["dropped"]) == (20, 20, 0)
    assert figures["records"] > 60
    assert 0 < figures["sync_p50"] <= figures["sync_p99"] <= figures["sync_max"]
    assert storm["back"] == 20
    assert 0 <= storm["first"] <= storm["p50"] <= storm["last"]
    audit = httpx.get(f"{node.address}/v1/journal/audit/tree", timeout=60).json()
    lines = [line for line in audit["lines"] if line["node"].startswith("sim-")]
    assert len({line["node"] for line in lines}) == 20
    assert audit["balanced"]
    listed = json.loads(
        subprocess.run(
            [sys.executable, "-m", "edgewise", "nodes", "list", "--json"], cwd=folder, capture_output=True, check=True
        ).stdout
    )
    assert listed == []


def test_elsewhere_it_needs_a_token_for_each_node(center, tmp_path: Path) -> None:
    folder, port, _ = center
    made = [
        subprocess.run(
            [sys.executable, "-m", "edgewise", "token", "create"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    (tmp_path / "tokens").write_text("".join(made))
    parent = ("--parent", f"https://127.0.0.1:{port}", "--tokens", str(tmp_path / "tokens"), "--seconds", "2")
    refused = simulate(tmp_path, "--nodes", "3", *parent)
    assert refused.returncode == 5
    assert "2 tokens for 3 nodes" in " ".join(refused.stderr.split())
    assert simulate(tmp_path, "--nodes", "2", *parent).returncode == 0
