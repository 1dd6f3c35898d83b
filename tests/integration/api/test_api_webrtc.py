"""Watching a camera by WebRTC, with a real peer: pictures arrive, one encoder serves all, and calls end."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import aiortc
import httpx
import numpy as np
import pytest

from edgewise.media.film import write_video

PATIENCE_S = 20

SETTINGS = """
http: {port: 0}
pipelines:
  street:
    source: {kind: video, path: FILM, loop: true}
    mask: [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]
  upload:
    source: {kind: upload}
"""


@pytest.fixture(scope="module")
def server(start_api: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("film") / "street.mp4"
    base = np.random.default_rng(5).integers(80, 220, (24, 32, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    write_video(path, (np.roll(base, 8 * number, axis=0) for number in range(30)), fps=15, codec="libx264")
    return start_api(SETTINGS.replace("FILM", str(path)))


@pytest.fixture
def http(server: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=PATIENCE_S) as client:
        yield client


class Watcher:
    """Somebody who watches, as a browser would: offers to receive video, and looks at the pictures."""

    def __init__(self, address: str, *, codec: str = "") -> None:
        self._http = httpx.AsyncClient(base_url=address, timeout=PATIENCE_S)
        self._peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        self._codec = codec
        self.location = ""
        self.answer = ""
        self.state = asyncio.Event()

    async def watch(self, camera: str = "street") -> None:
        transceiver = self._peer.addTransceiver("video", direction="recvonly")
        if self._codec:
            codecs = aiortc.RTCRtpReceiver.getCapabilities("video").codecs
            transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType == f"video/{self._codec}"])
        self._peer.add_listener("connectionstatechange", self._changed)
        await self._peer.setLocalDescription(await self._peer.createOffer())
        headers = {"content-type": "application/sdp"}
        sdp = self._peer.localDescription.sdp
        answer = await self._http.post(f"/v1/cameras/{camera}/webrtc", content=sdp, headers=headers)
        assert answer.status_code == 201, answer.text
        assert answer.headers["content-type"].startswith("application/sdp")
        self.location, self.answer = answer.headers["location"], answer.text
        await self._peer.setRemoteDescription(aiortc.RTCSessionDescription(sdp=answer.text, type="answer"))

    def _changed(self) -> None:
        if self._peer.connectionState in ("closed", "failed"):
            self.state.set()

    async def pictures(self, count: int) -> list[np.ndarray]:
        track = self._peer.getReceivers()[0].track
        found = []
        for _ in range(count):
            frame = await asyncio.wait_for(track.recv(), PATIENCE_S)
            found.append(frame.to_ndarray(format="rgb24"))
        return found

    async def hang_up(self) -> int:
        return (await self._http.delete(self.location)).status_code

    async def close(self) -> None:
        await self._peer.close()
        await self._http.aclose()


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_pictures_arrive_and_what_is_masked_does_not(server: Any, codec: str) -> None:
    async def story() -> None:
        watcher = Watcher(server.address, codec=codec)
        await watcher.watch()
        assert codec in watcher.answer
        pictures = await watcher.pictures(12)
        await watcher.hang_up()
        await watcher.close()
        assert {picture.shape for picture in pictures} == {(192, 256, 3)}
        assert all(picture[:, :120].max() < 40 for picture in pictures)
        assert all(picture[:, 136:].max() > 120 for picture in pictures)
        assert any((one != other).any() for one, other in itertools.pairwise(pictures))

    asyncio.run(story())


def test_one_encoder_serves_all_and_none_runs_when_nobody_watches(server: Any) -> None:
    def encoders() -> int:
        return sum(thread.name == "street-live" for thread in threading.enumerate())

    async def story() -> None:
        first, second = Watcher(server.address), Watcher(server.address)
        await first.watch()
        await second.watch()
        await asyncio.gather(first.pictures(5), second.pictures(5))
        assert encoders() == 1
        assert await first.hang_up() == 204
        assert await first.hang_up() == 404
        assert len(await second.pictures(5)) == 5
        assert await second.hang_up() == 204
        for watcher in (first, second):
            await watcher.close()

    asyncio.run(story())
    (live,) = [thread for thread in threading.enumerate() if thread.name == "street-live"] or [threading.Thread()]
    if live.is_alive():
        live.join(PATIENCE_S)
    assert encoders() == 0


def test_a_watcher_who_goes_away_is_noticed(server: Any, http: httpx.Client) -> None:
    async def story() -> str:
        watcher = Watcher(server.address)
        await watcher.watch()
        await watcher.pictures(2)
        await watcher.close()  # without a word to the node
        return watcher.location

    location = asyncio.run(story())
    ending = [thread for thread in threading.enumerate() if thread.name in {"street-live", "webrtc"}]
    for thread in ending:  # the encoder, then what carries calls: there are none any more
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert http.delete(location).status_code == 404


@pytest.mark.parametrize(
    ("path", "media_type", "body", "status"),
    [
        ("/v1/cameras/nobody/webrtc", "application/sdp", "v=0", 404),
        ("/v1/cameras/street/webrtc", "application/json", "{}", 415),
        ("/v1/cameras/street/webrtc", "application/sdp", "", 400),
        ("/v1/cameras/street/webrtc", "application/sdp", "hello", 400),
        ("/v1/cameras/street/webrtc", "application/sdp", "v=0\r\n" * 20_000, 400),
        ("/v1/cameras/street/webrtc", "application/sdp", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", 400),
    ],
)
def test_what_is_no_offer_is_refused(http: httpx.Client, path: str, media_type: str, body: str, status: int) -> None:
    answer = http.post(path, content=body, headers={"content-type": media_type})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


def test_there_is_an_end_to_how_many_may_watch(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgewise.api import webrtc

    monkeypatch.setattr(webrtc, "MAX_CALLS", 1)

    async def story() -> None:
        first, second = Watcher(server.address), Watcher(server.address)
        await first.watch()
        with pytest.raises(AssertionError, match="busy"):
            await second.watch()
        await first.hang_up()
        for watcher in (first, second):
            await watcher.close()

    asyncio.run(story())


def test_nobody_who_does_not_watch_pays_for_it() -> None:
    import subprocess
    import sys

    script = "import sys, edgewise.api.app, edgewise.api.rest.application; sys.exit('aiortc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
