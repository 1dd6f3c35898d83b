"""``multipart/form-data`` (RFC 7578), as a browser's form sends it, from a body that is already bounded."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from edgewise.api.errors import MediaTypeError
from edgewise.errors import DecodeError

MULTIPART = "multipart/form-data"
MAX_PARTS = 64
_MAX_PART_HEADER_BYTES = 4096


class Part(msgspec.Struct, frozen=True):
    """One field of a form; ``filename`` is None for what is no file."""

    name: str
    data: bytes
    filename: str | None = None
    media_type: str = ""

    def text(self) -> str:
        """A field that is text.

        Raises:
            DecodeError: It is no UTF-8.
        """
        try:
            return self.data.decode()
        except UnicodeDecodeError as error:
            raise DecodeError(f"The field {self.name!r} is no UTF-8 text", field=self.name) from error


def is_form(content_type: bytes) -> bool:
    """Whether a Content-Type is that of a form."""
    return content_type.partition(b";")[0].strip().lower() == MULTIPART.encode()


def parse(body: memoryview, content_type: bytes) -> list[Part]:
    """The fields of a form, in order.

    Raises:
        MediaTypeError: The body is no form.
        DecodeError: The form is broken, or has too many fields.
    """
    media_type, options = parse_options_header(content_type.decode("latin-1"))
    if media_type != MULTIPART:
        raise MediaTypeError("A form is expected here", hint=f"Send {MULTIPART}.", accepted=[MULTIPART])
    try:
        parser = PushMultipartParser(
            options.get("boundary", ""),
            content_length=len(body),
            max_header_size=_MAX_PART_HEADER_BYTES,
            max_segment_count=MAX_PARTS,
            strict=True,
        )
        return list(_parts(parser, bytes(body)))
    except (MultipartError, ValueError) as error:
        raise DecodeError(f"The form cannot be read: {error}") from error


def _parts(parser: PushMultipartParser, body: bytes) -> Iterator[Part]:
    segment: MultipartSegment | None = None
    chunks: list[bytes] = []
    with parser:
        for event in parser.parse(body):
            if isinstance(event, MultipartSegment):
                segment, chunks = event, []
            elif event is not None:
                chunks.append(bytes(event))
            elif segment is not None:
                yield Part(segment.name, b"".join(chunks), segment.filename, segment.content_type or "")
