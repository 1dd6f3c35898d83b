"""The parent's side of requests that children answer: who waits, who has what, and what came of it.

Lives on one event loop and does no I/O: the routes under ``/link/v1`` bring what children say. Everything is bounded:
requests that wait for a child and that wait in all, bytes that are held for them, the time until an answer begins, the
time that an answer may stand still.

Each request is answered once, or fails with an error that says so. A child is *there* while its poll is open or was
answered a moment ago. When it goes, what only reads is given to it once more if it comes back soon; everything else
fails at once, since nobody knows whether it was done. One whose bytes for the day are used up says so and is asked
nothing until it has some again.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable

import msgspec

from edgewise._lib.clock import Clock
from edgewise.errors import BusyError, EdgewiseError, UnavailableError
from edgewise.link.budget import DAY_S
from edgewise.link.spending import REST_S
from edgewise.link.work import MAX_PART_BYTES, Asked, Heard, Part, Poll, Work

ANSWER_S = 60.0
"""An answer begins by then, or the request fails."""

STILL_S = 60.0
"""An answer of which nothing comes, or nothing is read, for so long is cut off."""

GRACE_S = 5.0
"""Between two polls a child counts as there for so long."""

RETURN_S = 3.0
"""What a child had under way is lost when it does not come back within so long."""

SLOW_S = 10.0
"""A part waits for so long until the one before it is read; then the child is told to send it again."""

RETRY_AFTER_S = 5

MAX_WAITING = 64
"""Requests that wait for one child."""

MAX_REQUESTS = 1024
"""Requests under way in all."""

MAX_HELD_BYTES = 256 << 20
"""Bytes of their bodies."""

_SWEEP_S = 0.25
_SAFE = {"GET", "HEAD"}


class Answer:
    """A child's answer, as it comes. For the event loop.

    Attributes:
        status: Of the answer.
        headers: Those that the child sent.
        body: What came with the head.
        whole: Nothing comes behind it.
    """

    def __init__(self, exchange: _Exchange, part: Part, drop: Callable[[], None]) -> None:
        self._exchange = exchange
        self._drop = drop
        self.status = part.status
        self.headers = part.headers
        self.body = part.body
        self.whole = part.last

    async def rest(self) -> AsyncIterator[bytes]:
        """What comes behind ``body``.

        Raises:
            UnavailableError: The child broke off.
        """
        while not self.whole:
            part = await self._exchange.part()
            self.whole = part.last
            yield part.body

    async def all(self, *, max_bytes: int) -> bytes:
        """The whole body; errors as ``rest``.

        Raises:
            UnavailableError: It is longer than ``max_bytes``, which no node of this release sends.
        """
        pieces, size = [self.body], len(self.body)
        async for piece in self.rest():
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                raise UnavailableError("The answer is longer than is taken", limit=max_bytes)
        return b"".join(pieces)

    def drop(self) -> None:
        """Nobody wants the rest. Any number of times."""
        self._drop()


class _Exchange:
    """One request and its answer."""

    def __init__(self, asked: Asked, line: _Line, *, now_s: float) -> None:
        self.asked = asked
        self.line = line
        self.tries = 1
        self.moved_s = now_s
        self.until_s = now_s + asked.within_s
        self.expected = 0  # number of the next part
        self.begun = False
        self.ended = False  # nothing of it is taken any more
        self.over = False  # and it is not counted any more
        self.error: EdgewiseError | None = None
        self._parts: deque[Part] = deque()
        self._fresh = asyncio.Event()
        self._taken = asyncio.Event()

    async def part(self) -> Part:
        """The next part; raises what it failed with."""
        while not self._parts:
            if self.error:
                raise self.error
            self._fresh.clear()
            await self._fresh.wait()
        part = self._parts.popleft()
        self._taken.set()
        if part.broken:
            if part.spent:
                raise self.line.spent(done=self.asked.method not in _SAFE)
            raise UnavailableError(f"{self.line.child} broke off", node=self.line.child)
        return part

    def put(self, part: Part) -> None:
        self.expected += 1
        self.begun = True
        self.ended = part.last or part.broken
        self._parts.append(part)
        self._fresh.set()

    def end(self, error: EdgewiseError | None = None) -> None:
        self.error = self.error or error
        self.ended = True
        self._fresh.set()
        self._taken.set()

    async def room(self) -> bool:
        """Waits until the part before is read; whether it was in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SLOW_S):
                while self._parts and not self.ended:
                    self._taken.clear()
                    await self._taken.wait()
        return not self._parts


class _Line:
    """What is known of one child."""

    def __init__(self, child: str, clock: Clock) -> None:
        self.child = child
        self._clock = clock
        self.most = 0
        self.workers = 0
        self.polls = 0  # counts them: the newest is the one that counts
        self.open = False
        self.broken = False
        self.seen_s = float("-inf")
        self.left: int | None = None
        self.rests_until_s = float("-inf")
        self.waiting: deque[_Exchange] = deque()
        self.under_way: dict[str, _Exchange] = {}
        self.dropped: list[str] = []
        self.fresh = asyncio.Event()

    def is_there(self, now_s: float) -> bool:
        return self.open or self.rests(now_s) or (not self.broken and now_s - self.seen_s < GRACE_S)

    def rests(self, now_s: float) -> bool:
        """Whether its bytes are used up, and it comes back later."""
        return now_s < self.rests_until_s

    def spent(self, *, done: bool = False) -> UnavailableError:
        """It has no bytes left; ``done`` when the request may have been done all the same."""
        again_s = DAY_S - self._clock.time_ns() / 1e9 % DAY_S
        look = "It may have been done: look before you repeat it. " if done else ""
        return UnavailableError(
            f"The day's bytes of {self.child} are used up: too few are left for this",
            hint=f"{look}There are new ones after midnight UTC. The bound: parent.budget in its settings.",
            node=self.child,
            retry_after_s=math.ceil(again_s),
        )


class Relaying:
    """Hands requests to children and their answers back. For the event loop.

    Args:
        clock: Time.
        new_id: 32 hex digits that nobody can guess.
    """

    def __init__(self, *, clock: Clock, new_id: Callable[[], str] = lambda: secrets.token_hex(16)) -> None:
        self._clock = clock
        self._new_id = new_id
        self._lines: dict[str, _Line] = {}
        self._count = 0
        self._held = 0
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False

    # For those who ask.

    def is_there(self, child: str) -> bool:
        """Whether a child would take a request now."""
        line = self._lines.get(child)
        return line is not None and line.is_there(self._clock.monotonic())

    def places(self, child: str) -> int:
        """Requests that keep a child busy: what it computes at once, and one on its way; 0 when it is not there."""
        line = self._lines.get(child)
        if line is None or not self.is_there(child) or line.rests(self._clock.monotonic()):
            return 0
        return min(line.most, line.workers + 1)

    def check(self, child: str) -> None:
        """Refuses a request that could not be handed on now: before its body is read.

        Raises:
            UnavailableError: The child is not there, or has no bytes left today. Facts: ``node``, ``retry_after_s``.
            BusyError: Too many wait for it, or in all.
        """
        line = self._lines.get(child)
        if self._closed or line is None or not line.is_there(self._clock.monotonic()):
            raise _away(child)
        if line.rests(self._clock.monotonic()):
            raise line.spent()
        if len(line.waiting) >= MAX_WAITING or self._count >= MAX_REQUESTS or self._held >= MAX_HELD_BYTES:
            raise BusyError(
                f"{len(line.waiting)} requests wait for {child}", hint="Retry in a moment.", node=child, retry_after_s=1
            )

    async def ask(self, child: str, asked: Asked) -> Answer:
        """Has a child answer; returns when its answer begins. Who gives up waiting cancels this.

        Args:
            child: Its name.
            asked: The request; its ``id`` is replaced.

        Raises:
            UnavailableError: The child is not there, went away, took too long, or has no bytes left for it.
            BusyError: Too many requests wait.
        """
        self.check(child)
        line = self._lines[child]
        if line.left is not None:
            if len(asked.body) > line.left:
                raise line.spent()
            line.left -= len(asked.body)  # until the next poll tells
        asked = msgspec.structs.replace(asked, id=self._new_id(), within_s=min(asked.within_s, ANSWER_S))
        exchange = _Exchange(asked, line, now_s=self._clock.monotonic())
        self._count += 1
        self._held += len(asked.body)
        line.waiting.append(exchange)
        line.fresh.set()
        self._start_sweeping()

        def drop() -> None:
            self._end(exchange)

        try:
            return Answer(exchange, await exchange.part(), drop)
        except BaseException:
            drop()
            raise

    # For children.

    async def take(self, child: str, poll: Poll) -> Work:
        """A poll: waits for something to do. Cancelled when the child's connection breaks."""
        line = self._lines.setdefault(child, _Line(child, self._clock))
        self._begin_poll(line, poll)
        number = line.polls
        broken = True
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(poll.wait_s):
                    while not (self._closed or line.polls != number or _has_work(line)):
                        line.fresh.clear()
                        await line.fresh.wait()
            broken = False
        finally:
            if line.polls == number:
                line.open, line.broken, line.seen_s = False, broken, self._clock.monotonic()
        if line.polls != number:
            return Work()
        return self._hand_out(line)

    async def answer(self, child: str, identity: str, part: Part) -> Heard:
        """A part of an answer; returns when the next one may come."""
        exchange = self._lines[child].under_way.get(identity) if child in self._lines else None
        if exchange is None or exchange.ended:
            return Heard(part.number + 1, goes_on=False)
        if part.number != exchange.expected:  # it was here before, and its answer was lost
            return Heard(exchange.expected, goes_on=True)
        if not await exchange.room():
            return Heard(part.number, goes_on=not exchange.ended)
        if exchange.over or part.number != exchange.expected:
            return Heard(exchange.expected, goes_on=not exchange.over)
        exchange.moved_s = self._clock.monotonic()
        exchange.put(part)
        if part.last or part.broken:
            self._end(exchange)
        return Heard(exchange.expected, goes_on=not exchange.over)

    def close(self) -> None:
        """Ends polls and fails what waits, since the node stops."""
        self._closed = True
        for line in self._lines.values():
            for exchange in [*line.waiting, *line.under_way.values()]:
                self._fail(exchange, UnavailableError("The node is stopping", retry_after_s=RETRY_AFTER_S))
            line.fresh.set()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def sweep(self) -> None:
        """Fails what took too long, and what children that are gone had under way. Called every moment by itself."""
        now_s = self._clock.monotonic()
        for line in self._lines.values():
            gone = not line.is_there(now_s) and now_s - line.seen_s >= RETURN_S
            for exchange in list(line.waiting):
                if gone:
                    self._fail(exchange, _away(line.child))
                elif now_s >= exchange.until_s:
                    self._fail(exchange, _late(line.child))
            for exchange in list(line.under_way.values()):
                if gone:
                    self._lose(exchange, now_s)
                elif not exchange.begun and now_s >= exchange.until_s:
                    self._fail(exchange, _late(line.child))
                elif exchange.begun and now_s - exchange.moved_s >= STILL_S:
                    self._fail(exchange, UnavailableError(f"{line.child} stands still", node=line.child))

    def _begin_poll(self, line: _Line, poll: Poll) -> None:
        now_s = self._clock.monotonic()
        lost = [exchange for identity, exchange in line.under_way.items() if identity not in poll.holding]
        line.most, line.workers, line.left = poll.most, poll.workers, poll.left
        line.rests_until_s = now_s + REST_S + GRACE_S if poll.left == 0 else float("-inf")
        line.polls += 1
        line.open, line.broken, line.seen_s = True, False, now_s
        line.dropped = [identity for identity in poll.holding if identity not in line.under_way]
        for exchange in reversed(lost):  # each goes to the front
            self._lose(exchange, now_s)
        if line.rests(now_s):
            for exchange in list(line.waiting):
                self._fail(exchange, line.spent())
        line.fresh.set()

    def _hand_out(self, line: _Line) -> Work:
        room, size = line.most - len(line.under_way), 0
        handed: list[Asked] = []
        while line.waiting and len(handed) < room and size < MAX_PART_BYTES:
            exchange = line.waiting[0]
            size += len(exchange.asked.body)
            if handed and size > MAX_PART_BYTES:
                break
            line.waiting.popleft()
            line.under_way[exchange.asked.id] = exchange
            left_s = max(0.0, exchange.until_s - self._clock.monotonic())
            handed.append(msgspec.structs.replace(exchange.asked, within_s=left_s))
        dropped, line.dropped = line.dropped, []
        return Work(tuple(handed), tuple(dropped))

    def _lose(self, exchange: _Exchange, now_s: float) -> None:
        """A child had it under way and is gone, or does not know of it."""
        line = exchange.line
        line.under_way.pop(exchange.asked.id, None)
        again = exchange.asked.method in _SAFE and exchange.tries == 1 and not exchange.begun
        if not again or not line.is_there(now_s):
            message = f"{line.child} went away while it was to answer"
            hint = "It may have been done: look before you repeat it." if exchange.asked.method not in _SAFE else ""
            self._fail(exchange, UnavailableError(message, hint=hint, node=line.child, retry_after_s=RETRY_AFTER_S))
            return
        exchange.tries += 1
        exchange.asked = msgspec.structs.replace(exchange.asked, id=self._new_id())  # nothing of the first try counts
        line.waiting.appendleft(exchange)
        line.fresh.set()

    def _fail(self, exchange: _Exchange, error: EdgewiseError) -> None:
        exchange.error = exchange.error or error
        self._end(exchange)

    def _end(self, exchange: _Exchange) -> None:
        """Lets a request go: it is answered, or failed, or nobody wants it."""
        if exchange.over:
            return
        exchange.over = True
        self._count -= 1
        self._held -= len(exchange.asked.body)
        line = exchange.line
        if line.under_way.pop(exchange.asked.id, None) and not exchange.ended:
            line.dropped.append(exchange.asked.id)
        if exchange in line.waiting:
            line.waiting.remove(exchange)
        exchange.end()
        line.fresh.set()

    def _start_sweeping(self) -> None:
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep(), name="relaying")

    async def _sweep(self) -> None:
        while self._count:
            await asyncio.sleep(_SWEEP_S)
            self.sweep()


def _has_work(line: _Line) -> bool:
    return bool(line.dropped) or (bool(line.waiting) and len(line.under_way) < line.most)


def _away(child: str) -> UnavailableError:
    return UnavailableError(
        f"{child} is not there now",
        hint="It answers again once it has called. See: edgewise nodes",
        node=child,
        retry_after_s=RETRY_AFTER_S,
    )


def _late(child: str) -> UnavailableError:
    return UnavailableError(f"{child} did not answer in time", node=child, retry_after_s=1)
