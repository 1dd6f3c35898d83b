"""A real Home Assistant core in an environment of its own, made once and kept in ``.cache``."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewise.testing.broker import Mosquitto

HERE = Path(__file__).parent
CACHE = HERE.parents[2] / ".cache"
PATIENCE_S = 30.0


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter that has Home Assistant; installed from the package index the first time."""
    wanted = (HERE / "requirements.txt").read_bytes()
    folder = CACHE / f"homeassistant-{hashlib.sha256(wanted).hexdigest()[:12]}"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [folder / "bin" / "pip", "install", "--quiet", "--prefer-binary", "--requirement"]
        subprocess.run([*install, HERE / "requirements.txt"], check=True, timeout=600)
        (folder / "ready").touch()
    return folder / "bin" / "python"


class Hass:
    """A running core, asked by lines."""

    def __init__(self, python: Path, broker: Mosquitto, folder: Path) -> None:
        self._log = folder / "hass.log"
        folder.mkdir(exist_ok=True)
        self._errors = self._log.open("w")
        self._process = subprocess.Popen(
            [python, HERE / "core.py", str(broker.port), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._read() == "ready", self._log.read_text()

    def ask(self, **what: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._read()

    def call(self, domain: str, service: str, **data: Any) -> None:
        told = self.ask(call=[domain, service, data])
        assert "error" not in told, told

    def wait(self, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Its states by entity, once something holds of them."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            states: dict[str, Any] = self.ask()
            try:
                if holds(states):
                    return states
            except KeyError:
                pass
            time.sleep(0.1)
        pytest.fail(f"it did not come to pass: {json.dumps(states, indent=1)}\n{self.log()}")

    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()
        self._errors.close()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._log.read_text()
        return json.loads(line)


@pytest.fixture
def start_hass(python: Path, mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Callable[[], Hass]]:
    """Starts Home Assistant at the broker; ended after the test."""
    started: list[Hass] = []

    def start() -> Hass:
        started.append(Hass(python, mosquitto, tmp_path / f"hass-{len(started)}"))
        return started[-1]

    yield start
    for hass in started:
        if hass._process.poll() is None:
            hass.stop()
