"""What follows from an event acts only if this very process accepted it a moment ago, whatever the wall clock says."""

from __future__ import annotations

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.node.acceptances import Acceptances
from edgewise.node.pulse import Pulse
from edgewise.pipeline.base import Action


def deadline(acceptances: Acceptances, clock: ManualClock, sequence: int) -> float:
    """When a command that is valid for five seconds after its event is late."""
    time_ns = clock.time_ns()
    action = Action("door", "unlock", {}, key="one", expires_ns=time_ns + 5_000_000_000)
    stamped = acceptances.stamp(action, sequence=sequence, time_ns=time_ns)
    assert stamped.deadline_s is not None
    return stamped.deadline_s


def test_time_counts_from_the_acceptance() -> None:
    clock = ManualClock()
    acceptances = Acceptances(clock, before=3)
    clock.advance(10)
    acceptances.accept(range(4, 6))
    clock.advance(2)
    clock.jump(-3600)
    assert deadline(acceptances, clock, 4) == pytest.approx(15)
    assert deadline(acceptances, clock, 6) == pytest.approx(17)  # being told at this moment


def test_what_another_process_accepted_is_late() -> None:
    clock = ManualClock()
    clock.advance(10)
    assert deadline(Acceptances(clock, before=3), clock, 3) == 10


def test_what_is_so_old_that_it_was_forgotten_is_late() -> None:
    clock = ManualClock()
    acceptances = Acceptances(clock, before=0)
    acceptances.accept(range(1, 25_001))
    clock.advance(10)
    assert deadline(acceptances, clock, 1) == 10
    assert deadline(acceptances, clock, 25_000) == 5


class Line:
    """A broker that gives every beat back after a while."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.pulse = Pulse(self.clock)

    def beats(self, count: int = 1, *, takes_s: float = 0.01) -> None:
        for _ in range(count):
            beat = self.pulse.beat()
            self.clock.advance(takes_s)
            self.pulse.take(beat)
            self.clock.advance(1 - takes_s if takes_s < 1 else 0)


def test_nothing_is_fresh_before_the_first_beat_came_back() -> None:
    line = Line()
    assert not line.pulse.fresh()
    line.beats()
    assert line.pulse.fresh()


def test_what_comes_after_a_silence_may_be_old() -> None:
    line = Line()
    line.beats(3)
    line.clock.advance(30)
    assert not line.pulse.fresh()
    line.beats()
    assert line.pulse.fresh()


def test_what_comes_with_beats_that_were_held_up_may_be_old_too() -> None:
    line = Line()
    line.beats(3)
    line.beats(takes_s=30)  # the broker hung
    assert not line.pulse.fresh()
    line.beats()
    assert not line.pulse.fresh()
    line.beats(3)
    assert line.pulse.fresh()


def test_what_others_say_is_no_beat() -> None:
    line = Line()
    line.pulse.take(b"hello")
    line.pulse.take(b"1e300")
    assert not line.pulse.fresh()
