"""``/v1/sources``: what is handed to sources."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Annotated, TypeAlias

import msgspec
from litestar import post
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from edgewise.api.rest.context import Injected
from edgewise.errors import ConflictError, InputError, UnavailableError
from edgewise.pipeline.base import Accepting, Measured
from edgewise.pipeline.runner import Phase

_TAGS = ["sources"]
_ENDED = {Phase.ENDED, Phase.FAILED, Phase.STOPPED}
MAX_READINGS = 10_000
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")

Channel: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
Value: TypeAlias = (
    float | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | bool | Annotated[str, Meta(max_length=1024)] | None
)


class PushedReading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What sensors said at one time.

    Attributes:
        values: Value by channel, such as `{"temperature": 21.5}`; null where one is missing.
        time: When it was measured (RFC 3339, with its zone); now when it is not given.
    """

    values: Annotated[dict[Channel, Value], Meta(min_length=1, max_length=1024)]
    time: Annotated[datetime, Meta(tz=True)] | None = None


Pushed: TypeAlias = PushedReading | Annotated[list[PushedReading], Meta(min_length=1, max_length=MAX_READINGS)]


class AcceptedReadings(msgspec.Struct, frozen=True):
    """Readings were taken into the source's queue: how many, and the number of the last."""

    accepted: int
    last: int


@post("/v1/sources/{name:str}/readings", tags=_TAGS, status_code=202)
async def push_readings(name: FromPath[str], data: JSONBody[Pushed], context: Injected) -> AcceptedReadings:
    """Gives one reading, or a list of them, to a source of kind `readings`: all or none.

    202 means that they wait in the node's memory, in their order, and go through the pipeline into the journal; none is
    dropped for newer ones. They are not on disk yet: a node that loses its power loses what waits. When they do not fit
    beside those that wait, the answer is 503 with code `busy`, and none was taken.
    """
    runner = context.node.pipeline(name)
    source = runner.source
    if not isinstance(source, Accepting):
        raise ConflictError(
            f"{name} takes its samples from elsewhere",
            hint="Only a source of kind `readings` takes readings.",
            source=name,
        )
    if runner.state().phase in _ENDED:
        raise UnavailableError(f"{name} is not running", hint="Start the node again.", source=name)
    pushed = data if isinstance(data, list) else [data]
    if not 0 < len(pushed) <= MAX_READINGS:  # a bound inside a union reaches the document, not the decoder
        raise InputError(f"A list holds 1 to {MAX_READINGS} readings", hint="Send more lists.", limit=MAX_READINGS)
    last = source.accept([Measured(each.values, _time_ns(each.time)) for each in pushed])
    return AcceptedReadings(len(pushed), last)


def _time_ns(time: datetime | None) -> int | None:
    if time is None:
        return None
    since = time - _EPOCH
    if since < timedelta(0):
        raise InputError(f"{time.isoformat()} lies before 1970", hint="Is the sensor's clock set?")
    return math.floor(since / timedelta(microseconds=1)) * 1000


HANDLERS = (push_readings,)
