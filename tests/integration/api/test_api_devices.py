"""Devices over HTTP: who holds them, how that ends, and that every command is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from edgewise.pipeline.base import Action, Origin, Status


@pytest.fixture(scope="module")
def own(start_api: Callable):
    """A server that these tests may change."""
    return start_api()


@pytest.fixture
def client(own) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=own.address, timeout=20) as client:
        yield client


def last_command(client: httpx.Client) -> dict[str, Any]:
    """The newest command in the decisions."""
    query = {"stream": "decisions", "kind": "device.command", "limit": 1}
    (record,) = client.get("/v1/events", params=query).json()["events"]
    return dict(record["body"])


def rule(own, device: str, command: str) -> Status:
    """What becomes of a rule's command."""
    node = own.node
    key = f"rule/{node.clock.time_ns()}"
    action = Action(device, command, {}, key=key, expires_ns=node.clock.time_ns() + 5_000_000_000, origin=Origin.RULE)
    return node.devices.perform(action).status


def test_who_commands_by_hand_holds_the_device_until_it_is_released(own, client: httpx.Client) -> None:
    answer = client.post("/v1/devices/lamp/commands", json={"command": "turn_on"}).json()
    assert (answer["status"], answer["hold"]["origin"], answer["hold"]["cause"]) == ("done", "app", "http")
    assert client.get("/v1/devices/lamp").json()["hold"] == answer["hold"]
    assert rule(own, "lamp", "turn_off") is Status.OVERRULED
    assert client.delete("/v1/devices/lamp/hold").json()["hold"] is None
    assert rule(own, "lamp", "turn_off") is Status.DONE
    released = client.get("/v1/events", params={"stream": "decisions", "kind": "device.released"}).json()["events"]
    assert released[0]["body"]["hold"]["origin"] == "app"
    assert client.delete("/v1/devices/lamp/hold").status_code == 200
    assert client.delete("/v1/devices/lampe/hold").status_code == 404


def test_how_long_it_is_held_can_be_said(own, client: httpx.Client) -> None:
    path = "/v1/devices/lamp/commands"
    client.post(path, json={"command": "turn_on", "hold_s": 0})
    assert rule(own, "lamp", "turn_off") is Status.DONE
    hold = client.post(path, json={"command": "turn_on", "hold_s": 7200}).json()["hold"]
    assert hold["until_ns"] - hold["since_ns"] == 7200 * 10**9
    assert client.post(path, json={"command": "turn_on", "hold_s": 1e9}).status_code == 400


def test_a_command_that_fails_is_written_down_with_who_asked_and_why(own, client: httpx.Client) -> None:
    answer = client.post("/v1/devices/lamp/commands", json={"command": "turn_on", "arguments": {"brightness": 900}})
    assert answer.status_code == 400
    told = last_command(client)
    assert (told["device"], told["command"], told["status"], told["origin"]) == ("lamp", "turn_on", "failed", "app")
    assert told["client"] == "127.0.0.1"
    assert told["error"]["code"] == "input_invalid"
    client.post("/v1/devices/lampe/commands", json={"command": "turn_on"})
    assert last_command(client)["error"]["code"] == "not_found"


def test_a_device_says_what_is_due(own, client: httpx.Client) -> None:
    client.post("/v1/devices/front/commands", json={"command": "unlock"})
    assert client.get("/v1/devices/front").json()["due"] == "relock"
    client.post("/v1/devices/front/commands", json={"command": "lock"})
    assert client.get("/v1/devices/front").json()["due"] == ""
