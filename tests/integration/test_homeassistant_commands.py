"""Commands as Home Assistant sends them, over a broker that holds them up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewise.node.node import Node
from edgewise.node.settings import load
from edgewise.testing.broker import PATIENCE_S, Mosquitto, MqttPeer

pytestmark = pytest.mark.broker

SETTINGS = """
node: {name: home, data: DATA}
http: {port: 0}
mqtt: {host: 127.0.0.1, port: PORT, keep_alive_s: 60}
home_assistant: {}
devices:
  front: {kind: lock, relock_s: 0}
  hall: {kind: light}
"""
BASE = "edgewise/edgewise-home"


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 2 * PATIENCE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    pytest.fail("it did not happen in time")


class Place:
    """A node at a broker, and a peer that commands it."""

    def __init__(self, node: Node, peer: MqttPeer) -> None:
        self.node = node
        self.peer = peer
        assert node._home_assistant is not None
        self.pulse = node._home_assistant._pulse

    def send(self, device: str, payload: bytes) -> None:
        self.peer._client.publish(f"{BASE}/device/{device}/set", payload)

    def commands(self) -> list[dict[str, Any]]:
        return [record.body for record in self.node.journal.read("decisions") if record.kind == "device.command"]


@pytest.fixture
def place(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Place]:
    """A node that takes commands."""
    file = tmp_path / "edgewise.yaml"
    file.write_text(SETTINGS.replace("PORT", str(mosquitto.port)).replace("DATA", str(tmp_path / "data")))
    node = Node(load(file, environment={}))
    try:
        node.start()
        with MqttPeer(mosquitto, "somebody") as peer:
            place = Place(node, peer)
            until(place.pulse.fresh)
            yield place
    finally:
        node.stop()


def test_a_command_that_a_hanging_broker_held_up_never_acts(place: Place, mosquitto: Mosquitto) -> None:
    mosquitto.pause()
    place.send("front", b"UNLOCK")
    until(lambda: not place.pulse.fresh())
    mosquitto.resume()
    (late,) = until(place.commands)
    assert (late["command"], late["status"]) == ("unlock", "expired")
    assert place.node.devices.get("front").state["state"] == "locked"
    until(place.pulse.fresh)
    place.send("front", b"UNLOCK")
    until(lambda: len(place.commands()) == 2)
    assert place.node.devices.get("front").state["state"] == "unlocked"


def test_commands_for_a_device_are_carried_out_in_order(place: Place) -> None:
    for percent in range(10, 90, 10):
        place.send("hall", b'{"state":"ON","brightness":%d}' % percent)
    until(lambda: place.node.devices.get("hall").state["brightness"] == 80)
    done = [each["arguments"]["brightness"] for each in place.commands()]
    assert done == sorted(done)


def test_what_is_no_command_changes_nothing(place: Place) -> None:
    for payload in (b"", b"OPEN SESAME", b"{", b'{"state":', b"\xff\xfe", b'{"state":"UNLOCK","for":5}x'):
        place.send("front", payload)
    place.send("hall", b'{"state":"ON","brightness":"much"}')
    place.send("hall", b'{"state":"ON","brightness":1e300}')
    place.send("hall", b"ON")
    until(lambda: place.node.devices.get("hall").state["state"] == "on")
    assert place.node.devices.get("front").state["state"] == "locked"
    assert place.node.devices.get("hall").state["brightness"] == 100
