"""The node's ASGI application.

A thin front checks who calls (``guard``) and hands the request on: the hot paths (``/v2``, ``/v1/models/…/predict``)
to handlers on raw ASGI, all other ``/v1`` paths, ``/metrics`` and ``/schema`` to a Litestar application, anything else
to the console's files. Litestar takes half a second to import, so it is loaded beside the first requests, not before
them: a prediction never waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, cast

from edgewise._lib.secrets import read_secret
from edgewise.accounts.permissions import below
from edgewise.api import audit
from edgewise.api.audit import NOTES, PASSED
from edgewise.api.console import Console
from edgewise.api.errors import failure
from edgewise.api.express import Express
from edgewise.api.guard import Guard, Pass, check_head
from edgewise.api.jobs import Jobs
from edgewise.api.link import Link
from edgewise.api.metrics import Metrics
from edgewise.api.oip.infer import Inference
from edgewise.api.oip.routes import OpenInference
from edgewise.api.opinions import Opinions
from edgewise.api.performing import Performer
from edgewise.api.predict import Predict
from edgewise.api.relay import Relay
from edgewise.api.spread import PREFIX as SPREAD
from edgewise.api.spread import Spreading
from edgewise.api.wire import Application, Limits, Message, PeerGoneError, Receive, Request, Scope, Send
from edgewise.errors import EdgewiseError
from edgewise.link.base import PREFIX
from edgewise.node.settings import is_loopback

if TYPE_CHECKING:
    from edgewise.node.node import Node

# Litestar is loaded this long after the start, when nobody asked for it sooner.
WARM_UP_S = 2.0
# Of a path so much stands in the audit log.
_MAX_PATH = 512
_REST = ("/v1/", "/metrics", "/schema")
_LINK = f"{PREFIX}/"


def create_app(node: Node) -> Front:
    """The whole HTTP interface of a node.

    Raises:
        SettingsError: The token's file cannot be read.
    """
    http = node.settings.http
    token = read_secret(http.token_file, what="http.token_file") if http.token_file else ""
    hosts = (*http.allowed_hosts, f"[{http.host}]" if ":" in http.host else http.host)
    guard = Guard(
        token=token,
        hosts=hosts,
        directory=node.accounts,
        trusts_loopback=is_loopback(http.host),
        clock=node.clock,
    )
    return Front(node, guard=guard)


class Front:
    """The ASGI callable; see the module's docstring.

    Attributes:
        express: The short way for inference and predictions.

    Args:
        node: The node to serve.
        guard: Decides who may call.
    """

    def __init__(self, node: Node, *, guard: Guard) -> None:
        http = node.settings.http
        self._node = node
        self._guard = guard
        self._limits = Limits(max_body_bytes=http.max_body_bytes, body_timeout_s=http.body_timeout_s)
        self._metrics = Metrics(node.clock)
        self._jobs = Jobs(node.pool)
        infer = Inference(
            node.repository,
            jobs=self._jobs,
            metrics=self._metrics,
            clock=node.clock,
            max_body_bytes=http.max_body_bytes,
        )
        self._open_inference = OpenInference(node.repository, jobs=self._jobs, infer=infer, ready=lambda: True)
        self._predict = Predict(node.repository, jobs=self._jobs, metrics=self._metrics, clock=node.clock)
        self.express = Express(
            infer,
            self._predict,
            guard=guard,
            jobs=self._jobs,
            metrics=self._metrics,
            max_body_bytes=http.max_body_bytes,
        )
        self._console = Console()
        self._restraint = audit.Restraint()
        self._rest: asyncio.Task[Application] | None = None
        self._link = Link(node.parenting, Opinions(node, self._jobs)) if node.parenting else None
        self._spread = Spreading(node, infer=infer, predict=self._predict, jobs=self._jobs)
        self._relay = Relay(node.parenting, node=node.settings.node.name)

    def leave(self) -> None:
        """Lets nobody wait any longer: the server is about to stop."""
        if self._link:
            self._link.leave()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one connection event of the server."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send, limits=self._limits)
        oip = _is_oip(request.path)
        encrypted = scope.get("scheme") == "https"  # a child that was led elsewhere tells nothing there, nor gets it
        link = self._link if encrypted and request.path.startswith(_LINK) else None
        try:
            if link:  # children prove themselves
                check_head(request)
                await link(request)
                return
            passed = request.scope[PASSED] = self._guard.admit(request)
            if passed.route is not None and (passed.route.changes or passed.route.asks):
                request.before_answer = functools.partial(self._record, request, passed)
            request.goes_on = functools.partial(self._still_may, request)
            self._guard.permit(passed)
            if (found := self._elsewhere(request)) is not None:
                await self._relay(request, passed, *found)
            elif request.path.startswith(f"{SPREAD}/"):
                await self._spread(request, passed)
            elif oip:
                await self._open_inference(request)
            elif (name := Predict.model_of(request.path)) is not None:
                await self._predict(request, name)
            elif request.path.startswith(_REST):
                await self._litestar(request)
            else:
                await self._console(request)
        except Exception as raised:
            if request.cut_off or isinstance(raised, PeerGoneError):
                return
            exception = _unwrapped(raised)
            if request.started:
                raise
            status, headers, body = failure(exception, self._metrics, what=f"{request.method} {request.path}", oip=oip)
            if link:
                headers = [*headers, *link.headers()]
            await request.respond(body, status=status, headers=headers)
        finally:
            self._metrics.requests["v2" if oip else "v1", request.status] += 1

    async def _record(self, request: Request, passed: Pass, status: int) -> None:
        """Writes a change into the audit log, or a query into the log of queries, before it is answered. What strangers
        are refused is counted, not written: they could fill the log.
        """
        notes = request.scope.get(NOTES, {})
        if passed.route is None or (passed.principal is None and not notes):
            return
        facts = audit.facts_of(passed.principal, request.scope.get("client"), status=status, what=notes)
        # A query that failed as it ran may have told something all the same: the engine's words hold values.
        if facts["outcome"] != "done" and not notes.get("ran"):
            left_out = self._restraint.count(facts["who"], now_s=self._node.clock.monotonic())
            if left_out is None:
                return
            facts |= {"left_out": left_out} if left_out else {}
        facts["path"] = request.path[:_MAX_PATH]
        record = self._node.record_change if passed.route.changes else self._node.record_query
        await asyncio.to_thread(record, passed.route.changes or passed.route.asks, facts)

    def hang_up(self) -> None:
        """Ends what would keep connections open: the server is stopping."""
        if self._node.parenting:
            self._node.parenting.relaying.close()

    def _still_may(self, request: Request) -> bool:
        """Whether who asked for an answer that does not end may still have it."""
        if not self._guard.holds(request.scope[PASSED]):
            try:
                request.scope[PASSED] = self._guard.check(request)
            except EdgewiseError:
                return False
        return True

    def _elsewhere(self, request: Request) -> tuple[str, str] | None:
        """The node that is to answer, and the path there; a path that leads to this node becomes its own."""
        while (found := below(request.path)) is not None:
            if found[0] != self._node.settings.node.name:
                return found
            request.path = request.scope["path"] = found[1]
            request.scope.pop("raw_path", None)
        return None

    async def _litestar(self, request: Request) -> None:
        application = await asyncio.shield(self._load_rest())
        await application(request.scope, request.bounded(), request.send)

    def _load_rest(self) -> asyncio.Task[Application]:
        """The rest of the interface, being imported in a thread of its own from the first call on."""
        if self._rest is None or (self._rest.done() and self._rest.exception()):
            self._rest = asyncio.create_task(asyncio.to_thread(self._build_rest), name="load the REST application")
        return self._rest

    def _build_rest(self) -> Application:
        from edgewise.api.rest.application import build

        application = build(self._node, guard=self._guard, jobs=self._jobs, metrics=self._metrics)
        return cast("Application", application)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message: Message = await receive()
            if message["type"] == "lifespan.startup":
                loop = asyncio.get_running_loop()
                warming = loop.call_later(WARM_UP_S, self._load_rest)
                self._node.answer_parent(Performer(self, loop, may_ask=self._node.settings.parent.may_ask))
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                warming.cancel()
                if self._rest is not None:
                    with contextlib.suppress(Exception):
                        await self._rest
                if self._link:
                    self._link.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _is_oip(path: str) -> bool:
    """Whether errors at a path have the form of the Open Inference Protocol."""
    while (found := below(path)) is not None:
        path = found[1]
    path = path.removeprefix(SPREAD)
    return path == "/v2" or path.startswith("/v2/")


def _unwrapped(raised: Exception) -> BaseException:
    """What sending raised, which Litestar wraps; everything else as it is."""
    cause = raised.__cause__
    return cause if isinstance(cause, EdgewiseError) and not isinstance(raised, EdgewiseError) else raised
