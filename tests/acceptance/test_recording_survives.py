"""A node that is killed while it records: nothing half-written stays, what is lost is told, and it records again."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from edgewise.testing.node import RunningNode

pytestmark = pytest.mark.zoo

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
    record: {on: [face.*], before_s: 2, after_s: 60}
"""


class Door:
    """The node's API, for what happens at the door."""

    def __init__(self, node: RunningNode) -> None:
        self._http = httpx.Client(base_url=node.address, timeout=PATIENCE_S)

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def visited(self) -> str:
        """Somebody comes to the door; returns the clip that runs then, once pictures are in it."""
        photo = PHOTO.read_bytes()
        before = {clip["name"] for clip in self.clips()}
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            self._http.post("/v1/cameras/door/frames", content=photo).raise_for_status()
            for clip in self.clips():
                if clip["state"] == "recording" and clip["name"] not in before:
                    for _ in range(5):
                        self._http.post("/v1/cameras/door/frames", content=photo).raise_for_status()
                        time.sleep(0.15)
                    return str(clip["name"])
            time.sleep(0.15)
        pytest.fail("nothing was recorded")

    def clips(self) -> list[dict[str, Any]]:
        return list(self._http.get("/v1/clips").raise_for_status().json()["clips"])

    def clip(self, name: str) -> dict[str, Any]:
        return dict(self._http.get(f"/v1/clips/{name}").raise_for_status().json())

    def video(self, name: str) -> bytes:
        return self._http.get(f"/v1/clips/{name}/video").raise_for_status().content

    def balanced(self) -> bool:
        return bool(self._http.get("/v1/journal/audit").json()["balanced"])


def test_a_kill_while_recording_leaves_nothing_half_written_and_the_next_start_goes_on(
    tmp_path: Path, zoo_cache: Path
) -> None:
    (tmp_path / "edgewise.yaml").write_text(SETTINGS)
    node = RunningNode(tmp_path, environment={"EDGEWISE_CACHE": str(zoo_cache)})
    parts = tmp_path / "data" / "journal" / "clips"
    node.start()
    with Door(node) as door:
        cut_off = door.visited()
        assert [path.name for path in parts.iterdir()] == [f"{cut_off}.part"]
    node.kill()

    node.start()
    with Door(node) as door:
        assert list(parts.iterdir()) == []
        assert door.clip(cut_off)["state"] == "lost"
        assert door.balanced()
        kept = door.visited()
    node.stop()

    node.start()
    with Door(node) as door:
        clip = door.clip(kept)
        assert (clip["state"], clip["cut"]) == ("recorded", "the node was stopped")
        with av.open(io.BytesIO(door.video(kept))) as container:
            assert sum(1 for _ in container.decode(video=0)) > 2
        assert door.clip(cut_off)["state"] == "lost"
    node.stop()
    assert list(parts.iterdir()) == []
