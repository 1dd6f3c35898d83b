"""Rules in a whole node: readings and events in, commands out, over restarts, on a journal on disk."""

from __future__ import annotations

import time
from pathlib import Path

from edgewise.node.node import Node
from edgewise.node.settings import load
from edgewise.pipeline.base import Event, Reading
from edgewise.types import Record

PATIENCE_S = 20.0
SETTINGS = """
node: {name: home, data: DATA, location: {latitude: 52.5, longitude: 13.4, timezone: Europe/Berlin}}
pipelines:
  boiler: {source: {kind: upload}}
devices:
  siren: {kind: alarm}
  hall: {kind: light}
rules:
  - name: too-hot
    on: reading
    source: boiler
    when: avg(heat, "1h") > 80 && samples(heat, "1h") >= 4
    cooldown_s: 600
    do: [{device: siren, command: raise}]
  - name: came-and-went
    on: face.left
    after: [{on: face.known}]
    within_s: 600
    same: [person]
    do: [{device: hall, command: turn_off}]
  - name: pulse
    on: time
    every_s: 1
    when: devices.hall.state == "never"
    do: [{device: hall, command: turn_on}]
"""


class Home:
    """A node that is started and stopped over the same data."""

    def __init__(self, folder: Path) -> None:
        file = folder / "edgewise.yaml"
        file.write_text(SETTINGS.replace("DATA", str(folder / "data")))
        self._settings = load(file, environment={})
        self.start()

    def start(self) -> None:
        self.node = Node(self._settings)
        self.node.start()

    def restart(self) -> None:
        self.node.stop()
        self.start()

    def heats(self, *degrees: float) -> None:
        now = time.time_ns()
        self.node.accept_readings(
            [Reading("boiler", 1, now + place, {"heat": heat}) for place, heat in enumerate(degrees)]
        )

    def happens(self, kind: str) -> None:
        self.node.accept(Event(kind, "door", time.time_ns(), {"name": "Ada"}))

    def decisions(self, count: int) -> list[Record]:
        seen = 0
        while (seen := self.node.journal.wait("decisions", after=seen, timeout_s=PATIENCE_S)) < count:
            assert seen
        return [record for record in self.node.journal.read("decisions") if "rule" in record.body]


def test_windows_sequences_and_cooldowns_live_through_restarts(tmp_path: Path) -> None:
    home = Home(tmp_path)
    try:
        home.heats(70, 90, 99)
        home.happens("face.known")
        home.restart()
        home.heats(95)
        (hot,) = home.decisions(1)
        assert (hot.kind, hot.body["rule"]) == ("decision.done", "too-hot")
        assert hot.body["why"] == {'avg(heat, "1h")': 88.5, 'samples(heat, "1h")': 4}
        home.restart()
        home.heats(99)
        home.happens("face.left")
        left = home.decisions(2)[-1]
        assert (left.kind, left.body["rule"]) == ("decision.done", "came-and-went")
        assert [part["kind"] for part in left.body["parts"]] == ["face.known"]
        assert [record.body["rule"] for record in home.decisions(2)].count("too-hot") == 1
        assert {line.stream for line in home.node.journal.audit() if line.consumer == "rules"} == {"events", "readings"}
    finally:
        home.node.stop()
