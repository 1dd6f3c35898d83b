"""Where a request's computing happens: on the node's pool, or right on the event loop when that is quicker.

A hop to a worker and back costs some 60-100 microseconds of both sides. A model that answers in far less than that is
served faster without it, and keeps nobody waiting. Which models those are is measured, call by call, never declared.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from edgewise.node.pool import Pool

T = TypeVar("T")

# A call this quick costs less than handing it over; the loop can afford it.
QUICK_NS = 250_000
# Calls measured on the pool before a model may run on the loop.
TRIAL_CALLS = 16
# Larger bodies always go to the pool: decoding them alone would hold up the loop.
QUICK_BODY_BYTES = 64 * 1024
# Of the calls on the loop, one in so many is measured: measuring costs as much as a small model's own work.
MEASURED_EVERY = 8
_SMOOTHING = 8
_MOST_COUNTED = 4
_NEVER_NS = 2**62
_MAX_GATES = 256


class Gate:
    """Decides whether the calls of one kind are quick enough for the loop.

    On the pool, the quickest of ``TRIAL_CALLS`` calls decides by the clock: what others took on top of that, they
    waited for the interpreter or a core. On the loop, a moving average of processor time decides, which a stolen core
    does not touch; slow calls in a row end it, and the next trial begins.
    """

    __slots__ = ("_average_ns", "_best_ns", "_calls", "quick")

    def __init__(self) -> None:
        self.quick = False
        self._calls = 0
        self._best_ns = _NEVER_NS
        self._average_ns = 0.0

    def due(self) -> bool:
        """Whether the next call on the loop is to be measured: one in ``MEASURED_EVERY``."""
        self._calls += 1
        return self._calls % MEASURED_EVERY == 0

    def run(self, function: Callable[..., T], /, *arguments: object) -> T:
        """Runs a quick call right here, measuring it when it is due."""
        if not self.due():
            return function(*arguments)
        start = time.thread_time_ns()
        try:
            return function(*arguments)
        finally:
            self.took(time.thread_time_ns() - start)

    def took(self, ns: int) -> None:
        """Takes one measurement in, made where ``quick`` said."""
        if self.quick:
            most = min(ns, _MOST_COUNTED * QUICK_NS)
            self._average_ns += (most - self._average_ns) / _SMOOTHING
            if self._average_ns >= QUICK_NS:
                self._begin_trial()
            return
        self._calls += 1
        self._best_ns = min(self._best_ns, ns)
        if self._calls == TRIAL_CALLS:
            best_ns = self._best_ns
            self._begin_trial()
            self.quick = best_ns < QUICK_NS
            self._average_ns = float(best_ns)

    def _begin_trial(self) -> None:
        self.quick = False
        self._calls = 0
        self._best_ns = _NEVER_NS
        self._average_ns = 0.0


class Jobs:
    """Runs blocking calls for the event loop.

    Args:
        pool: The node's pool; raises BusyError when it is full.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._gates: dict[Hashable, Gate] = {}

    async def run(self, function: Callable[..., T], /, *arguments: object) -> T:
        """Runs a call on the pool.

        Raises:
            BusyError: The pool is full.
        """
        return await self.run_quickest(None, 0, function, *arguments)

    async def run_quickest(
        self, kind: Hashable | None, size: int, function: Callable[..., T], /, *arguments: object
    ) -> T:
        """Runs a call where it is done soonest; see ``start``."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.start(functools.partial(_settle, future), kind, size, function, *arguments)
        return await future

    def start(
        self,
        done: Callable[[Any, BaseException | None], None],
        kind: Hashable | None,
        size: int,
        function: Callable[..., Any],
        /,
        *arguments: object,
    ) -> None:
        """Runs a call where it is done soonest.

        Args:
            done: Called on the event loop with the result or the error, before this returns when the call ran here.
            kind: Calls of one kind are expected to take about as long; None for calls that belong on the pool.
            size: Bytes of the request.
            function: The call.
            arguments: Its arguments.
        """
        gate = self._gate_of(kind) if kind is not None and size <= QUICK_BODY_BYTES else None
        try:
            if gate is not None and gate.quick:
                result = gate.run(function, *arguments)
            else:
                self._start_on_pool(done, gate, function, *arguments)
                return
        except Exception as error:  # noqa: BLE001 - handed to who asked
            done(None, error)
        else:
            done(result, None)

    def _start_on_pool(
        self,
        done: Callable[[Any, BaseException | None], None],
        gate: Gate | None,
        function: Callable[..., Any],
        /,
        *arguments: object,
    ) -> None:
        loop = asyncio.get_running_loop()
        start = time.perf_counter_ns()

        def call() -> Any:
            nonlocal start
            start = time.perf_counter_ns()
            return function(*arguments)

        def back(result: Any, error: BaseException | None) -> None:
            took_ns = time.perf_counter_ns() - start
            with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits any more
                loop.call_soon_threadsafe(finish, result, error, took_ns)

        def finish(result: Any, error: BaseException | None, took_ns: int) -> None:
            if gate is not None and not gate.quick and error is None:
                gate.took(took_ns)
            done(result, error)

        self.pool.call(back, call)

    def _gate_of(self, kind: Hashable) -> Gate:
        gate = self._gates.get(kind)
        if gate is None:
            if len(self._gates) >= _MAX_GATES:
                self._gates.clear()
            gate = self._gates[kind] = Gate()
        return gate


def _settle(future: asyncio.Future[T], result: T, error: BaseException | None) -> None:
    if future.done():  # given up by who asked
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
