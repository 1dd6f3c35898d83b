"""The security camera on its real video: people counted as a person counts them, the alarm with its clip, no window.

By hand, on pictures of the line over the road (one column of each picture, side by side): 32 people cross it, 18 to the
left and 14 to the right. Two walk onto the lawn; one of them stays there for more than twenty seconds.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgewise import zoo
from edgewise._lib.clock import SystemClock
from edgewise.media import video
from edgewise.media.film import write_video
from edgewise.models.model import Model
from edgewise.node.node import Node
from edgewise.node.settings import Settings, load
from edgewise.pipeline.base import Event, Observation
from edgewise.pipeline.catalog import make_transform
from edgewise.pipeline.runner import PipelineRunner
from edgewise.pipeline.scheduler import Scheduler
from edgewise.pipeline.sources.video import VideoSettings, VideoSource
from edgewise.pipeline.transforms.motion import MotionSettings
from edgewise.testing.pipeline import FunctionTransform

pytest.importorskip("similari")
pytestmark = pytest.mark.zoo

EXAMPLE = Path(__file__).parents[2] / "examples" / "security-camera"
FPS = 10
START_NS = 1_700_000_000 * 10**9
BY_HAND = {"forward": 18, "backward": 14}
WINDOWS = slice(28, 84), slice(376, 606)  # what the example masks, a little inside its edge


class FilmTime(SystemClock):
    """A step for each time that somebody asks: the film's own time, however long its pictures take."""

    def __init__(self) -> None:
        self._time_ns = START_NS

    def time_ns(self) -> int:
        self._time_ns += 10**9 // FPS
        return self._time_ns


class Tools:
    """Lends one detector, which is asked about each picture once."""

    people: Any = None

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known: dict[int, Any] = {}
        self.asked = 0

    def model(self, name: str) -> Any:
        assert name == "nanodet"
        return self

    def predict(self, image: Any) -> Any:
        self.asked += 1
        key = hash(image.tobytes())
        if key not in self._known:
            self._known[key] = self._model.predict(image)
        return self._known[key]


@pytest.fixture(scope="module")
def tools(zoo_cache: Path) -> Iterator[Tools]:
    model = Model.open(zoo.pull("nanodet", zoo_cache))
    yield Tools(model)
    model.close()


@pytest.fixture
def scene(tmp_path: Path, film: Callable[[str], Path]) -> Path:
    """The example's folder with its video, as a reader has it."""
    folder = tmp_path / "security-camera"
    shutil.copytree(EXAMPLE, folder)
    shutil.copy(film("vtest.avi"), folder / "vtest.avi")
    return folder


def settings_of(scene: Path) -> Settings:
    return load(scene / "edgewise.yaml", environment={})


class Play:
    """Plays a film through the example's transforms, and keeps what came of it."""

    def __init__(self, settings: Settings, tools: Any, path: Path, *, gate: bool = True) -> None:
        self.events: list[Event] = []
        self.facts: dict[str, Any] = {}
        self.boxes: list[int] = []
        parts = [part for part in settings.pipelines["yard"].transforms if gate or not isinstance(part, MotionSettings)]
        self.runner = PipelineRunner(
            "yard",
            VideoSource("yard", VideoSettings(str(path), realtime=False), clock=FilmTime()),
            [*(make_transform(part, tools) for part in parts), FunctionTransform(self._keep)],
            self.events.append,
            lane=Scheduler(cores=1).lane(),
            clock=SystemClock(),
        )
        self.runner.start()
        assert self.runner.join(1100)
        self.runner.stop()
        self.state = self.runner.state()
        assert self.state.errors == 0, self.state

    def _keep(self, observation: Observation) -> Observation:
        self.facts = dict(observation.facts)
        self.boxes.append(len(observation.objects))
        return observation

    @property
    def crossings(self) -> dict[str, int]:
        found: dict[str, int] = self.facts["count"]["lines"]["road"]["person"]
        return found

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


def seconds(event: Event) -> float:
    return (event.time_ns - START_NS) / 1e9


@pytest.mark.timeout(1200)
def test_people_are_counted_as_by_hand_and_the_same_with_the_gate_as_without_it(scene: Path, tools: Tools) -> None:
    settings = settings_of(scene)
    gated = Play(settings, tools, scene / "vtest.avi")
    free = Play(settings, tools, scene / "vtest.avi", gate=False)
    assert gated.state.processed == free.state.processed == 795
    for direction, true in BY_HAND.items():
        assert abs(gated.crossings[direction] - true) <= 1
    assert sum(gated.crossings.values()) == pytest.approx(sum(free.crossings.values()), rel=0.02)
    assert sum(gated.boxes) == pytest.approx(sum(free.boxes), rel=0.02)
    assert gated.facts["track"]["total"] == pytest.approx(free.facts["track"]["total"], rel=0.02)

    entered, loitering = gated.of("zone.entered"), gated.of("object.loitering")
    assert [event.body["zone"] for event in entered] == ["lawn", "lawn"]
    assert [seconds(event) for event in entered] == pytest.approx([51.6, 53.4], abs=1)
    (one,) = loitering
    assert one.body["track"] == entered[0].body["track"], "the first one stays, the second one goes on"
    assert seconds(one) == pytest.approx(51.6 + 15, abs=1)


def still(picture: Any, *, frames: int) -> Iterator[Any]:
    """The same picture over and over, as a sensor sees it: never the same numbers."""
    rng = np.random.default_rng(5)
    for _ in range(frames):
        yield np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


def test_while_nothing_moves_the_detector_rests_and_nobody_is_lost(scene: Path, tools: Tools, tmp_path: Path) -> None:
    """Five seconds of the film, the last picture frozen for twenty, and three seconds more."""
    pictures = [picture.image for _, picture in itertools.islice(video.pictures(scene / "vtest.avi"), 80)]
    path = tmp_path / "quiet.mp4"
    write_video(path, itertools.chain(pictures[:50], still(pictures[49], frames=200), pictures[50:]), fps=FPS)
    settings = settings_of(scene)
    tools.asked = 0
    play = Play(settings, tools, path)
    counts = play.state.counts["motion"]
    assert play.state.processed == counts["passed"] + counts["spared"] == 280
    assert tools.asked == counts["passed"]
    assert counts["spared"] > 130, "of twenty seconds five are needed to see that nothing moves, then a look in ten"
    moving = Play(settings, tools, path, gate=False)
    assert play.facts["track"]["total"] == moving.facts["track"]["total"]
    assert play.crossings == moving.crossings


def excerpt(scene: Path, *, first: int, last: int) -> None:
    """Leaves only a part of the film: the node then plays it at its own pace."""
    pictures = (picture.image for _, picture in itertools.islice(video.pictures(scene / "vtest.avi"), first, last))
    path = scene / "part.avi"
    write_video(path, pictures, fps=FPS)
    path.replace(scene / "vtest.avi")


def patient(settings: Settings) -> Settings:
    """Plays once, and lets a slow test machine be late."""
    yard = settings.pipelines["yard"]
    yard = msgspec.structs.replace(yard, source=msgspec.structs.replace(yard.source, loop=False))
    rules = tuple(
        msgspec.structs.replace(rule, do=tuple(msgspec.structs.replace(do, expires_s=60.0) for do in rule.do))
        for rule in settings.rules
    )
    return msgspec.structs.replace(settings, pipelines={"yard": yard}, rules=rules)


def events_until(node: Node, kind: str) -> list[Any]:
    """The node's events up to the first of a kind."""
    newest = 0
    while True:
        records = node.journal.read("events", limit=1000)
        if any(record.kind == kind for record in records):
            return list(records)
        assert node.journal.wait("events", after=newest, timeout_s=60) > newest, [record.kind for record in records]
        newest = records[-1].sequence if records else 0


def test_an_intruder_raises_the_alarm_and_the_clip_shows_no_window(
    scene: Path, zoo_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole node on eight seconds of the film, in which somebody walks onto the lawn."""
    monkeypatch.setenv("EDGEWISE_CACHE", str(zoo_cache))
    excerpt(scene, first=490, last=570)
    node = Node(patient(settings_of(scene)))
    try:
        node.start()
        assert node.pipeline("yard").join(120)
        records = events_until(node, "clip.recorded")
        siren, light = node.devices.get("siren").state, node.devices.get("floodlight").state
        (entered, *_) = [record for record in records if record.kind == "zone.entered"]
        (clip,) = [record for record in records if record.kind == "clip.recorded"]
        assert entered.body["clip"] == clip.body["clip"]
        assert siren["state"] == "raised"
        assert siren["reason"] == f"somebody is on the lawn, clip {clip.body['clip']}"
        assert light["state"] == "on"
        digests = [*entered.blobs, *clip.blobs]
        files = [scene / f"blob-{number}" for number in range(len(digests))]
        for file, digest in zip(files, digests, strict=True):
            file.write_bytes(node.blobs.get(digest))
    finally:
        node.stop()
    shown = list(seen(files))
    assert len(shown) > 20, "a snapshot, and a clip of several seconds"
    for image in shown:
        assert image[WINDOWS].mean() < 12
        assert image.mean() > 60


def seen(files: list[Path]) -> Iterator[Any]:
    """Every picture of snapshots and clips."""
    from edgewise.errors import DecodeError
    from edgewise.media import images

    for file in files:
        try:
            yield images.decode(file.read_bytes())
        except DecodeError:
            yield from (picture.image for _, picture in video.pictures(file))
