"""``POST /v1/models/{name}/predict``: a picture, a sound or a series in, a typed result out."""

from __future__ import annotations

import binascii
import functools
import time
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.api import forms
from edgewise.api.errors import MediaTypeError, MethodError
from edgewise.api.jobs import Jobs
from edgewise.api.metrics import Metrics
from edgewise.api.wire import Answer, Head, Request, Work, decode_json
from edgewise.errors import DecodeError, InputError
from edgewise.models.prediction import Prediction, Timing
from edgewise.types import Result

if TYPE_CHECKING:
    from edgewise._lib.clock import Clock
    from edgewise.node.repository import ModelRepository

_PREFIX = "/v1/models/"
_SUFFIX = "/predict"
ACCEPTED = ["image/*", "audio/*", "application/octet-stream", "text/csv", "application/json", "multipart/form-data"]
# Query fields that are not options of the model's task.
_OWN_FIELDS = {"draw", "version"}
# Names of Python parameters of ``Model.predict``.
_NO_OPTIONS = {"self", "raw", "landmarks"}
_JPEG_QUALITY = 85


class PredictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON form of a request: exactly one of the two.

    Attributes:
        image: A picture file in base64.
        series: Numbers, ``[time, channels]``.
    """

    image: str | None = None
    series: list[list[float]] | None = None


class PredictResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """A typed result, with where it came from.

    Attributes:
        picture: The picture with the result drawn on it, as JPEG in base64, when it was asked for and can be drawn.
    """

    model: str
    version: str
    variant: str
    result: Result
    timing: Timing
    picture: str | None = None


class Predict:
    """Answers ``predict``: reads the body on the loop, then does everything else in one job.

    Args:
        repository: Where models are.
        jobs: Where the job runs.
        metrics: Gets one observation per request.
        clock: For the time of a model's last inference.
    """

    def __init__(self, repository: ModelRepository, *, jobs: Jobs, metrics: Metrics, clock: Clock) -> None:
        self._repository = repository
        self._jobs = jobs
        self._metrics = metrics
        self._clock = clock

    @staticmethod
    def model_of(path: str) -> str | None:
        """The model a path asks to predict with; None when it is another path."""
        if not (path.startswith(_PREFIX) and path.endswith(_SUFFIX)):
            return None
        name = path[len(_PREFIX) : -len(_SUFFIX)]
        return name if name and "/" not in name else None

    async def __call__(self, request: Request, name: str) -> None:
        """Answers one request."""
        start = time.perf_counter_ns()
        if request.method != "POST":
            raise MethodError("predict takes POST", allowed=["POST"])
        work = self._work(request, name)
        body = await request.body()
        answer = await self._jobs.run(work.run, body, time.perf_counter_ns())
        self._metrics.inference.observe(name, time.perf_counter_ns() - start)
        await request.respond(answer.content)

    def plain_work(self, request: Head) -> Work | None:
        """What is to be done for a request; None when it is none for ``predict``.

        Raises:
            EdgewiseError: Its head is wrong.
        """
        name = self.model_of(request.path)
        return None if name is None else self._work(request, name)

    def _work(self, request: Head, name: str) -> Work:
        return Work(name, functools.partial(self._answer, name, request.header(b"content-type"), request.query()))

    def _answer(
        self, name: str, content_type: bytes, query: dict[str, str], body: memoryview, queued_ns: int
    ) -> Answer:
        started = time.perf_counter_ns()
        draw = _truth(query.get("draw", "0"))
        options = {key: _scalar(text) for key, text in query.items() if key not in _OWN_FIELDS}
        for key in _NO_OPTIONS & options.keys():
            raise InputError(f"{key!r} is no option of a task", option=key)
        loaded = self._repository.get(name, query.get("version", ""))
        try:
            prediction = loaded.model.predict(read_input(body, content_type), **options)
        except Exception:
            loaded.statistics.failed(time.perf_counter_ns() - queued_ns)
            raise
        timing = prediction.timing
        loaded.statistics.succeeded(
            now_ns=self._clock.time_ns(),
            queue_ns=started - queued_ns,
            input_ns=int(timing.preprocess_ms * 1e6),
            infer_ns=int(timing.infer_ms * 1e6),
            output_ns=int(timing.decode_ms * 1e6),
        )
        return Answer(msgspec.json.encode(_response(prediction, draw=draw)))


def _response(prediction: Prediction, *, draw: bool) -> PredictResponse:
    return PredictResponse(
        model=prediction.model,
        version=prediction.version,
        variant=prediction.variant,
        result=prediction.result,
        timing=prediction.timing,
        picture=_picture(prediction) if draw else None,
    )


def _picture(prediction: Prediction) -> str | None:
    from edgewise.media import images

    drawn = prediction.drawn()
    return None if drawn is None else b64encode(images.encode_jpeg(drawn, quality=_JPEG_QUALITY)).decode()


def read_input(body: memoryview, content_type: bytes) -> Any:
    """What the model gets: the bytes of a file, or nested lists of numbers.

    Raises:
        MediaTypeError: The Content-Type is none of ``ACCEPTED``.
        DecodeError: The body is not what its Content-Type says.
        InputError: There is no input in it.
    """
    media_type = content_type.partition(b";")[0].strip().lower().decode("latin-1")
    if media_type.startswith(("image/", "audio/")) or media_type in {"application/octet-stream", "text/csv", ""}:
        return bytes(body)
    if media_type == "application/json":
        return _from_json(body)
    if media_type == forms.MULTIPART:
        return _from_form(body, content_type)
    raise MediaTypeError(
        f"predict takes no {media_type}", hint=f"Send one of {', '.join(ACCEPTED)}.", accepted=ACCEPTED
    )


def _from_json(body: memoryview) -> Any:
    request = decode_json(body, PredictRequest)
    if (request.image is None) == (request.series is None):
        raise InputError('Give either "image" (base64) or "series" (numbers)')
    if request.image is None:
        return request.series
    try:
        return b64decode(request.image, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DecodeError(f"image is no base64: {error}", field="image") from error


def _from_form(body: memoryview, content_type: bytes) -> bytes:
    for part in forms.parse(body, content_type):
        if part.name == "file":
            return part.data
    raise InputError("The form has no field 'file'", field="file")


def _truth(text: str) -> bool:
    if text.lower() in {"1", "true", "yes", ""}:
        return True
    if text.lower() in {"0", "false", "no"}:
        return False
    raise InputError(f"draw is {text!r}, expected 1 or 0", field="draw")


def _scalar(text: str) -> Any:
    """A query's text as the number or truth it spells, else itself."""
    try:
        return msgspec.json.decode(text, type=bool | int | float)
    except msgspec.DecodeError:
        return text
