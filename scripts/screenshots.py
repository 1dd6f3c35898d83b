"""Makes the pictures of the console in ``docs/images`` from a running node.

Starts a node of its own with a door and a street, lets a stranger and then somebody known come to the door, and takes
each picture in headless Chromium: light and dark, desktop and phone, English and Chinese. The pictures shown to the
cameras are the console's own samples; ``static/samples/index.json`` says where they come from.

Usage: python scripts/screenshots.py [NAME...]
"""

import base64
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from edgewise.console import static_folder
from edgewise.testing.node import RunningNode

IMAGES = Path(__file__).resolve().parents[1] / "docs/images"
SAMPLES = static_folder() / "samples"
PATIENCE_S = 60

SETTINGS = """
node: {name: home, data: ./data}
http: {port: 0}
models: [yunet, mobilefacenet, nanodet]
pipelines:
  front-door:
    source: {kind: upload}
    transforms: [{kind: recognise}, {kind: presence, needed: 1, unknown_needed: 1, absent_s: 0}]
  street:
    source: {kind: upload}
    transforms: [{kind: detect, model: nanodet}]
devices:
  front-door: {kind: lock, relock_s: 0}
  hall-light: {kind: light}
  thermostat: {kind: thermostat, min_c: 16, max_c: 25}
  alarm: {kind: alarm}
rules:
  - name: let-the-family-in
    on: face.known
    do:
      - {device: front-door, command: unlock}
      - {device: hall-light, command: turn_on, arguments: {brightness: =person.preferences.brightness}}
      - {device: thermostat, command: set_temperature, arguments: {temperature_c: =person.preferences.temperature_c}}
      - {device: alarm, command: clear}
  - name: stranger-at-the-door
    on: face.unknown
    do:
      - {device: alarm, command: raise, arguments: {reason: a stranger is at the door}}
"""

DESKTOP = (1280, 860)
PHONE = (390, 844)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


@dataclass(frozen=True)
class Shot:
    """One picture: which page, how, and a script that gives true once it shows what it should."""

    name: str
    page: str
    ready: str
    size: tuple[int, int] = DESKTOP
    dark: bool = False
    language: str = "en"


_ALL_LOADED = "[...document.images].every((image) => image.naturalWidth > 0)"
_TRIED = "document.querySelectorAll('.tag').length > 3"
_SHOWN = "[...document.querySelectorAll('.camera-view video, .camera-view canvas')]"
_LIVE = f"{_SHOWN}.filter((view) => view.videoWidth || (view.matches('canvas') && view.width !== 300)).length === 2"
_EVENTS = f"document.querySelectorAll('.event').length > 3 && {_ALL_LOADED}"
_CHARTS = "document.querySelectorAll('.chart canvas').length >= 3 && document.querySelector('table')"

SHOTS = (
    Shot("try", "try", _TRIED),
    Shot("try-zh", "try", _TRIED, language="zh-CN"),
    Shot("live", "live", _LIVE),
    Shot("live-dark", "live", _LIVE, dark=True),
    Shot("live-zh", "live", _LIVE, language="zh-CN"),
    Shot("live-phone", "live", _LIVE, size=PHONE),
    Shot("events-dark", "events", _EVENTS, dark=True),
    Shot("events-phone-dark", "events", _EVENTS, size=PHONE, dark=True),
    Shot("people", "people", f"document.querySelector('.person') && {_ALL_LOADED}"),
    Shot("models", "models", "document.querySelector('.model')"),
    Shot("system-dark", "system", _CHARTS, dark=True),
)


def live_a_day(address: str) -> None:
    """Lets happen what the pictures show."""
    astronaut, street = (SAMPLES / f"{name}.jpg" for name in ("astronaut", "street"))
    with httpx.Client(base_url=address, timeout=PATIENCE_S) as http:

        def show(camera: str, picture: Path) -> None:
            after = http.get("/v1/events").json()["events"]
            http.post(f"/v1/cameras/{camera}/frames", content=picture.read_bytes()).raise_for_status()
            while camera == "front-door" and http.get("/v1/events").json()["events"] == after:
                pass

        show("front-door", astronaut)
        form = {"name": "Eileen", "preferences": json.dumps({"brightness": 40, "temperature_c": 21.5})}
        http.post("/v1/people", data=form, files={"photos": astronaut.read_bytes()}).raise_for_status()
        show("street", street)
        for _ in range(4):
            show("front-door", astronaut)
        for model in ("yunet", "nanodet", "mobilefacenet"):
            for picture in (astronaut, street) * 3:
                http.post(f"/v1/models/{model}/predict", content=picture.read_bytes())


@contextmanager
def chromium(folder: Path) -> Iterator[webdriver.Chrome]:
    """Headless Chromium."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def take(driver: webdriver.Chrome, address: str, shot: Shot) -> bytes:
    """Opens the page as the shot wants it and gives the picture as PNG."""
    width, height = shot.size
    scale = 1 if shot.size == DESKTOP else 2
    screen = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": shot.size == PHONE}
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if shot.dark else "light"}]
    agent = {"userAgent": driver.execute_script("return navigator.userAgent"), "acceptLanguage": shot.language}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    driver.execute_cdp_cmd("Emulation.setUserAgentOverride", agent)
    driver.get(address)
    driver.execute_script("localStorage.setItem('edgewise.model', 'nanodet')")
    driver.get("about:blank")
    driver.get(f"{address}/#/{shot.page}")
    wait = WebDriverWait(driver, PATIENCE_S)
    if shot.page == "try":
        wait.until(lambda _: driver.execute_script("return document.querySelectorAll('.sample').length === 3"))
        driver.execute_script("document.querySelectorAll('.sample')[2].click()")
    wait.until(lambda _: driver.execute_script(f"return document.fonts.status === 'loaded' && ({shot.ready})"))
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "optimizeForSpeed": False})
    return base64.b64decode(taken["data"])


def main() -> None:
    wanted = set(sys.argv[1:]) or {shot.name for shot in SHOTS}
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "edgewise.yaml").write_text(SETTINGS)
        with RunningNode(folder) as node, chromium(folder / "chromium") as driver:
            live_a_day(node.address)
            for shot in SHOTS:
                if shot.name in wanted:
                    (IMAGES / f"console-{shot.name}.png").write_bytes(take(driver, node.address, shot))
                    print(f"docs/images/console-{shot.name}.png")


if __name__ == "__main__":
    main()
