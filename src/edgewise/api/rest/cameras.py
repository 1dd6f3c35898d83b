"""``/v1/cameras``: what the pipelines see, live."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Stream

from edgewise.api.rest.context import Context, Injected, blocking
from edgewise.errors import ConflictError, NotFoundError, UnavailableError
from edgewise.media import images
from edgewise.pipeline.base import Pushable
from edgewise.pipeline.runner import Phase, PipelineRunner
from edgewise.types import Detection

_TAGS = ["cameras"]
_BOUNDARY = "frame"
_WAIT_S = 1.0
_REPEAT_S = 0.15
_ENDED = {Phase.ENDED, Phase.FAILED, Phase.STOPPED}


class Camera(msgspec.Struct, frozen=True):
    """One pipeline: its state, its figures, and what its newest picture shows.

    Attributes:
        kind: Of its source, such as ``camera``, ``video``, ``upload``.
        state: One of new, running, retrying, ended, failed, stopped; ``reason`` says why.
        frames: Pictures worked on.
        dropped: Pictures that newer ones pushed out.
    """

    name: str
    kind: str
    state: str
    reason: str
    frames: int
    dropped: int
    errors: int
    fps: float
    latency_ms: float
    width: int
    height: int
    objects: tuple[Detection, ...]


class CameraList(msgspec.Struct, frozen=True):
    """All pipelines of a node."""

    cameras: list[Camera]


class Accepted(msgspec.Struct, frozen=True):
    """A frame was taken in under this number."""

    number: int


@get("/v1/cameras", tags=_TAGS)
@blocking
def list_cameras(context: Injected) -> CameraList:
    """All cameras and other picture sources, with what they see."""
    return CameraList([_camera(context, name) for name in context.node.pipelines])


@get("/v1/cameras/{name:str}/snapshot", tags=_TAGS, media_type="image/jpeg")
@blocking
def read_picture(name: FromPath[str], context: Injected) -> Response[bytes]:
    """The newest picture, with boxes and names drawn."""
    latest = context.node.pipeline(name).latest()
    if latest is None:
        raise NotFoundError(f"{name} has shown no picture yet", kind="picture", name=name)
    return Response(latest[1], media_type="image/jpeg", headers={"cache-control": "no-store"})


@get("/v1/cameras/{name:str}/live", tags=_TAGS, media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
async def watch(name: FromPath[str], context: Injected) -> Stream:
    """Every new picture as motion JPEG, with boxes and names drawn; a slow viewer skips pictures."""
    runner = context.node.pipeline(name)
    context.streams.check()
    return Stream(
        _pictures(context, runner),
        media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}",
        headers={"cache-control": "no-store"},
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


async def _pictures(context: Context, runner: PipelineRunner) -> AsyncIterator[bytes]:
    """Every new picture. Browsers show a part only when the next one begins, so a picture that no other follows at once
    is sent a second time.
    """
    shown, jpeg, once = 0, b"", False
    async with context.streams.place():
        while True:
            latest = await context.streams.wait(runner.wait_next, shown, timeout_s=_REPEAT_S if once else _WAIT_S)
            if latest is not None:
                observation, jpeg = latest
                shown = observation.frame.number
                yield _part(jpeg)
            elif runner.state().phase in _ENDED:
                return
            elif once:
                yield _part(jpeg)
            once = latest is not None


def _part(jpeg: bytes) -> bytes:
    return f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode() + jpeg + b"\r\n"


def _camera(context: Context, name: str) -> Camera:
    runner = context.node.pipelines[name]
    state = runner.state()
    observation = runner.observation()
    return Camera(
        name=name,
        kind=str(context.node.settings.pipelines[name].source.__struct_config__.tag),
        state=state.phase.value,
        reason=state.problem,
        frames=state.processed,
        dropped=state.dropped,
        errors=state.errors,
        fps=round(state.fps, 2),
        latency_ms=round(state.latency_ms, 2),
        width=state.width,
        height=state.height,
        objects=observation.objects if observation else (),
    )


HANDLERS = (list_cameras, read_picture, watch, push_frame)
