"""Guessing is slow, from wherever and at whomever; those who know their password hardly notice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.accounts import limiter
from edgewise.accounts.limiter import FORGIVEN_S, FREE_OF_ACCOUNT, FREE_OF_ADDRESS, MAX_WAIT_S, SignInLimiter
from edgewise.errors import ThrottledError

HOME = "192.168.1.20"


class Door:
    """A limiter with its clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.limiter = SignInLimiter(b"the key of this test")

    def tries(self, name: str, address: str) -> float:
        """Seconds to wait; 0 when the try may be made."""
        try:
            self.limiter.attempt(name, address, now_s=self.clock.monotonic())
        except ThrottledError as error:
            return float(error.facts["retry_after_s"])
        return 0.0

    def guesses(self, seconds: float, *, names: list[str], addresses: list[str]) -> int:
        """How many guesses somebody gets in who tries four times a second."""
        made = 0
        for number in range(int(seconds * 4)):
            name, address = names[number % len(names)], addresses[number % len(addresses)]
            made += self.tries(name, address) == 0.0
            self.clock.advance(0.25)
        return made


@pytest.fixture
def door() -> Door:
    return Door()


def test_a_few_slips_cost_nothing_then_each_costs_twice_as_much(door: Door) -> None:
    waits = []
    for _ in range(FREE_OF_ACCOUNT):
        assert door.tries("ada", HOME) == 0.0
    while len(waits) < 9:
        wait_s = door.tries("ada", HOME)
        waits.append(round(wait_s))
        assert wait_s > 0
        door.clock.advance(wait_s)
        assert door.tries("ada", HOME) == 0.0
    assert waits[:7] == [2, 3, 5, 9, 17, 33, 61]
    assert set(waits[7:]) == {MAX_WAIT_S + 1}


def test_a_day_of_guessing_at_one_account_gets_little_further_than_one_a_minute(door: Door) -> None:
    many = [f"10.0.{number // 250}.{number % 250}" for number in range(2000)]
    assert door.guesses(86400 / 24, names=["ada"], addresses=many) < 80


def test_one_address_guesses_at_many_accounts_no_faster(door: Door) -> None:
    names = [f"user{number}" for number in range(5000)]
    assert door.guesses(3600, names=names, addresses=[HOME]) < FREE_OF_ADDRESS + 75
    assert door.tries("eve", "10.9.9.9") == 0.0


def test_a_flood_of_names_does_not_make_a_guesser_new(door: Door) -> None:
    for _ in range(FREE_OF_ACCOUNT + 3):
        door.clock.advance(door.tries("ada", HOME))
        door.tries("ada", HOME)
    addresses = [f"10.{number // 62500}.{number // 250 % 250}.{number % 250}" for number in range(20_000)]
    for number, address in enumerate(addresses):
        door.tries(f"nobody{number}", address)
    assert door.tries("ada", "10.200.0.1") > 0
    assert sum(map(len, door.limiter._tries)) == limiter.ROWS * limiter.PLACES


def test_names_that_nobody_has_are_counted_as_any_other(door: Door) -> None:
    other = Door()
    assert [door.tries("ada", HOME) for _ in range(9)] == [other.tries("nobody at all", HOME) for _ in range(9)]


def test_who_knows_the_password_signs_in_as_often_as_they_like(door: Door) -> None:
    for _ in range(500):
        assert door.tries("ada", HOME) == 0.0
        door.limiter.succeeded("ada", HOME)


def test_a_right_password_does_not_forgive_the_guesses_at_others(door: Door) -> None:
    for number in range(FREE_OF_ADDRESS):
        door.tries(f"user{number}", HOME)
        if number % 2 and door.tries("mallory", HOME) == 0.0:
            door.limiter.succeeded("mallory", HOME)
    assert door.tries("mallory", HOME) > 0


def test_after_a_quiet_while_all_is_forgiven(door: Door) -> None:
    for _ in range(30):
        door.clock.advance(door.tries("ada", HOME))
        door.tries("ada", HOME)
    assert door.tries("ada", HOME) > 0
    door.clock.advance(FORGIVEN_S + 1)
    assert [door.tries("ada", HOME) for _ in range(FREE_OF_ACCOUNT)] == [0.0] * FREE_OF_ACCOUNT


def test_many_tries_at_once_are_no_way_around(door: Door) -> None:
    with ThreadPoolExecutor(16) as threads:
        waits = list(threads.map(lambda _: door.tries("ada", HOME), range(64)))
    assert waits.count(0.0) == FREE_OF_ACCOUNT


def test_a_household_with_all_of_its_ipv6_addresses_is_one_caller(door: Door) -> None:
    made = [door.tries(f"user{number}", f"2001:db8:1:2::{number:x}") for number in range(FREE_OF_ADDRESS + 5)]
    assert made.count(0.0) == FREE_OF_ADDRESS
    assert door.tries("zoe", "2001:db8:1:3::1") == 0.0


def test_callers_by_ipv4_are_told_apart_also_on_a_socket_for_both(door: Door) -> None:
    for number in range(FREE_OF_ADDRESS + 1):
        door.tries(f"user{number}", "::ffff:10.0.0.1")
    assert door.tries("zoe", "10.0.0.1") > 0
    assert door.tries("zoe", "::ffff:10.0.0.2") == 0.0
