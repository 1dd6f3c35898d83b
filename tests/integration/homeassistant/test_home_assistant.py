"""A node in a real Home Assistant: what it has appears by itself, is commanded from there, and is settled here."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.fleet.desired import write
from edgewise.link.desired import Handed, Wanted
from edgewise.node.node import Node
from edgewise.node.settings import load
from edgewise.pipeline.base import Action, Event, Origin, Reading, Status
from edgewise.testing.broker import PATIENCE_S, Mosquitto, MqttPeer

pytestmark = pytest.mark.broker

SETTINGS = """
node: {name: home, data: DATA}
http: {port: 0}
mqtt: {host: 127.0.0.1, port: PORT}
home_assistant: {snapshot_s: 1, units: {temperature: "°C"}}
models: [cifar10-resnet]
pipelines:
  porch:
    source: {kind: upload}
devices:
  front: {kind: lock, relock_s: 0}
  hall: {kind: light}
  heating: {kind: thermostat, min_c: 10, max_c: 25}
  siren: {kind: alarm}
"""


@pytest.fixture
def start_node(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Callable[[str], Node]]:
    """Starts a node at the broker; stopped after the test."""
    started: list[Node] = []

    def start(settings: str = SETTINGS) -> Node:
        file = tmp_path / "edgewise.yaml"
        file.write_text(settings.replace("PORT", str(mosquitto.port)).replace("DATA", str(tmp_path / "data")))
        started.append(Node(load(file, environment={})))
        started[-1].start()
        return started[-1]

    yield start
    for node in started:
        if not node._stopping.is_set():
            node.stop()


def decisions(node: Node) -> list[dict[str, Any]]:
    return [record.body for record in node.journal.read("decisions") if record.kind == "device.command"]


def test_what_a_node_has_appears_by_itself(start_node, start_hass) -> None:
    node = start_node()
    hass = start_hass()
    states = hass.wait(
        lambda states: states["lock.front"]["state"] == "locked" and "update.home_model_cifar10_resnet" in states
    )
    assert states["light.hall"]["state"] == "off"
    assert states["light.hall"]["supported_color_modes"] == ["color_temp"]
    assert (states["climate.heating"]["temperature"], states["climate.heating"]["max_temp"]) == (18.0, 25)
    assert states["siren.siren"]["state"] == "off"
    assert states["binary_sensor.porch_activity"]["device_class"] == "occupancy"
    assert "face.known" in states["event.porch_events"]["event_types"]
    assert states["update.home_model_cifar10_resnet"]["state"] == "off"
    assert states["update.home_model_cifar10_resnet"]["installed_version"]
    assert "WARNING" not in hass.log()
    assert "ERROR" not in hass.log()
    assert node.devices.states()["front"]["state"] == "locked"


def test_a_door_is_opened_from_home_assistant_once_and_it_is_written_down(start_node, start_hass) -> None:
    node = start_node()
    hass = start_hass()
    hass.wait(lambda states: states["lock.front"]["state"] == "locked")
    hass.call("lock", "unlock", entity_id="lock.front")
    states = hass.wait(lambda states: states["lock.front"]["state"] == "unlocked")
    assert states["lock.front"]["held_by"] == "app"
    (command,) = decisions(node)
    assert (command["command"], command["origin"], command["cause"], command["status"]) == (
        "unlock",
        "app",
        "home-assistant",
        "done",
    )


def test_light_heating_and_alarm_are_set_from_home_assistant(start_node, start_hass) -> None:
    node = start_node()
    hass = start_hass()
    hass.wait(lambda states: states["siren.siren"]["state"] == "off" and states["light.hall"]["state"] == "off")
    hass.call("light", "turn_on", entity_id="light.hall", brightness_pct=40, color_temp=250)
    hass.call("climate", "set_temperature", entity_id="climate.heating", temperature=21.5)
    hass.call("siren", "turn_on", entity_id="siren.siren")
    states = hass.wait(lambda states: states["siren.siren"]["state"] == "on" and states["light.hall"]["state"] == "on")
    hass.wait(lambda states: states["climate.heating"]["temperature"] == 21.5)
    assert (states["light.hall"]["brightness"], states["light.hall"]["color_temp"]) == (102, 250)
    assert node.devices.get("hall").state["brightness"] == 40
    assert node.devices.get("siren").state["reason"] == "Home Assistant"
    expires_ns = node.clock.time_ns() + 5_000_000_000
    rule = Action("hall", "turn_off", {}, key="rule", expires_ns=expires_ns, origin=Origin.RULE)
    assert node.devices.perform(rule).status is Status.OVERRULED


def test_what_cannot_be_done_is_shown_as_it_is(start_node, start_hass) -> None:
    node = start_node(SETTINGS.replace("kind: lock,", "kind: lock, topic: house/front, confirm_s: 0.2,"))
    hass = start_hass()
    with MqttPeer(node_broker(node), "house/front") as deaf:
        deaf.report(b"LOCKED")
        hass.wait(lambda states: states["lock.front"]["state"] == "locked")
        hass.call("lock", "unlock", entity_id="lock.front")
        deaf.wait_heard(1)
        hass.wait(lambda states: states["lock.front"]["state"] == "locked" and decisions(node))
        (command,) = decisions(node)
        assert (command["status"], command["error"]["code"]) == ("failed", "unavailable")
        assert "fail-safe" in command["error"]["message"]


def node_broker(node: Node) -> Any:
    """Where the node's broker is, as ``MqttPeer`` wants it."""
    return node.settings.mqtt


def test_events_readings_and_pictures_come_through(start_node, start_hass) -> None:
    node = start_node()
    hass = start_hass()
    # A state that was retained has come, so Home Assistant listens to everything.
    hass.wait(
        lambda states: "event.porch_events" in states and states["update.home_model_cifar10_resnet"]["state"] == "off"
    )
    now = node.clock.time_ns()
    node.accept(Event("face.known", "porch", now, {"name": "Ada", "box": [1, 2]}))
    states = hass.wait(lambda states: states["event.porch_events"].get("event_type") == "face.known")
    assert states["event.porch_events"]["name"] == "Ada"
    hass.wait(lambda states: states["binary_sensor.porch_activity"]["state"] == "on")
    node.accept(Event("parcel.left", "porch", now, {"count": 2}))
    states = hass.wait(lambda states: states["event.porch_events"].get("event_type") == "parcel.left")
    assert states["event.porch_events"]["count"] == 2
    node.accept_readings([Reading("porch", 1, now, {"temperature": 21.5, "door open": True, "mode": "eco"})])
    states = hass.wait(
        lambda states: (
            states["sensor.porch_temperature"]["state"] == "21.5"
            and states["binary_sensor.porch_door_open"]["state"] == "on"
            and states["sensor.porch_mode"]["state"] == "eco"
        )
    )
    assert states["sensor.porch_temperature"]["unit_of_measurement"] == "°C"
    node.pipeline("porch").source.push(np.full((480, 1280, 3), 90, np.uint8))
    hass.wait(lambda _: hass.ask(picture="camera.porch").get("head") == "ffd8ff")
    assert "ERROR" not in hass.log()


def test_a_home_assistant_that_comes_later_or_again_finds_everything(start_node, start_hass) -> None:
    node = start_node()
    first = start_hass()
    first.wait(lambda states: states["lock.front"]["state"] == "locked")
    first.stop()
    node.command(Action("hall", "turn_on", {}, key="one", expires_ns=node.clock.time_ns() + 5_000_000_000))
    second = start_hass()
    second.wait(lambda states: states["light.hall"]["state"] == "on")


def test_what_leaves_the_settings_leaves_home_assistant(start_node, start_hass) -> None:
    node = start_node()
    hass = start_hass()
    hass.wait(lambda states: states["siren.siren"]["state"] == "off")
    node.stop()
    states = hass.wait(lambda states: states["lock.front"]["state"] == "unavailable")
    start_node(SETTINGS.replace("  siren: {kind: alarm}\n", ""))
    states = hass.wait(lambda states: states["lock.front"]["state"] == "locked" and "siren.siren" not in states)
    assert "light.hall" in states


def test_sources_that_a_parent_adds_changes_and_takes_away_come_and_go_in_home_assistant(
    start_node, start_hass
) -> None:
    node = start_node(f"{SETTINGS}parent: {{may_change: [pipelines]}}\n")
    revisions = itertools.count(1)

    def wish(**document: Any) -> None:
        wanted = Wanted("home", "center", next(revisions), write(document))
        node._settling.take(Handed(f"p.{wanted.revision}", wanted=(wanted,)), parent="")

    def show(light: int) -> None:
        node.pipeline("porch").source.push(np.full((480, 1280, 3), light, np.uint8))

    hass = start_hass()
    hass.wait(lambda states: states["lock.front"]["state"] == "locked" and "event.porch_events" in states)
    show(90)
    hass.wait(lambda _: hass.ask(picture="camera.porch").get("head") == "ffd8ff")
    porch = {"source": {"kind": "upload"}}
    wish(pipelines={"porch": porch, "boiler": {"source": {"kind": "readings"}}, "yard": porch})
    hass.wait(lambda states: {"event.boiler_events", "camera.yard", "binary_sensor.yard_activity"} <= states.keys())
    node.accept_readings([Reading("boiler", 1, node.clock.time_ns(), {"temperature": 61.5})])
    hass.wait(lambda states: states["sensor.boiler_temperature"]["state"] == "61.5")
    node.accept(Event("motion.started", "boiler", node.clock.time_ns(), {}))
    hass.wait(lambda states: states["event.boiler_events"].get("event_type") == "motion.started")
    size = hass.ask(picture="camera.porch")["bytes"]
    wish(pipelines={"porch": {**porch, "weight": 2}})
    states = hass.wait(lambda states: "event.yard_events" not in states and "event.boiler_events" not in states)
    assert not [name for name in states if "boiler" in name or "yard" in name]
    hass.wait(lambda _: [each.weight for each in node.settings.pipelines.values()] == [2])
    node.pipeline("porch").source.push(np.random.default_rng(1).integers(0, 255, (480, 1280, 3), np.uint8))
    hass.wait(lambda _: hass.ask(picture="camera.porch")["bytes"] > 2 * size)  # the new pipeline counts from 1 again
    assert hass.ask()["lock.front"]["state"] == "locked"
    assert "WARNING" not in hass.log()
    assert "ERROR" not in hass.log()


def test_a_node_that_is_no_longer_to_be_shown_is_taken_out_whole(start_node, start_hass) -> None:
    node = start_node()
    hass = start_hass()
    hass.wait(lambda states: states["siren.siren"]["state"] == "off")
    node.stop()
    start_node(SETTINGS.replace('home_assistant: {snapshot_s: 1, units: {temperature: "°C"}}\n', ""))
    hass.wait(lambda states: set(states) == {"zone.home"})


def test_a_command_that_somebody_left_at_the_broker_never_acts(start_node, mosquitto: Mosquitto) -> None:
    with MqttPeer(mosquitto, "watcher") as peer:
        topic = "edgewise/edgewise-home/device/front/set"
        peer._client.publish(topic, b"UNLOCK", qos=1, retain=True).wait_for_publish(PATIENCE_S)
        node = start_node()
        opened = threading.Event()
        node.devices.subscribe(lambda _, state: opened.set() if state.get("state") == "unlocked" else None)
        pulse = threading.Event()
        peer._client.message_callback_add("edgewise/edgewise-home/pulse", lambda *_: pulse.set())
        peer._client.subscribe("edgewise/edgewise-home/pulse")
        assert pulse.wait(PATIENCE_S)
        assert not opened.is_set()
        assert decisions(node) == []
