"""The console's files. They are few and small, so they are read once, compressed once, and served from memory."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from http import HTTPStatus
from importlib import resources
from importlib.resources.abc import Traversable

import msgspec

from edgewise.api.errors import MethodError
from edgewise.api.wire import Request
from edgewise.errors import NotFoundError

INDEX = "index.html"
_MEDIA_TYPES = {".js": "text/javascript", ".woff2": "font/woff2", ".LICENSE": "text/plain", ".svg": "image/svg+xml"}
_MIN_COMPRESSED = 512
# Nothing but this node's own files and API; nobody may frame the page (a lock stands behind its buttons). Styles that
# scripts set on elements (Preact, uPlot) need no exception; pictures to be sent are shown from blob addresses.
_POLICY = (
    b"default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)


class File(msgspec.Struct, frozen=True):
    """One file, plain and compressed."""

    content: bytes
    compressed: bytes
    media_type: bytes
    tag: bytes


class Console:
    """Serves the files of ``edgewise/console/static``."""

    def __init__(self) -> None:
        self._files: dict[str, File] | None = None

    async def __call__(self, request: Request) -> None:
        """Answers one request for a file."""
        if self._files is None:
            self._files = dict(_read(resources.files("edgewise.console") / "static", ""))
        name = request.path.lstrip("/") or INDEX
        file = self._files.get(name)
        if file is None:
            raise NotFoundError(f"There is no {request.path}", kind="path", name=request.path)
        if request.method not in {"GET", "HEAD"}:
            raise MethodError(f"{request.path} takes GET", allowed=["GET", "HEAD"])
        headers = [(b"etag", file.tag), (b"cache-control", b"no-cache"), (b"content-security-policy", _POLICY)]
        if request.header(b"if-none-match") == file.tag:
            await request.respond(b"", status=HTTPStatus.NOT_MODIFIED, media_type=file.media_type, headers=headers)
            return
        content = file.content
        if file.compressed and b"gzip" in request.header(b"accept-encoding"):
            content = file.compressed
            headers.append((b"content-encoding", b"gzip"))
        await request.respond(content, media_type=file.media_type, headers=[*headers, (b"vary", b"accept-encoding")])


def _read(folder: Traversable, prefix: str) -> list[tuple[str, File]]:
    found: list[tuple[str, File]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _read(entry, f"{prefix}{entry.name}/")
        elif not entry.name.startswith("."):
            found.append((prefix + entry.name, _file(entry.name, entry.read_bytes())))
    return found


def _file(name: str, content: bytes) -> File:
    suffix = name[name.rfind(".") :]
    media_type = _MEDIA_TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    if media_type.startswith("text/"):
        media_type += "; charset=utf-8"
    compressed = gzip.compress(content, mtime=0) if len(content) >= _MIN_COMPRESSED and suffix != ".woff2" else b""
    tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    return File(content, compressed, media_type.encode(), tag.encode())
