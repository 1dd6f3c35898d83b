"""The pool: as many at once as it has workers, as many waiting as it says, and the next is refused at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

import pytest

from edgewise.errors import BusyError, ClosedError
from edgewise.node import pool as pool_module
from edgewise.node.pool import Pool
from edgewise.pipeline.scheduler import Scheduler

PATIENCE_S = 10.0


@pytest.fixture
def pool() -> Iterator[Pool]:
    """One worker, one place to wait."""
    pool = Pool(Scheduler(cores=1), max_waiting=1)
    yield pool
    pool.close()


def ask(pool: Pool, function: Callable[..., Any], *arguments: object) -> Future[Any]:
    """Runs a call on a worker, with what it gives as a future."""
    future: Future[Any] = Future()

    def done(result: Any, error: BaseException | None) -> None:
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    pool.call(done, function, *arguments)
    return future


def test_when_all_places_are_taken_the_next_call_is_refused_and_later_ones_are_not(pool: Pool) -> None:
    go = threading.Event()
    calls = [ask(pool, go.wait, PATIENCE_S), ask(pool, str, 1)]
    with pytest.raises(BusyError) as caught:
        ask(pool, str, 2)
    assert caught.value.facts["limit"] == 1
    go.set()
    assert [call.result(PATIENCE_S) for call in calls] == [True, "1"]
    assert ask(pool, str, 3).result(PATIENCE_S) == "3"


def test_a_call_that_fails_gives_its_place_back(pool: Pool) -> None:
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            ask(pool, lambda: 1 / 0).result(PATIENCE_S)
    assert ask(pool, str, 1).result(PATIENCE_S) == "1"


def test_closing_finishes_the_call_under_way_and_fails_those_that_wait(pool: Pool) -> None:
    busy, go = threading.Event(), threading.Event()

    def work() -> bool:
        busy.set()
        return go.wait(PATIENCE_S)

    running, waiting = ask(pool, work), ask(pool, str, 1)
    assert busy.wait(PATIENCE_S)
    closing = threading.Thread(target=pool.close)
    closing.start()
    while not waiting.done():
        pass
    go.set()
    closing.join(PATIENCE_S)
    assert running.result(0) is True
    with pytest.raises(ClosedError):
        waiting.result(0)
    with pytest.raises(ClosedError):
        ask(pool, str, 2)


def test_a_call_that_would_wait_too_long_is_refused_with_the_time_to_come_again() -> None:
    pool = Pool(Scheduler(cores=1), max_waiting=100, max_wait_s=0.05)
    go = threading.Event()
    for _ in range(3):  # calls take a while here
        ask(pool, go.wait, 0.2).result(PATIENCE_S)
    calls = [ask(pool, go.wait, PATIENCE_S)]
    with pytest.raises(BusyError, match="1 workers are busy") as caught:
        calls += [ask(pool, str, 1) for _ in range(100)]
    assert caught.value.facts["retry_after_s"] == 1
    assert len(calls) < 10
    go.set()
    assert calls[0].result(PATIENCE_S)
    pool.close()


def test_calls_that_wait_for_cameras_are_told_when_to_come_again() -> None:
    scheduler = Scheduler(cores=1)
    pool = Pool(scheduler, max_waiting=100, max_wait_s=0.001)
    camera = scheduler.lane()
    for _ in range(10):
        with camera.turn():  # quick work, but no core is free for it
            quick = ask(pool, str, 1)
            assert not threading.Event().wait(0.03)
        assert quick.result(PATIENCE_S) == "1"
    with camera.turn():
        calls = [ask(pool, str, 2)]
        with pytest.raises(BusyError):
            ask(pool, str, 3)
    assert calls[0].result(PATIENCE_S) == "2"
    pool.close()


def test_one_call_that_a_suspended_machine_drew_out_gets_no_others_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(Scheduler(cores=1), max_waiting=10, max_wait_s=10)
    hour = iter([0.0, 3600.0])
    monkeypatch.setattr(pool_module.time, "perf_counter", lambda: next(hour, 3600.0))
    assert ask(pool, str, 1).result(PATIENCE_S) == "1"
    go = threading.Event()
    calls = [ask(pool, go.wait, PATIENCE_S), *(ask(pool, str, number) for number in range(4))]
    go.set()
    assert [call.result(PATIENCE_S) for call in calls] == [True, "0", "1", "2", "3"]
    pool.close()


def test_closing_does_not_wait_for_a_call_that_a_worker_has_just_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Snatched(SimpleQueue):
        """A worker takes the last call right after somebody has seen it."""

        def empty(self) -> bool:
            found = super().empty()
            if not found:
                self.get()
            return found

    monkeypatch.setattr(pool_module, "SimpleQueue", Snatched)
    pool = Pool(Scheduler(cores=1))
    go = threading.Event()
    running, _ = ask(pool, go.wait, PATIENCE_S), ask(pool, str, 1)
    closing = threading.Thread(target=pool.close, daemon=True)
    closing.start()
    go.set()
    closing.join(PATIENCE_S)
    assert not closing.is_alive()
    assert running.done()
