"""``/v1/clips`` and ``/v1/blobs``: what was recorded."""

from __future__ import annotations

import functools
from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.params import FromPath, FromQuery, HeaderParameter, QueryParameter
from litestar.response import Stream

from edgewise.api.rest.context import Context, Injected, blocking
from edgewise.api.rest.ranges import send_file
from edgewise.errors import ConflictError, NotFoundError
from edgewise.node.clips import FAILED, LOST, RECORDED, ClipFacts
from edgewise.node.streams import EVENTS

_TAGS = ["clips"]
_KINDS = {RECORDED, FAILED, LOST}
_PAGE = 500
# A list looks at this many events at most before it answers with what it found.
_MAX_SCANNED = 20_000
_SEQUENCE_MAX = 2**53 - 1
_PARTIAL = "The video, or with `Range` the part that is asked for (206)."


class ClipList(msgspec.Struct, frozen=True):
    """Clips, newest first; those that run stand before all others. ``next_before`` continues the list where it ends; 0
    when there are no older ones.
    """

    clips: list[ClipFacts]
    next_before: int


@get("/v1/clips", tags=_TAGS)
@blocking
def list_clips(
    context: Injected,
    source: Annotated[str, QueryParameter(max_length=64)] = "",
    before: Annotated[int, QueryParameter(ge=0, le=_SEQUENCE_MAX)] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> ClipList:
    """Clips that were recorded, could not be, or are just being."""
    found = [] if before else _running(context, source)
    scanned = 0
    while scanned < _MAX_SCANNED:
        records = context.node.journal.read(EVENTS, before=before, limit=_PAGE, newest_first=True)
        for record in records:
            before = record.sequence
            if record.kind in _KINDS and source in ("", record.body.get("source")):
                found.append(context.node.clips.facts(record))
                if len(found) >= limit:
                    return ClipList(found, next_before=before)
        scanned += len(records)
        if not records or before <= 1:
            return ClipList(found, next_before=0)
    return ClipList(found, next_before=before)


@get("/v1/clips/{name:str}", tags=_TAGS)
@blocking
def read_clip(name: FromPath[str], context: Injected) -> ClipFacts:
    """One clip, by the name that its events carry (``clip`` in their body); ``state`` says whether it has ended yet."""
    return context.node.clips.find(name)


@get("/v1/clips/{name:str}/video", tags=_TAGS, media_type="video/mp4", response_description=_PARTIAL)
@blocking
def read_video(
    name: FromPath[str],
    context: Injected,
    download: FromQuery[bool] = False,
    asked: Annotated[str, HeaderParameter(name="Range", max_length=256)] = "",
) -> Any:
    """The video of a clip (MP4); ``download=true`` makes a browser save it."""
    clip = context.node.clips.find(name)
    if clip.state == "recording":
        raise ConflictError(
            f"{name} is being recorded", hint="Ask again when it has ended; GET /v1/clips/NAME tells.", clip=name
        )
    if not clip.digest:
        raise NotFoundError(f"{name} has no video: {clip.reason or clip.state}", kind="clip", name=name)
    return _sent(context, clip.digest, asked, saved_as=f"{name}.mp4" if download else "")


@get("/v1/blobs/{digest:str}", tags=_TAGS, media_type="application/octet-stream", response_description=_PARTIAL)
@blocking
def read_blob(
    digest: FromPath[str],
    context: Injected,
    asked: Annotated[str, HeaderParameter(name="Range", max_length=256)] = "",
) -> Any:
    """Anything that records point to (a snapshot, a clip), by its SHA-256."""
    return _sent(context, digest, asked)


def _sent(context: Context, digest: str, asked: str, *, saved_as: str = "") -> Response[bytes] | Stream:
    blobs = context.node.blobs
    blobs.open_blob(digest).close()  # what only the parent has is here from now on
    media_type = blobs.stat(digest).media_type
    opened = functools.partial(blobs.open_blob, digest)
    return send_file(opened, media_type=media_type, tag=digest, asked=asked, name=saved_as)


def _running(context: Context, source: str) -> list[ClipFacts]:
    recorders = context.node.clips.recorders.values()
    names = [(recorder.state().recording, recorder.name) for recorder in recorders if source in ("", recorder.name)]
    return [ClipFacts(name, of, "recording") for name, of in names if name]


HANDLERS = (list_clips, read_clip, read_video, read_blob)
