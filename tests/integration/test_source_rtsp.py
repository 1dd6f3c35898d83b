"""A network camera as networks are: slow readers, power cuts, frozen and damaged streams, other sizes, passwords."""

from __future__ import annotations

import os
import ssl
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgewise._lib.clock import SystemClock
from edgewise.errors import SettingsError, TooLargeError, UnavailableError
from edgewise.media import rtsp as media
from edgewise.media.packets import Packet
from edgewise.pipeline.base import Encoded, Observation
from edgewise.pipeline.runner import Phase, PipelineRunner
from edgewise.pipeline.scheduler import Scheduler
from edgewise.pipeline.sources.rtsp import RtspSettings, RtspSource
from edgewise.testing.pipeline import PATIENCE_S, FunctionTransform
from edgewise.testing.rtsp import NoisyWire, RtspServer, number_of

if TYPE_CHECKING:
    from edgewise.types import Image

CLOCK = SystemClock()
# Pictures that may be on their way when the server is asked for its newest: in encoder, sockets and decoder. Many, for
# machines that do much else; the slow reader sleeps through more than twice as many.
ON_THE_WAY = 40
ASLEEP = 100


@pytest.fixture
def camera() -> Iterator[RtspServer]:
    """A camera with 25 pictures a second and a key frame every 10."""
    with RtspServer() as server:
        yield server


def watch(url: str, **settings: object) -> RtspSource:
    return RtspSource("yard", RtspSettings(url, **{"frozen_s": 2.0, **settings}), clock=CLOCK)


def looks_whole(image: Image) -> bool:
    """Every stripe is all white or all black, as the camera made it."""
    luma = image[:, :, 1].astype(int)
    stripes = luma.reshape(luma.shape[0], 16, -1)[:, :, 3:-3]
    wanted = np.where(stripes.mean(axis=(0, 2)) > 127, 255, 0)
    return bool(np.abs(stripes - wanted[None, :, None]).max() < 40)


def test_a_slow_reader_gets_the_newest_picture_and_the_others_are_counted(camera: RtspServer) -> None:
    source = watch(camera.url)
    frames = source.read()
    first = next(frames)
    assert source.unreadable == 0
    sent = camera.newest()
    for _ in range(2):
        sent += ASLEEP
        camera.wait_newest(sent)
        newest = next(frames)
        assert number_of(newest.image) >= sent - ON_THE_WAY
    assert source.dropped >= 2 * (ASLEEP - ON_THE_WAY)
    assert newest.number == 3 + source.dropped
    assert newest.time_ns > first.time_ns
    source.close()
    assert list(frames) == []


def test_every_picture_is_given_or_counted(camera: RtspServer) -> None:
    source = watch(camera.url)
    frames = source.read()
    first = next(frames)
    last = list(islice(frames, 25))[-1]
    assert number_of(last.image) - number_of(first.image) == last.number - first.number
    assert last.number == 26 + source.dropped
    source.close()


def test_a_camera_that_lost_its_power_is_watched_again_when_it_is_back(camera: RtspServer) -> None:
    source = watch(camera.url)
    frames = source.read()
    last = next(frames).number
    camera.stop()
    with pytest.raises(UnavailableError, match=r"broke off|cannot be read") as caught:
        last += len(list(frames))
    assert caught.value.hint
    with pytest.raises(UnavailableError, match="refused") as caught:
        next(source.read())
    assert caught.value.hint
    camera.start()
    frames = source.read()
    assert next(frames).number > last
    source.close()


def test_a_pipeline_goes_on_by_itself_when_the_camera_is_back(camera: RtspServer) -> None:
    seen = threading.Condition()
    numbers: list[int] = []

    def note(observation: Observation) -> Observation:
        with seen:
            numbers.append(observation.sample.number)
            seen.notify_all()
        return observation

    lane = Scheduler(cores=1).lane()
    runner = PipelineRunner(
        "yard", watch(camera.url), [FunctionTransform(note)], lambda _: None, lane=lane, clock=CLOCK
    )
    runner.start()
    try:
        with seen:
            assert seen.wait_for(lambda: numbers, PATIENCE_S)
        camera.stop()
        while runner.state().phase is not Phase.RETRYING:
            time.sleep(0.02)
        assert camera.url in runner.state().problem
        camera.start()
        with seen:
            before = len(numbers)
            assert seen.wait_for(lambda: len(numbers) > before + 10, 3 * PATIENCE_S)
        assert runner.state().phase is Phase.RUNNING
        assert numbers == sorted(set(numbers))
    finally:
        runner.stop()


def test_a_frozen_stream_is_noticed_and_watched_again_when_it_goes_on(camera: RtspServer) -> None:
    source = watch(camera.url, frozen_s=1.0)
    frames = source.read()
    next(frames)
    camera.freeze()
    with pytest.raises(UnavailableError, match="gives nothing for 1 s"):
        list(frames)
    camera.thaw()
    frames = source.read()
    assert looks_whole(next(frames).image)
    source.close()


def test_a_frozen_camera_does_not_hold_up_closing(camera: RtspServer) -> None:
    source = watch(camera.url, frozen_s=60.0)
    frames = source.read()
    next(frames)
    camera.freeze()
    ended = threading.Event()
    thread = threading.Thread(target=lambda: (list(frames), ended.set()))
    thread.start()
    source.close()
    assert ended.wait(0.5)
    thread.join()


def test_damaged_pictures_are_counted_and_never_given(camera: RtspServer) -> None:
    with NoisyWire(camera.port) as wire:
        source = watch(wire.url, frozen_s=5.0)
        frames = source.read()
        assert looks_whole(next(frames).image)
        for _ in range(5):
            wire.spoil(7)
            wire.wait_quiet()
            for frame in islice(frames, 15):
                assert looks_whole(frame.image), number_of(frame.image)
        assert source.unreadable >= 5
        source.close()


def test_a_camera_may_change_its_size_while_it_is_watched(camera: RtspServer) -> None:
    source = watch(camera.url)
    frames = source.read()
    assert next(frames).image.shape == (128, 160, 3)
    camera.resize(320, 240)
    image = next(frame.image for frame in frames if frame.width == 320)
    assert image.shape == (240, 320, 3)
    assert looks_whole(image)
    camera.resize(160, 128)
    assert looks_whole(next(frame.image for frame in frames if frame.width == 160))
    source.close()


def test_pictures_past_the_bound_are_refused(camera: RtspServer) -> None:
    video = media.LiveVideo(
        media.Address(camera.url), media.Timeouts(), time_ns=CLOCK.time_ns, max_pixels=160 * 128 - 1
    )
    with pytest.raises(TooLargeError):
        next(video.read())


class TestPassword:
    secret = "p@ss:w/rd %41?#"

    @pytest.fixture
    def guarded(self) -> Iterator[RtspServer]:
        with RtspServer(username="view er", password=self.secret) as server:
            yield server

    def watch(self, camera: RtspServer, folder: Path, secret: str, query: str = "") -> RtspSource:
        file = folder / "password"
        file.write_text(secret + "\n")
        file.chmod(0o600)
        return watch(camera.url + query, username="view er", password_file=str(file))

    def test_the_right_one_opens_the_stream(self, guarded: RtspServer, tmp_path: Path) -> None:
        source = self.watch(guarded, tmp_path, self.secret)
        assert looks_whole(next(source.read()).image)
        source.close()

    def test_a_wrong_one_is_told_and_stands_nowhere(
        self, guarded: RtspServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        source = self.watch(guarded, tmp_path, "wrong-secret", query="?key=4711")
        with caplog.at_level(0), pytest.raises(UnavailableError, match="refuses the credentials") as caught:
            next(source.read())
        said = "".join(traceback.format_exception(caught.value)) + str(caught.value.facts) + caught.value.hint
        assert guarded.url in said
        for word in ("wrong-secret", "view er", "view%20er", "4711"):
            assert word not in said
            assert word not in caplog.text

    def test_one_that_others_can_read_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "password"
        file.write_text("x")
        file.chmod(0o644)
        with pytest.raises(SettingsError, match="others can read"):
            next(watch("rtsp://127.0.0.1:1/", password_file=str(file)).read())


def test_its_packets_are_handed_on_whole_also_while_pictures_are_dropped(camera: RtspServer) -> None:
    source = watch(camera.url)
    assert isinstance(source, Encoded)
    packets: list[Packet] = []
    source.tap(packets.append)
    frames = source.read()
    next(frames)
    camera.wait_newest(camera.newest() + 30)
    next(frames)
    source.close()
    assert source.dropped
    assert packets[0].keyframe
    times = [packet.dts for packet in packets]
    assert times == sorted(set(times))
    assert len(packets) >= 30
    assert {(packet.coding.codec, packet.coding.width) for packet in packets} == {("h264", 160)}


def test_a_camera_that_sends_by_udp_is_watched_too(camera: RtspServer) -> None:
    source = watch(camera.url, transport="udp")
    images = [frame.image for frame in islice(source.read(), 10)]
    assert all(looks_whole(image) for image in images)
    source.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A camera's own certificate, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "camera")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "camera.pem", folder / "camera.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def test_an_encrypted_stream_is_watched_only_from_a_camera_that_is_trusted(camera: RtspServer, tmp_path: Path) -> None:
    authority, key = certificate(tmp_path)
    encryption = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    encryption.load_cert_chain(authority, key)
    with NoisyWire(camera.port, encryption) as wire:
        with pytest.raises(UnavailableError, match="certificate is not trusted"):
            next(watch(wire.url).read())
        source = watch(wire.url, ca_file=str(authority))
        assert looks_whole(next(source.read()).image)
        source.close()


def test_memory_and_threads_do_not_grow_with_pictures_and_connections(camera: RtspServer) -> None:
    def rounds(count: int) -> int:
        for _ in range(count):
            source = watch(camera.url)
            for frame in islice(source.read(), 20):
                assert frame.image.any()
            source.close()
        for thread in threading.enumerate():
            if thread.name == "rtsp":
                thread.join(PATIENCE_S)
                assert not thread.is_alive()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    rounds(2)
    before = rounds(1)
    assert rounds(6) - before < 8 * 1024 * 1024


class Keyed:
    """A packet as ``Backlog`` sees it."""

    def __init__(self, size: int, *, key: bool = False) -> None:
        self.size = size
        self.is_keyframe = key


def test_what_waits_is_bounded_and_goes_on_at_the_newest_key_frame() -> None:
    backlog = media.Backlog()
    for number in range(media.MAX_WAITING_PACKETS + 10):
        backlog.put(Keyed(1, key=number in {0, 100, 200}), number)
    gap, waiting = backlog.take()
    assert gap
    assert waiting[0].time_ns == 200
    assert backlog.dropped == 200
    for number in range(media.MAX_WAITING_PACKETS + 1):
        backlog.put(Keyed(1), number)
    gap, waiting = backlog.take()
    assert (gap, len(waiting)) == (True, 1)
    for size in (media.MAX_WAITING_BYTES, 1):
        backlog.put(Keyed(size), 0)
    assert len(backlog.take()[1]) == 1


@pytest.mark.parametrize("url", ["http://camera/", "rtsp://", "rtsp://user:secret@camera/", "rtsp://camera/a b"])
def test_urls_with_credentials_or_other_schemes_are_refused(url: str) -> None:
    import msgspec

    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "rtsp", "url": url}, RtspSettings)
