"""A node as a person runs it: killed at any moment, it comes back with its people, events, settings and models."""

from __future__ import annotations

import functools
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgewise.media.film import approach
from edgewise.media.images import encode_jpeg, read
from edgewise.testing.broker import Mosquitto, MqttPeer
from edgewise.testing.node import RunningNode

pytestmark = pytest.mark.zoo

KILLS = int(os.environ.get("EDGEWISE_KILLS", "3"))
PHOTO = Path(__file__).parents[1] / "data" / "astronaut.jpg"
PATIENCE_S = 30.0

SETTINGS = """
node: {name: home, data: ./data}
http: {port: 0}
models: [yunet, mobilefacenet]
pipelines:
  door:
    source: {kind: upload}
    transforms: [{kind: recognise}, {kind: presence, needed: 1, unknown_needed: 1, absent_s: 0}]
devices:
  front-door: {kind: lock, relock_s: 0TOPIC}
  alarm: {kind: alarm}
rules:
  - name: let-in
    on: face.known
    do: [{device: front-door, command: unlock}]
  - name: stranger
    on: face.unknown
    do: [{device: alarm, command: raise}]
"""


def until(condition: Callable[[], Any]) -> Any:
    """Waits for something that another process does."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail("it did not happen in time")


class Home:
    """A node with a door, and the words for what people do there."""

    def __init__(self, folder: Path, cache: Path, *, mqtt: str = "", topic: str = "") -> None:
        self.settings = folder / "edgewise.yaml"
        self.settings.write_text(mqtt + SETTINGS.replace("TOPIC", topic))
        self.environment = {"EDGEWISE_CACHE": str(cache)}
        self.node = RunningNode(folder, environment=self.environment)
        self.visit = encode_jpeg(next(approach(read(PHOTO), frames=1, start=0.9, end=0.9)))

    def get(self, path: str, **query: Any) -> Any:
        return httpx.get(self.node.address + path, params=query, timeout=PATIENCE_S).raise_for_status().json()

    def enrol(self, name: str) -> None:
        httpx.post(
            self.node.address + "/v1/people",
            data={"name": name, "preferences": '{"brightness": 40}'},
            files={"photos": ("photo.jpg", PHOTO.read_bytes(), "image/jpeg")},
            timeout=PATIENCE_S,
        ).raise_for_status()

    def come_to_the_door(self) -> None:
        headers = {"content-type": "image/jpeg"}
        httpx.post(
            self.node.address + "/v1/cameras/door/frames", content=self.visit, headers=headers, timeout=PATIENCE_S
        ).raise_for_status()

    def events(self, stream: str = "events") -> list[dict[str, Any]]:
        """All records of a stream, newest first."""
        found: list[dict[str, Any]] = []
        before = 0
        while True:
            page = self.get("/v1/events", stream=stream, limit=100, before=before)
            found += page["events"]
            before = page["next_before"]
            if not before:
                return found

    def decided_all(self, last: int) -> bool:
        """Whether every event up to ``last`` has its one decision."""
        found = [record for record in self.events("decisions") if record["kind"].startswith("decision.")]
        decided = [record["body"]["event"]["sequence"] for record in found]
        assert len(decided) == len(set(decided))
        return set(decided) >= set(range(1, last + 1))

    def device(self, name: str) -> str:
        devices = {device["name"]: device for device in self.get("/v1/devices")["devices"]}
        return str(devices[name]["state"].get("state"))

    def audit(self) -> None:
        arguments = [sys.executable, "-m", "edgewise", "journal", "audit", "--config", str(self.settings)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.fixture
def home(tmp_path: Path, zoo_cache: Path) -> Iterator[Home]:
    home = Home(tmp_path, zoo_cache)
    with home.node:
        yield home


def test_a_stranger_raises_the_alarm_and_once_enrolled_the_same_face_opens_the_door(home: Home) -> None:
    home.come_to_the_door()
    until(lambda: home.device("alarm") == "raised")
    home.enrol("Eileen")
    home.come_to_the_door()
    until(lambda: home.device("front-door") == "unlocked")
    known, unknown = home.events()[0], home.events()[-1]
    assert (unknown["kind"], known["kind"], known["body"]["name"]) == ("face.unknown", "face.known", "Eileen")
    snapshot = httpx.get(f"{home.node.address}/v1/snapshots/{known['blobs'][0]}", timeout=PATIENCE_S)
    assert snapshot.headers["content-type"] == "image/jpeg"
    why = home.events("decisions")[0]
    assert why["body"]["rule"] == "let-in"
    assert why["body"]["event"]["sequence"] == known["sequence"]
    home.audit()


def test_killed_at_random_moments_it_comes_back_with_everything_it_had_accepted(home: Home) -> None:
    home.enrol("Eileen")
    home.come_to_the_door()
    until(lambda: home.events("decisions"))
    chance = random.Random(7)
    kept = 0
    for _ in range(KILLS):
        stopped = threading.Event()
        visitor = threading.Thread(target=_keep_coming, args=(home, stopped))
        visitor.start()
        time.sleep(chance.uniform(0.05, 0.8))  # the moment of the power cut
        before = len(home.events())
        home.node.kill()
        stopped.set()
        visitor.join()
        home.audit()
        home.node.start()
        events = home.events()
        assert len(events) >= max(before, kept)
        assert [event["sequence"] for event in events] == list(range(len(events), 0, -1))
        assert [person["name"] for person in home.get("/v1/people")["people"]] == ["Eileen"]
        kept = len(events)
        until(functools.partial(home.decided_all, kept))
    home.audit()


def _keep_coming(home: Home, stopped: threading.Event) -> None:
    while not stopped.is_set():
        try:
            home.come_to_the_door()
        except httpx.HTTPError:
            return


def test_stopped_by_a_service_manager_it_ends_well(tmp_path: Path, zoo_cache: Path) -> None:
    home = Home(tmp_path, zoo_cache)
    home.node.start()
    assert home.node.stop() == 0


def test_two_nodes_on_the_same_data_are_refused(home: Home) -> None:
    arguments = [sys.executable, "-m", "edgewise", "up", "--config", str(home.settings)]
    done = subprocess.run(
        arguments, env={**os.environ, **home.environment}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 5
    assert "(conflict)" in done.stderr


@pytest.mark.broker
def test_a_known_face_opens_a_real_lock_at_the_broker(tmp_path: Path, zoo_cache: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        mqtt = f"mqtt: {{host: {broker.host}, port: {broker.port}}}\n"
        home = Home(tmp_path, zoo_cache, mqtt=mqtt, topic=", topic: house/door")
        with MqttPeer(broker, "house/door", {b"LOCK": b"LOCKED", b"UNLOCK": b"UNLOCKED"}) as lock, home.node:
            home.enrol("Eileen")
            home.come_to_the_door()
            until(lambda: home.device("front-door") == "unlocked")
            assert [message.payload for message in lock.heard][-1] == b"UNLOCK"
