"""Health names what is wrong with a node; to those who show no token it says only that something is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx
import pytest

from edgewise.testing.broker import free_port
from edgewise.testing.packages import ARTIFACT, write_echo

if TYPE_CHECKING:
    from conftest import LiveServer

PATIENCE_S = 20.0
REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1000], "data": [0.5] * 1000}]}
ILL = """
http: {port: 0}
mqtt: {host: 127.0.0.1, port: PORT}
pipelines:
  yard:
    source: {kind: video, path: /nowhere/film.mp4}
devices:
  gate: {kind: lock, topic: house/gate}
  lamp: {kind: light}
"""


@pytest.fixture
def start_ill(start_api: Callable[..., LiveServer]) -> Iterator[Callable[..., LiveServer]]:
    """Starts a node whose broker is not there. It is stopped at once afterwards: it goes on looking for the broker at
    random moments, and Hypothesis, in the same process, takes that for a test that draws its own random numbers.
    """
    started: list[LiveServer] = []

    def start(more: str = "") -> LiveServer:
        started.append(start_api(ILL.replace("PORT", str(free_port())).replace("port: 0", f"port: 0{more}")))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def problems(server: LiveServer) -> dict[str, str]:
    """What health lists: component and message."""
    answer = httpx.get(f"{server.address}/v1/health", timeout=PATIENCE_S)
    assert answer.status_code == 200
    health = answer.json()
    assert (health["status"] == "ok") == (not health["problems"])
    assert all(problem["hint"] for problem in health["problems"])
    return {problem["component"]: problem["message"] for problem in health["problems"]}


def test_a_camera_and_a_device_that_do_not_work_are_named_with_the_reason(start_ill: Callable[..., LiveServer]) -> None:
    server = start_ill()
    assert server.node.pipelines["yard"].join(PATIENCE_S)
    found = problems(server)
    assert set(found) == {"yard", "gate"}
    assert "/nowhere/film.mp4" in found["yard"]
    assert found["gate"].startswith("the MQTT broker is not connected")  # and why, once it has tried


def test_a_model_that_could_not_be_loaded_is_named_and_one_that_nobody_needed_yet_is_not(
    start_api: Callable[..., LiveServer], tmp_path: Path
) -> None:
    server = start_api("http: {port: 0}")
    for name in ("cut", "later"):
        server.node.repository.add(write_echo(tmp_path, name))
    (tmp_path / "cut" / ARTIFACT).write_bytes(b"{")
    assert problems(server) == {}
    assert httpx.post(f"{server.address}/v2/models/cut/infer", json=REQUEST, timeout=PATIENCE_S).status_code == 500
    assert set(problems(server)) == {"cut"}
    httpx.post(f"{server.address}/v2/repository/models/cut/unload", timeout=PATIENCE_S).raise_for_status()
    assert problems(server) == {}


def test_a_disk_that_is_nearly_full_is_told(
    start_api: Callable[..., LiveServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_api("http: {port: 0}")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=12_000_000))
    assert problems(server) == {"disk": "12 MB are free"}


def test_without_the_token_health_tells_no_details(start_ill: Callable[..., LiveServer], tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("correct horse\n")
    file.chmod(0o600)
    server = start_ill(f", token_file: {file}")
    health = f"{server.address}/v1/health"
    probed = httpx.get(health, timeout=PATIENCE_S)
    assert probed.status_code == 200
    assert (probed.json()["status"], probed.json()["problems"]) == ("degraded", [])
    told = httpx.get(health, headers={"authorization": "Bearer correct horse"}, timeout=PATIENCE_S).json()
    assert "gate" in {problem["component"] for problem in told["problems"]}
