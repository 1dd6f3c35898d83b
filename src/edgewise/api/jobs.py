"""Where a request's computing happens: on the node's pool, or right on the event loop when that is quicker.

A hop to a worker and back costs some 60-100 microseconds of both sides. A model that answers in far less than that is
served faster without it, and keeps nobody waiting. Which models those are is measured, call by call, never declared.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import TypeVar

from edgewise.node.pool import Pool

T = TypeVar("T")

# A call this quick costs less than handing it over; the loop can afford it.
QUICK_NS = 150_000
# Calls measured on the pool before a model may run on the loop.
TRIAL_CALLS = 16
# Larger bodies always go to the pool: decoding them alone would hold up the loop.
QUICK_BODY_BYTES = 64 * 1024
_SMOOTHING = 16
_MAX_GATES = 256


class Gate:
    """Decides whether the calls of one kind are quick enough for the loop: a moving average of what they took.

    One slow call (a page fault, a stolen core) moves the average by a sixteenth of what it took, so a call far beyond
    ``QUICK_NS`` sends its kind back to the pool for another trial.
    """

    __slots__ = ("_average_ns", "_calls")

    def __init__(self) -> None:
        self._average_ns = 0.0
        self._calls = 0

    @property
    def quick(self) -> bool:
        """Whether the next call may run on the loop."""
        return self._calls >= TRIAL_CALLS and self._average_ns < QUICK_NS

    def took(self, ns: int) -> None:
        """Takes one measurement in."""
        weight = min(self._calls, _SMOOTHING - 1)
        self._average_ns = (self._average_ns * weight + ns) / (weight + 1)
        self._calls += 1
        if self._average_ns >= QUICK_NS:
            self._calls = min(self._calls, TRIAL_CALLS - 1)


class Jobs:
    """Runs blocking calls for the event loop.

    Args:
        pool: The node's pool; raises BusyError when it is full.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._gates: dict[Hashable, Gate] = {}
        self._under_way = 0

    @property
    def waiting(self) -> int:
        """Calls that wait for a worker."""
        return max(0, self._under_way - self.pool.workers)

    async def run(self, function: Callable[..., T], /, *arguments: object) -> T:
        """Runs a call on the pool.

        Raises:
            BusyError: The pool is full.
        """
        future = self.pool.submit(function, *arguments)
        self._under_way += 1
        try:
            return await asyncio.wrap_future(future)
        finally:
            self._under_way -= 1

    async def run_quickest(self, kind: Hashable, size: int, function: Callable[..., T], /, *arguments: object) -> T:
        """Runs a call where it is done soonest.

        Args:
            kind: Calls of one kind are expected to take about as long.
            size: Bytes of the request.
            function: The call.
            arguments: Its arguments.
        """
        gate = self._gates.get(kind)
        if gate is None or size > QUICK_BODY_BYTES or not gate.quick:
            return await self._measured(kind, function, *arguments)
        start = time.perf_counter_ns()
        try:
            return function(*arguments)
        finally:
            gate.took(time.perf_counter_ns() - start)

    async def _measured(self, kind: Hashable, function: Callable[..., T], /, *arguments: object) -> T:
        def call() -> tuple[T, int]:
            start = time.perf_counter_ns()
            result = function(*arguments)
            return result, time.perf_counter_ns() - start

        result, took_ns = await self.run(call)
        if kind not in self._gates:
            if len(self._gates) >= _MAX_GATES:
                self._gates.clear()
            self._gates[kind] = Gate()
        self._gates[kind].took(took_ns)
        return result
