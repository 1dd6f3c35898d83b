"""A real node in a process of its own, and a visitor: headless Chromium with the words a story needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import cv2
import httpx
import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from edgewise.testing.node import RunningNode

AXE = Path(__file__).parent / "vendor" / "axe.js"
PATIENCE_S = 20
# Chromium that talks to nobody but the node; the flags for root and for machines without a GPU are needed in CI.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# One picture is enough to decide, and every picture is a new visit: a story then takes one upload.
SETTINGS = """
node: {name: home, data: ./data}
http: {port: 0}
models: [yunet, mobilefacenet]
pipelines:
  door:
    source: {kind: upload}
    transforms: [{kind: recognise}, {kind: presence, needed: 1, unknown_needed: 1, absent_s: 0}]
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
      - {device: thermostat, command: set_temperature, arguments: {temperature_c: =person.preferences.temperature_c}}
  - name: stranger-at-the-door
    on: face.unknown
    do:
      - {device: alarm, command: raise, arguments: {reason: a stranger is at the door}}
"""


class House:
    """A node with the words for what people do in its house."""

    def __init__(self, folder: Path, settings: str, *, cache: Path) -> None:
        self.settings = folder / "edgewise.yaml"
        self.settings.write_text(settings)
        self._node = RunningNode(folder, environment={"EDGEWISE_CACHE": str(cache)})
        self._node.start()
        self.address = self._node.address
        self.http = httpx.Client(base_url=self.address, timeout=PATIENCE_S)

    def start_anew(self) -> None:
        """Brings the house where every story starts: nobody known, locked, quiet."""
        for person in self.http.get("/v1/people").json()["people"]:
            self.http.delete(f"/v1/people/{person['name']}").raise_for_status()
        for device, command in (("front-door", "lock"), ("alarm", "clear")):
            self.http.post(f"/v1/devices/{device}/commands", json={"command": command, "hold_s": 0}).raise_for_status()

    def enrol(self, name: str, photo: Path) -> None:
        """Makes a person known, over the API."""
        form = {"name": name, "preferences": '{"brightness": 40, "temperature_c": 22.5}'}
        self.http.post("/v1/people", data=form, files={"photos": photo.read_bytes()}).raise_for_status()

    def show(self, picture: Path) -> None:
        """Holds a picture before the door's camera."""
        self.http.post("/v1/cameras/door/frames", content=picture.read_bytes()).raise_for_status()

    def stop(self) -> None:
        """Ends the node."""
        self.http.close()
        self._node.stop()


class Visitor:
    """A person at the console. Whatever is looked for is waited for."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver = driver
        self.address = address
        self.expects_errors = False

    def screen(self, width: int, height: int, *, dark: bool = False, reduced_motion: bool = True) -> None:
        """Sets the size of the window and the system's preferences."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if reduced_motion else "no-preference"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def speaks(self, languages: str) -> None:
        """Sets the browser's languages, such as ``zh-CN``."""
        agent = self.driver.execute_script("return navigator.userAgent")
        self.driver.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": languages})

    def open(self, page: str = "") -> None:
        """Loads a page of the console from scratch."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.address}/#/{page}" if page else self.address)
        self.find("h1")

    def until(self, condition: Callable[[], object], what: str) -> object:
        """Waits until ``condition`` gives something true, and returns that."""
        ignored = (NoSuchElementException, StaleElementReferenceException)
        wait = WebDriverWait(self.driver, PATIENCE_S, poll_frequency=0.05, ignored_exceptions=ignored)
        return wait.until(lambda _: condition(), what)

    def find(self, css: str) -> WebElement:
        """The first element that is drawn and matches."""

        def drawn() -> WebElement | None:
            return next((one for one in self.driver.find_elements(By.CSS_SELECTOR, css) if one.is_displayed()), None)

        return self.until(drawn, f"nothing matches {css}")

    def count(self, css: str) -> int:
        """How many elements match now."""
        return len(self.driver.find_elements(By.CSS_SELECTOR, css))

    def sees(self, text: str, *, inside: str = "body") -> None:
        """Waits until a text is shown."""
        self.until(
            lambda: text in self.driver.find_element(By.CSS_SELECTOR, inside).text, f"{text!r} is not in {inside}"
        )

    def button(self, name: str, *, inside: str = "body") -> WebElement:
        """A button by what it is called, for the eye or for a screen reader."""

        def called() -> WebElement | None:
            for one in self.driver.find_elements(By.CSS_SELECTOR, f"{inside} button"):
                if one.is_displayed() and name in (one.accessible_name, one.text):
                    return one
            return None

        return self.until(called, f"no button {name!r} in {inside}")

    def press(self, name: str, *, inside: str = "body") -> None:
        """Clicks a button."""
        self.button(name, inside=inside).click()

    def opens(self, name: str, *, inside: str = "body") -> None:
        """Clicks a button and waits for its dialog to take the focus, as a person does before typing."""
        self.press(name, inside=inside)
        focused = "return document.activeElement.closest('dialog[open]') !== null"
        self.until(lambda: self.driver.execute_script(focused), f"{name!r} opens no dialog")

    def choose(self, css: str, *files: Path) -> None:
        """Gives files to a file field, which the person reaches through the button beside it."""
        field = self.until(lambda: self.driver.find_element(By.CSS_SELECTOR, css), f"no field {css}")
        field.send_keys("\n".join(str(file) for file in files))

    def keys(self, *keys: str) -> None:
        """Types, wherever the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def tab_to(self, name: str, *, most: int = 60) -> None:
        """Moves on with the Tab key until the focused element is called ``name``."""
        for _ in range(most):
            self.keys(Keys.TAB)
            if name in self.focus_name():
                return
        raise AssertionError(f"Tab does not reach {name!r}")

    def focus_name(self) -> str:
        """What the focused element is called."""
        return self.driver.switch_to.active_element.accessible_name

    def serious_faults(self) -> list[str]:
        """What axe finds serious or worse on the page as it is now."""
        self.driver.execute_script(AXE.read_text())
        result = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(done);"
        )
        return [
            f"{violation['id']}: {violation['help']}: {[node['html'][:160] for node in violation['nodes'][:3]]}"
            for violation in result["violations"]
            if violation["impact"] in {"serious", "critical"}
        ]

    def is_answered_within(self, *, seconds: float) -> bool:
        """Whether a request that the page makes now is answered that soon."""
        script = (
            "const [ms, done] = arguments; setTimeout(() => done(false), ms);"
            "fetch('/v1/health').then(({ok}) => done(ok), () => done(false))"
        )
        return bool(self.driver.execute_async_script(script, seconds * 1000))

    def errors(self) -> list[str]:
        """What the browser's console has reported as errors since it was asked last."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture(scope="session")
def start_node(tmp_path_factory: pytest.TempPathFactory, zoo_cache: Path) -> Iterator[Callable[[str], House]]:
    """Starts nodes with given settings; they are stopped at the end."""
    started: list[House] = []

    def start(settings: str) -> House:
        started.append(House(tmp_path_factory.mktemp("node"), settings, cache=zoo_cache))
        return started[-1]

    yield start
    for node in started:
        node.stop()


@pytest.fixture(scope="session")
def node(start_node: Callable[[str], House]) -> House:
    """The node of the house: a door with a camera, and four devices."""
    return start_node(SETTINGS)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One Chromium for all stories."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser: webdriver.Chrome) -> Iterator[Callable[[House], Visitor]]:
    """Somebody new at a node's console: nothing remembered, English, a desktop. Errors in the console fail the test."""
    visitors: list[Visitor] = []

    def come(node: House) -> Visitor:
        visitor = Visitor(browser, node.address)
        browser.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": node.address, "storageTypes": "all"})
        visitor.screen(1280, 900)
        visitor.speaks("en-GB")
        visitor.errors()
        visitors.append(visitor)
        return visitor

    yield come
    for visitor in visitors:
        errors = visitor.errors()
        assert visitor.expects_errors or errors == []
        browser.get("about:blank")


@pytest.fixture
def visitor(visit: Callable[[House], Visitor], node: House) -> Visitor:
    """Somebody new at the house's console."""
    node.start_anew()
    return visit(node)


@pytest.fixture(scope="session")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A photograph of a real person (NASA, public domain), as a camera would see her at three moments."""
    folder = tmp_path_factory.mktemp("portraits")
    picture = resources.files("edgewise.zoo") / "pictures" / "astronaut.png"
    image = cv2.resize(cv2.imread(str(picture)), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    moments = {"first": image, "mirrored": image[:, ::-1], "darker": cv2.convertScaleAbs(image, alpha=0.7)}
    for name, moment in moments.items():
        cv2.imwrite(str(folder / f"{name}.jpg"), moment)
    return [folder / f"{name}.jpg" for name in moments]


@pytest.fixture(scope="session")
def cat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of a cat."""
    file = tmp_path_factory.mktemp("animals") / "cat.png"
    file.write_bytes((resources.files("edgewise.zoo") / "pictures" / "cat.png").read_bytes())
    return file
