"""Has items done by several nodes, as ``spread`` decides. For one event loop."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from edgewise._lib.clock import Clock
from edgewise.errors import AccessError, BusyError, EdgewiseError, InputError, NotFoundError, UnavailableError
from edgewise.node.spread import Move, Spread

T = TypeVar("T")
R = TypeVar("R")

MAX_ITEMS = 4096
"""Under way for one model."""


class Team(Generic[T, R]):
    """Nodes that work on one model together.

    Args:
        run: Does an item on a node; cancelled when another was quicker. What it raises besides ``InputError`` another
            node may not.
        places: Who may work now, and on how many items at once.
        clock: Time.
    """

    def __init__(
        self, *, run: Callable[[str, T], Awaitable[R]], places: Callable[[], Mapping[str, int]], clock: Clock
    ) -> None:
        self._run = run
        self._places = places
        self._clock = clock
        self._spread = Spread()
        self._numbers = itertools.count()
        self._items: dict[int, tuple[T, asyncio.Future[tuple[str, R]]]] = {}
        self._errors: dict[int, EdgewiseError] = {}
        self._tasks: dict[tuple[int, str], asyncio.Task[R]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def do(self, items: Sequence[T]) -> list[tuple[str, R]]:
        """The node that did it and what it gave, for each item, in their order.

        Raises:
            EdgewiseError: Of the first item that could not be done; the others are called off.
            BusyError: Too much is under way.
        """
        if len(self._items) + len(items) > MAX_ITEMS:
            raise BusyError(f"{len(self._items)} parts wait already", hint="Retry in a moment.", retry_after_s=1)
        numbers = [next(self._numbers) for _ in items]
        futures: list[asyncio.Future[tuple[str, R]]] = []
        for number, item in zip(numbers, items, strict=True):
            futures.append(asyncio.get_running_loop().create_future())
            self._items[number] = item, futures[-1]
            self._spread.submit(number)
        try:
            self._step()
            return await asyncio.gather(*futures)
        finally:
            for number, future in zip(numbers, futures, strict=True):
                self._apply(self._spread.drop(number))
                self._errors.pop(number, None)
                del self._items[number]
                if not future.cancel() and not future.cancelled():
                    future.exception()  # only the first is told
            self._step()

    def _step(self) -> None:
        self._spread.set_nodes(self._places())
        now_s = self._clock.monotonic()
        self._apply(self._spread.moves(now_s))
        if self._timer is not None:
            self._timer.cancel()
        next_s = self._spread.next_s(now_s)
        loop = asyncio.get_running_loop()
        self._timer = None if next_s is None else loop.call_later(next_s - now_s, self._step)

    def _apply(self, moves: Sequence[Move]) -> None:
        for move in moves:
            number = move.item
            if move.kind == "start":
                task: asyncio.Task[R] = asyncio.ensure_future(self._call(move.node, self._items[number][0]))
                self._tasks[number, move.node] = task
                task.add_done_callback(functools.partial(self._ended, number, move.node))
            elif move.kind == "stop":
                self._tasks.pop((number, move.node)).cancel()
            elif not (future := self._items[number][1]).done():
                nobody = UnavailableError("No node that has the model is there", retry_after_s=1)
                future.set_exception(self._errors.get(number, nobody))

    async def _call(self, node: str, item: T) -> R:
        return await self._run(node, item)

    def _ended(self, number: int, node: str, task: asyncio.Task[R]) -> None:
        if self._tasks.get((number, node)) is not task:  # it was called off
            if not task.cancelled():
                task.exception()
            return
        del self._tasks[number, node]
        now_s = self._clock.monotonic()
        error = UnavailableError(f"{node} stopped") if task.cancelled() else task.exception()
        if error is None:
            counts, moves = self._spread.done(number, node, now_s)
            future = self._items[number][1] if counts else None
            if future and not future.done():
                future.set_result((node, task.result()))
        else:
            told = error if isinstance(error, EdgewiseError) else UnavailableError(f"{node} failed: {error!r}")
            self._errors[number] = told
            moves = self._spread.failed(number, node, now_s, elsewhere=_elsewhere(told))
        self._apply(moves)
        self._step()


def _elsewhere(error: EdgewiseError) -> bool:
    """Whether another node may do better: it is not the input that is wrong."""
    return not isinstance(error, InputError) or isinstance(error, NotFoundError | AccessError)
