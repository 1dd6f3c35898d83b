"""A gateway and two devices, as three processes, work on one model together: each request is answered once, in order,
also when one of them is killed in the midst of it.
"""

from __future__ import annotations

import functools
import gzip
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from edgewise.media.images import encode_jpeg
from edgewise.models.manifest import Input, Output
from edgewise.testing.packages import write_classifier, write_fake
from edgewise.testing.tree import PATIENCE_S, Member, at_once, until

pytestmark = pytest.mark.timeout(600)  # a link that was cut often waits up to a minute a hop

SLOW_S = 0.02
ROWS = 24


class Team:
    """The three of them; ``slow`` is on all, ``below`` on the devices alone."""

    def __init__(self, folder: Path) -> None:
        models = folder / "models"
        for name in ("slow", "below"):
            tensor = {"datatype": "FP32", "shape": (-1, 3)}
            write_fake(
                models,
                name,
                inputs=[Input(name="x", **tensor)],  # type: ignore[arg-type]
                outputs=[Output(name="y", **tensor)],  # type: ignore[arg-type]
                behaviour="sleep",
                seconds=SLOW_S,
            )
        write_classifier(models)
        common = f"{models}/slow, {models}/colours"
        self.gateway = Member(folder / "gateway", "gateway", sections=f"models: [{common}]\n")
        self.devices = [
            Member(folder / name, name, sections=f"models: [{common}, {models}/below]\n") for name in ("one", "two")
        ]

    def start(self) -> None:
        at_once(*(member.node.start for member in (self.gateway, *self.devices)))
        at_once(*(functools.partial(device.join, self.gateway) for device in self.devices))
        until(self.complete)

    def complete(self) -> bool:
        address = self.gateway.node.address
        asked = [httpx.get(f"{address}/v1/nodes/{device.name}/v1/health") for device in self.devices]
        return all(answer.status_code == 200 for answer in asked)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return httpx.post(self.gateway.node.address + path, timeout=PATIENCE_S, **body)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    team = Team(tmp_path_factory.mktemp("team"))
    try:
        team.start()
        yield team
    finally:
        for member in (*team.devices, team.gateway):
            member.node.kill()


def batch(first: int = 0) -> tuple[dict[str, object], list[float]]:
    data = [float(first + number) for number in range(ROWS * 3)]
    return {"id": "7", "inputs": [{"name": "x", "datatype": "FP32", "shape": [ROWS, 3], "data": data}]}, data


def nodes_of(answer: httpx.Response) -> Counter[str]:
    return Counter(
        {
            node: int(count)
            for node, _, count in (each.partition("=") for each in answer.headers["x-edgewise-nodes"].split(", "))
        }
    )


def test_a_batch_is_split_over_all_and_joined_in_order(team: Team) -> None:
    body, data = batch()
    answer = team.post("/v1/spread/v2/models/slow/infer", json=body)
    assert answer.json() == team.post("/v2/models/slow/infer", json=body).json()
    assert answer.json()["outputs"][0]["data"] == data
    assert set(nodes_of(answer)) == {"gateway", "one", "two"}


def test_a_compressed_request_is_spread_too(team: Team) -> None:
    body, data = batch()
    packed = gzip.compress(json.dumps(body).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = team.post("/v1/spread/v2/models/slow/infer", content=packed, headers=headers)
    assert answer.json()["outputs"][0]["data"] == data


def test_single_requests_are_spread_too(team: Team) -> None:
    picture = encode_jpeg(np.zeros((32, 32, 3), np.uint8))
    done: Counter[str] = Counter()

    def ask() -> None:
        answer = team.post(
            "/v1/spread/v1/models/colours/predict?top=1", content=picture, headers={"content-type": "image/jpeg"}
        )
        assert len(answer.json()["result"]["labels"]) == 1
        done.update(nodes_of(answer))

    threads = [threading.Thread(target=ask) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done.total() == 24
    assert len(done) > 1


def test_a_gateway_without_the_model_has_its_children_do_it(team: Team) -> None:
    body, data = batch()
    answer = team.post("/v1/spread/v2/models/below/infer", json=body)
    assert answer.json()["outputs"][0]["data"] == data
    assert set(nodes_of(answer)) <= {"one", "two"}
    nobody = team.post("/v1/spread/v2/models/nobody/infer", json=body)
    assert (nobody.status_code, "nobody" in nobody.json()["error"]) == (404, True)


def test_what_is_wrong_with_a_request_is_told_as_everywhere(team: Team) -> None:
    wrong = {"inputs": [{"name": "z", "datatype": "FP32", "shape": [2, 3], "data": [0.0] * 6}]}
    spread = team.post("/v1/spread/v2/models/slow/infer", json=wrong)
    here = team.post("/v2/models/slow/infer", json=wrong)
    assert (spread.status_code, spread.json()) == (here.status_code, here.json())


def test_a_node_that_is_killed_under_load_costs_no_request_and_doubles_none(team: Team) -> None:
    stopped = threading.Event()
    lock = threading.Lock()
    wrong: list[object] = []
    answered: Counter[str] = Counter()

    def load(number: int) -> None:
        turn = 0
        with httpx.Client(base_url=team.gateway.node.address, timeout=PATIENCE_S) as client:
            while not stopped.is_set():
                turn += 1
                body, data = batch(1000 * number + turn)
                answer = client.post("/v1/spread/v2/models/slow/infer", json=body)
                with lock:
                    if answer.status_code != 200 or answer.json()["outputs"][0]["data"] != data:
                        wrong.append(answer.text)
                    else:
                        answered.update(nodes_of(answer))

    threads = [threading.Thread(target=load, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        team.devices[0].node.kill()
        time.sleep(1)
        team.devices[0].node.start()
        time.sleep(1)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert answered["two"] > 10
    until(team.complete)
