"""The repository: states in the protocol's words, loading when first used, staying away once unloaded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.errors import ClosedError, CorruptError, NotFoundError, UnavailableError
from edgewise.models.model import Model
from edgewise.node.repository import ModelRepository, Statistics
from edgewise.testing.packages import write_classifier, write_echo

PATIENCE_S = 10.0


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[ModelRepository]:
    """Two models that work, and one whose artifact was cut off after it was listed."""
    repository = ModelRepository([write_echo(tmp_path), write_classifier(tmp_path), write_echo(tmp_path, "cut")])
    artifact = next(path for path in (tmp_path / "cut").iterdir() if path.suffix == ".json")
    artifact.write_bytes(artifact.read_bytes()[:10])
    yield repository
    repository.close()


def states(repository: ModelRepository) -> dict[str, tuple[str, str]]:
    return {line.name: (line.state, line.reason) for line in repository.index()}


def test_a_model_is_loaded_once_when_it_is_first_asked_for(repository: ModelRepository) -> None:
    assert repository.names() == ["colours", "cut", "echo"]
    assert states(repository)["echo"] == ("UNAVAILABLE", "loaded when first used")
    loaded = repository.get("echo")
    assert repository.get("echo") is loaded
    assert states(repository)["echo"] == ("READY", "")
    assert states(repository)["colours"][0] == "UNAVAILABLE"
    assert repository.loaded() == [loaded]


def test_an_unloaded_model_is_closed_and_stays_away_until_it_is_loaded(repository: ModelRepository) -> None:
    model = repository.get("echo").model
    repository.unload("echo")
    with pytest.raises(ClosedError):
        model.infer({"x": np.zeros((1, 1000), np.float32)})
    with pytest.raises(UnavailableError) as caught:
        repository.get("echo")
    assert "/v2/repository/models/echo/load" in caught.value.hint
    assert states(repository)["echo"] == ("UNAVAILABLE", "unloaded")
    assert repository.load("echo") is repository.get("echo")


def test_a_broken_package_says_why_and_works_once_it_is_mended(repository: ModelRepository, tmp_path: Path) -> None:
    with pytest.raises(CorruptError) as caught:
        repository.get("cut")
    assert states(repository)["cut"] == ("UNAVAILABLE", str(caught.value))
    write_echo(tmp_path / "again", "cut")
    artifact = next(path for path in (tmp_path / "again" / "cut").iterdir() if path.suffix == ".json")
    artifact.replace(tmp_path / "cut" / artifact.name)
    repository.get("cut")
    assert states(repository)["cut"] == ("READY", "")


class Slow:
    """Makes the opening of one model wait until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.opened: list[Model] = []
        self._open, self._name = Model.open, name
        monkeypatch.setattr(Model, "open", self)

    def __call__(self, folder: Path, **options: Any) -> Model:
        model = self._open(folder, **options)
        if folder.name == self._name:
            self.opened.append(model)
            self.begun.set()
            assert self.go.wait(PATIENCE_S)
        return model


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def test_while_a_model_loads_everything_else_goes_on(
    repository: ModelRepository, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, "echo")
    callers = [threads.submit(repository.get, "echo") for _ in range(2)]
    try:
        assert slow.begun.wait(PATIENCE_S)
        assert threads.submit(states, repository).result(PATIENCE_S)["echo"] == ("UNAVAILABLE", "loading")
        assert threads.submit(repository.state, "echo").result(PATIENCE_S).state == "UNAVAILABLE"
        colours = threads.submit(repository.get, "colours").result(PATIENCE_S)
        assert threads.submit(repository.loaded).result(PATIENCE_S) == [colours]
    finally:
        slow.go.set()
    first, second = (caller.result(PATIENCE_S) for caller in callers)
    assert first is second
    assert len(slow.opened) == 1
    assert states(repository)["echo"] == ("READY", "")


@pytest.mark.parametrize("end", ["unload", "close"])
def test_a_model_that_is_unloaded_or_closed_while_it_loads_is_freed_when_it_is_loaded(
    end: str, repository: ModelRepository, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, "echo")
    caller = threads.submit(repository.load, "echo")
    try:
        assert slow.begun.wait(PATIENCE_S)
        ending = threads.submit(repository.close) if end == "close" else threads.submit(repository.unload, "echo")
        ending.result(PATIENCE_S)
    finally:
        slow.go.set()
    with pytest.raises(ClosedError if end == "close" else UnavailableError):
        caller.result(PATIENCE_S)
    with pytest.raises(ClosedError):
        slow.opened[0].infer({"x": np.zeros((1, 1000), np.float32)})
    assert repository.loaded() == []
    if end == "unload":
        assert states(repository)["echo"] == ("UNAVAILABLE", "unloaded")
        assert repository.load("echo").model is slow.opened[1]


@pytest.mark.parametrize(
    ("ask", "hint"),
    [
        (lambda repository: repository.get("ecko"), "'echo'"),
        (lambda repository: repository.get("echo", "9"), "Versions: 1"),
        (lambda repository: repository.unload("ecko"), "'echo'"),
    ],
)
def test_what_is_not_there_is_refused_with_the_nearest_that_is(
    repository: ModelRepository, ask: Callable[[ModelRepository], object], hint: str
) -> None:
    with pytest.raises(NotFoundError) as caught:
        ask(repository)
    assert hint in caught.value.hint


def test_of_two_packages_with_one_name_and_version_the_first_wins(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    repository = ModelRepository([write_echo(tmp_path / "one", shape=(-1, 2)), write_echo(tmp_path / "two")])
    assert repository.state("echo").manifest.inputs[0].shape == (-1, 2)
    assert len(repository.index()) == 1


def test_statistics_add_up() -> None:
    statistics = Statistics()
    statistics.succeeded(now_ns=5_000_000, batch=4, queue_ns=1, input_ns=2, infer_ns=3, output_ns=4)
    statistics.succeeded(now_ns=9_000_000, infer_ns=10)
    statistics.failed(7)
    assert (statistics.inference_count, statistics.last_inference_ms) == (5, 9)
    assert (statistics.success.count, statistics.success.ns) == (2, 20)
    assert (statistics.compute_infer.ns, statistics.queue.ns) == (13, 1)
    assert (statistics.fail.count, statistics.fail.ns) == (1, 7)
