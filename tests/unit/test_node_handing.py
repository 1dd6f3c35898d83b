"""Children wait for news without a thread, and each gets it at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from edgewise.errors import BusyError
from edgewise.link.desired import Handed
from edgewise.node.handing import Handing


class Wishes:
    """Knows for whom there is news."""

    def __init__(self) -> None:
        self.news: set[str] = set()
        self.told: Callable[[Any], None] = lambda _: None

    def follow(self, told: Callable[[Any], None]) -> None:
        self.told = told

    def has_news(self, child: str, have: str) -> bool:
        return child in self.news

    def hand(self, child: str, have: str) -> Handed:
        return Handed(f"new of {child}")

    def change(self, *children: str) -> None:
        """Something is wanted of them."""
        self.news |= set(children)
        self.told(children)


async def run(function: Callable[..., Handed], *arguments: object) -> Handed:
    return function(*arguments)


def handing(wishes: Wishes, **options: Any) -> Handing:
    return Handing(wishes, **options)  # type: ignore[arg-type]


async def waiting(hands: Handing, count: int) -> None:
    while hands.waiting < count:
        await asyncio.sleep(0)


def test_thousands_wait_in_no_thread_and_only_who_has_news_is_answered() -> None:
    async def story() -> None:
        wishes = Wishes()
        hands = handing(wishes)
        names = [f"n{number}" for number in range(5000)]
        before = threading.active_count()
        tasks = {name: asyncio.create_task(hands.wait(name, "old", run=run)) for name in names}
        await waiting(hands, len(names))
        assert threading.active_count() <= before  # others may end meanwhile
        threading.Thread(target=wishes.change, args=("n7",)).start()
        assert await asyncio.wait_for(tasks["n7"], 10) == Handed("new of n7")
        assert sum(task.done() for task in tasks.values()) == 1
        hands.end()
        answers = await asyncio.gather(*tasks.values())
        assert [answer for answer in answers if answer.position != "old"] == [Handed("new of n7")]
        assert await hands.wait("n1", "old", run=run) == Handed("old")  # nobody waits any more
        assert hands.waiting == 0

    asyncio.run(story())


def test_who_is_behind_is_answered_at_once_and_who_is_not_after_a_while() -> None:
    async def story() -> None:
        wishes = Wishes()
        hands = handing(wishes)
        assert await hands.wait("a", "old", run=run, poll_s=0.001) == Handed("old")
        wishes.change("a")
        assert await hands.wait("a", "old", run=run, poll_s=1000) == Handed("new of a")

    asyncio.run(story())


def test_a_child_waits_once() -> None:
    async def story() -> None:
        hands = handing(Wishes())
        first = asyncio.create_task(hands.wait("a", "old", run=run))
        await waiting(hands, 1)
        second = asyncio.create_task(hands.wait("a", "old", run=run))
        assert await first == Handed("old")
        await asyncio.sleep(0)
        assert (hands.waiting, second.done()) == (1, False)
        hands.end()
        await second

    asyncio.run(story())


def test_more_than_may_wait_are_told_to_come_later() -> None:
    async def story() -> None:
        hands = handing(Wishes(), max_waiting=1)
        task = asyncio.create_task(hands.wait("a", "old", run=run))
        await waiting(hands, 1)
        with pytest.raises(BusyError) as refused:
            await hands.wait("b", "old", run=run)
        assert refused.value.facts["retry_after_s"] == 30
        hands.end()
        await task

    asyncio.run(story())
