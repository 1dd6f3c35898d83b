"""A node with more to compute than it has workers: further requests are told to come again, everything else goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx
import pytest

from edgewise.api.errors import RETRY_AFTER_S
from edgewise.models.manifest import Input, Output
from edgewise.testing.packages import write_fake

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import LiveServer

PATIENCE_S = 20.0
INFER = "/v2/models/slow/infer"
REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
PREDICT = "/v1/models/slow/predict"


@pytest.fixture
def awake(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Models that sleep do so until this is set."""
    awake = threading.Event()
    monkeypatch.setattr("edgewise.runtimes.fake.time", SimpleNamespace(sleep=lambda _: awake.wait(PATIENCE_S)))
    yield awake
    awake.set()


@pytest.fixture
def client(start_api: Callable[..., LiveServer], tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a node that computes one call at a time and lets one wait."""
    tensors = {"datatype": "FP32", "shape": (-1, 2)}
    slow = write_fake(
        tmp_path,
        "slow",
        inputs=[Input(name="x", **tensors)],
        outputs=[Output(name="y", **tensors)],
        behaviour="sleep",
        seconds=1,
    )
    server = start_api(f"node: {{workers: 1, max_waiting: 1}}\nhttp: {{port: 0}}\nmodels: [{slow}]")
    with httpx.Client(base_url=server.address, timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture
def asked(client: httpx.Client, awake: threading.Event) -> Iterator[list[Future[httpx.Response]]]:
    """Two requests: one that is computed, one that waits."""
    with ThreadPoolExecutor(2) as callers:
        asked = [callers.submit(client.post, INFER, json=REQUEST) for _ in range(2)]
        deadline = time.monotonic() + PATIENCE_S
        while client.get("/v1/system").json()["pool"]["queued"] < 1:
            assert time.monotonic() < deadline
        yield asked
        awake.set()


def test_one_request_too_many_is_told_to_come_again_in_the_form_of_its_api(
    client: httpx.Client, asked: list[Future[httpx.Response]]
) -> None:
    assert not any(one.done() for one in asked)
    refused = client.post(INFER, json=REQUEST)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, str(RETRY_AFTER_S))
    assert list(refused.json()) == ["error"]
    assert "busy" in refused.json()["error"]
    for refused in (
        client.post(PREDICT, json={"series": [[1, 2]]}),
        client.post("/v1/people", data={"name": "Ann"}, files={"photos": b"x"}),
    ):
        assert (refused.status_code, refused.headers["retry-after"]) == (503, str(RETRY_AFTER_S))
        assert refused.json()["error"]["code"] == "busy"
        assert refused.json()["error"]["facts"] == {"limit": 1, "retry_after_s": RETRY_AFTER_S}


def test_everything_that_computes_nothing_is_answered_meanwhile(
    client: httpx.Client, asked: list[Future[httpx.Response]]
) -> None:
    assert client.get("/v1/health").json()["status"] == "ok"
    for path in (
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/slow/ready",
        "/v1/models",
        "/v1/events",
        "/metrics",
    ):
        assert client.get(path).status_code == 200
    assert client.get("/v1/system").json()["pool"] == {"workers": 1, "queued": 1, "capacity": 1}
    assert not any(one.done() for one in asked)


def test_those_who_were_let_in_get_their_answers_and_there_is_room_again(
    client: httpx.Client, asked: list[Future[httpx.Response]], awake: threading.Event
) -> None:
    assert client.post(INFER, json=REQUEST).status_code == 503
    awake.set()
    assert [one.result(PATIENCE_S).json()["outputs"][0]["data"] for one in asked] == [[1, 2], [1, 2]]
    assert client.post(INFER, json=REQUEST).status_code == 200
