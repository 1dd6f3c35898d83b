"""The live view: pictures as they were taken, what was found beside them, in step by number."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest

from edgewise.media.film import write_video
from edgewise.media.images import decode

PATIENCE_S = 20

SETTINGS = """
http: {port: 0}
pipelines:
  webcam:
    source: {kind: video, path: MJPEG, loop: true}
  masked:
    source: {kind: video, path: MJPEG, loop: true}
    mask: [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]
  gate:
    source: {kind: video, path: H264, loop: true}
    transforms:
      - {kind: count, lines: {gate: [[0.1, 0.5], [0.9, 0.5]]}, zones: {yard: [[0, 0], [1, 0], [1, 1]]}}
"""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("films")
    base = np.full((48, 64, 3), 90, np.uint8)
    base[::8] = 200
    paths = {"MJPEG": folder / "webcam.mp4", "H264": folder / "gate.mp4"}
    for codec, path in (("mjpeg", paths["MJPEG"]), ("libx264", paths["H264"])):
        write_video(path, (np.roll(base, number, axis=0) for number in range(20)), fps=20, codec=codec)
    return paths


@pytest.fixture(scope="module")
def server(start_api: Callable[..., Any], films: dict[str, Path]) -> Any:
    text = SETTINGS
    for word, path in films.items():
        text = text.replace(word, str(path))
    return start_api(text)


@pytest.fixture
def http(server: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=PATIENCE_S) as client:
        yield client


def parts(http: httpx.Client, path: str, *, count: int = 6) -> list[tuple[int, bytes]]:
    """The first parts of a live stream: number and picture."""
    found: list[tuple[int, bytes]] = []
    waiting = b""
    with http.stream("GET", path) as stream:
        for piece in stream.iter_bytes():
            waiting += piece
            while b"\r\n\r\n" in waiting:
                head, _, rest = waiting.partition(b"\r\n\r\n")
                facts = dict(line.split(b": ", 1) for line in head.strip().split(b"\r\n")[1:])
                length = int(facts[b"Content-Length"])
                if len(rest) < length + 2:
                    break
                found.append((int(facts[b"X-Edgewise-Frame"]), rest[:length]))
                waiting = rest[length + 2 :]
            if len(found) >= count:
                return found[:count]
    return found


def seen(http: httpx.Client, query: str = "", *, count: int = 6) -> list[dict[str, Any]]:
    """The first messages of the stream of observations."""
    found: list[dict[str, Any]] = []
    with http.stream("GET", f"/v1/observations/stream{query}") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
                if len(found) == count:
                    return found
    return found


def test_a_camera_that_sends_jpeg_is_passed_through(http: httpx.Client, films: dict[str, Path]) -> None:
    with av.open(str(films["MJPEG"])) as container:
        sent = {bytes(packet) for packet in container.demux(video=0) if packet.size}
    for _, jpeg in parts(http, "/v1/cameras/webcam/live"):
        assert jpeg in sent


def test_what_is_masked_is_never_passed_through(http: httpx.Client) -> None:
    for _, jpeg in parts(http, "/v1/cameras/masked/live", count=3):
        picture = decode(jpeg)
        assert picture[:, :30].max() < 30
        assert picture[:, 36:].max() > 100


def test_pictures_and_what_is_found_in_them_bear_the_same_numbers(http: httpx.Client) -> None:
    numbers = [number for number, _ in parts(http, "/v1/cameras/gate/live")]
    assert numbers == sorted(set(numbers))
    messages = seen(http, "?camera=gate", count=5)
    assert all((one["camera"], one["width"], one["height"]) == ("gate", 64, 48) for one in messages)
    later = [one["number"] for one in messages]
    assert later == sorted(set(later))
    assert later[-1] > numbers[-1]
    assert messages[-1]["facts"]["count"]["zones"] == {"yard": {}}


def test_one_stream_tells_of_all_cameras(http: httpx.Client) -> None:
    assert {one["camera"] for one in seen(http, count=12)} == {"webcam", "masked", "gate"}
    assert {one["camera"] for one in seen(http, "?camera=gate&camera=webcam", count=8)} == {"gate", "webcam"}
    assert http.get("/v1/observations/stream?camera=nobody").status_code == 404


def test_however_many_look_a_picture_is_encoded_once_and_not_at_all_when_nobody_does(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgewise.media import images

    made: list[int] = []
    encode = images.encode_jpeg
    monkeypatch.setattr(images, "encode_jpeg", lambda *given, **named: made.append(1) or encode(*given, **named))
    runner = server.node.pipelines["gate"]
    observation = runner.wait_next(runner.observation().frame.number, timeout_s=PATIENCE_S)
    assert made == []
    pictures = {runner.pictures.plain(observation.frame) for _ in range(5)}
    assert (len(pictures), len(made)) == (1, 1)


def test_boxes_are_drawn_for_those_who_ask(server: Any, http: httpx.Client) -> None:
    plain = http.get("/v1/cameras/webcam/snapshot")
    assert int(plain.headers["x-edgewise-frame"]) > 0
    drawn = parts(http, "/v1/cameras/webcam/live?draw=true", count=2)
    assert all(decode(jpeg).shape == (48, 64, 3) for _, jpeg in drawn)
    assert http.get("/v1/cameras/webcam/snapshot?draw=1").status_code == 200


def test_a_camera_tells_what_is_drawn_over_its_pictures(http: httpx.Client) -> None:
    camera = http.get("/v1/cameras/gate").json()
    assert camera["places"]["lines"] == {"gate": [[0.1, 0.5], [0.9, 0.5]]}
    assert camera["places"]["zones"] == {"yard": [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]}
    assert (camera["gives"], camera["recording"]) == ("frame", None)
    assert http.get("/v1/cameras/nobody").status_code == 404
