"""``/v1/events``, ``/v1/snapshots``, ``/v1/journal``: what happened, as it happens, and whether it all adds up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery, HeaderParameter, QueryParameter
from litestar.response import Stream

from edgewise.accounts.permissions import Permission
from edgewise.api.rest.context import Context, Injected, blocking, require
from edgewise.errors import InputError, NotFoundError
from edgewise.journal.base import Loss
from edgewise.journal.custody import key_at
from edgewise.node.streams import ADMINS_STREAMS
from edgewise.types import Record

_TAGS = ["events"]
StreamName = Literal["alarms", "events", "decisions", "readings", "audit", "queries"]
MAX_LIMIT = 500
# A filter looks at this many records at most before it answers with what it found.
_MAX_SCANNED = 20_000
_MAX_LOSSES = 1000
_WAIT_S = 1.0
_KEEP_ALIVE_S = 15
# The largest integer that every JSON reader keeps exact.
SEQUENCE_MAX = 2**53 - 1


class EventList(msgspec.Struct, frozen=True):
    """Records, newest first. ``next_before`` continues the list where it ends; 0 when there are no older ones."""

    events: list[Record]
    next_before: int


class BalanceLine(msgspec.Struct, frozen=True):
    """One stream as one consumer sees it: produced = delivered + pending + dropped, when ``balanced``."""

    node: str
    stream: str
    consumer: str
    produced: int
    delivered: int
    pending: int
    dropped: int
    balanced: bool


class Audit(msgspec.Struct, frozen=True):
    """The journal's books, counted anew, and the newest lines of its loss ledger."""

    balanced: bool
    balances: list[BalanceLine]
    losses: list[Loss]


@get("/v1/events", tags=_TAGS)
@blocking
def list_events(
    context: Injected,
    request: Request[Any, Any, Any],
    stream: FromQuery[StreamName] = "events",
    after: Annotated[int, QueryParameter(ge=0, le=SEQUENCE_MAX)] = 0,
    before: Annotated[int, QueryParameter(ge=0, le=SEQUENCE_MAX)] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)] = 100,
    kind: Annotated[str, QueryParameter(max_length=128)] = "",
    node: Annotated[str, QueryParameter(max_length=64)] = "",
) -> EventList:
    """Records of a stream, newest first; ``kind`` may be a pattern such as ``face.*``.

    ``node`` names a node below this one: what came from it and is kept here. The streams ``audit`` and ``queries`` need
    the permission ``admin``.
    """
    _require(request, stream, context)
    own = context.node.settings.node.name
    if node not in {"", own} and not context.node.journal.mark(node, stream):
        return EventList([], next_before=0)
    key = key_at(node or own, stream, own=own)
    return page_of(context, key, after=after, before=before, limit=limit, kind=kind)


def page_of(context: Context, stream: str, *, after: int, before: int, limit: int, kind: str) -> EventList:
    """A page of a stream, newest first; see ``list_events``."""
    found: list[Record] = []
    scanned = 0
    while len(found) < limit and scanned < _MAX_SCANNED:
        records = context.node.journal.read(
            stream, after=after, before=before, limit=MAX_LIMIT if kind else limit, newest_first=True
        )
        for record in records:
            before = record.sequence
            if not kind or fnmatchcase(record.kind, kind):
                found.append(record)
                if len(found) == limit:
                    return EventList(found, next_before=before if before > after + 1 else 0)
        scanned += len(records)
        if not records or before <= 1:
            return EventList(found, next_before=0)
    return EventList(found, next_before=before)


@get(
    "/v1/events/stream",
    tags=_TAGS,
    media_type="text/event-stream",
    response_description="Server-Sent Events: event `record`, data one record, id its sequence.",
)
async def follow_events(
    context: Injected,
    request: Request[Any, Any, Any],
    stream: FromQuery[StreamName] = "events",
    last_event_id: Annotated[str, HeaderParameter(name="Last-Event-ID", max_length=20)] = "",
) -> Stream:
    """New records of a stream as Server-Sent Events; ``Last-Event-ID`` resumes after that sequence.

    The streams ``audit`` and ``queries`` need the permission ``admin``.
    """
    _require(request, stream, context)
    if last_event_id and not (last_event_id.isascii() and last_event_id.isdigit()):
        raise InputError("Last-Event-ID is a sequence number", field="Last-Event-ID")
    context.streams.check()
    after = int(last_event_id) if last_event_id else await context.streams.wait(_newest, context, stream)
    return Stream(
        _sent_events(context, stream, min(after, SEQUENCE_MAX)),
        media_type="text/event-stream",
        headers={"cache-control": "no-store"},
    )


def _require(request: Request[Any, Any, Any], stream: str, context: Context) -> None:
    if stream in ADMINS_STREAMS:
        require(request, Permission.ADMIN, now_ns=context.node.clock.time_ns())


def _newest(context: Context, stream: str) -> int:
    records = context.node.journal.read(stream, limit=1, newest_first=True)
    return records[0].sequence if records else 0


async def _sent_events(context: Context, stream: str, after: int) -> AsyncIterator[bytes]:
    journal = context.node.journal
    async with context.streams.place():
        yield b"retry: 2000\n\n"
        idle_s = 0.0
        while True:
            if await context.streams.wait(journal.wait, stream, after=after, timeout_s=_WAIT_S) <= after:
                idle_s += _WAIT_S
                if idle_s >= _KEEP_ALIVE_S:
                    idle_s = 0.0
                    yield b": still here\n\n"
                continue
            idle_s = 0.0
            records = await context.streams.wait(journal.read, stream, after=after, limit=100)
            for record in records:
                after = record.sequence
                yield b"event: record\nid: %d\ndata: %s\n\n" % (after, msgspec.json.encode(record))


@get(
    "/v1/snapshots/{digest:str}",
    tags=_TAGS,
    media_type="image/jpeg",
    response_description="The picture.",
)
@blocking
def read_snapshot(digest: FromPath[str], context: Injected) -> Response[bytes]:
    """A snapshot by its SHA-256; a digest never changes what it names, so it may be cached for ever."""
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise NotFoundError("A snapshot is named by its SHA-256 in hex", kind="snapshot", name=digest)
    content = context.node.blobs.get(digest)
    return Response(
        content,
        media_type=context.node.blobs.stat(digest).media_type,
        headers={"cache-control": "private, max-age=31536000, immutable"},
    )


@get("/v1/journal/audit", tags=_TAGS)
@blocking
def audit_journal(context: Injected) -> Audit:
    """Proves that produced = delivered + pending + dropped, stream by stream."""
    balances = [
        BalanceLine(**msgspec.structs.asdict(balance), balanced=balance.balanced)
        for balance in context.node.journal.audit()
    ]
    losses = context.node.journal.losses()[-_MAX_LOSSES:]
    return Audit(all(line.balanced for line in balances), balances, losses)


HANDLERS = (list_events, follow_events, read_snapshot, audit_journal)
