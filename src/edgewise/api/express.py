"""The short way through the server, for inference requests that take less time than the way itself.

A small model answers in microseconds; an ASGI scope, a task, an event and two messages for each of its requests take
several times that. So a request that is small, plain and asks for a model that has proved quick (see ``jobs``) is
answered as soon as its last byte is there, without any of these. Everything else, and all that is wrong with a
request's head, goes the ordinary way; answers and errors are the same on both.

What follows from a head alone (the guard's verdict, the model, where the JSON ends) is worked out once per connection
and kept while the head stays the same to the byte, as it does when a client asks again and again.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from edgewise.api.errors import failure
from edgewise.api.jobs import QUICK_BODY_BYTES, Gate, Jobs
from edgewise.api.oip.infer import Call, Inference
from edgewise.api.wire import JSON, Request, align, headers_for
from edgewise.errors import EdgewiseError

if TYPE_CHECKING:
    from edgewise.api.guard import Guard
    from edgewise.api.metrics import Metrics
    from edgewise.api.wire import Headers

_PREFIX = b"/v2/models/"
_SUFFIX = b"/infer"
# Headers that ask for more than the short way does.
_BEYOND = {b"accept-encoding", b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"}


class Reply(NamedTuple):
    """What is to be sent."""

    status: HTTPStatus
    headers: Headers
    body: bytes


class Plan(NamedTuple):
    """What follows from the head of a request."""

    url: bytes
    headers: list[tuple[bytes, bytes]]
    name: str
    version: str
    json_length: int | None
    gate: Gate


class Express:
    """Plans and answers the requests that can go the short way.

    Args:
        infer: The hot path.
        guard: Decides who may call.
        jobs: Knows which models are quick.
        metrics: Gets what the ordinary way would give it.
    """

    def __init__(self, infer: Inference, *, guard: Guard, jobs: Jobs, metrics: Metrics) -> None:
        self._infer = infer
        self._guard = guard
        self._jobs = jobs
        self._metrics = metrics

    def plan(self, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]]) -> Plan | None:
        """What to do with a request, judged by its head; None when it goes the ordinary way."""
        if method != b"POST" or not (url.startswith(_PREFIX) and url.endswith(_SUFFIX)) or b"%" in url or b"?" in url:
            return None
        name, _, version = url[len(_PREFIX) : -len(_SUFFIX)].decode("latin-1").partition("/versions/")
        gate = self._jobs.gate((name, version))
        if gate is None or not gate.quick or not _BEYOND.isdisjoint(header for header, _ in headers):
            return None
        scope = {"method": "POST", "path": url.decode("latin-1"), "headers": headers}
        request = Request.headed(scope)
        if request.header(b"connection").lower() not in (b"", b"keep-alive"):
            return None
        length = request.header(b"content-length")
        if not length.isdigit() or len(length) > 8 or int(length) > QUICK_BODY_BYTES:
            return None
        try:
            self._guard.check(request)
            json_length = self._infer.check_head(request)
        except EdgewiseError:
            return None  # the ordinary way says it
        return Plan(url, headers, name, version, json_length, gate)

    def answer(self, plan: Plan, pieces: list[bytes]) -> Reply | None:
        """The answer to a request whose body is whole; None when its model is not quick any more."""
        gate = plan.gate
        if not gate.quick:
            return None
        start = time.perf_counter_ns()
        body = align(pieces, at=plan.json_length or 0)
        call = Call(plan.name, plan.version, body, plan.json_length, start)
        try:
            answer = gate.run(self._infer.answer, call)
        except Exception as exception:  # noqa: BLE001 - becomes the answer
            status, headers, content = failure(
                exception, self._metrics, what=f"POST {plan.url.decode('latin-1')}", oip=True
            )
            reply = Reply(status, headers_for(content, media_type=JSON, headers=headers), content)
        else:
            self._metrics.inference.observe(plan.name, time.perf_counter_ns() - start)
            headers = headers_for(answer.content, media_type=answer.media_type, headers=answer.headers)
            reply = Reply(HTTPStatus.OK, headers, answer.content)
        self._metrics.requests["v2", reply.status] += 1
        return reply
