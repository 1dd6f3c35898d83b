"""Clips: what came is kept as it came, from before the event to after it; a masked camera's pictures are encoded."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edgewise._lib.clock import ManualClock, SystemClock
from edgewise.errors import StorageFullError
from edgewise.media import clips, video
from edgewise.media.film import write_video
from edgewise.media.packets import Packet
from edgewise.pipeline.base import Event, Frame
from edgewise.pipeline.recorder import Recorder, leftovers
from edgewise.pipeline.recording import Clip, RecordSettings
from edgewise.pipeline.ring import PacketRing

FPS = 10
PATIENCE_S = 20
GOP = 10


class Anybody:
    """Turns for whoever asks."""

    def turn(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def numbered(count: int, *, width: int = 96, height: int = 64) -> Iterator[np.ndarray]:
    """Pictures that differ: a bar that moves."""
    for number in range(count):
        picture = np.full((height, width, 3), 40, np.uint8)
        picture[:, (3 * number) % (width - 8) : (3 * number) % (width - 8) + 8] = (220, 180, 30)
        yield picture


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds with a key frame every second, and pictures that lean on later ones (B frames)."""
    path = tmp_path_factory.mktemp("film") / "street.mp4"
    write_video(path, numbered(12 * FPS), fps=FPS, codec="libx264", keyframe_every=GOP)
    return path


@pytest.fixture(scope="module")
def packets(film: Path) -> list[Packet]:
    """The film's packets, as a source hands them on."""
    found: list[Packet] = []
    for _ in video.pictures(film, on_packet=found.append):
        pass
    return found


class Studio:
    """A recorder whose clips are waited for, on a clock that the packets move."""

    def __init__(self, folder: Path, settings: RecordSettings, *, copy_allowed: bool = True) -> None:
        self.clock = ManualClock()
        self.folder = folder
        self.clips: list[Clip] = []
        self._told = threading.Condition()
        self.recorder = Recorder(
            "street", settings, folder, self._take, clock=self.clock, lane=Anybody(), copy_allowed=copy_allowed
        )
        self.recorder.start()

    def _take(self, clip: Clip) -> None:
        with self._told:
            self.clips.append(clip)
            self._told.notify_all()

    def play(self, packets: list[Packet]) -> None:
        for packet in packets:
            self.recorder.packet(packet)
            self.clock.advance(1 / FPS)

    def happens(self, kind: str = "person.entered") -> str:
        return self.recorder.trigger(Event(kind, "street", self.clock.time_ns(), {}))

    def clip(self, number: int = 1) -> Clip:
        with self._told:
            assert self._told.wait_for(lambda: len(self.clips) >= number, PATIENCE_S)
        return self.clips[number - 1]


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Callable[..., Studio]]:
    made: list[Studio] = []

    def make(copy_allowed: bool = True, **settings: Any) -> Studio:
        settings = {"before_s": 2.5, "after_s": 2.0, **settings}
        made.append(Studio(tmp_path, RecordSettings(**settings), copy_allowed=copy_allowed))
        return made[-1]

    yield make
    for one in made:
        one.recorder.stop()


def contents(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_clip_holds_the_sources_own_packets_from_the_key_frame_before_to_after_the_event(
    studio: Callable[..., Studio], packets: list[Packet]
) -> None:
    one = studio()
    one.play(packets[:60])
    name = one.happens()
    one.play(packets[60:])
    clip = one.clip()
    assert clip.path is not None
    assert clip.name == name
    inside = contents(clip.path)
    first = [packet.data for packet in packets].index(inside[0])
    assert packets[first].keyframe
    # The event came with the sixtieth packet. The clip begins with the key frame at or before 2.5 s earlier.
    keys = [number for number, packet in enumerate(packets) if packet.keyframe]
    assert first == max(number for number in keys if packets[number].dts_s <= packets[59].dts_s - 2.5)
    before_s = packets[59].dts_s - packets[first].dts_s
    assert inside == [packet.data for packet in packets[first : first + len(inside)]]
    assert (clip.copied, clip.codec, clip.cut) == (True, "h264", "")
    assert clip.before_s == pytest.approx(before_s, abs=0.05)
    assert clip.duration_s == pytest.approx(before_s + 2.0, abs=0.31)
    assert len(decoded(clip.path)) == len(inside)
    with av.open(str(clip.path)) as container:
        assert container.duration / 1e6 == pytest.approx(clip.duration_s, abs=0.15)


def test_events_that_follow_each_other_make_one_clip_up_to_its_longest(
    studio: Callable[..., Studio], packets: list[Packet]
) -> None:
    one = studio(max_s=6.0)
    one.play(packets[:40])
    names = []
    for start in range(40, 100, 10):
        names.append(one.happens())
        one.recorder.link(names[-1], start)
        one.play(packets[start : start + 10])
    one.play(packets[100:])
    one.recorder.stop()
    assert len(set(names)) == 2
    assert [clip.name for clip in one.clips] == sorted(set(names))
    assert one.clips[0].duration_s <= 6.0 + 1.0  # one second to the key frame
    assert [*one.clips[0].events, *one.clips[1].events] == list(range(40, 100, 10))


def test_what_is_not_asked_for_is_not_recorded(studio: Callable[..., Studio], packets: list[Packet]) -> None:
    one = studio(on=("person.*",))
    one.play(packets[:20])
    assert one.happens("car.seen") == ""
    assert one.happens("person.seen") != ""


def test_a_source_that_is_opened_anew_goes_on_in_the_same_clip(
    studio: Callable[..., Studio], film: Path, packets: list[Packet]
) -> None:
    again: list[Packet] = []
    for _ in video.pictures(film, on_packet=again.append):
        pass
    one = studio()
    one.play(packets[:60])
    one.happens()
    one.play(packets[60:65])
    one.play(again[:30])
    clip = one.clip()
    assert clip.path is not None
    assert clip.cut == ""
    inside = contents(clip.path)
    start = [packet.data for packet in packets].index(inside[0])
    assert inside[65 - start :] == [packet.data for packet in again[: len(inside) - (65 - start)]]
    assert clip.duration_s == pytest.approx(len(inside) / FPS, abs=0.31)
    assert len(inside) > 65 - start + 10
    with av.open(str(clip.path)) as container:
        times = [packet.dts for packet in container.demux(video=0) if packet.size]
    assert times == sorted(set(times))


def test_a_source_that_gives_nothing_more_ends_its_clip(studio: Callable[..., Studio], packets: list[Packet]) -> None:
    one = studio()
    one.play(packets[:60])
    one.happens()
    one.play(packets[60:65])
    one.clock.advance(10)
    clip = one.clip()
    assert clip.path is not None
    assert "nothing more" in clip.cut
    assert contents(clip.path)[-1] == packets[64].data


def test_a_node_that_stops_keeps_the_clip_as_far_as_it_got(
    studio: Callable[..., Studio], packets: list[Packet]
) -> None:
    one = studio()
    one.play(packets[:60])
    one.happens()
    one.recorder.stop()
    (clip,) = one.clips
    assert clip.path is not None
    assert "stopped" in clip.cut
    assert contents(clip.path)[-1] == packets[59].data
    assert len(decoded(clip.path)) == len(contents(clip.path)) > 25


def test_an_event_before_the_first_picture_gets_a_clip_too(
    studio: Callable[..., Studio], packets: list[Packet]
) -> None:
    one = studio()
    one.happens()
    one.play(packets[:40])
    clip = one.clip()
    assert clip.path is not None
    assert len(contents(clip.path)) == pytest.approx(20, abs=3)


def test_a_camera_that_shows_nothing_has_no_clip_and_no_file(studio: Callable[..., Studio]) -> None:
    one = studio()
    one.happens()
    one.clock.advance(10)
    clip = one.clip()
    assert clip.path is None
    assert clip.error is not None
    assert leftovers(one.folder) == []


def test_a_full_disk_is_told_and_leaves_no_file(
    studio: Callable[..., Studio], packets: list[Packet], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: clips.ClipWriter, packet: Packet) -> None:
        raise OSError(28, "No space left on device")

    one = studio()
    one.play(packets[:60])
    monkeypatch.setattr(clips.ClipWriter, "_mux", full)
    one.happens()
    clip = one.clip()
    assert isinstance(clip.error, StorageFullError)
    assert clip.path is None
    assert leftovers(one.folder) == []
    assert "No space" in one.recorder.state().problem
    monkeypatch.undo()
    one.happens()
    one.play(packets[60:])
    assert one.clip(2).error is None
    assert one.recorder.state().problem == ""


def test_masked_pictures_are_encoded_and_the_sources_packets_never_used(
    studio: Callable[..., Studio], packets: list[Packet]
) -> None:
    one = studio(copy_allowed=False, max_cores=8.0)
    encoded = threading.Event()
    for number, picture in enumerate(numbered(60)):
        one.recorder.packet(packets[number])
        masked = picture.copy()
        masked[:32, :48] = 0
        if number == 30:
            one.happens()
        before = one.recorder.state().memory_bytes
        one.recorder.frame(Frame("street", number + 1, one.clock.time_ns(), masked))
        while one.recorder.state().memory_bytes == before:
            encoded.wait(0.002)
        one.clock.advance(1 / FPS)
    clip = one.clip()
    assert clip.path is not None
    assert not clip.copied
    pictures = decoded(clip.path)
    assert clip.duration_s == pytest.approx(len(pictures) / FPS, abs=0.11)
    # Encoded in groups of two seconds; the one before 0.5 s begins at the start.
    assert 45 <= len(pictures) <= 51
    assert all(picture[2:30, 2:46].max() < 24 for picture in pictures)
    assert all(picture[40:].max() > 150 for picture in pictures)


def test_what_browsers_cannot_play_is_encoded_unless_wished_otherwise(
    tmp_path: Path, studio: Callable[..., Studio]
) -> None:
    path = tmp_path / "old.mp4"
    write_video(path, numbered(30), fps=FPS, codec="mpeg4")
    old: list[Packet] = []
    for _ in video.pictures(path, on_packet=old.append):
        pass
    playable, always = studio(), studio(copy="always")
    playable.play(old)
    assert playable.recorder.state().memory_bytes == 0
    always.play(old)
    assert always.recorder.state().copying is True


def test_encoding_stays_within_its_share(studio: Callable[..., Studio]) -> None:
    one = studio(max_cores=0.01, copy_allowed=False, max_fps=120)
    still = threading.Event()
    pictures = list(numbered(8, width=1280, height=720))
    deadline = SystemClock().monotonic() + PATIENCE_S
    while one.recorder.state().skipped == 0:
        assert SystemClock().monotonic() < deadline, "every picture was encoded"
        one.recorder.frame(Frame("street", 1, one.clock.time_ns(), pictures[one.clock.time_ns() % 8]))
        still.wait(0.002)  # lets the encoder look at it
        one.clock.advance(1 / 50)


@pytest.mark.parametrize("encoder", [name for name in clips.ENCODERS if name in av.codecs_available])
def test_each_encoder_gives_clips_that_decode_with_a_key_frame_every_two_seconds(tmp_path: Path, encoder: str) -> None:
    made = clips.FrameEncoder(96, 64, encoder=encoder)
    packets = [
        packet
        for number, picture in enumerate(numbered(50))
        for packet in made.encode(picture, time_ns=number * 100_000_000)
    ]
    made.close()
    assert [number for number, packet in enumerate(packets) if packet.keyframe] == [0, 20, 40]
    writer = clips.ClipWriter(tmp_path / "made.mp4")
    for packet in packets:
        writer.write(packet)
    writer.finish()
    shown = decoded(tmp_path / "made.mp4")
    assert len(shown) >= 49  # some decoders hold back the last one
    difference = np.abs(shown[30].astype(int) - list(numbered(31))[30].astype(int)).mean()
    assert difference < 8


def test_the_ring_stays_within_its_seconds_and_bytes(packets: list[Packet]) -> None:
    clock = ManualClock()
    ring = PacketRing(keep_s=3.0, max_bytes=1 << 30)
    for packet in packets:
        ring.add(packet, time_ns=clock.time_ns())
        clock.advance(1 / FPS)
    kept = ring.since(-1.0)
    assert kept[0].packet.keyframe
    assert 30 <= len(kept) <= 40
    tight = PacketRing(keep_s=60.0, max_bytes=sum(len(packet.data) for packet in packets[:25]))
    for packet in packets:
        tight.add(packet, time_ns=clock.time_ns())
        assert tight.kept_bytes <= sum(len(packet.data) for packet in packets[:25])
    assert tight.shortened > 0
    assert tight.since(0.0)[0].packet.keyframe


def test_a_picture_stream_without_key_frames_keeps_nothing(packets: list[Packet]) -> None:
    ring = PacketRing(keep_s=3.0, max_bytes=1 << 20)
    for packet in (packet for packet in packets if not packet.keyframe):
        ring.add(packet, time_ns=SystemClock().time_ns())
    assert ring.since(0.0) == []
    assert ring.kept_bytes == 0


def test_a_film_that_is_shown_turned_hands_on_no_packets(tmp_path: Path, film: Path) -> None:
    turned = tmp_path / "turned.mp4"
    with av.open(str(film)) as source, av.open(str(turned), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    raw = bytearray(turned.read_bytes())
    # The matrix of the track's header ("tkhd"): 90 degrees clockwise (ISO/IEC 14496-12, 8.3.2).
    at = raw.index(b"tkhd") + 4 + 40
    unity, zero = (1 << 16).to_bytes(4, "big"), bytes(4)
    minus = (-(1 << 16)).to_bytes(4, "big", signed=True)
    raw[at : at + 36] = zero + unity + zero + minus + zero + zero + zero + zero + (1 << 30).to_bytes(4, "big")
    turned.write_bytes(bytes(raw))
    found: list[Packet] = []
    shapes = {picture.image.shape for _, picture in video.pictures(turned, on_packet=found.append)}
    assert shapes == {(96, 64, 3)}
    assert found == []
