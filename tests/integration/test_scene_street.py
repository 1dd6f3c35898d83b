"""The street on its real film: who passes is counted, and the counts of each interval are readings.

By hand: in the first five seconds a man on a bicycle passes the middle of the picture to the right, in the other five a
man on foot; a white car drives to the right in the lane on the left. Scenes change five times: nothing may be counted
because an object of one scene lies beside one of the next.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edgewise._lib.clock import Clock, SystemClock
from edgewise.node.node import Node
from edgewise.node.settings import Settings, load
from edgewise.pipeline.sources.video import VideoSettings, VideoSource
from edgewise.pipeline.transforms.count import CountSettings

pytest.importorskip("similari")
pytestmark = pytest.mark.zoo

EXAMPLE = Path(__file__).parents[2] / "examples" / "street"
START_NS = 1_700_000_000 * 10**9
FPS = 25


@pytest.fixture
def settings(tmp_path: Path, film: Callable[[str], Path]) -> Settings:
    """The example's, played once and as fast as it goes, with a reading for each five seconds."""
    folder = tmp_path / "street"
    shutil.copytree(EXAMPLE, folder)
    shutil.copy(film("bikes.mp4"), folder / "bikes.mp4")
    settings = load(folder / "edgewise.yaml", environment={})
    street = settings.pipelines["street"]
    parts = tuple(
        msgspec.structs.replace(part, every_s=5) if isinstance(part, CountSettings) else part
        for part in street.transforms
    )
    source = msgspec.structs.replace(street.source, loop=False, realtime=False)
    return msgspec.structs.replace(
        settings, pipelines={"street": msgspec.structs.replace(street, source=source, transforms=parts)}
    )


class FilmTime(SystemClock):
    """For the source alone: a picture's time is its place in the film."""

    def __init__(self) -> None:
        self._taken = 0

    def time_ns(self) -> int:
        self._taken += 1
        return START_NS + self._taken * 10**9 // FPS


class FilmSource(VideoSource):
    """The real source, by the film's clock."""

    def __init__(self, name: str, settings: VideoSettings, *, clock: Clock) -> None:
        super().__init__(name, settings, clock=FilmTime())


def test_who_passes_is_counted_and_charted(
    settings: Settings, zoo_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWISE_CACHE", str(zoo_cache))
    node = Node(settings)
    try:
        monkeypatch.setattr("edgewise.pipeline.sources.video.VideoSource", FilmSource)
        node.start()
        runner = node.pipeline("street")
        assert runner.join(120)
        state, observation = runner.state(), runner.observation()
        readings = node.journal.read("readings", limit=100)
        events = node.journal.read("events", limit=100)
    finally:
        node.stop()
    assert (state.processed, state.errors) == (250, 0)
    assert observation is not None
    lines = observation.facts["count"]["lines"]
    assert lines["pavement"]["person"] == {"forward": 2, "backward": 0}
    assert lines["lane"]["car"] == {"forward": 1, "backward": 0}
    counted = {(line, label) for line, labels in lines.items() for label in labels if any(labels[label].values())}
    assert counted == {("pavement", "person"), ("lane", "car")}
    assert [record.body["values"]["pavement.person.forward"] for record in readings] == [1, 1]
    assert [record.body["values"]["lane.car.forward"] for record in readings] == [0, 1]
    assert [record.body["values"]["pavement.bus.forward"] for record in readings] == [0, 0]
    crossed = [(event.body["line"], event.body["label"], event.body["direction"]) for event in events]
    assert crossed == [
        ("pavement", "person", "forward"),
        ("lane", "car", "forward"),
        ("pavement", "person", "forward"),
    ]
    assert all(event.blobs for event in events)
