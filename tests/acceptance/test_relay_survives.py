"""A center, a gateway and a device, as three processes: whoever asks the center is answered by the device, once, or is
told why not, whatever is killed or cut on the way.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from edgewise.media.images import encode_jpeg
from edgewise.testing.tree import PATIENCE_S, Member, Tree, until

pytestmark = pytest.mark.timeout(600)  # a link that was cut often waits up to a minute a hop

CAMERA = "pipelines:\n  front: {source: {kind: upload}}\ndevices:\n  lock: {kind: lock}\n"
MODEL = "cifar10-resnet"
AT_ONCE = 2
JPEG = b"\xff\xd8\xff"
DOOR = "/v1/nodes/door"
KILLS = 3


class House(Tree[Member]):
    """The three of them, with what is asked of the center."""

    def ask(self, method: str, path: str, **more: object) -> httpx.Response:
        return httpx.request(method, self.center.node.address + path, timeout=PATIENCE_S, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    parent = f"{{gather_s: 0.05, asked_at_once: {AT_ONCE}}}"
    door = Member(folder / "door", "door", sections=CAMERA, parent=parent)
    with House(Member(folder / "center", "center"), Member(folder / "gateway", "gateway"), door) as house:
        house.start()
        house.join()
        until(lambda: house.ask("GET", f"{DOOR}/v1/health").status_code == 200)
        yield house


def picture(shade: int = 90) -> bytes:
    return encode_jpeg(np.full((32, 32, 3), shade, np.uint8))


def test_a_device_two_hops_down_answers_as_if_it_were_asked_itself(house: House) -> None:
    at_door = httpx.get(f"{house.device.node.address}/v1/cameras").json()
    assert house.ask("GET", f"{DOOR}/v1/cameras").json() == at_door
    answer = house.ask(
        "POST", f"{DOOR}/v1/models/{MODEL}/predict", content=picture(), headers={"content-type": "image/jpeg"}
    )
    assert answer.json()["model"] == MODEL
    assert "sandbox" in answer.headers["content-security-policy"]


def test_an_open_inference_client_needs_no_more_than_another_base_url(house: House) -> None:
    assert house.ask("GET", f"{DOOR}/v2").json()["name"] == "edgewise"
    inputs = house.ask("GET", f"{DOOR}/v2/models/{MODEL}").json()["inputs"][0]
    tensor = {**inputs, "shape": [1, *inputs["shape"][1:]], "data": [0.0] * int(np.prod(inputs["shape"][1:]))}
    body = {"inputs": [tensor]}
    through = house.ask("POST", f"{DOOR}/v2/models/{MODEL}/infer", json=body).json()
    itself = httpx.post(f"{house.device.node.address}/v2/models/{MODEL}/infer", json=body).json()
    assert through == itself
    assert isinstance(house.ask("GET", f"{DOOR}/v2/models/none").json()["error"], str)  # errors are the protocol's too


def test_live_pictures_come_through_and_end_when_nobody_looks(house: House) -> None:
    def push(shade: int) -> None:
        httpx.post(
            f"{house.device.node.address}/v1/cameras/front/frames",
            content=picture(shade),
            headers={"content-type": "image/jpeg"},
        ).raise_for_status()

    push(10)
    url = f"{house.center.node.address}{DOOR}/v1/cameras/front/live"
    for _ in range(AT_ONCE + 1):  # each takes the place of one before it, so that one has to have ended
        with httpx.stream("GET", url, timeout=PATIENCE_S) as live:
            assert live.headers["content-type"].startswith("multipart/x-mixed-replace")
            pieces, seen = live.iter_raw(), b""
            for shade in (20, 30, 40):
                push(shade)
                before = seen.count(JPEG)
                while seen.count(JPEG) == before:
                    seen += next(pieces)
    assert house.ask("GET", f"{DOOR}/v1/health").status_code == 200


def test_a_lock_below_is_not_opened_from_above_unless_its_node_says_so(house: House) -> None:
    command = {"command": "unlock", "arguments": {}}
    refused = house.ask("POST", f"{DOOR}/v1/devices/lock/commands", json=command)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert httpx.get(f"{house.device.node.address}/v1/devices/lock").json()["state"]["state"] == "locked"
    for member in (house.center, house.gateway):  # the gateway refuses for itself already; both tell
        until(lambda member=member: "refused" in member.command("audit", "log"))  # type: ignore[misc]


def test_nobody_below_has_that_name(house: House) -> None:
    answer = house.ask("GET", "/v1/nodes/nobody/v1/events")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert house.ask("GET", "/v1/nodes/center/v1/health").json()["status"] == "ok"  # one's own name leads home
    assert house.ask("POST", f"{DOOR}/v1/session", json={}).status_code in {404, 405}


def test_a_child_that_is_away_is_told_at_once(house: House) -> None:
    house.device.node.kill()
    until(lambda: house.ask("GET", f"{DOOR}/v1/health").status_code == 503)
    begun = time.monotonic()
    answer = house.ask("GET", f"{DOOR}/v1/events")
    assert time.monotonic() - begun < 1
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    house.device.node.start()
    until(lambda: house.ask("GET", f"{DOOR}/v1/health").status_code == 200)


def test_under_load_and_kills_each_request_is_answered_once_or_fails_with_an_error(house: House) -> None:
    chance = random.Random(7)
    stopped = threading.Event()
    outcomes: Counter[object] = Counter()
    lock = threading.Lock()

    def load() -> None:
        with httpx.Client(base_url=house.center.node.address, timeout=PATIENCE_S) as client:
            while not stopped.is_set():
                answer = client.post(
                    f"{DOOR}/v1/models/{MODEL}/predict", content=picture(), headers={"content-type": "image/jpeg"}
                )
                told = answer.json()
                with lock:
                    outcomes[answer.status_code, told.get("error", {}).get("code", told.get("model"))] += 1
                stopped.wait(0.02)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(KILLS):
            time.sleep(chance.uniform(0.5, 1.5))
            if number % 2:
                house.lower.cut()
                continue
            house.device.node.kill()
            time.sleep(chance.uniform(0, 0.5))
            house.device.node.start()
        time.sleep(1)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert set(outcomes) <= {(200, MODEL), (503, "unavailable"), (503, "busy")}, outcomes
    assert outcomes[200, MODEL] > 10
    until(lambda: house.ask("GET", f"{DOOR}/v1/health").status_code == 200)
