"""Requests on their way to a child: each is answered once, or fails with an error; nothing waits forever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import BusyError, UnavailableError
from edgewise.link.spending import REST_S
from edgewise.link.work import POLL_S, Asked, Part, Poll, Work
from edgewise.node import relaying
from edgewise.node.relaying import Answer, Relaying

NONE = "0" * 32


def asked(method: str = "GET", body: bytes = b"") -> Asked:
    return Asked(NONE, method, "/v1/events", body=body)


class Desk:
    """A parent with a child called ``door``, on a loop, with a clock that the story moves."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.relaying = Relaying(clock=self.clock)
        self.tasks: list[asyncio.Task[object]] = []

    def begin(self, waiting: Awaitable[object]) -> asyncio.Task[object]:
        task = asyncio.ensure_future(waiting)
        self.tasks.append(task)
        return task

    async def poll(self, *holding: str, most: int = 8, left: int | None = None) -> asyncio.Task[object]:
        wait_s = 0 if left == 0 else POLL_S
        task = self.begin(self.relaying.take("door", Poll(most, holding, wait_s=wait_s, left=left)))
        await asyncio.sleep(0)
        return task

    async def work(self, *holding: str, most: int = 8) -> Work:
        work = await (await self.poll(*holding, most=most))
        assert isinstance(work, Work)
        return work

    async def ask(self, what: Asked) -> asyncio.Task[object]:
        task = self.begin(self.relaying.ask("door", what))
        await asyncio.sleep(0)
        return task

    async def handed(self) -> tuple[Asked, asyncio.Task[object]]:
        """A request that the child has been handed, and what is told to who asked."""
        poll = await self.poll()
        answer = await self.ask(asked())
        (handed,) = (await poll).asked  # type: ignore[attr-defined]
        return handed, answer

    async def answering(self) -> tuple[Asked, Answer]:
        """A request that the child has begun to answer."""
        handed, answer = await self.handed()
        await self.relaying.answer("door", handed.id, Part(0, b"a"))
        got = await answer
        assert isinstance(got, Answer)
        return handed, got


def story(told: Callable[[Desk], Awaitable[None]]) -> None:
    async def run() -> None:
        desk = Desk()
        await told(desk)
        desk.relaying.close()
        for task in desk.tasks:
            task.cancel()
        await asyncio.gather(*desk.tasks, return_exceptions=True)

    asyncio.run(run())


def test_a_child_that_waits_is_handed_a_request_at_once_and_its_answer_is_the_answer() -> None:
    async def told(desk: Desk) -> None:
        handed, answer = await desk.handed()
        heard = await desk.relaying.answer("door", handed.id, Part(0, b"yes", last=True, status=201))
        assert (heard.next, heard.goes_on) == (1, False)
        got = await answer
        assert isinstance(got, Answer)
        assert (got.status, got.body, got.whole) == (201, b"yes", True)

    story(told)


def test_who_is_not_there_is_not_waited_for() -> None:
    async def told(desk: Desk) -> None:
        with pytest.raises(UnavailableError, match="door is not there") as raised:
            await desk.relaying.ask("door", asked())
        assert raised.value.facts["retry_after_s"]
        poll = await desk.poll()
        poll.cancel()  # its connection breaks
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError):
            await desk.relaying.ask("door", asked())

    story(told)


def test_between_two_polls_a_child_counts_as_there_for_a_moment() -> None:
    async def told(desk: Desk) -> None:
        poll = await desk.poll()
        await desk.ask(asked())
        await poll
        assert desk.relaying.is_there("door")
        desk.clock.advance(relaying.GRACE_S)
        assert not desk.relaying.is_there("door")

    story(told)


def test_a_part_that_is_sent_twice_counts_once() -> None:
    async def told(desk: Desk) -> None:
        handed, answer = await desk.handed()
        await desk.relaying.answer("door", handed.id, Part(0, b"a"))
        assert (await desk.relaying.answer("door", handed.id, Part(0, b"a"))).next == 1
        got = await answer
        assert isinstance(got, Answer)
        last = desk.begin(desk.relaying.answer("door", handed.id, Part(1, b"b", last=True)))
        assert await got.all(max_bytes=10) == b"ab"
        await last
        assert not (await desk.relaying.answer("door", handed.id, Part(1, b"b", last=True))).goes_on

    story(told)


def test_an_answer_goes_no_faster_than_it_is_read() -> None:
    async def told(desk: Desk) -> None:
        handed, got = await desk.answering()
        await desk.relaying.answer("door", handed.id, Part(1, b"b"))
        third = desk.begin(desk.relaying.answer("door", handed.id, Part(2, b"c")))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not third.done()
        assert await anext(got.rest()) == b"b"
        await third

    story(told)


def test_another_child_cannot_answer_what_it_was_not_handed() -> None:
    async def told(desk: Desk) -> None:
        handed, answer = await desk.handed()
        await asyncio.wait_for(desk.relaying.take("window", Poll(1, (handed.id,))), 1)  # it is told to drop it
        assert not (await desk.relaying.answer("window", handed.id, Part(0, b"no", last=True))).goes_on
        assert not answer.done()

    story(told)


def test_what_a_poll_did_not_bring_is_read_again_and_never_done_again() -> None:
    async def told(desk: Desk) -> None:
        poll = await desk.poll()
        reads, writes = (desk.begin(desk.relaying.ask("door", asked(method))) for method in ("GET", "POST"))
        first = {each.method: each.id for each in (await poll).asked}  # type: ignore[attr-defined]
        work = await desk.work()  # it has neither: the answer to its poll was lost
        (again,) = work.asked
        assert again.method == "GET"
        assert again.id != first["GET"]
        with pytest.raises(UnavailableError) as raised:
            await writes
        assert "may have been done" in raised.value.hint
        assert not (await desk.relaying.answer("door", first["GET"], Part(0, b"late", last=True))).goes_on
        await desk.relaying.answer("door", again.id, Part(0, b"in time", last=True))
        assert (await reads).body == b"in time"  # type: ignore[attr-defined]

    story(told)


def test_what_is_read_is_given_to_a_child_twice_at_most() -> None:
    async def told(desk: Desk) -> None:
        poll = await desk.poll()
        reads = await desk.ask(asked())
        await poll
        assert len((await desk.work()).asked) == 1  # it was started anew
        await desk.poll()  # and again
        with pytest.raises(UnavailableError, match="went away"):
            await reads

    story(told)


def test_what_a_child_has_fails_once_it_stays_away() -> None:
    async def told(desk: Desk) -> None:
        handed, answer = await desk.handed()
        (await desk.poll(handed.id)).cancel()
        await asyncio.sleep(0)
        desk.relaying.sweep()
        assert not answer.done()  # it may only have lost its connection
        desk.clock.advance(relaying.RETURN_S)
        desk.relaying.sweep()
        with pytest.raises(UnavailableError, match="went away"):
            await answer

    story(told)


def test_no_answer_is_waited_for_forever_and_the_child_is_told_to_stop() -> None:
    async def told(desk: Desk) -> None:
        handed, answer = await desk.handed()
        waiting = await desk.poll(handed.id)
        desk.clock.advance(relaying.ANSWER_S)
        desk.relaying.sweep()
        with pytest.raises(UnavailableError, match="in time"):
            await answer
        assert (await waiting).dropped == (handed.id,)  # type: ignore[attr-defined]

    story(told)


def test_a_stream_that_stands_still_is_cut_off() -> None:
    async def told(desk: Desk) -> None:
        handed, got = await desk.answering()
        await desk.poll(handed.id)
        desk.clock.advance(relaying.STILL_S)
        desk.relaying.sweep()
        with pytest.raises(UnavailableError, match="stands still"):
            await got.all(max_bytes=10)

    story(told)


def test_who_stops_waiting_frees_the_child() -> None:
    async def told(desk: Desk) -> None:
        poll = await desk.poll(most=1)
        answer = await desk.ask(asked())
        (handed,) = (await poll).asked  # type: ignore[attr-defined]
        second = await desk.ask(asked())
        waiting = await desk.poll(handed.id, most=1)
        assert not waiting.done()  # it takes one at a time
        answer.cancel()
        work = await waiting
        assert work.dropped == (handed.id,)  # type: ignore[attr-defined]
        assert len(work.asked) == 1  # type: ignore[attr-defined]
        assert not second.done()

    story(told)


def test_a_child_gets_no_more_at_once_than_it_takes() -> None:
    async def told(desk: Desk) -> None:
        poll = await desk.poll(most=2)
        for _ in range(3):
            desk.begin(desk.relaying.ask("door", asked()))
        handed = (await poll).asked  # type: ignore[attr-defined]
        assert len(handed) == 2
        waiting = await desk.poll(*(each.id for each in handed), most=2)
        await desk.relaying.answer("door", handed[0].id, Part(0, last=True))
        assert len((await waiting).asked) == 1  # type: ignore[attr-defined]

    story(told)


def test_more_than_may_wait_is_refused() -> None:
    async def told(desk: Desk) -> None:
        poll = await desk.poll(most=1)
        await desk.ask(asked())
        await poll
        for _ in range(relaying.MAX_WAITING):
            await desk.ask(asked())
        with pytest.raises(BusyError):
            await desk.relaying.ask("door", asked())

    story(told)


def test_a_child_whose_bytes_are_used_up_is_asked_nothing_until_it_has_some_again() -> None:
    async def told(desk: Desk) -> None:
        poll = await desk.poll(most=1)
        under_way = await desk.ask(asked())
        (handed,) = (await poll).asked  # type: ignore[attr-defined]
        waiting = await desk.ask(asked())
        await (await desk.poll(handed.id, most=1, left=0))
        with pytest.raises(UnavailableError, match="bytes of door are used up") as raised:
            await waiting
        assert 0 < raised.value.facts["retry_after_s"] <= 86_400
        desk.clock.advance(relaying.RETURN_S)
        desk.relaying.sweep()
        assert not under_way.done()  # what is small may still be answered
        desk.clock.advance(REST_S - relaying.RETURN_S)
        with pytest.raises(UnavailableError, match="used up"):
            desk.relaying.check("door")
        assert desk.relaying.places("door") == 0
        await desk.poll(most=1, left=10_000)
        desk.relaying.check("door")
        assert desk.relaying.places("door") == 1

    story(told)


def test_a_child_that_rests_and_does_not_come_back_is_gone() -> None:
    async def told(desk: Desk) -> None:
        await (await desk.poll(left=0))
        desk.clock.advance(REST_S + relaying.GRACE_S)
        with pytest.raises(UnavailableError, match="not there"):
            desk.relaying.check("door")

    story(told)


def test_a_request_that_the_childs_bytes_do_not_suffice_for_is_refused_before_it_costs_any() -> None:
    async def told(desk: Desk) -> None:
        poll = await desk.poll(left=10_000)
        await desk.ask(asked("POST", bytes(6_000)))
        with pytest.raises(UnavailableError, match="used up"):
            await desk.relaying.ask("door", asked("POST", bytes(6_000)))
        assert [len(each.body) for each in (await poll).asked] == [6_000]  # type: ignore[attr-defined]

    story(told)


def test_who_asked_is_told_when_the_bytes_end_in_the_middle() -> None:
    async def told(desk: Desk) -> None:
        poll = await desk.poll()
        reads, writes = (desk.begin(desk.relaying.ask("door", asked(method))) for method in ("GET", "POST"))
        first, second = (await poll).asked  # type: ignore[attr-defined]
        for each in (first, second):
            await desk.relaying.answer("door", each.id, Part(0, broken=True, spent=True))
        with pytest.raises(UnavailableError, match="used up") as raised:
            await reads
        assert "may have been done" not in raised.value.hint
        with pytest.raises(UnavailableError, match="used up") as raised:
            await writes
        assert "may have been done" in raised.value.hint

    story(told)


def test_large_requests_go_one_by_one() -> None:
    async def told(desk: Desk) -> None:
        poll = await desk.poll()
        for _ in range(3):
            await desk.ask(asked("POST", bytes(800_000)))
        sizes = [len((await poll).asked)]  # type: ignore[attr-defined]
        assert sizes == [1]

    story(told)


def test_a_node_that_stops_tells_those_who_wait() -> None:
    async def told(desk: Desk) -> None:
        handed, answer = await desk.handed()
        waiting = await desk.poll(handed.id)
        desk.relaying.close()
        assert (await waiting).asked == ()  # type: ignore[attr-defined]
        with pytest.raises(UnavailableError):
            await answer

    story(told)
