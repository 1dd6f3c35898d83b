"""What route handlers get: the node and the API's own parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from edgewise.accounts.permissions import Permission, Principal, may
from edgewise.api import audit
from edgewise.api.audit import PASSED
from edgewise.api.guard import Guard, Pass
from edgewise.api.jobs import Jobs
from edgewise.api.metrics import Metrics
from edgewise.api.rest.desk import Desk
from edgewise.api.rest.telephone import Telephone
from edgewise.api.wire import Scope
from edgewise.errors import BusyError, ForbiddenError
from edgewise.node.node import Node

P = ParamSpec("P")
T = TypeVar("T")

# Streams (live pictures, events) that may be open at once; each holds a thread that waits.
MAX_STREAMS = 64


class Streams:
    """Threads for answers that never end: they wait for the next frame or record without costing processor time."""

    def __init__(self) -> None:
        self._open = 0
        self._executor = ThreadPoolExecutor(MAX_STREAMS, thread_name_prefix="stream")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Holds one stream's place.

        Raises:
            BusyError: All places are taken.
        """
        self.check()
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def check(self) -> None:
        """Raises BusyError when all places are taken."""
        if self._open >= MAX_STREAMS:
            raise BusyError(f"{MAX_STREAMS} streams are open", hint="Close one first.", limit=MAX_STREAMS)

    async def wait(self, function: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
        """Runs a call that waits."""
        call = partial(function, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)


def blocking(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Makes a handler that waits for a disk or a device run in a thread, so that the loop does not wait with it.

    Litestar's own ``sync_to_thread`` wraps a handler twice when its path has several methods.
    """

    @wraps(function)
    async def call(*arguments: P.args, **named: P.kwargs) -> T:
        return await asyncio.to_thread(function, *arguments, **named)

    return call


@dataclass(frozen=True)
class Context:
    """The node and the API's own parts.

    Attributes:
        node: The node.
        guard: Who may call.
        jobs: Where computing runs.
        metrics: What was counted.
        streams: Where endless answers wait.
        telephone: Live views by WebRTC.
        desk: Asks the lake; None where the node keeps none.
    """

    node: Node
    guard: Guard
    jobs: Jobs
    metrics: Metrics
    streams: Streams
    telephone: Telephone
    desk: Desk | None


def caller(request: Request[Any, Any, Any]) -> Principal | None:
    """Who calls; None for a stranger."""
    passed: Pass = request.scope[PASSED]  # type: ignore[literal-required]
    return passed.principal


def client_of(request: Request[Any, Any, Any]) -> str:
    """The address a request came from."""
    return request.client.host if request.client else ""


def note(request: Request[Any, Any, Any], **facts: Any) -> None:
    """Adds facts to what the audit log will hold of a request; nothing secret."""
    audit.note(cast("Scope", request.scope), **facts)


def require(request: Request[Any, Any, Any], permission: Permission, *, now_ns: int) -> None:
    """Asks for more than the path does.

    Raises:
        ForbiddenError: The caller may not.
    """
    if not may(caller(request), permission, now_ns=now_ns):
        raise ForbiddenError(
            "You may not do this here", hint=f"It needs the permission {permission}.", permission=permission.value
        )


Injected: TypeAlias = NamedDependency[SkipValidation[Context]]
