"""Bodies compressed with gzip or deflate (which means zlib, RFC 9110 section 8.4.1.2), both ways, bounded.

A body is never expanded past the largest plain body, however small it arrives.
"""

from __future__ import annotations

import zlib

from edgewise.api.errors import MediaTypeError
from edgewise.api.wire import too_large
from edgewise.errors import DecodeError

_GZIP = 16 + zlib.MAX_WBITS
_WINDOWS = {b"gzip": _GZIP, b"x-gzip": _GZIP, b"deflate": zlib.MAX_WBITS}
# Fast rather than small: tensors of floats hardly shrink.
_LEVEL = 1


def expand(body: memoryview, encoding: bytes, *, max_bytes: int) -> memoryview:
    """The plain body.

    Raises:
        MediaTypeError: The encoding is none of identity, gzip, deflate.
        DecodeError: The body is damaged.
        TooLargeError: It expands past ``max_bytes``.
    """
    encoding = encoding.strip().lower()
    if encoding in (b"", b"identity"):
        return body
    if encoding not in _WINDOWS:
        raise MediaTypeError(
            f"Content-Encoding {encoding.decode('latin-1')!r} is not known",
            hint="Use gzip, deflate or none.",
            accepted=["gzip", "deflate"],
        )
    stream = zlib.decompressobj(_WINDOWS[encoding])
    try:
        plain = stream.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise DecodeError(f"The body is no intact {encoding.decode()}: {error}") from error
    if len(plain) > max_bytes:
        raise too_large(max_bytes)
    if not stream.eof or stream.unused_data:
        raise DecodeError(f"The body is no intact {encoding.decode()}: it ends too early or too late")
    return memoryview(bytearray(plain))


def compress(body: bytes, accepted: bytes) -> tuple[bytes, bytes]:
    """The body as the peer's ``Accept-Encoding`` wants it, and the name of that encoding (empty for none)."""
    names = {part.split(b";")[0].strip().lower() for part in accepted.split(b",") if b"q=0" not in part.split(b";")[1:]}
    for encoding in (b"gzip", b"deflate"):
        if encoding in names:
            stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOWS[encoding])
            return stream.compress(body) + stream.flush(), encoding
    return body, b""
