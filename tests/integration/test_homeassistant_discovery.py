"""What Home Assistant is told through a real broker while a node's pipelines and rules change, and after they did."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewise.fleet.desired import write
from edgewise.link.desired import Handed, Wanted
from edgewise.node.node import Node
from edgewise.node.settings import load
from edgewise.pipeline.base import Event, Reading
from edgewise.testing.broker import PATIENCE_S, Mosquitto, MqttPeer

pytestmark = pytest.mark.broker

SETTINGS = """
node: {name: home, data: DATA}
http: {port: 0}
mqtt: {host: 127.0.0.1, port: PORT}
home_assistant: {snapshot_s: 1}
parent: {may_change: [pipelines, rules]}
pipelines:
  porch: {source: {kind: upload}}
  boiler: {source: {kind: readings}}
  boiler_2: {source: {kind: readings}}
devices:
  hall: {kind: light}
"""
PORCH, READINGS = {"source": {"kind": "upload"}}, {"source": {"kind": "readings"}}
BOILERS = {"boiler": READINGS, "boiler_2": READINGS}
LIGHT = {"device": "hall", "command": "turn_on"}


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 2 * PATIENCE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    pytest.fail("it did not happen in time")


class Listener(MqttPeer):
    """Hears all that is told to Home Assistant, and knows what is there."""

    def __init__(self, broker: Mosquitto) -> None:
        super().__init__(broker, "listener")
        self.news: list[str] = []
        self.told: dict[str, Any] = {}
        self.kept: set[str] = set()
        self._client.message_callback_add("homeassistant/#", self._take)
        self._client.message_callback_add("edgewise/#", self._take)
        self._client.on_connect = lambda client, *_: client.subscribe([("homeassistant/#", 1), ("edgewise/#", 1)])

    def has(self, *parts: str) -> bool:
        """Whether there is one entity for each part of a topic, and no other of a source or a device."""
        names = sorted(topic.split("/")[-2] for topic in self.told)
        return names == sorted(parts)

    def event_types(self, name: str) -> list[str]:
        """Kinds of event that a source is said to see."""
        [found] = [each for topic, each in self.told.items() if topic.endswith(f"/events_{name}/config")]
        return list(found["event_types"])

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        if not message.payload:
            self.kept.discard(message.topic)
        elif message.retain or "/reading/" in message.topic:
            self.kept.add(message.topic)
        if message.topic.startswith("homeassistant/"):
            self.news.append(message.topic.split("/")[-2])
            self.told.pop(message.topic, None)
            if message.payload:
                self.told[message.topic] = json.loads(message.payload)
        elif message.topic.endswith("/status"):
            self.news.append(message.payload.decode())


class House:
    """A node at the broker, whose parent may change what it does."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self._file = folder / "edgewise.yaml"
        self._places = {"PORT": str(broker.port), "DATA": str(folder / "data")}
        self._revision = 0
        self.node: Node | None = None

    def start(self, settings: str = SETTINGS) -> Node:
        """The node, started anew."""
        for word, value in self._places.items():
            settings = settings.replace(word, value)
        self._file.write_text(settings)
        self.node = Node(load(self._file, environment={}))
        self.node.start()
        return self.node

    def stop(self) -> None:
        """Ends it."""
        if self.node:
            self.node.stop()
            self.node = None

    def wish(self, **document: Any) -> None:
        """Its parent sets what it is to have."""
        assert self.node
        self._revision += 1
        wanted = Wanted("home", "center", self._revision, write(document))
        self.node._settling.take(Handed(f"p.{self._revision}", wanted=(wanted,)), parent="")

    def says(self, source: str, **values: Any) -> None:
        """A sensor says something."""
        assert self.node
        self.node.accept_readings([Reading(source, 1, self.node.clock.time_ns(), values)])


@pytest.fixture
def house(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path, mosquitto)
    yield house
    house.stop()


CAMERA = ("camera_porch", "activity_porch")
EVENTS = ("events_porch", "events_boiler", "events_boiler_2")
ALL = ("device_hall", *CAMERA, *EVENTS)


def test_pipelines_that_come_change_and_go_are_told_and_the_others_are_left_alone(
    house: House, mosquitto: Mosquitto
) -> None:
    house.start()
    with Listener(mosquitto) as listener:
        until(lambda: listener.has(*ALL))
        listener.news.clear()
        house.wish(pipelines={"porch": PORCH, **BOILERS, "yard": PORCH})
        until(lambda: listener.has(*ALL, "camera_yard", "activity_yard", "events_yard"))
        assert sorted(listener.news) == ["activity_yard", "camera_yard", "events_yard"]
        listener.news.clear()
        house.wish(pipelines={"porch": READINGS, **BOILERS})  # no camera any more
        until(lambda: listener.has("device_hall", *EVENTS))
        assert sorted(listener.news) == sorted([*CAMERA, "camera_yard", "activity_yard", "events_yard"])
        listener.news.clear()
        house.wish()
        until(lambda: listener.has(*ALL))
        assert sorted(listener.news) == sorted(CAMERA)


def test_kinds_of_event_follow_rules_and_what_is_seen(house: House, mosquitto: Mosquitto) -> None:
    node = house.start()
    rule = {"name": "light", "on": "parcel.left", "do": [LIGHT]}
    with Listener(mosquitto) as listener:
        until(lambda: listener.has(*ALL))
        house.wish(rules=[rule])
        until(lambda: "parcel.left" in listener.event_types("porch"))
        node.accept(Event("fox.seen", "boiler", node.clock.time_ns(), {}))
        until(lambda: "fox.seen" in listener.event_types("boiler"))
        house.wish()
        until(lambda: "parcel.left" not in listener.event_types("porch"))
        assert "fox.seen" in listener.event_types("boiler")


def test_channels_go_with_their_source_alone_and_may_become_another_kind(house: House, mosquitto: Mosquitto) -> None:
    house.start()
    with Listener(mosquitto) as listener:
        until(lambda: listener.has(*ALL))
        house.says("boiler", valve=21.5)
        house.says("boiler_2", valve=22.5)
        until(lambda: listener.has(*ALL, "reading_boiler_valve", "reading_boiler_2_valve"))
        house.wish(pipelines={"porch": PORCH, "boiler": READINGS})
        without = ("device_hall", *CAMERA, "events_porch", "events_boiler")
        until(lambda: listener.has(*without, "reading_boiler_valve"))
        until(lambda: not any("boiler_2" in topic for topic in listener.kept))
        house.wish(pipelines={"porch": PORCH, "boiler": {**READINGS, "when_full": "block"}})
        until(lambda: house.node and house.node.settings.pipelines["boiler"].when_full == "block")
        house.says("boiler", valve=True)
        until(lambda: any("/binary_sensor/" in topic and "valve" in topic for topic in listener.told))
        until(lambda: listener.has(*without, "reading_boiler_valve"))


def test_what_was_given_up_while_the_node_was_off_is_taken_out(house: House, mosquitto: Mosquitto) -> None:
    house.start()
    with Listener(mosquitto) as listener:
        until(lambda: listener.has(*ALL))
        house.says("boiler", valve=21.5)
        house.says("boiler_2", valve=22.5)
        until(lambda: listener.has(*ALL, "reading_boiler_valve", "reading_boiler_2_valve"))
        house.stop()
        house.start(SETTINGS.replace("  boiler_2: {source: {kind: readings}}\n", "").replace("upload", "readings"))
        until(lambda: listener.has("device_hall", "events_porch", "events_boiler", "reading_boiler_valve"))
        until(lambda: not any("boiler_2" in topic or "/camera_" in topic for topic in listener.kept))


def test_what_goes_while_the_broker_hangs_or_is_away_is_taken_out_when_it_answers(
    house: House, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    house.start()
    with Listener(mosquitto) as listener:
        until(lambda: listener.has(*ALL))
        mosquitto.pause()
        house.wish(pipelines=BOILERS)
        shown = house.node and house.node._home_assistant
        until(lambda: shown and shown._sights.cameras == () and shown._unfinished)
        told = (tmp_path / "data" / "home-assistant.json").read_text()
        assert "camera_porch" in told
        house.stop()
        mosquitto.resume()
        house.start()
        until(lambda: listener.has("device_hall", "events_boiler", "events_boiler_2"))
