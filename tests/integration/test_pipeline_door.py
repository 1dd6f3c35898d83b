"""The door, whole, on real photographs in motion: who is known is let in, who is not raises the alarm.

The pictures: two portraits of Barack Obama are enrolled and a third one comes to the door; Eileen Collins is enrolled
from a portrait and comes as its mirror image; Joe Biden is the stranger.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgewise import zoo
from edgewise._lib.clock import SystemClock
from edgewise.errors import DecodeError, InputError, NotFoundError
from edgewise.media import images
from edgewise.media.film import approach, pause, write_video
from edgewise.models.model import Model
from edgewise.node.demos import door as demo
from edgewise.people.enrol import Enrolment
from edgewise.people.store import PeopleStore
from edgewise.pipeline.base import Event, Source
from edgewise.pipeline.catalog import make_transform
from edgewise.pipeline.devices import Devices
from edgewise.pipeline.kinds import AlarmSettings, LightSettings, LockSettings, ThermostatSettings
from edgewise.pipeline.rules import Decision, Do, RuleEngine, RuleSettings, Situation
from edgewise.pipeline.runner import Phase, PipelineRunner
from edgewise.pipeline.scheduler import Scheduler
from edgewise.pipeline.sinks.virtual import VirtualDevice
from edgewise.pipeline.sources.folder import FolderSettings, FolderSource
from edgewise.pipeline.sources.upload import UploadSettings, UploadSource
from edgewise.pipeline.sources.video import VideoSettings, VideoSource
from edgewise.pipeline.transforms.presence import PresenceSettings
from edgewise.pipeline.transforms.recognise import RecogniseSettings
from edgewise.testing.pipeline import PATIENCE_S
from edgewise.zoo.sources import Sources

if TYPE_CHECKING:
    from edgewise.types import Image

pytestmark = pytest.mark.zoo

CLOCK = SystemClock()
ASTRONAUT = Path(__file__).parent.parent / "data" / "astronaut.jpg"
RULES = [
    RuleSettings("open", "face.known", (Do("door", "unlock", expires_s=60),), cooldown_s=5),
    RuleSettings(
        "light",
        "face.known",
        (Do("hall", "turn_on", {"brightness": "=person.preferences.brightness"}, expires_s=60),),
        when="has(person.preferences.brightness)",
    ),
    RuleSettings(
        "warmth",
        "face.known",
        (Do("heating", "set_temperature", {"temperature_c": "=person.preferences.temperature_c"}, expires_s=60),),
        when="has(person.preferences.temperature_c)",
    ),
    RuleSettings(
        "alarm",
        "face.unknown",
        (Do("siren", "raise", {"reason": "='a stranger at the ' + event.source"}, expires_s=60),),
    ),
]


class FilmTime(SystemClock):
    """Ten frames a second, however long they take on a busy machine."""

    def __init__(self) -> None:
        self._time_ns = CLOCK.time_ns()

    def time_ns(self) -> int:
        self._time_ns += 100_000_000
        return self._time_ns


class Album:
    """The photographs, by file name."""

    def __init__(self, folder: Path) -> None:
        sources = Sources(folder)
        files = (*demo.ENROLLED, demo.KNOWN, demo.STRANGER)
        self._paths = {file.name: sources.obtain(file) for file in files}

    def data(self, name: str) -> bytes:
        return self._paths[name].read_bytes()

    def image(self, name: str) -> Image:
        return images.read(self._paths[name])


@pytest.fixture(scope="module")
def album(zoo_cache: Path) -> Album:
    folder = zoo_cache.parent / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    return Album(folder)


@pytest.fixture(scope="module")
def models(zoo_cache: Path) -> Iterator[dict[str, Model]]:
    opened = {name: Model.open(zoo.pull(name, zoo_cache)) for name in ("yunet", "mobilefacenet")}
    yield opened
    for model in opened.values():
        model.close()


class Door:
    """Everything behind the door but the node: people, rules, devices, and what happened."""

    def __init__(self, models: dict[str, Model], folder: Path) -> None:
        self._models = models
        self.people = PeopleStore(folder, clock=CLOCK)
        self.enrolment = Enrolment(models["yunet"], models["mobilefacenet"], self.people)
        self.devices = Devices(
            [
                VirtualDevice("door", LockSettings(relock_s=0)),
                VirtualDevice("hall", LightSettings()),
                VirtualDevice("heating", ThermostatSettings()),
                VirtualDevice("siren", AlarmSettings()),
            ],
            clock=CLOCK,
        )
        self.events: list[Event] = []
        self.decisions: list[Decision] = []
        self.snapshots: dict[str, bytes] = {}
        self._rules = RuleEngine(RULES)

    def model(self, name: str) -> Model:
        return self._models[name]

    def run(self, source: Source, presence: PresenceSettings | None = None) -> PipelineRunner:
        settings = (RecogniseSettings(), presence or PresenceSettings())
        runner = PipelineRunner(
            "porch",
            source,
            [make_transform(transform, self) for transform in settings],
            self._take,
            lane=Scheduler(cores=1).lane(),
            clock=CLOCK,
            store=self._store,
        )
        runner.start()
        return runner

    def play(self, source: Source, presence: PresenceSettings | None = None) -> PipelineRunner:
        runner = self.run(source, presence)
        assert runner.join(60)
        runner.stop()
        assert runner.state().errors == 0, runner.state()
        return runner

    def _store(self, jpeg: bytes) -> str:
        self.snapshots[f"snapshot-{len(self.snapshots)}"] = jpeg
        return f"snapshot-{len(self.snapshots) - 1}"

    def _take(self, event: Event) -> None:
        name = event.body.get("name")
        person = {"name": name, "preferences": self.people.get(name).preferences} if name else None
        situation = Situation(CLOCK.time_ns(), person=lambda _: person, devices=self.devices.states)
        decision = self._rules.decide(event, situation)
        assert decision.faults == ()
        for action in decision.actions:
            self.devices.perform(action)
        self.events.append(event)
        self.decisions.append(decision)

    def seen(self) -> list[tuple[str, str]]:
        return [(event.kind, event.body.get("name", "")) for event in self.events]


@pytest.fixture
def door(models: dict[str, Model], album: Album, tmp_path: Path) -> Iterator[Door]:
    door = Door(models, tmp_path / "people")
    photos = [album.data(file.name) for file in demo.ENROLLED]
    door.enrolment.enrol("Barack", photos, preferences={"brightness": 60, "temperature_c": 21.5})
    door.enrolment.enrol("Eileen", [ASTRONAUT.read_bytes()], preferences={"brightness": 25})
    yield door
    door.people.close()


def film(folder: Path, *visits: Image) -> str:
    path = folder / "visits.mp4"
    scenes = ([*pause(frames=6), *approach(visit, frames=14, start=0.8)] for visit in visits)
    write_video(path, itertools.chain.from_iterable(scenes))
    return str(path)


def mirrored(path: Path) -> Image:
    return np.ascontiguousarray(images.read(path)[:, ::-1])


def test_known_people_are_let_in_as_they_like_it_and_a_stranger_raises_the_alarm(
    door: Door, album: Album, tmp_path: Path
) -> None:
    path = film(tmp_path, album.image(demo.KNOWN.name), mirrored(ASTRONAUT), album.image(demo.STRANGER.name))
    runner = door.play(VideoSource("porch", VideoSettings(path, realtime=False), clock=FilmTime()))
    assert door.seen() == [("face.known", "Barack"), ("face.known", "Eileen"), ("face.unknown", "")]
    assert (runner.state().phase, runner.state().processed) == (Phase.STOPPED, 60)
    states = door.devices.states()
    assert states["door"]["state"] == "unlocked"
    assert (states["hall"]["state"], states["hall"]["brightness"]) == ("on", 25)
    assert states["heating"]["temperature_c"] == 21.5
    assert (states["siren"]["state"], states["siren"]["reason"]) == ("raised", "a stranger at the porch")
    commands = [[action.command for action in decision.actions] for decision in door.decisions]
    assert commands == [["unlock", "turn_on", "set_temperature"], ["unlock", "turn_on"], ["raise"]]


def test_the_alarm_carries_a_snapshot_in_which_the_strangers_face_can_be_found(
    door: Door, album: Album, models: dict[str, Model], tmp_path: Path
) -> None:
    path = film(tmp_path, album.image(demo.STRANGER.name))
    door.play(VideoSource("porch", VideoSettings(path, realtime=False), clock=FilmTime()))
    (event,) = door.events
    (face,) = models["yunet"].predict(door.snapshots[event.blobs[0]]).result.objects
    told = event.body["box"]
    assert [face.box.x1, face.box.y1, face.box.x2, face.box.y2] == pytest.approx(told, abs=4)


def test_single_photographs_from_a_folder_suffice_when_the_settings_say_so(
    door: Door, album: Album, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, file in enumerate((demo.STRANGER, demo.KNOWN)):
        (folder / f"{index}.jpg").write_bytes(album.data(file.name))
    once = PresenceSettings(needed=1, unknown_needed=1)
    door.play(FolderSource("porch", FolderSettings(str(folder)), clock=CLOCK), once)
    assert door.seen() == [("face.unknown", ""), ("face.known", "Barack")]


def test_pushed_pictures_open_the_door_and_the_live_view_shows_who_it_is(door: Door, album: Album) -> None:
    source = UploadSource("porch", UploadSettings(), clock=FilmTime())
    runner = door.run(source)
    try:
        for number in range(1, 4):
            source.push(album.image(demo.KNOWN.name))
            shown = runner.wait_next(number - 1, timeout_s=PATIENCE_S)
            assert shown is not None
            assert [face.name for face in shown.objects] == ["Barack"]
            assert images.decode(runner.pictures.drawn(shown)).shape == shown.frame.image.shape
    finally:
        runner.stop()
    assert door.seen() == [("face.known", "Barack")]
    assert door.devices.get("door").state["state"] == "unlocked"


def test_who_was_forgotten_is_a_stranger_at_once(door: Door, album: Album, tmp_path: Path) -> None:
    door.people.remove("Barack")
    path = film(tmp_path, album.image(demo.KNOWN.name))
    door.play(VideoSource("porch", VideoSettings(path, realtime=False), clock=FilmTime()))
    assert door.seen() == [("face.unknown", "")]
    assert door.devices.get("door").state["state"] == "locked"


def test_two_people_at_once_are_told_apart(door: Door, album: Album, tmp_path: Path) -> None:
    def framed(image: Image) -> Image:
        (frame,) = approach(image, frames=1, width=480, height=640, start=0.95)
        return frame

    pair = np.hstack([framed(album.image(demo.KNOWN.name)), framed(album.image(demo.STRANGER.name))])
    path = film(tmp_path, pair)
    door.play(VideoSource("porch", VideoSettings(path, realtime=False), clock=FilmTime()))
    assert sorted(door.seen()) == [("face.known", "Barack"), ("face.unknown", "")]


def as_jpeg(image: Image) -> bytes:
    return images.encode_jpeg(image)


def test_a_photo_without_exactly_one_large_face_is_refused_and_nothing_is_kept(door: Door, album: Album) -> None:
    good = album.data(demo.STRANGER.name)
    astronaut = images.read(ASTRONAUT)
    small = next(approach(astronaut, frames=1, start=0.4))
    wrong: dict[str, Any] = {
        "no_face": as_jpeg(next(pause(frames=1))),
        "several_faces": as_jpeg(np.hstack([astronaut, astronaut])),
        "small_face": as_jpeg(small),
    }
    for reason, photo in wrong.items():
        with pytest.raises(InputError) as caught:
            door.enrolment.enrol("Joe", [good, good, photo, good])
        assert caught.value.facts["reason"] == reason
        assert caught.value.facts["photo"] == 3
        assert caught.value.hint
    with pytest.raises(DecodeError):
        door.enrolment.enrol("Joe", [good, b"no picture"])
    with pytest.raises(NotFoundError):
        door.people.get("Joe")


def test_an_enrolled_person_has_a_small_picture_of_the_face(door: Door, models: dict[str, Model]) -> None:
    picture = images.decode(door.people.photo("Eileen"))
    assert max(picture.shape) == 192
    (face,) = models["yunet"].predict(picture).result.objects
    assert face.box.height > 80


def test_more_photos_make_the_same_person_surer(door: Door, album: Album) -> None:
    person = door.enrolment.enrol("Barack", [album.data(demo.KNOWN.name)])
    assert (person.photos, person.preferences) == (3, {"brightness": 60, "temperature_c": 21.5})
