"""What is to go on whatever happens: it is tried again, told once, and known for how long it works."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import AccessError, ClosedError, EdgewiseError, UnavailableError
from edgewise.link.loop import Loop
from edgewise.link.reconnect import STABLE_S, Phase
from edgewise.testing.tree import until

AWAY = UnavailableError("nobody answers")


class Work:
    """What a loop keeps going: it fails with each of ``errors``, then works until it is told to fail again."""

    def __init__(self, clock: ManualClock) -> None:
        self.errors: list[EdgewiseError] = []
        self.begun = 0
        self.rounds = 0
        self.failing = threading.Event()
        self.loop = Loop("work", serve=self.serve, clock=clock, random=lambda: 0.0)

    def serve(self) -> None:
        self.begun += 1
        if self.errors:
            raise self.errors.pop(0)
        while not self.loop.stopping.wait(0.001):
            self.loop.connected()
            self.rounds += 1
            if self.failing.is_set():
                self.failing.clear()
                raise AWAY

    def works(self) -> None:
        rounds = self.rounds
        until(lambda: self.rounds > rounds + 2, patience_s=20)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def start(clock: ManualClock) -> Iterator[Callable[..., Work]]:
    begun: list[Work] = []

    def start(*errors: EdgewiseError) -> Work:
        begun.append(Work(clock))
        begun[-1].errors += errors
        begun[-1].loop.start()
        return begun[-1]

    yield start
    for work in begun:
        work.loop.stop()
        assert work.loop.state.phase is Phase.STOPPED


def test_what_fails_is_tried_until_it_works_and_told_once(
    start: Callable[..., Work], caplog: pytest.LogCaptureFixture
) -> None:
    work = start(AWAY, AWAY, AWAY)
    work.works()
    assert work.begun == 4
    assert [record.levelno for record in caplog.records if record.name == "edgewise.link.loop"] == [logging.WARNING]


def test_however_often_it_is_said_that_it_works_it_works_since_the_first_time(
    start: Callable[..., Work], clock: ManualClock
) -> None:
    work = start(AWAY, AWAY)
    work.works()
    clock.advance(STABLE_S)
    work.works()
    assert (work.loop.state.failures, work.loop.state.since_s) == (2, 0.0)
    work.failing.set()
    until(lambda: work.begun == 4, patience_s=20)
    work.works()
    assert work.loop.state.failures == 1  # it was a good one: the wait began small again


def test_what_is_refused_waits_for_a_person_who_is_told(
    start: Callable[..., Work], caplog: pytest.LogCaptureFixture
) -> None:
    work = start(AccessError("you are not known", hint="Join again."))
    until(lambda: "you are not known Join again." in caplog.text, patience_s=20)
    assert (work.begun, work.loop.state.phase) == (1, Phase.REFUSED)


def test_what_is_closed_is_over(start: Callable[..., Work]) -> None:
    work = start(ClosedError("the journal is closed"))
    until(lambda: work.loop.state.phase is Phase.STOPPED, patience_s=20)
    assert work.begun == 1
