"""A device that is unsure asks the center by way of its gateway, and gets along when nobody is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from edgewise.media.images import encode_jpeg
from edgewise.testing.packages import write_classifier
from edgewise.testing.tree import PATIENCE_S, Member, Tree, until

pytestmark = pytest.mark.timeout(600)  # a link that was cut often waits up to a minute a hop

MODEL = "cifar10-resnet"
CAMERA = f"""
pipelines:
  front:
    source: {{kind: upload}}
    evidence: false
    transforms:
      - {{kind: classify, model: {MODEL}, unsure: {{below: 1, ask: colours, within_s: 3}}}}
"""


class House(Tree[Member]):
    """The three of them, with what the device is shown."""

    shown = 0

    def show(self) -> dict[str, Any]:
        """Shows the device a picture; what it tells of it."""
        before = self.events()
        self.shown += 1
        picture = encode_jpeg(np.full((32, 32, 3), self.shown, np.uint8))
        httpx.post(
            f"{self.device.node.address}/v1/cameras/front/frames",
            content=picture,
            headers={"content-type": "image/jpeg"},
            timeout=PATIENCE_S,
        ).raise_for_status()
        until(lambda: len(self.events()) > len(before))
        body: dict[str, Any] = self.events()[0]["body"]
        return body

    def events(self) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.device.node.address}/v1/events?limit=500", timeout=PATIENCE_S).json()
        return [event for event in answer["events"] if event["kind"].startswith("class.")]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    colours = write_classifier(tmp_path / "models")
    center = Member(tmp_path / "center", "center", sections=f"models: [{colours}]\n")
    device = Member(tmp_path / "device", "device", sections=CAMERA)
    with House(center, Member(tmp_path / "gateway", "gateway"), device) as house:
        house.start()
        yield house


def test_who_is_unsure_asks_above_and_says_who_answered_and_gets_along_alone(house: House) -> None:
    assert house.show()["by"] == MODEL
    house.join()
    until(lambda: house.show()["by"] == "colours@center")
    house.gateway.node.kill()
    assert house.show()["by"] == MODEL
    house.gateway.node.start()
    until(lambda: house.show()["by"] == "colours@center")
