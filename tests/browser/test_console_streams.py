"""Watching at the console: video with boxes laid over it, clips of what happened, and pipelines without pictures."""

from __future__ import annotations

import math
import struct
import wave
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By

from edgewise.media.film import approach, pause, write_video
from edgewise.media.images import read

pytestmark = [pytest.mark.browser, pytest.mark.zoo]

SETTINGS = """
node: {name: yard, data: ./data}
http: {port: 0}
models: [yunet]
pipelines:
  gate:
    source: {kind: video, path: FILM, loop: true}
    transforms:
      - {kind: detect, model: yunet}
      - {kind: track}
      - {kind: dwell, zones: {porch: [[0.02, 0.05], [0.98, 0.05], [0.98, 0.98], [0.02, 0.98]]}, loiter_s: 600}
    record: {on: [zone.entered], before_s: 1, after_s: 1}
  hall:
    source: {kind: sound, path: SOUND, loop: true}
  boiler:
    source: {kind: readings}
"""
GATE = "article[aria-label=gate]"
PIXELS = """
const canvas = document.querySelector(arguments[0]);
if (!canvas || !canvas.width) return 0;
const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
let sum = 0;
for (let at = 0; at < data.length; at += 404) sum += data[at];
return sum;
"""


def write_tone(path: Path) -> None:
    """A second of a tone, WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        values = (int(9000 * math.sin(2 * math.pi * 440 * at / 16_000)) for at in range(16_000))
        file.writeframes(b"".join(struct.pack("<h", value) for value in values))


@pytest.fixture(scope="module")
def yard(start_node: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A node with a camera that sees somebody come nearer again and again, a microphone's sound, and a sensor."""
    folder = tmp_path_factory.mktemp("films")
    with resources.as_file(resources.files("edgewise.zoo") / "pictures" / "astronaut.png") as photo:
        picture = read(photo)
    frames = [*pause(frames=20), *approach(picture, frames=40, start=0.5, end=0.8), *pause(frames=20)]
    write_video(folder / "gate.mp4", frames, fps=10, codec="libx264", keyframe_every=10)
    write_tone(folder / "hall.wav")
    text = SETTINGS.replace("FILM", str(folder / "gate.mp4")).replace("SOUND", str(folder / "hall.wav"))
    node = start_node(text)
    for number in range(12):
        reading = {"values": {"flow_c": 54.0 + number / 3, "pressure_bar": 1.6, "burner": number % 2 == 0}}
        node.http.post("/v1/sources/boiler/readings", json=reading).raise_for_status()
    return node


@pytest.fixture
def watcher(visit: Callable[..., Any], yard: Any) -> Iterator[Any]:
    """Somebody new at the console of that node."""
    visitor = visit(yard)
    yield visitor
    visitor.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


def has_moved(visitor: Any, script: str, *given: str) -> None:
    """Waits until what a script gives has changed twice."""
    seen: set[Any] = set()

    def changed() -> bool:
        seen.add(visitor.driver.execute_script(script, *given))
        return len(seen - {0, None}) >= 3

    visitor.until(changed, "nothing moves")


def test_a_camera_is_watched_by_webrtc_with_boxes_laid_over_it(watcher: Any) -> None:
    watcher.open("live")
    watcher.sees("WebRTC", inside=f"{GATE} .camera-way")
    has_moved(watcher, "return document.querySelector(arguments[0])?.currentTime", f"{GATE} video")
    size = "const v = document.querySelector(arguments[0]); return [v.videoWidth, v.videoHeight]"
    assert watcher.driver.execute_script(size, f"{GATE} video") == [640, 480]
    watcher.sees("face", inside=f"{GATE} .overlay .box")
    watcher.sees("porch", inside=f"{GATE} .overlay .place")


def test_where_video_cannot_be_had_pictures_are_shown_and_it_is_said(watcher: Any) -> None:
    watcher.expects_errors = True
    watcher.driver.execute_cdp_cmd("Network.enable", {})
    watcher.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/webrtc"]})
    watcher.open("live")
    watcher.sees("Pictures", inside=f"{GATE} .camera-way")
    assert watcher.find(f"{GATE} .camera-way").get_attribute("title")
    has_moved(watcher, PIXELS, f"{GATE} canvas")
    watcher.sees("face", inside=f"{GATE} .overlay .box")


def test_who_wants_exact_boxes_chooses_pictures_and_the_choice_is_kept(watcher: Any) -> None:
    watcher.open("live")
    watcher.find(".choice input").click()
    has_moved(watcher, PIXELS, f"{GATE} canvas")
    watcher.open("live")
    watcher.sees("Pictures", inside=f"{GATE} .camera-way")
    assert watcher.count(f"{GATE} video") == 0


def test_the_clip_of_an_event_is_played_sought_in_and_saved(watcher: Any) -> None:
    watcher.open("events")
    watcher.find(".event[data-kind='zone.entered']:has(.event-clip)")
    watcher.driver.execute_script(
        "[...document.querySelectorAll(\"[data-kind='zone.entered']:has(.event-clip)\")].at(-1).click()"
    )
    video = watcher.find("dialog video")
    duration = "return document.querySelector('dialog video').duration || 0"
    watcher.until(lambda: watcher.driver.execute_script(duration) > 1.5, "the clip is not loaded")
    watcher.driver.execute_script("arguments[0].currentTime = 1.2; arguments[0].play()", video)
    playing = "return arguments[0].currentTime > 1.3 && arguments[0].videoWidth === 640"
    watcher.until(lambda: watcher.driver.execute_script(playing, video), "the clip does not play")
    watcher.sees("face entered porch", inside="dialog h2")
    link = watcher.find("dialog .clip a").get_attribute("href")
    assert link.endswith("/video?download=true")
    assert watcher.serious_faults() == []


def test_recorded_clips_can_be_listed_alone(watcher: Any) -> None:
    watcher.open("events")
    watcher.find(".segment:has(input[value=clips])").click()
    watcher.sees("A clip was recorded", inside="li:first-child .event")
    assert watcher.count(".event-thumb") == 0


def test_what_a_microphone_hears_and_a_sensor_measures_is_shown(watcher: Any) -> None:
    watcher.open("live")
    level = "return document.querySelector('article[aria-label=hall] meter')?.value"
    watcher.until(lambda: -20 < (watcher.driver.execute_script(level) or -60) < -5, "no sound is heard")
    watcher.sees("57.67", inside="article[aria-label=boiler]")
    watcher.sees("false", inside="article[aria-label=boiler]")
    assert watcher.count("article[aria-label=boiler] canvas") == 2


@pytest.mark.parametrize(("width", "dark", "language"), [(1280, False, "en-GB"), (390, True, "zh-CN")])
def test_the_streams_are_for_everybody(watcher: Any, width: int, dark: bool, language: str) -> None:
    watcher.screen(width, 850, dark=dark)
    watcher.speaks(language)
    watcher.open("live")
    watcher.find(f"{GATE} .overlay .box")
    watcher.find("article[aria-label=boiler] .readings")
    assert watcher.serious_faults() == []
    sideways = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert watcher.driver.execute_script(sideways) is False
    watcher.tab_to("WebRTC")
    assert watcher.driver.switch_to.active_element.get_attribute("type") == "checkbox"
    assert watcher.driver.find_elements(By.CSS_SELECTOR, ".notice-error") == []
