"""The short way through the server, for what is asked most: inference on tensors, and predictions.

An ASGI scope, a task, an event and two messages cost a request several times what a small model's own work does, and on
a machine whose cores are all computing they cost it several wake-ups. So a plain request for either is handed to its
job as soon as its last byte is there, and its answer is written as soon as the job is done, without any of these.
Everything else, and all that is wrong with a request's head, goes the ordinary way; answers and errors are the same on
both.

What follows from a head alone (the guard's verdict, the model, where the JSON ends) is worked out once per connection
and kept while the head stays the same to the byte, as it does when a client asks again and again, and while nothing has
changed about who may do what.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from edgewise.api.errors import failure
from edgewise.api.jobs import Jobs
from edgewise.api.wire import JSON, Answer, Head, Work, align, fits, headers_for
from edgewise.errors import EdgewiseError

if TYPE_CHECKING:
    from edgewise.api.guard import Guard, Pass
    from edgewise.api.metrics import Metrics
    from edgewise.api.oip.infer import Inference
    from edgewise.api.predict import Predict
    from edgewise.api.wire import Headers

# Headers that ask for more than the short way does; answers of ``infer`` may be asked for compressed.
_BEYOND = {b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"}


class Reply(NamedTuple):
    """What is to be sent."""

    status: HTTPStatus
    headers: Headers
    body: bytes


class Plan(NamedTuple):
    """What follows from the head of a request."""

    method: bytes
    url: bytes
    headers: list[tuple[bytes, bytes]]
    work: Work
    oip: bool
    passed: Pass


class Express:
    """Plans and answers the requests that can go the short way.

    Args:
        infer: Inference on tensors.
        predict: Predictions.
        guard: Decides who may call.
        jobs: Where work is done.
        metrics: Gets what the ordinary way would give it.
        max_body_bytes: Larger bodies go the ordinary way, which refuses them.
    """

    def __init__(
        self, infer: Inference, predict: Predict, *, guard: Guard, jobs: Jobs, metrics: Metrics, max_body_bytes: int
    ) -> None:
        self._infer = infer
        self._predict = predict
        self._guard = guard
        self._jobs = jobs
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    def plan(
        self, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]], *, scheme: str = "http"
    ) -> Plan | None:
        """What to do with a request, judged by its head; None when it goes the ordinary way."""
        path, _, query = url.partition(b"?")
        if method != b"POST" or b"%" in path or not path.isascii():
            return None
        text = path.decode()
        request = Head({"method": "POST", "path": text, "query_string": query, "headers": headers, "scheme": scheme})
        if not self._is_plain(request, headers):
            return None
        oip = text.startswith("/v2/")
        try:
            passed = self._guard.check(request)
            work = self._infer.plain_work(request) if oip else self._predict.plain_work(request)
        except EdgewiseError:
            return None  # the ordinary way says it
        return None if work is None else Plan(method, url, headers, work, oip, passed)

    def holds(self, plan: Plan) -> bool:
        """Whether a plan made for an earlier request with the same head still counts: who called then may not now."""
        return self._guard.holds(plan.passed)

    def _is_plain(self, request: Head, headers: list[tuple[bytes, bytes]]) -> bool:
        length = request.header(b"content-length")
        return fits(length, self._max_body_bytes) and _BEYOND.isdisjoint(name for name, _ in headers)

    def start(self, plan: Plan, pieces: list[bytes], done: Callable[[Reply], None]) -> None:
        """Answers a request whose body is whole: ``done`` is called on the event loop, at once or later."""
        work = plan.work
        start = time.perf_counter_ns()
        body = align(pieces, at=work.align_at)

        def finish(answer: Answer, error: BaseException | None) -> None:
            if error is None:
                self._metrics.inference.observe(work.model, time.perf_counter_ns() - start)
                headers = headers_for(answer.content, media_type=answer.media_type, headers=answer.headers)
                reply = Reply(HTTPStatus.OK, headers, answer.content)
            else:
                reply = self._failed(plan, error)
            self._metrics.requests["v2" if plan.oip else "v1", reply.status] += 1
            done(reply)

        self._jobs.start(finish, work.kind, len(body), work.run, body, start)

    def _failed(self, plan: Plan, error: BaseException) -> Reply:
        what = f"POST {plan.url.decode('latin-1')}"
        status, headers, content = failure(error, self._metrics, what=what, oip=plan.oip)
        return Reply(status, headers_for(content, media_type=JSON, headers=headers), content)
