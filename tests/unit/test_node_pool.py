"""The pool: as many at once as it has workers, as many waiting as it says, and the next is refused at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from edgewise.errors import BusyError, ClosedError
from edgewise.node.pool import Pool
from edgewise.pipeline.scheduler import Scheduler

PATIENCE_S = 10.0


@pytest.fixture
def pool() -> Iterator[Pool]:
    """One worker, one place to wait."""
    pool = Pool(Scheduler(cores=1), max_waiting=1)
    yield pool
    pool.close()


def test_when_all_places_are_taken_the_next_call_is_refused_and_later_ones_are_not(pool: Pool) -> None:
    go = threading.Event()
    calls = [pool.submit(go.wait, PATIENCE_S), pool.submit(str, 1)]
    with pytest.raises(BusyError) as caught:
        pool.submit(str, 2)
    assert caught.value.facts["limit"] == 1
    go.set()
    assert [call.result(PATIENCE_S) for call in calls] == [True, "1"]
    assert pool.submit(str, 3).result(PATIENCE_S) == "3"


def test_a_call_that_fails_gives_its_place_back(pool: Pool) -> None:
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            pool.submit(lambda: 1 / 0).result(PATIENCE_S)
    assert pool.submit(str, 1).result(PATIENCE_S) == "1"


def test_closing_finishes_the_call_under_way_and_fails_those_that_wait(pool: Pool) -> None:
    busy, go = threading.Event(), threading.Event()

    def work() -> bool:
        busy.set()
        return go.wait(PATIENCE_S)

    running, waiting = pool.submit(work), pool.submit(str, 1)
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
        pool.submit(str, 2)


def test_a_call_that_would_wait_too_long_is_refused_with_the_time_to_come_again() -> None:
    pool = Pool(Scheduler(cores=1), max_waiting=100, max_wait_s=0.05)
    go = threading.Event()
    for _ in range(3):  # calls take a while here
        pool.submit(go.wait, 0.2).result(PATIENCE_S)
    calls = [pool.submit(go.wait, PATIENCE_S)]
    with pytest.raises(BusyError, match="1 workers are busy") as caught:
        calls += [pool.submit(str, 1) for _ in range(100)]
    assert caught.value.facts["retry_after_s"] == 1
    assert len(calls) < 10
    go.set()
    assert calls[0].result(PATIENCE_S)
    pool.close()
