"""Files in answers, whole or a range of them (RFC 9110, section 14): without it no browser seeks in a video."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import BinaryIO, NamedTuple

from litestar import Response
from litestar.response import Stream

from edgewise.api.errors import body_of
from edgewise.errors import InputError

_CHUNK_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Part(NamedTuple):
    """Bytes ``start`` up to and without ``stop``."""

    start: int
    stop: int


def part_of(header: str, size: int) -> Part | None:
    """What a ``Range`` header asks for; None for all: several ranges, and what is no range, are answered with all.

    Raises:
        InputError: It begins behind the end.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:  # the last so many bytes
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if start >= size or start == stop:
        raise InputError(f"There are {size} bytes", range=header[:80])
    return Part(start, stop)


def send_file(
    opened: Callable[[], BinaryIO], *, media_type: str, tag: str, asked: str, name: str = ""
) -> Response[bytes] | Stream:
    """A file that never changes, or the part that is asked for.

    Args:
        opened: Opens the file, which must be seekable. Called twice: for its size, and when it is sent; so that nothing
            stays open when a client goes away before the first byte. What it raises is raised here.
        media_type: Of its content.
        tag: What its content is known by.
        asked: The ``Range`` header, empty when there is none.
        name: Under which a browser saves it; empty lets it show it.
    """
    with opened() as file:
        size = file.seek(0, os.SEEK_END)
    headers = {
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=31536000, immutable",
        "etag": f'"{tag}"',
        "x-content-type-options": "nosniff",
    }
    if name:
        headers["content-disposition"] = f'attachment; filename="{name}"'
    try:
        part = part_of(asked, size)
    except InputError as error:
        status = int(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        told = {"content-range": f"bytes */{size}"}
        return Response(body_of(error), status_code=status, media_type="application/json", headers=told)
    sent = part or Part(0, size)
    if part:
        headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
    headers["content-length"] = str(sent.stop - sent.start)
    status = HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK
    return Stream(_pieces(opened, sent), media_type=media_type, status_code=int(status), headers=headers)


async def _pieces(opened: Callable[[], BinaryIO], part: Part) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(opened) as file:
        await asyncio.to_thread(file.seek, part.start)
        left = part.stop - part.start
        while left > 0:
            piece = await asyncio.to_thread(file.read, min(_CHUNK_BYTES, left))
            if not piece:
                return
            left -= len(piece)
            yield piece
