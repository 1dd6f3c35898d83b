"""Clips over HTTP: an event carries the name of its clip, which can be asked for while it runs and played when done."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest

from edgewise.journal.cipher import make_key
from edgewise.media.film import write_video
from edgewise.pipeline.base import Event

PATIENCE_S = 20

SETTINGS = """
http: {port: 0}
pipelines:
  street:
    source: {kind: video, path: FILM, loop: true}
    record: {on: [person.*], before_s: 1, after_s: 3}
  yard:
    source: {kind: video, path: FILM, loop: true}
    mask: [[[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]]
    record: {before_s: 0.5, after_s: 1, max_fps: 20}
  quiet:
    source: {kind: upload}
devices:
  siren: {kind: alarm}
rules:
  - name: call
    on: person.entered
    do: [{device: siren, command: raise, arguments: {reason: '="somebody is here, see " + event.body.clip'}}]
"""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "street.mp4"
    noise = np.random.default_rng(3).integers(60, 200, (48, 64, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    pictures = (np.roll(noise, 4 * number, axis=1) for number in range(60))
    write_video(path, pictures, fps=20, codec="libx264", keyframe_every=10)
    return path


@pytest.fixture(scope="module")
def server(start_api: Callable[..., Any], film: Path) -> Any:
    return start_api(SETTINGS.replace("FILM", str(film)))


@pytest.fixture
def http(server: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=PATIENCE_S) as client:
        client.get("/v1/clips")  # the first request loads the application
        yield client


def happens(server: Any, source: str, kind: str = "person.entered") -> str:
    """Something is seen once the camera has given some pictures; returns the clip's name."""
    node = server.node
    runner = node.pipelines[source]
    assert runner.wait_next(40, timeout_s=PATIENCE_S) is not None
    node.accept(Event(kind, source, node.clock.time_ns(), {}))
    (record,) = node.journal.read("events", limit=1, newest_first=True)
    return str(record.body.get("clip", ""))


def ended(server: Any, clip: str) -> dict[str, Any]:
    """What became of a clip, once it has ended."""
    journal, after = server.node.journal, 0
    while True:
        for record in journal.read("events", after=after):
            after = record.sequence
            if record.kind.startswith("clip.") and record.body["clip"] == clip:
                return {"kind": record.kind, "blobs": record.blobs, **record.body}
        assert journal.wait("events", after=after, timeout_s=PATIENCE_S) > after


def test_an_event_carries_its_clip_which_resolves_when_it_has_ended(server: Any, http: httpx.Client) -> None:
    clip = happens(server, "street")
    running = http.get(f"/v1/clips/{clip}").json()
    assert (running["state"], running["source"]) == ("recording", "street")
    assert http.get(f"/v1/clips/{clip}/video").status_code == 409
    assert http.get("/v1/clips").json()["clips"][0]["name"] == clip
    told = ended(server, clip)
    done = http.get(f"/v1/clips/{clip}").json()
    assert done["state"] == "recorded"
    assert [done["digest"]] == list(told["blobs"])
    assert done["copied"] is True
    (sequence,) = done["events"]
    assert server.node.journal.read("events", after=sequence - 1, limit=1)[0].kind == "person.entered"
    film = http.get(f"/v1/clips/{clip}/video")
    assert film.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(film.content)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert frames == pytest.approx(done["duration_s"] * 20, abs=5)  # while the film begins anew, a moment passes
    assert 3.9 <= done["duration_s"] <= 5.2


def test_an_alarm_names_its_clip(server: Any, http: httpx.Client) -> None:
    clip = happens(server, "street")
    journal, after, told = server.node.journal, 0, False
    while not told:
        assert journal.wait("decisions", after=after, timeout_s=PATIENCE_S) > after
        for record in journal.read("decisions", after=after):
            after, told = record.sequence, told or record.body["event"].get("clip") == clip
    assert clip in http.get("/v1/devices/siren").json()["state"]["reason"]
    ended(server, clip)


def test_other_events_and_cameras_have_no_clip(server: Any) -> None:
    assert happens(server, "street", kind="car.seen") == ""


def test_a_browser_can_seek_in_a_clip(server: Any, http: httpx.Client) -> None:
    clip = happens(server, "street")
    (digest,) = ended(server, clip)["blobs"]
    for path in (f"/v1/clips/{clip}/video", f"/v1/blobs/{digest}"):
        whole = http.get(path)
        assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
        size = len(whole.content)
        for asked, start, stop in (("0-99", 0, 100), (f"{size - 50}-", size - 50, size), ("-20", size - 20, size)):
            part = http.get(path, headers={"Range": f"bytes={asked}"})
            assert part.status_code == 206
            assert part.content == whole.content[start:stop]
            assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
        beyond = http.get(path, headers={"Range": f"bytes={size}-"})
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
        assert http.get(path, headers={"Range": "bytes=9-3"}).status_code == 200
        assert http.get(path, headers={"Range": "lines=1-2"}).status_code == 200
    saved = http.get(f"/v1/clips/{clip}/video?download=true").headers["content-disposition"]
    assert saved == f'attachment; filename="{clip}.mp4"'


def test_what_is_masked_is_in_no_clip(server: Any, http: httpx.Client) -> None:
    clip = happens(server, "yard")
    done = ended(server, clip)
    assert done["kind"] == "clip.recorded"
    assert done["copied"] is False
    with av.open(io.BytesIO(http.get(f"/v1/clips/{clip}/video").content)) as container:
        for frame in container.decode(video=0):
            picture = frame.to_ndarray(format="rgb24")
            assert picture[8:88, 8:120].max() < 40
            assert picture[120:].max() > 100


def test_clips_are_listed_newest_first_and_by_source(server: Any, http: httpx.Client) -> None:
    first, second = happens(server, "yard"), ""
    ended(server, first)
    second = happens(server, "yard")
    ended(server, second)
    names = [clip["name"] for clip in http.get("/v1/clips?source=yard").json()["clips"]]
    assert names[:2] == [second, first]
    page = http.get("/v1/clips?source=yard&limit=1").json()
    older = http.get(f"/v1/clips?source=yard&limit=1&before={page['next_before']}").json()
    assert [clip["name"] for clip in (*page["clips"], *older["clips"])] == names[:2]
    assert http.get("/v1/clips?source=quiet").json() == {"clips": [], "next_before": 0}


@pytest.mark.parametrize(
    "name", ["street-1", "nobody-1763740000000000000", "x", "street-", "street-99999999999999999999"]
)
def test_a_clip_that_never_was_is_not_found(http: httpx.Client, name: str) -> None:
    answer = http.get(f"/v1/clips/{name}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_clip_that_was_pushed_out_says_so(server: Any, http: httpx.Client) -> None:
    clip = happens(server, "street")
    (digest,) = ended(server, clip)["blobs"]
    server.node.blobs.path(digest).unlink()
    server.node.blobs._blobs.pop(digest)
    assert http.get(f"/v1/clips/{clip}").json()["state"] == "evicted"
    assert http.get(f"/v1/clips/{clip}/video").status_code == 404


def test_what_is_sealed_on_disk_is_sent_in_the_open_and_from_any_byte(
    start_api: Callable[..., Any], tmp_path: Path
) -> None:
    make_key(tmp_path / "node.key")
    server = start_api(f"http: {{port: 0}}\njournal: {{key_file: {tmp_path / 'node.key'}}}\n")
    content = np.random.default_rng(5).bytes(900_000)
    digest = server.node.blobs.put(content, media_type="video/mp4")
    assert content[500_000:500_016] not in server.node.blobs.path(digest).read_bytes()
    with httpx.Client(base_url=server.address, timeout=PATIENCE_S) as client:
        assert client.get(f"/v1/blobs/{digest}").content == content
        part = client.get(f"/v1/blobs/{digest}", headers={"Range": "bytes=65530-500000"})
        assert (part.status_code, part.content) == (206, content[65_530:500_001])
        assert part.headers["content-range"] == "bytes 65530-500000/900000"
        assert client.get(f"/v1/snapshots/{digest}").content == content
        server.node.blobs.path(digest).write_bytes(b"cut off")
        assert client.get(f"/v1/blobs/{digest}").json()["error"]["code"] == "corrupt"
