"""When a child tries again: spread out, not too seldom, and told a person where waiting mends nothing."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import AccessError, BusyError, ConflictError, EdgewiseError, UnavailableError
from edgewise.link.reconnect import FIRST_S, LONGEST_S, REFUSED_S, STABLE_S, Phase, Reconnect

GONE = UnavailableError("the parent does not answer")


def wait_of(state: Reconnect) -> float:
    return state.until_s - state.since_s


@given(st.integers(1, 200), st.floats(0, 1))
def test_waits_grow_to_a_minute_and_no_further(failures: int, drawn: float) -> None:
    state = Reconnect()
    for _ in range(failures):
        state = state.failed(GONE, 0.0, random=lambda: drawn)
    assert state.phase is Phase.WAITING
    assert state.failures == failures
    assert wait_of(state) == pytest.approx(min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 1, 16)) * drawn)


def test_a_thousand_children_that_lost_the_same_parent_come_back_spread_out() -> None:
    chance = random.Random(1)
    states = [Reconnect().connected(0.0) for _ in range(1000)]
    for _ in range(6):  # the parent stays away for a while
        states = [state.tried(state.until_s).failed(GONE, 0.0, random=chance.random) for state in states]
    seconds = Counter(int(wait_of(state)) for state in states)
    assert len(seconds) >= 30
    assert max(seconds.values()) < 100


def test_a_busy_parent_is_left_alone_for_as_long_as_it_asks() -> None:
    busy = BusyError("later", retry_after_s=20)
    waits = {wait_of(Reconnect().failed(busy, 5.0, random=lambda drawn=drawn: drawn)) for drawn in (0.0, 0.5, 1.0)}
    assert min(waits) == 20.0
    assert len(waits) == 3
    for silly in (-5, 10**9, "soon", None):
        state = Reconnect().failed(BusyError("later", retry_after_s=silly), 0.0, random=lambda: 1.0)
        assert 0 <= wait_of(state) <= 2 * LONGEST_S


@pytest.mark.parametrize("error", [AccessError("revoked"), ConflictError("another journal")])
def test_what_no_waiting_mends_is_tried_seldom_and_told(error: EdgewiseError) -> None:
    state = Reconnect().failed(error, 0.0, random=lambda: 0.0)
    assert state.phase is Phase.REFUSED
    assert REFUSED_S / 2 <= wait_of(state) <= REFUSED_S
    assert (state.code, state.message) == (error.code, error.message)


def test_after_a_good_connection_waits_begin_small_again() -> None:
    state = Reconnect()
    for _ in range(10):
        state = state.failed(GONE, 0.0, random=lambda: 1.0)
    flapping = state.tried(0.0).connected(0.0).failed(GONE, STABLE_S - 1, random=lambda: 1.0)
    assert flapping.failures == 11
    held = state.tried(0.0).connected(0.0).failed(GONE, STABLE_S, random=lambda: 1.0)
    assert (held.failures, wait_of(held)) == (1, FIRST_S)
    assert held.tried(99.0).connected(99.0).code == ""
