"""``/v1/cameras``: what the pipelines see, hear and measure, live.

Pictures are sent as they were taken; what was found in them comes beside them, as Server-Sent Events with the number of
the picture each belongs to. Whoever shows both draws the boxes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream

from edgewise.api.rest.context import Context, Injected, blocking
from edgewise.errors import ConflictError, InputError, NotFoundError, UnavailableError
from edgewise.media import images
from edgewise.pipeline.base import Frame, Observation, Pushable, Sound, Value
from edgewise.pipeline.recording import RecorderState
from edgewise.pipeline.runner import Phase, PipelineRunner
from edgewise.types import Detection

_TAGS = ["cameras"]
_BOUNDARY = "frame"
_WAIT_S = 1.0
_REPEAT_S = 0.15
_KEEP_ALIVE_S = 15.0
# Observations of one pipeline are sent at most so often; the newest wins.
_PACE_S = 0.04
# Quieter than this is silence (dB below full scale).
_SILENCE_DB = -96.0
_ENDED = {Phase.ENDED, Phase.FAILED, Phase.STOPPED}


class Places(msgspec.Struct, frozen=True):
    """Where something is looked for in a camera's pictures: polygons and lines by name, corners ``[x, y]`` in shares of
    width and height.
    """

    zones: dict[str, list[tuple[float, float]]] = {}
    lines: dict[str, list[tuple[float, float]]] = {}
    mask: list[list[tuple[float, float]]] = []


class Camera(msgspec.Struct, frozen=True):
    """One pipeline: its state, its figures, and what its newest sample shows.

    Attributes:
        kind: Of its source, such as ``camera``, ``video``, ``upload``.
        gives: What its source gives: ``frame``, ``sound`` or ``reading``.
        state: One of new, running, retrying, ended, failed, stopped; ``reason`` says why.
        frames: Samples worked on.
        dropped: Samples that newer ones pushed out.
        late: Samples that were not worked on, because they were older than the deadline.
        unreadable: Samples of the source that could not be decoded.
        retries: How often the source broke off.
        counts: What its transforms counted, under their names.
        places: What is drawn over its pictures, besides boxes.
        recording: Its clips; null when it records none.
    """

    name: str
    kind: str
    gives: str
    state: str
    reason: str
    frames: int
    dropped: int
    late: int
    unreadable: int
    errors: int
    retries: int
    fps: float
    latency_ms: float
    width: int
    height: int
    objects: tuple[Detection, ...]
    counts: dict[str, dict[str, int]]
    places: Places
    recording: RecorderState | None


class CameraList(msgspec.Struct, frozen=True):
    """All pipelines of a node."""

    cameras: list[Camera]


class Accepted(msgspec.Struct, frozen=True):
    """A frame was taken in under this number."""

    number: int


class Seen(msgspec.Struct, frozen=True):
    """What a pipeline made of one sample.

    Attributes:
        camera: Name of the pipeline.
        number: Of the sample; the part of the live stream that shows it has it in ``X-Edgewise-Frame``.
        time_ns: When it was taken.
        width: Of the picture, pixels; 0 for other samples.
        height: Of the picture, pixels.
        objects: Found in the picture.
        facts: What else the transforms know, by their names.
        level_db: Of a sound, root mean square below full scale; null for other samples.
        values: Of a reading, by channel.
    """

    camera: str
    number: int
    time_ns: int
    width: int = 0
    height: int = 0
    objects: tuple[Detection, ...] = ()
    facts: dict[str, Any] = {}
    level_db: float | None = None
    values: dict[str, Value] = {}


@get("/v1/cameras", tags=_TAGS)
@blocking
def list_cameras(context: Injected) -> CameraList:
    """All pipelines, with what they see, hear or measure."""
    runners = context.node.pipelines
    return CameraList([_camera(context, name, runner) for name, runner in runners.items()])


@get("/v1/cameras/{name:str}", tags=_TAGS)
@blocking
def read_camera(name: FromPath[str], context: Injected) -> Camera:
    """One pipeline."""
    return _camera(context, name, context.node.pipeline(name))


@get("/v1/cameras/{name:str}/snapshot", tags=_TAGS, media_type="image/jpeg")
@blocking
def read_picture(name: FromPath[str], context: Injected, draw: FromQuery[bool] = False) -> Response[bytes]:
    """The newest picture; ``draw=true`` draws boxes and names into it."""
    runner = _of_pictures(context, name)
    observation = runner.observation()
    if observation is None:
        raise NotFoundError(f"{name} has shown no picture yet", kind="picture", name=name)
    headers = {"cache-control": "no-store", "x-edgewise-frame": str(observation.frame.number)}
    return Response(_jpeg(runner, observation, draw=draw), media_type="image/jpeg", headers=headers)


@get("/v1/cameras/{name:str}/live", tags=_TAGS, media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
async def watch(name: FromPath[str], context: Injected, draw: FromQuery[bool] = False) -> Stream:
    """Every new picture as motion JPEG; a slow viewer skips pictures. Each part has the picture's number in
    ``X-Edgewise-Frame``; ``draw=true`` draws boxes and names into them.
    """
    runner = _of_pictures(context, name)
    context.streams.check()
    return Stream(
        _pictures(context, runner, draw=draw),
        media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}",
        headers={"cache-control": "no-store"},
    )


@get(
    "/v1/observations/stream",
    tags=_TAGS,
    media_type="text/event-stream",
    response_description="Server-Sent Events: event `seen`, data what a pipeline made of one sample.",
)
async def follow_observations(
    context: Injected,
    camera: Annotated[list[str] | None, QueryParameter(max_items=64)] = None,
) -> Stream:
    """What pipelines find, as they find it, all over one connection; ``camera`` names those that are wanted, else all.
    Whoever is too slow gets the newest of each.
    """
    runners = [context.node.pipeline(name) for name in dict.fromkeys(camera or context.node.pipelines)]
    context.streams.check()
    return Stream(
        _observations(context, runners), media_type="text/event-stream", headers={"cache-control": "no-store"}
    )


@post("/v1/cameras/{name:str}/frames", tags=_TAGS, status_code=202)
async def push_frame(name: FromPath[str], request: Request, context: Injected) -> Accepted:  # type: ignore[type-arg]
    """Gives a picture to a source of kind ``upload``."""
    runner = context.node.pipeline(name)
    source = runner.source
    if not isinstance(source, Pushable):
        raise ConflictError(
            f"{name} takes its pictures from elsewhere",
            hint="Only a source of kind `upload` takes pictures.",
            camera=name,
        )
    if runner.state().phase in _ENDED:
        raise UnavailableError(f"{name} is not running", camera=name)
    body = await request.body()
    image = await context.jobs.run(images.decode, body)
    return Accepted(source.push(image))


def _of_pictures(context: Context, name: str) -> PipelineRunner:
    runner = context.node.pipeline(name)
    if runner.source.gives != "frame":
        raise InputError(f"{name} gives no pictures, but {runner.source.gives}s", camera=name)
    return runner


def _jpeg(runner: PipelineRunner, observation: Observation, *, draw: bool) -> bytes:
    return runner.pictures.drawn(observation) if draw else runner.pictures.plain(observation.frame)


async def _pictures(context: Context, runner: PipelineRunner, *, draw: bool) -> AsyncIterator[bytes]:
    """Every new picture. Browsers show a part only when the next one begins, so a picture that no other follows at once
    is sent a second time.
    """
    shown, jpeg, once = 0, b"", False

    def next_picture() -> tuple[int, bytes] | None:
        observation = runner.wait_next(shown, timeout_s=_REPEAT_S if once else _WAIT_S)
        if observation is None:
            return None
        return observation.frame.number, _jpeg(runner, observation, draw=draw)

    async with context.streams.place():
        while True:
            newest = await context.streams.wait(next_picture)
            if newest is not None:
                shown, jpeg = newest
                yield _part(shown, jpeg)
            elif runner.state().phase in _ENDED:
                return
            elif once:
                yield _part(shown, jpeg)
            once = newest is not None


def _part(number: int, jpeg: bytes) -> bytes:
    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n"
    return f"{head}X-Edgewise-Frame: {number}\r\n\r\n".encode() + jpeg + b"\r\n"


async def _observations(context: Context, runners: list[PipelineRunner]) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    newest: dict[str, Observation] = {}
    arrived = asyncio.Event()

    def take(name: str, observation: Observation) -> None:
        newest[name] = observation
        arrived.set()

    def listen(runner: PipelineRunner, opened: ExitStack) -> None:
        def tell(observation: Observation) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(take, runner.name, observation)

        opened.enter_context(runner.listeners.listening(tell))
        if (known := runner.observation()) is not None:
            take(runner.name, known)

    async with context.streams.place():
        with ExitStack() as opened:
            for runner in runners:
                listen(runner, opened)
            yield b"retry: 2000\n\n"
            while True:
                try:
                    await asyncio.wait_for(arrived.wait(), _KEEP_ALIVE_S)
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                arrived.clear()
                told = dict(newest)
                newest.clear()
                for name, observation in told.items():
                    yield b"event: seen\ndata: %s\n\n" % msgspec.json.encode(_seen(name, observation))
                await asyncio.sleep(_PACE_S)


def _seen(name: str, observation: Observation) -> Seen:
    sample = observation.sample
    seen = Seen(name, sample.number, sample.time_ns, objects=observation.objects, facts=dict(observation.facts))
    replace = msgspec.structs.replace
    match sample:
        case Frame():
            return replace(seen, width=sample.width, height=sample.height)
        case Sound():
            return replace(seen, level_db=_level_db(sample))
    return replace(seen, values=dict(sample.values))


def _level_db(sound: Sound) -> float:
    if not len(sound.samples):
        return _SILENCE_DB
    power = float((sound.samples.astype("float64") ** 2).mean())
    return round(max(_SILENCE_DB, 10 * math.log10(power)), 1) if power > 0 else _SILENCE_DB


def _camera(context: Context, name: str, runner: PipelineRunner) -> Camera:
    state = runner.state()
    observation = runner.observation()
    recorder = context.node.clips.recorders.get(name)
    return Camera(
        name=name,
        kind=str(context.node.settings.pipelines[name].source.__struct_config__.tag),
        gives=str(runner.source.gives),
        state=state.phase.value,
        reason=state.problem,
        frames=state.processed,
        dropped=state.dropped,
        late=state.late,
        unreadable=state.unreadable,
        errors=state.errors,
        retries=state.retries,
        fps=round(state.fps, 2),
        latency_ms=round(state.latency_ms, 2),
        width=state.width,
        height=state.height,
        objects=observation.objects if observation else (),
        counts={transform: dict(counted) for transform, counted in state.counts.items()},
        places=_places(context, name),
        recording=recorder.state() if recorder else None,
    )


def _places(context: Context, name: str) -> Places:
    """Zones and lines of the pipeline's transforms, whichever have some."""
    settings = context.node.settings.pipelines[name]
    zones: dict[str, list[tuple[float, float]]] = {}
    lines: dict[str, list[tuple[float, float]]] = {}
    for transform in settings.transforms:
        for field, found in (("zones", zones), ("lines", lines)):
            places = getattr(transform, field, {})
            if isinstance(places, dict):
                found.update(msgspec.convert(msgspec.to_builtins(places), dict[str, list[tuple[float, float]]]))
    return Places(zones, lines, [list(polygon) for polygon in settings.mask])


HANDLERS = (list_cameras, read_camera, read_picture, watch, follow_observations, push_frame)
