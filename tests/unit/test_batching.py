"""Pictures of several pipelines go through one model together, when that pays, and never wrongly."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import InputError
from edgewise.pipeline.batching import MAX_BATCH, Batcher, Gain
from edgewise.pipeline.scheduler import Scheduler

PATIENCE_S = 10.0
BAD = "bad"


class Counted:
    """A model that notes its batches; refuses ``BAD``."""

    batched = True

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def predict_batch(self, pictures: Sequence[str]) -> list[Any]:
        if BAD in pictures:
            raise InputError("this picture is bad")
        self.batches.append(list(pictures))
        return [f"seen {picture}" for picture in pictures]


def together(batcher: Batcher, model: Any, pictures: Sequence[str]) -> list[Any]:
    """All ask at once: a turn is held until all wait."""
    scheduler = Scheduler(cores=1)
    results: list[Any] = [None] * len(pictures)

    def ask(place: int) -> None:
        try:
            results[place] = batcher.predict(scheduler.lane(), model, pictures[place])
        except InputError as error:
            results[place] = error

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(pictures))]
    with scheduler.lane().turn():
        for thread in threads:
            thread.start()
        while scheduler.waiting < len(threads):
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join(PATIENCE_S)
    return results


@pytest.fixture
def batcher(monkeypatch: pytest.MonkeyPatch) -> Batcher:
    """One core, and batches pay."""
    monkeypatch.setattr(Gain, "_tries_many", lambda self: True)
    return Batcher(cores=1)


def test_each_camera_gets_its_own_picture_back_from_the_batch(batcher: Batcher) -> None:
    model = Counted()
    names = [f"camera-{number}" for number in range(5)]
    assert together(batcher, model, names) == [f"seen {name}" for name in names]
    assert sorted(map(len, model.batches)) == [5]


def test_no_batch_is_larger_than_its_bound(batcher: Batcher) -> None:
    model = Counted()
    together(batcher, model, [str(number) for number in range(3 * MAX_BATCH)])
    assert max(map(len, model.batches)) == MAX_BATCH
    assert sum(map(len, model.batches)) == 3 * MAX_BATCH


def test_one_bad_picture_does_not_spoil_the_others(batcher: Batcher) -> None:
    results = together(batcher, Counted(), ["one", BAD, "three"])
    assert [results[0], results[2]] == ["seen one", "seen three"]
    assert isinstance(results[1], InputError)


def test_pictures_of_different_models_are_never_mixed(batcher: Batcher) -> None:
    one, other = Counted(), Counted()
    assert together(batcher, one, ["a", "b"]) == ["seen a", "seen b"]
    assert together(batcher, other, ["c", "d"]) == ["seen c", "seen d"]
    assert sorted(picture for batch in one.batches for picture in batch) == ["a", "b"]


@given(st.integers(1, 100), st.integers(1, 16))
def test_no_core_stands_idle_for_a_batch(waiting: int, cores: int) -> None:
    gain = Gain()
    gain.took(1, 1.0)
    gain.took(4, 1.0)
    size = gain.size(waiting, cores=cores)
    assert 1 <= size <= MAX_BATCH
    assert size == 1 or waiting - size >= (cores - 1) * (size - 1)


@given(st.floats(0.001, 0.1), st.floats(0.2, 3.0))
def test_what_does_not_pay_is_left_and_what_does_is_kept(one_s: float, relative: float) -> None:
    gain, sizes = Gain(), []
    for _ in range(500):
        size = gain.size(8, cores=2)
        sizes.append(size)
        gain.took(size, one_s * size * (relative if size > 1 else 1.0))
    in_batches = sum(size > 1 for size in sizes[10:]) / len(sizes[10:])
    assert in_batches > 0.95 if relative < 0.9 else in_batches < 0.05 or 0.9 <= relative < 1.0
