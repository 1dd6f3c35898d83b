"""How many more cameras fit: the arithmetic, and a real measurement of a small film."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from edgewise.cli import run
from edgewise.errors import InputError, NotFoundError, UnavailableError
from edgewise.media.film import write_video
from edgewise.node import capacity, organs
from edgewise.node.capacity import USABLE, Capacity, Cost, assess, measure
from edgewise.node.settings import Settings, load
from edgewise.pipeline.runner import RunnerState
from edgewise.testing.pipeline import picture


def cost(name: str, *, fps: float, per_second: float) -> Cost:
    return Cost(name, fps, 2000 / per_second, per_second, at_full_speed=True)


def test_each_camera_takes_its_part_and_the_rest_is_for_more() -> None:
    found = assess(2, [cost("yard", fps=10, per_second=100), cost("door", fps=5, per_second=50)])
    assert found.used == pytest.approx(0.2)
    assert found.more == {"yard": int((USABLE - 0.2) / 0.1), "door": int((USABLE - 0.2) / 0.1)}


def test_too_many_cameras_are_told_as_such() -> None:
    found = assess(2, [cost("yard", fps=30, per_second=20)])
    assert found.used == 1.5
    assert found.more["yard"] < 0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_video(tmp_path / "film.mp4", (picture(10 * number) for number in range(20)), fps=10)
    path = tmp_path / "edgewise.yaml"
    path.write_text(
        "node: {data: data}\npipelines:\n"
        "  yard: {source: {kind: video, path: film.mp4}, transforms: [{kind: motion}]}\n"
    )
    return path


def measured(settings: Settings, seconds: float = 0.5) -> Capacity:
    with organs.open_tools(settings) as tools:
        return measure(settings, tools=tools, seconds=seconds)


def test_a_camera_is_measured_faster_than_it_is_and_leaves_nothing_behind(file: Path) -> None:
    settings = load(file, environment={})
    found = measured(settings)
    (yard,) = found.costs
    assert yard.fps == pytest.approx(10)
    assert yard.at_full_speed
    assert yard.per_second > yard.fps
    assert yard.cpu_ms > 0
    assert found.more["yard"] >= 1
    assert not (Path(settings.node.data) / "journal").exists()


class Clock:
    """Time that passes while somebody sleeps; half of it is computed in."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic

    def process_time(self) -> float:
        return self.now / 2

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_live_camera_that_is_too_fast_is_counted_with_the_pictures_that_were_dropped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = Clock()

    class Behind:
        name = "gate-1"

        def state(self) -> RunnerState:
            return RunnerState(self.name, frames=round(30 * clock.now), processed=round(5 * clock.now))

    monkeypatch.setattr(capacity, "time", clock)
    monkeypatch.setattr(capacity, "_running", lambda *_, **__: contextlib.nullcontext([Behind()]))
    (tmp_path / "edgewise.yaml").write_text("node: {data: data}\npipelines:\n  gate: {source: {kind: upload}}\n")
    settings = load(tmp_path / "edgewise.yaml", environment={}, flags={"node.workers": 1})
    (gate,) = measured(settings, seconds=10).costs
    assert gate.fps == pytest.approx(30)
    assert gate.cpu_ms == pytest.approx(100)
    assert gate.per_second == pytest.approx(10)


def test_a_camera_that_gives_nothing_is_told(file: Path) -> None:
    missing = file.read_text().replace("film.mp4", "none.mp4")
    file.write_text(missing)
    with pytest.raises((UnavailableError, NotFoundError)):
        measured(load(file, environment={}))


def test_without_cameras_there_is_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pipeline of pictures"):
        measured(load(environment={}, flags={"node.data": str(tmp_path)}))


def test_the_command_shows_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["capacity", "--config", str(file), "--seconds", "1"]) == 0
    assert "yard" in capsys.readouterr().out
    assert run(["capacity", "--config", str(file), "--seconds", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["more"]["yard"] >= 1
