"""Every source keeps the contract of the seam."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import paho.mqtt.publish as publish
import pytest
from pymodbus.simulator import DataType, SimData, SimDevice

from edgewise._lib.clock import Clock, SystemClock
from edgewise.errors import (
    BusyError,
    ClosedError,
    DecodeError,
    NotFoundError,
    SettingsError,
    TooLargeError,
    UnavailableError,
)
from edgewise.media import images
from edgewise.media.film import write_video
from edgewise.pipeline import catalog
from edgewise.pipeline.base import Accepting, Measured, Pushable, Source
from edgewise.pipeline.external import ExternalSettings
from edgewise.pipeline.sinks.mqtt import MqttSettings
from edgewise.pipeline.sources.below import BelowSettings, BelowSource
from edgewise.pipeline.sources.camera import CameraSettings, CameraSource
from edgewise.pipeline.sources.folder import FolderSettings, FolderSource
from edgewise.pipeline.sources.modbus import ModbusSettings, ModbusSource, RegisterSettings
from edgewise.pipeline.sources.mqtt import MqttSource, MqttSourceSettings
from edgewise.pipeline.sources.opcua import OpcUaSettings, OpcUaSource
from edgewise.pipeline.sources.readings import ReadingsSettings, ReadingsSource
from edgewise.pipeline.sources.replay import ReplaySettings, ReplaySource
from edgewise.pipeline.sources.rtsp import RtspSettings, RtspSource
from edgewise.pipeline.sources.serial import CsvLines, JsonLines, SerialSettings, SerialSource
from edgewise.pipeline.sources.upload import UploadSettings, UploadSource
from edgewise.pipeline.sources.video import VideoSettings, VideoSource
from edgewise.testing.broker import Mosquitto, free_port
from edgewise.testing.industry import ModbusServer, OpcUaServer
from edgewise.testing.line import SerialLine
from edgewise.testing.pipeline import (
    NAME,
    PATIENCE_S,
    BoundedSourceContract,
    ConnectedSourceContract,
    ScriptedSource,
    SourceContract,
    WaitingSourceContract,
    picture,
)
from edgewise.testing.rtsp import RtspServer

CLOCK = SystemClock()
GREYS = (0, 60, 120, 180, 240)


def film(folder: Path, *, fps: int = 10) -> str:
    path = folder / "film.mp4"
    write_video(path, (picture(grey) for grey in GREYS), fps=fps)
    return str(path)


def album(folder: Path, greys: tuple[int, ...] = GREYS) -> str:
    for index, grey in enumerate(greys):
        (folder / f"{index:02}.png").write_bytes(images.encode_png(picture(grey)))
    return str(folder)


def greys_of(source: Source) -> list[int]:
    return [round(float(frame.image.mean()) / 60) * 60 for frame in source.read()]


class TestVideoAtItsOwnPace(SourceContract):
    def make(self, tmp_path: Path, clock: Clock) -> Source:
        return VideoSource(NAME, VideoSettings(film(tmp_path), loop=True), clock=clock)

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source:
        return VideoSource(NAME, VideoSettings("/none/film.mp4"), clock=clock)


class TestVideoAsFastAsItIsTaken(TestVideoAtItsOwnPace):
    def make(self, tmp_path: Path, clock: Clock) -> Source:
        return VideoSource(NAME, VideoSettings(film(tmp_path), loop=True, realtime=False), clock=clock)


class TestFolder(SourceContract):
    def make(self, tmp_path: Path, clock: Clock) -> Source:
        return FolderSource(NAME, FolderSettings(album(tmp_path), loop=True, interval_s=0.01), clock=clock)

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source:
        return FolderSource(NAME, FolderSettings("/none"), clock=clock)


class TestWatchedFolder(TestFolder):
    def make(self, tmp_path: Path, clock: Clock) -> Source:
        return FolderSource(NAME, FolderSettings(album(tmp_path), watch=True), clock=clock)


class TestUpload(BoundedSourceContract):
    def make(self, tmp_path: Path, clock: Clock) -> Source:
        self.source = UploadSource(NAME, UploadSettings(), clock=clock)
        for grey in GREYS[:3]:
            self.source.push(picture(grey))
        return self.source

    def flood(self) -> None:
        for grey in GREYS:
            self.source.push(picture(grey))

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source | None:
        return None


def table(folder: Path) -> str:
    path = folder / "table.csv"
    path.write_text("time,temperature\n" + "".join(f"{1_700_000_000 + second},{second}\n" for second in range(99)))
    return str(path)


class StubbornCapture:
    """A camera of OpenCV: gives pictures as they are asked for, and blocks when it is told to."""

    def __init__(self) -> None:
        self.blocked = threading.Event()
        self.alive = True
        self.given = 0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, wish: int, value: float) -> bool:
        return True

    def read(self) -> tuple[bool, object]:
        if self.blocked.is_set():
            time.sleep(5)
        self.given += self.alive
        return self.alive, picture(min(self.given, 255))

    def release(self) -> None: ...


class TestCamera(ConnectedSourceContract):
    @pytest.fixture(autouse=True)
    def plugged(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.capture = StubbornCapture()
        monkeypatch.setattr("cv2.VideoCapture", lambda *_: self.capture)

    def make(self, tmp_path: Path, clock: Clock) -> Source:
        self.source = CameraSource(NAME, CameraSettings("/dev/null"), clock=clock)
        return self.source

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source:
        return CameraSource(NAME, CameraSettings("/dev/video97"), clock=clock)

    def hush(self) -> None:
        self.capture.blocked.set()

    def flood(self) -> None:
        while self.source.dropped < 3:
            time.sleep(0.01)

    def cut(self) -> None:
        self.capture.alive = False

    def mend(self) -> None:
        self.capture.alive = True


class TestReplay(SourceContract):
    def make(self, tmp_path: Path, clock: Clock) -> Source:
        return ReplaySource(NAME, ReplaySettings(table(tmp_path), speed=100), clock=clock)

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source:
        return ReplaySource(NAME, ReplaySettings("/none/table.csv"), clock=clock)


class TestReadings(WaitingSourceContract):
    def make(self, tmp_path: Path, clock: Clock) -> Source:
        source = ReadingsSource(NAME, ReadingsSettings(), clock=clock)
        source.accept([Measured({"temperature": degrees}) for degrees in (20.5, 21.0, None)])
        return source

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source | None:
        return None


class TestBelow(TestReadings):
    def make(self, tmp_path: Path, clock: Clock) -> Source:
        source = BelowSource(NAME, BelowSettings(), clock=clock)
        source.accept([Measured({"door.boiler.t": degrees}) for degrees in (20.5, 21.0, None)])
        return source


@pytest.mark.broker
class TestMqtt(ConnectedSourceContract):
    @pytest.fixture(autouse=True)
    def broker(self, tmp_path: Path) -> Iterator[None]:
        with Mosquitto(tmp_path) as self.server:
            yield

    def make(self, tmp_path: Path, clock: Clock) -> Source:
        settings = MqttSourceSettings(
            ("house/+",), MqttSettings("127.0.0.1", self.server.port), retained=True, queue=3, qos=0
        )
        for room in ("hall", "kitchen", "attic"):
            self.publish(room, retain=True)
        return MqttSource(NAME, settings, clock=clock)

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source:
        settings = MqttSourceSettings(("house/+",), MqttSettings("127.0.0.1", free_port()))
        return MqttSource(NAME, settings, clock=clock)

    def publish(self, room: str, *, retain: bool = False) -> None:
        publish.single(f"house/{room}", b"21.5", qos=1, retain=retain, port=self.server.port)

    def flood(self) -> None:
        for number in range(20):
            self.publish(f"room{number}")

    def cut(self) -> None:
        self.server.stop()

    def mend(self) -> None:
        self.server.start()
        self.publish("hall", retain=True)


class TestModbus(ConnectedSourceContract):
    @pytest.fixture(autouse=True)
    def device(self) -> Iterator[None]:
        with ModbusServer(SimDevice(1, simdata=[SimData(0, values=[7], datatype=DataType.REGISTERS)])) as self.server:
            yield

    def make(self, tmp_path: Path, clock: Clock) -> Source:
        settings = ModbusSettings("127.0.0.1", {"a": RegisterSettings(0)}, self.server.port, interval_s=0.05)
        return ModbusSource(NAME, settings, clock=clock)

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source:
        return ModbusSource(NAME, ModbusSettings("127.0.0.1", {"a": RegisterSettings(0)}, free_port()), clock=clock)

    def hush(self) -> None:
        self.server.hush()

    def flood(self) -> None:
        self.server.wait_asked(len(self.server.asked) + 12)

    def cut(self) -> None:
        self.server.stop()

    def mend(self) -> None:
        self.server.start()


@pytest.fixture(scope="module")
def plant() -> Iterator[OpcUaServer]:
    """A server of variables, which takes seconds to start."""
    with OpcUaServer(dict.fromkeys("abc", 1.0)) as server:
        yield server


class TestOpcUa(ConnectedSourceContract):
    @pytest.fixture(autouse=True)
    def running(self, plant: OpcUaServer) -> Iterator[None]:
        self.server = plant
        yield
        plant.answer()

    def make(self, tmp_path: Path, clock: Clock) -> Source:
        nodes = {name: f"ns=2;s={name}" for name in "abc"}
        settings = OpcUaSettings(self.server.url, nodes, interval_s=0.05, queue=3)
        self.source = OpcUaSource(NAME, settings, clock=clock)
        return self.source

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source:
        settings = OpcUaSettings(f"opc.tcp://127.0.0.1:{free_port()}/", {"a": "ns=2;s=a"})
        return OpcUaSource(NAME, settings, clock=clock)

    def hush(self) -> None:
        self.server.hush()

    def flood(self) -> None:
        step = 0.0
        while not self.source.dropped:
            step += 1
            self.server.write("a", step)

    def cut(self) -> None:
        self.server.stop()

    def mend(self) -> None:
        self.server.start()


class TestSerial(ConnectedSourceContract):
    @pytest.fixture(autouse=True)
    def plugged(self) -> Iterator[None]:
        with SerialLine(f"/dev/shm/edgewise-{uuid.uuid4().hex}") as self.line:
            yield

    def settings(self, device: str) -> SerialSettings:
        return SerialSettings(device, CsvLines(("weight",)), queue=3)

    def make(self, tmp_path: Path, clock: Clock) -> Source:
        self.source = SerialSource(NAME, self.settings(self.line.device), clock=clock)
        self.line.talk(b"1")
        return self.source

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source:
        return SerialSource(NAME, self.settings("/dev/none"), clock=clock)

    def hush(self) -> None:
        self.line.hush()

    def flood(self) -> None:
        while not self.source.dropped:
            time.sleep(0.01)

    def cut(self) -> None:
        self.line.stop()

    def mend(self) -> None:
        self.line.start()
        self.line.talk(b"8")


class TestRtsp(ConnectedSourceContract):
    @pytest.fixture(autouse=True)
    def camera(self) -> Iterator[None]:
        with RtspServer() as self.server:
            yield

    def make(self, tmp_path: Path, clock: Clock) -> Source:
        return RtspSource(NAME, RtspSettings(self.server.url), clock=clock)

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source:
        return RtspSource(NAME, RtspSettings(f"rtsp://127.0.0.1:{free_port()}/camera"), clock=clock)

    def hush(self) -> None:
        self.server.freeze()

    def flood(self) -> None:
        self.server.wait_newest(self.server.newest() + 30)

    def cut(self) -> None:
        self.server.stop()

    def mend(self) -> None:
        self.server.start()


class TestScripted(SourceContract):
    def make(self, tmp_path: Path, clock: Clock) -> Source:
        return ScriptedSource([picture(grey) for grey in GREYS], clock=clock, hold=True)

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source:
        return ScriptedSource([UnavailableError("not there", hint="plug it in")], clock=clock)


def test_a_video_gives_every_frame_once_and_ends(tmp_path: Path) -> None:
    source = VideoSource(NAME, VideoSettings(film(tmp_path), realtime=False), clock=CLOCK)
    assert greys_of(source) == list(GREYS)


def test_a_video_at_its_own_pace_takes_its_time(tmp_path: Path) -> None:
    source = VideoSource(NAME, VideoSettings(film(tmp_path, fps=20)), clock=CLOCK)
    started = time.monotonic()
    assert len(list(source.read())) == len(GREYS)
    assert time.monotonic() - started >= 0.19


def test_a_file_that_is_no_video_is_told(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"this is no video" * 100)
    with pytest.raises(DecodeError):
        list(VideoSource(NAME, VideoSettings(str(path)), clock=CLOCK).read())


def test_a_folder_gives_its_pictures_in_the_order_of_their_names_and_counts_what_is_none(tmp_path: Path) -> None:
    album(tmp_path)
    (tmp_path / "02.png").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("no picture")
    source = FolderSource(NAME, FolderSettings(str(tmp_path)), clock=CLOCK)
    assert greys_of(source) == [0, 60, 180, 240]
    assert source.unreadable == 1


@pytest.mark.parametrize("loop", [False, True])
def test_a_folder_without_pictures_is_told_instead_of_turning_for_ever(tmp_path: Path, loop: bool) -> None:
    with pytest.raises(NotFoundError, match="No picture in"):
        list(FolderSource(NAME, FolderSettings(str(tmp_path), loop=loop), clock=CLOCK).read())


def test_a_watched_folder_gives_what_appears_later(tmp_path: Path) -> None:
    album(tmp_path, GREYS[:1])
    source = FolderSource(NAME, FolderSettings(str(tmp_path), watch=True), clock=CLOCK)
    frames = source.read()
    next(frames)
    (tmp_path / "late.png").write_bytes(images.encode_png(picture(240)))
    assert next(frames).image.mean() == 240
    source.close()
    assert list(frames) == []


def test_a_watched_file_is_taken_once_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = images.encode_png(picture(240))
    path = tmp_path / "slow.png"
    path.write_bytes(whole[:40])
    between_looks = iter([lambda: path.write_bytes(whole), lambda: None])
    source = FolderSource(NAME, FolderSettings(str(tmp_path), watch=True), clock=CLOCK)
    monkeypatch.setattr(source._closed, "wait", lambda timeout: next(between_looks)() and False)
    assert next(source.read()).image.mean() == 240
    assert source.unreadable == 0


def test_watching_and_looping_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        FolderSettings("/tmp", watch=True, loop=True)


def test_of_pushed_pictures_the_newest_win() -> None:
    source = UploadSource(NAME, UploadSettings(queue=2), clock=CLOCK)
    assert isinstance(source, Pushable)
    assert [source.push(picture(grey)) for grey in GREYS] == [1, 2, 3, 4, 5]
    frames = source.read()
    assert [next(frames).number, next(frames).number] == [4, 5]
    assert source.dropped == 3


def test_pushed_readings_are_taken_all_or_none_and_never_dropped_for_newer_ones() -> None:
    source = ReadingsSource(NAME, ReadingsSettings(queue=3), clock=CLOCK)
    assert isinstance(source, Accepting)
    assert source.accept([Measured({"a": 1}, 7), Measured({"a": 2}, 5)]) == 2
    with pytest.raises(BusyError) as busy:
        source.accept([Measured({"a": 3}), Measured({"a": 4})])
    with pytest.raises(TooLargeError) as large:
        source.accept([Measured({"a": 3})] * 4)
    assert busy.value.hint
    assert large.value.hint
    assert source.accept([Measured({"a": 5}, 9)]) == 3
    readings = source.read()
    taken = [next(readings) for _ in range(3)]
    assert [(reading.number, reading.time_ns, reading.values["a"]) for reading in taken] == [
        (1, 7, 1),
        (2, 5, 2),
        (3, 9, 5),
    ]
    assert source.dropped == 0
    source.close()
    with pytest.raises(ClosedError):
        source.accept([Measured({"a": 6})])


def test_pushing_to_a_closed_source_is_told() -> None:
    source = UploadSource(NAME, UploadSettings(), clock=CLOCK)
    source.close()
    with pytest.raises(ClosedError):
        source.push(picture())


def test_a_reader_waits_for_the_first_pushed_picture() -> None:
    source = UploadSource(NAME, UploadSettings(), clock=CLOCK)
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(next(source.read()).number))
    thread.start()
    source.push(picture())
    thread.join(PATIENCE_S)
    assert got == [1]


@pytest.mark.parametrize(
    ("device", "says"), [("/dev/video97", "There is no camera"), ("/dev/null", "cannot be opened")]
)
def test_a_camera_that_is_not_there_or_is_none_is_unavailable_with_a_hint(device: str, says: str) -> None:
    source = CameraSource(NAME, CameraSettings(device), clock=CLOCK)
    with pytest.raises(UnavailableError, match=says) as caught:
        next(source.read())
    assert caught.value.hint
    assert caught.value.facts == {"device": device}


def test_every_kind_of_the_catalogue_can_be_made(tmp_path: Path) -> None:
    every = (
        VideoSettings("x"),
        FolderSettings("x"),
        CameraSettings(),
        UploadSettings(),
        RtspSettings("rtsp://x"),
        ReadingsSettings(),
        ReplaySettings("x"),
        ModbusSettings("x", {"a": RegisterSettings(0)}),
        OpcUaSettings("opc.tcp://x", {"a": "i=1"}),
        SerialSettings("/dev/x", JsonLines()),
        MqttSourceSettings(("house/#",)),
    )
    for settings in every:
        source = catalog.make_source(NAME, settings, clock=CLOCK)
        assert source.name == NAME
        source.close()


def test_a_source_from_outside_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("grey", "edgewise.pipeline.sources.upload:UploadSource", "edgewise.sources")
    monkeypatch.setattr(catalog, "entry_points", lambda group: [point] if group == "edgewise.sources" else [])
    source = catalog.make_source(NAME, ExternalSettings("grey", {"queue": 7}), clock=CLOCK)
    assert isinstance(source, UploadSource)
    with pytest.raises(SettingsError, match="Options of 'grey'"):
        catalog.make_source(NAME, ExternalSettings("grey", {"queue": 0}), clock=CLOCK)
    with pytest.raises(NotFoundError) as caught:
        catalog.make_source(NAME, ExternalSettings("gray"), clock=CLOCK)
    assert caught.value.hint == "Did you mean 'grey'?"


def test_pictures_of_a_source_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 255
    (tmp_path / "red.png").write_bytes(images.encode_png(red))
    (frame,) = FolderSource(NAME, FolderSettings(str(tmp_path)), clock=CLOCK).read()
    assert frame.image[0, 0].tolist() == [255, 0, 0]
