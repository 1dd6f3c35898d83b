"""``POST /v2/models/{model}[/versions/{version}]/infer``: the hot path of the node."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

from edgewise.api.errors import MediaTypeError
from edgewise.api.jobs import Jobs
from edgewise.api.metrics import Metrics
from edgewise.api.oip import codec
from edgewise.api.oip.compression import compress, expand
from edgewise.api.wire import Answer, Head, Request, Work
from edgewise.models.folder import head_of

if TYPE_CHECKING:
    from edgewise._lib.clock import Clock
    from edgewise.api.oip.structs import RequestOutput
    from edgewise.models.model import Model
    from edgewise.node.repository import LoadedModel, ModelRepository

OCTETS = b"application/octet-stream"
_JSON_LENGTH = b"inference-header-content-length"
_PREFIX = "/v2/models/"
_SUFFIX = "/infer"
# None, and the last one, are what clients send who were not told to name the type (curl's default).
_MEDIA_TYPES = {b"", b"application/json", OCTETS, b"text/plain", b"application/x-www-form-urlencoded"}


class Inference:
    """Answers ``infer``: reads the body on the loop, then decodes, infers and encodes in one job.

    Args:
        repository: Where models are.
        jobs: Where the job runs.
        metrics: Gets one observation per request.
        clock: For the time of a model's last inference.
        max_body_bytes: Largest body, after expansion.
    """

    def __init__(
        self, repository: ModelRepository, *, jobs: Jobs, metrics: Metrics, clock: Clock, max_body_bytes: int
    ) -> None:
        self._repository = repository
        self._jobs = jobs
        self._metrics = metrics
        self._clock = clock
        self._max_body_bytes = max_body_bytes

    async def __call__(self, request: Request, name: str, version: str) -> None:
        """Answers one request."""
        start = time.perf_counter_ns()
        work = self._work(request, name, version)
        body = await request.body(align_at=work.align_at)
        if encoding := request.header(b"content-encoding"):
            body = await self._jobs.run(_expanded, body, encoding, self._max_body_bytes)
        answer = await self._jobs.run_quickest(work.kind, len(body), work.run, body, time.perf_counter_ns())
        self._metrics.inference.observe(name, time.perf_counter_ns() - start)
        content, headers = answer.content, answer.headers
        if accepted := request.header(b"accept-encoding"):
            content, encoding = await self._compressed(content, accepted)
            if encoding:
                headers = [*headers, (b"content-encoding", encoding)]
        await request.respond(content, media_type=answer.media_type, headers=headers)

    def plain_work(self, request: Head) -> Work | None:
        """What is to be done for a request; None when it is none for ``infer``, or asks for more than that.

        Raises:
            EdgewiseError: Its head is wrong.
        """
        if not (request.path.startswith(_PREFIX) and request.path.endswith(_SUFFIX)):
            return None
        if _compression(request.header(b"accept-encoding")):
            return None
        name, between, version = request.path[len(_PREFIX) : -len(_SUFFIX)].partition("/versions/")
        if not name or "/" in name or "/" in version or bool(between) != bool(version):
            return None
        return self._work(request, name, version)

    def _work(self, request: Head, name: str, version: str) -> Work:
        _check_media_type(request)
        json_length = codec.header_length(request.header(_JSON_LENGTH))
        run = functools.partial(self._answer, name, version, json_length)
        return Work(name, run, kind=(name, version), align_at=json_length or 0)

    async def _compressed(self, content: bytes, accepted: bytes) -> tuple[bytes, bytes]:
        if not _compression(accepted):
            return content, b""
        return await self._jobs.run(compress, content, accepted)

    def _answer(self, name: str, version: str, json_length: int | None, body: memoryview, queued_ns: int) -> Answer:
        """The job: bytes in, bytes out. Runs on a worker, or on the loop when the model is quick."""
        started = time.perf_counter_ns()
        loaded = self._repository.get(name, version)
        try:
            return self._timed(loaded, body, json_length, queued_ns=queued_ns, started=started)
        except Exception:
            loaded.statistics.failed(time.perf_counter_ns() - queued_ns)
            raise

    def _timed(
        self, loaded: LoadedModel, body: memoryview, json_length: int | None, *, queued_ns: int, started: int
    ) -> Answer:
        model = loaded.model
        manifest = model.manifest
        if json_length == 0:
            request, arrays = codec.decode_raw(body, manifest.inputs)
        else:
            request, arrays = codec.decode(body, json_length)
        decoded = time.perf_counter_ns()
        outputs = model.infer(arrays)
        inferred = time.perf_counter_ns()
        labels = _labels(model) if request.outputs and _wants_labels(request.outputs) else ()
        content, content_json_length = codec.encode(
            request, outputs, model=manifest.name, version=manifest.version, labels=labels
        )
        loaded.statistics.succeeded(
            now_ns=self._clock.time_ns(),
            batch=_batch(manifest.inputs[0].shape, arrays[manifest.inputs[0].name].shape),
            queue_ns=started - queued_ns,
            input_ns=decoded - started,
            infer_ns=inferred - decoded,
            output_ns=time.perf_counter_ns() - inferred,
        )
        if content_json_length is None:
            return Answer(content)
        return Answer(content, OCTETS, [(_JSON_LENGTH, b"%d" % content_json_length)])


def _compression(accepted: bytes) -> bool:
    """Whether answers may be compressed in a way we know."""
    return b"gzip" in accepted or b"deflate" in accepted


def _check_media_type(request: Head) -> None:
    header = request.header(b"content-type")
    if header in _MEDIA_TYPES:
        return
    media_type = header.partition(b";")[0].strip().lower()
    if media_type not in _MEDIA_TYPES:
        raise MediaTypeError(
            f"infer takes no {media_type.decode('latin-1')}",
            hint="Send application/json, or application/octet-stream with binary tensors.",
            accepted=["application/json", "application/octet-stream"],
        )


def _expanded(body: memoryview, encoding: bytes, max_bytes: int) -> memoryview:
    return expand(body, encoding, max_bytes=max_bytes)


def _wants_labels(outputs: list[RequestOutput]) -> bool:
    return any("classification" in output.parameters for output in outputs)


def _labels(model: Model) -> tuple[str, ...]:
    """The model's class names; empty when it has none."""
    path = model.manifest.task.get("labels", "")
    return head_of(model.manifest, model.folder).labels(path) if path else ()


def _batch(spec: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """Inferences in one request: the first dimension, where the model leaves it open."""
    return shape[0] if spec and spec[0] == -1 else 1
