"""Recording a network camera: what came over the network is in the clip, picture by picture."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from edgewise._lib.clock import SystemClock
from edgewise.media.packets import Packet
from edgewise.pipeline.base import Event
from edgewise.pipeline.recorder import Recorder
from edgewise.pipeline.recording import Clip, RecordSettings
from edgewise.pipeline.runner import PipelineRunner
from edgewise.pipeline.scheduler import Scheduler
from edgewise.pipeline.sources.rtsp import RtspSettings, RtspSource
from edgewise.testing.rtsp import RtspServer, number_of

PATIENCE_S = 30
CLOCK = SystemClock()


class Yard:
    """A camera that is watched and recorded."""

    def __init__(self, url: str, folder: Path) -> None:
        self.sent: list[Packet] = []
        self.clips: list[Clip] = []
        self._told = threading.Condition()
        scheduler = Scheduler(cores=1)
        settings = RecordSettings(before_s=1.0, after_s=1.5)
        self.recorder = Recorder("yard", settings, folder, self._take, clock=CLOCK, lane=scheduler.lane())
        source = RtspSource("yard", RtspSettings(url, frozen_s=2.0), clock=CLOCK)
        source.tap(self._tap)
        self.runner = PipelineRunner(
            "yard", source, [], lambda _: None, lane=scheduler.lane(), clock=CLOCK, on_frame=self.recorder.frame
        )
        self.recorder.start()
        self.runner.start()

    def _tap(self, packet: Packet) -> None:
        self.sent.append(packet)
        self.recorder.packet(packet)

    def _take(self, clip: Clip) -> None:
        with self._told:
            self.clips.append(clip)
            self._told.notify_all()

    def sees(self, number: int) -> None:
        assert self.runner.wait_next(number, timeout_s=PATIENCE_S)

    def happens(self) -> str:
        return self.recorder.trigger(Event("person.entered", "yard", CLOCK.time_ns(), {}))

    def clip(self) -> Clip:
        with self._told:
            assert self._told.wait_for(lambda: self.clips, PATIENCE_S)
        return self.clips[0]

    def stop(self) -> None:
        self.runner.stop()
        self.recorder.stop()


@pytest.fixture
def camera() -> Iterator[RtspServer]:
    with RtspServer() as server:
        yield server


@pytest.fixture
def yard(camera: RtspServer, tmp_path: Path) -> Iterator[Yard]:
    made = Yard(camera.url, tmp_path)
    yield made
    made.stop()


def numbers(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [number_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def test_a_network_cameras_own_pictures_are_kept_from_before_the_event_to_after_it(yard: Yard) -> None:
    yard.sees(50)
    yard.happens()
    clip = yard.clip()
    assert clip.path is not None
    assert (clip.copied, clip.codec, clip.cut) == (True, "h264", "")
    shown = numbers(clip.path)
    assert shown == list(range(shown[0], shown[-1] + 1))  # 25 a second, none is missing
    assert 2.3 <= clip.duration_s <= 3.2
    assert len(shown) == pytest.approx(25 * clip.duration_s, abs=3)
    assert clip.before_s >= 0.9


def test_what_came_before_a_power_cut_is_kept(yard: Yard, camera: RtspServer) -> None:
    yard.sees(50)
    yard.happens()
    camera.stop()
    clip = yard.clip()
    assert clip.path is not None
    assert "nothing more" in clip.cut
    assert len(numbers(clip.path)) >= 20
