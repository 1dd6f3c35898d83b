"""``/v1/query`` and ``/v1/tables``: SQL over everything that came in, and what it gives as a file.

Reading alone, by the lake's own promises (``edgewise.lake.base``). What a caller may take of the machine follows from
their role, and what they asked is written into the stream ``queries`` before it is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from typing import Annotated, Any, BinaryIO, TypeVar, cast

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, JSONBody
from litestar.response import Stream
from litestar.response.base import ASGIResponse
from msgspec import Meta

from edgewise.accounts.permissions import Permission
from edgewise.api.rest.context import Context, Injected, caller, note
from edgewise.api.rest.desk import Desk
from edgewise.api.wire import Receive
from edgewise.errors import InputError, NotFoundError, StorageFullError
from edgewise.lake.asking import MAX_SQL
from edgewise.lake.base import MIB, Format, LakeSettings, Limits, Result, Stop, Table
from edgewise.node.streams import ADMINS_STREAMS

T = TypeVar("T")

_TAGS = ["lake"]
_TIMEOUT_S = 30.0
_ROWS = 1000
_ANSWER_BYTES = 16 * MIB
# Of a caller's permissions the first that stands here says how much of the settings' bounds they have.
_SHARES = {Permission.ADMIN: 1.0, Permission.OPERATE: 0.5, Permission.READ: 0.25}
# Of a longer query the rest is left out of the record, which then holds its digest.
_MAX_NOTED = 4096
# So much stays free on the disk of the node, which has records of its own to write.
_KEEP_FREE_BYTES = 512 * MIB
# Who does not fetch a file within this time is cut off.
_FETCH_S = 3600.0
_CHUNK_BYTES = 256 * 1024
_EXTRA = ("deltalake", "duckdb", "pyarrow")

Sql = Annotated[str, Meta(min_length=1, max_length=MAX_SQL)]
Timeout = Annotated[float, Meta(gt=0, le=3600)]


class QueryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query.

    Attributes:
        sql: One SELECT in DuckDB's SQL over `readings`, `events` and `records`.
        max_rows: Rows of the answer; 1,000 when it is not given.
        timeout_s: Seconds it may run; 30 when it is not given, or what the caller has at most.
    """

    sql: Sql
    max_rows: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    timeout_s: Timeout | None = None


class ExportRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query whose rows, all of them, become a file; see `QueryRequest`."""

    sql: Sql
    timeout_s: Timeout | None = None


class QueryBounds(msgspec.Struct, frozen=True):
    """What the caller may ask for at most."""

    max_rows: int
    timeout_s: float
    max_file_bytes: int


class TableList(msgspec.Struct, frozen=True):
    """The tables with their columns and sizes, none while nothing has landed; and the caller's bounds."""

    tables: list[Table]
    bounds: QueryBounds


def bounds_of(permissions: Iterable[Permission], settings: LakeSettings) -> Limits:
    """What somebody with these permissions may take at most: the settings' bounds for an admin, a share of them for
    others, who do not see the streams that are for admins either. Pure.
    """
    held = set(permissions)
    share = next((share for permission, share in _SHARES.items() if permission in held), _SHARES[Permission.READ])
    return Limits(
        timeout_s=settings.query_s * share,
        memory_bytes=settings.query_memory_bytes,
        max_rows=int(settings.query_rows * share),
        max_bytes=int(_ANSWER_BYTES * share),
        max_file_bytes=int(settings.export_bytes * share),
        hidden_streams=() if Permission.ADMIN in held else ADMINS_STREAMS,
    )


def limits_of(bounds: Limits, *, max_rows: int | None, timeout_s: float | None) -> Limits:
    """The limits of one query: what was asked for, within somebody's bounds. Pure.

    Raises:
        InputError: It was more than that.
    """
    if timeout_s is not None and timeout_s > bounds.timeout_s:
        raise InputError(
            f"Your queries may run {bounds.timeout_s:g} s at most",
            hint="Ask for less; an admin may ask for more, up to `lake.query_s` in the settings.",
            field="timeout_s",
            limit=bounds.timeout_s,
        )
    if max_rows is not None and max_rows > bounds.max_rows:
        raise InputError(
            f"Your answers may have {bounds.max_rows} rows at most",
            hint="Take more rows along as a file: POST /v1/query/export.",
            field="max_rows",
            limit=bounds.max_rows,
        )
    return msgspec.structs.replace(
        bounds,
        timeout_s=timeout_s or min(_TIMEOUT_S, bounds.timeout_s),
        max_rows=max_rows or min(_ROWS, bounds.max_rows),
    )


@get("/v1/tables", tags=_TAGS)
async def list_tables(context: Injected, request: Request[Any, Any, Any]) -> TableList:
    """The tables of the lake, and how much a query of the caller may take."""
    desk, bounds = _desk(context), _bounds(context, request)
    try:
        tables = await desk.tables()
    except NotFoundError:  # it is made when the first records land
        tables = []
    return TableList(tables, QueryBounds(bounds.max_rows, bounds.timeout_s, bounds.max_file_bytes))


@post(
    "/v1/query",
    tags=_TAGS,
    status_code=200,
    responses={200: ResponseSpec(Result, description="What it gave.", generate_examples=False)},
)
async def run_query(
    data: JSONBody[QueryRequest], context: Injected, request: Request[Any, Any, Any]
) -> Response[bytes]:
    """Runs one SELECT over the lake. It only reads, and only the lake's tables.

    Times are ISO 8601 in UTC, bytes are Base64, what is no number is null. `truncated` says that there was more than
    the answer holds. Who hangs up ends their query. What admins alone see (the streams `audit` and `queries`) is left
    out of everybody else's tables. The query is written down: who asked what, and what came of it.
    """
    desk, bounds = _desk(context), _bounds(context, request)
    _note_sql(request, data.sql)
    limits = limits_of(bounds, max_rows=data.max_rows, timeout_s=data.timeout_s)

    def ask(stop: Stop) -> tuple[Result, bytes]:
        result = desk.lake.query(data.sql, limits, stop=stop)
        return result, msgspec.json.encode(result)

    with _landed():
        result, body = await _run(desk, request, ask, bounds)
    note(request, rows=len(result.rows), truncated=result.truncated, elapsed_s=round(result.elapsed_s, 3))
    return Response(body, media_type="application/json", headers={"cache-control": "no-store"})


@post(
    "/v1/query/export",
    tags=_TAGS,
    status_code=200,
    media_type="application/octet-stream",
    response_description="The file, CSV or Parquet.",
    response_headers=[ResponseHeader(name="Content-Disposition", documentation_only=True, description="Its name.")],
)
async def export_query(
    data: JSONBody[ExportRequest],
    context: Injected,
    request: Request[Any, Any, Any],
    format: FromQuery[Format] = "csv",  # noqa: A002 - the parameter's name
) -> Stream:
    """Runs one SELECT and gives all its rows as a file.

    In CSV, text that a spreadsheet would take for a formula begins with an apostrophe. A file past the caller's bound
    is refused, never cut short.
    """
    desk, bounds = _desk(context), _bounds(context, request)
    _note_sql(request, data.sql)
    limits = limits_of(bounds, max_rows=None, timeout_s=data.timeout_s)
    note(request, format=format)
    with contextlib.ExitStack() as opened:
        opened.enter_context(desk.files.hold(_name(request), all_of_them=not bounds.hidden_streams))
        file = opened.enter_context(await asyncio.to_thread(_open_nameless, context.node.settings.node.data))
        room = await asyncio.to_thread(_room, context.node.settings.node.data, desk.settings.max_queries)
        limits = msgspec.structs.replace(limits, max_file_bytes=min(limits.max_file_bytes, room))
        export = partial(desk.lake.export, data.sql, file, format=format, limits=limits)
        with _landed():
            rows = await _run(desk, request, lambda stop: export(stop=stop), bounds)
        note(request, rows=rows)
        return _Download(file, opened.pop_all(), name=_file_name(context, format))


class _Download(Stream):
    """An open file as an answer, which closes it whatever becomes of the answer.

    Args:
        file: Open, and of a known length.
        held: Closed with it.
        name: Under which it is saved.
    """

    def __init__(self, file: BinaryIO, held: contextlib.ExitStack, *, name: str) -> None:
        size = file.seek(0, os.SEEK_END)
        headers = {
            "cache-control": "no-store",
            "content-disposition": f'attachment; filename="{name}"',
            "content-length": str(size),
            "x-content-type-options": "nosniff",
        }
        super().__init__(_pieces(file, size, held), headers=headers)
        self._held = held

    def to_asgi_response(self, *arguments: Any, **named: Any) -> ASGIResponse:
        """Litestar's own, within a bound of time."""
        answer = super().to_asgi_response(*arguments, **named)

        async def send_and_close(scope: Any, receive: Any, send: Any) -> None:
            with self._held, contextlib.suppress(TimeoutError):  # what is cut off is shorter than it was said to be
                async with asyncio.timeout(_FETCH_S):
                    await answer(scope, receive, send)

        return cast("ASGIResponse", send_and_close)


async def _pieces(file: BinaryIO, size: int, held: contextlib.ExitStack) -> AsyncIterator[bytes]:
    """The file's bytes; before the last of them go out ``held`` is closed, so that who has them all may ask again."""
    file.seek(0)
    while size > 0:
        piece = await asyncio.to_thread(file.read, _CHUNK_BYTES)
        size -= len(piece)
        if size <= 0:
            held.close()
        yield piece


def _open_nameless(folder: str) -> BinaryIO:
    """A file on the node's disk that nobody else can open and that no crash leaves behind: it has no name."""
    return cast("BinaryIO", tempfile.TemporaryFile(dir=folder, buffering=0))


def _room(folder: str, files: int) -> int:
    """How large a file may be when so many are written at once.

    Raises:
        StorageFullError: The node needs what is free for itself.
    """
    room = (shutil.disk_usage(folder).free - _KEEP_FREE_BYTES) // files
    if room < MIB:
        raise StorageFullError(
            "The node's disk has no room for an export", hint="Free disk space, or ask for rows instead of a file."
        )
    return room


def _file_name(context: Context, ending: str) -> str:
    moment = datetime.datetime.fromtimestamp(context.node.clock.time_ns() / 1e9, tz=datetime.UTC)
    return f"query-{moment:%Y%m%dT%H%M%SZ}.{ending}"


def _desk(context: Context) -> Desk:
    if context.desk is None:
        missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
        first = "pip install 'edgewise[lake]', then add" if missing else "Add"
        raise NotFoundError(
            "This node keeps no lake",
            hint=f"{first} `lake: {{}}` to the settings and start the node anew.",
            kind="lake",
            name=context.node.settings.node.name,
            missing=missing,
        )
    return context.desk


def _name(request: Request[Any, Any, Any]) -> str:
    principal = caller(request)
    return principal.name if principal else ""


def _bounds(context: Context, request: Request[Any, Any, Any]) -> Limits:
    principal = caller(request)
    permissions = principal.permissions(now_ns=context.node.clock.time_ns()) if principal else ()
    return bounds_of(permissions, context.node.settings.lake or LakeSettings())


async def _run(desk: Desk, request: Request[Any, Any, Any], call: Callable[[Stop], T], bounds: Limits) -> T:
    def run(stop: Stop) -> T:
        note(request, ran=True)
        return call(stop)

    receive = cast("Receive", request.receive)
    return await desk.run(run, receive, name=_name(request), is_admin=not bounds.hidden_streams)


def _note_sql(request: Request[Any, Any, Any], sql: str) -> None:
    note(request, sql=sql[:_MAX_NOTED])
    if len(sql) > _MAX_NOTED:
        note(request, sql_sha256=hashlib.sha256(sql.encode()).hexdigest())


@contextlib.contextmanager
def _landed() -> Iterator[None]:
    """Says what it means over HTTP that there is nothing yet, and not where."""
    try:
        yield
    except NotFoundError as error:
        raise NotFoundError(
            "Nothing has landed in the lake yet", hint="It comes with the first records.", kind="lake", name="lake"
        ) from error


HANDLERS = (list_tables, run_query, export_query)
