"""Pictures: bytes to RGB arrays and back, for bytes that may come from anyone.

The header is read first, in Python, and the size it claims is checked against the bound before a decoder sees the
bytes. JPEG is decoded by simplejpeg (2.6 times as fast as OpenCV), everything else by OpenCV. Whatever comes in, an
``Image`` comes out: ``uint8 [height, width, 3]``, RGB, upright (EXIF orientation applied), 16 bits a sample reduced to
8, grey and palette expanded, transparent pixels laid over white.

Accepted: JPEG, PNG, WebP, BMP, GIF (first frame), TIFF (first page) and PNM (PGM, PPM). Other formats of OpenCV are
refused, so that their decoders are out of a stranger's reach.
"""

from __future__ import annotations

import functools
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edgewise.errors import DecodeError, InputError, NotFoundError, TooLargeError

if TYPE_CHECKING:
    from edgewise.types import Array, Image

MAX_PIXELS = 50_000_000
MAX_BYTES = 256 * 1024 * 1024
MAX_SCANS = 100
"""Scans of a progressive JPEG: each costs a pass over the whole picture, and honest files have about ten."""


class Header(NamedTuple):
    """What a picture says of itself, before it is decoded and turned upright."""

    width: int
    height: int
    format: str


def limit_threads(count: int) -> None:
    """Makes OpenCV use so many threads for one picture, in the whole process; by itself it takes every core."""
    import cv2

    cv2.setNumThreads(count)


def probe(data: bytes) -> Header:
    """Reads size and format from the header alone.

    Raises:
        DecodeError: Not a picture of an accepted format, or its header is broken.
    """
    for name, signature, reader in _FORMATS:
        if signature.match(data):
            try:
                width, height = reader(data)
            except (struct.error, IndexError, ValueError) as error:
                raise DecodeError(f"The header of this {name} picture is broken", format=name) from error
            if width < 1 or height < 1:
                raise DecodeError(f"This {name} picture claims to be {width} x {height} pixels", format=name)
            return Header(width, height, name)
    raise DecodeError(
        "These bytes are no picture" if data else "The picture is empty",
        hint=f"Accepted formats: {', '.join(name for name, _, _ in _FORMATS)}.",
    )


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, min_side: int = 0) -> Image:
    """Decodes a picture.

    Args:
        data: The encoded bytes.
        max_pixels: Largest width times height that is accepted.
        min_side: When given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, as long as both sides stay at least
            this long. Much faster, but then pixels are not those of the original.

    Raises:
        DecodeError: Not a picture, truncated or damaged.
        TooLargeError: More pixels than ``max_pixels``; nothing was decoded.
    """
    header = probe(data)
    if header.width * header.height > max_pixels:
        raise TooLargeError(
            f"The picture has {header.width} x {header.height} pixels, more than {max_pixels}",
            hint="Scale it down first.",
            limit=max_pixels,
            actual=header.width * header.height,
        )
    image = _decode_jpeg(data, min_side) if header.format == "jpeg" else None
    if image is None:
        image = _decode_with_opencv(_png_picture(data) if header.format == "png" else data, header)
    return _upright(image, _orientation(data, header.format))


def read(path: Path | str, *, max_pixels: int = MAX_PIXELS, min_side: int = 0) -> Image:
    """Reads and decodes a picture file; see ``decode``.

    Raises:
        NotFoundError: There is no such file.
    """
    return decode(read_bounded(Path(path), limit=MAX_BYTES), max_pixels=max_pixels, min_side=min_side)


def read_bounded(path: Path, *, limit: int) -> bytes:
    """The bytes of a regular file that is at most ``limit`` long.

    Raises:
        NotFoundError: There is no such file.
        TooLargeError: It is longer.
        InputError: It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file {path}", kind="file", name=str(path)) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", file=str(path)) from error
    if len(data) > limit:
        raise TooLargeError(f"{path} is longer than {limit} bytes", limit=limit, file=str(path))
    return data


def encode_jpeg(image: Image, quality: int = 85) -> bytes:
    """Encodes as JPEG with 4:2:0 chroma, ``quality`` 1..100."""
    import numpy as np
    import simplejpeg

    packed = np.ascontiguousarray(image)
    encoded: bytes = simplejpeg.encode_jpeg(packed, quality=quality, colorspace="RGB", colorsubsampling="420")
    return encoded


def encode_png(image: Image) -> bytes:
    """Encodes as PNG, without loss."""
    import cv2

    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def _decode_jpeg(data: bytes, min_side: int) -> Image | None:
    """None when it is in CMYK, which simplejpeg does not turn into RGB."""
    if data.count(b"\xff\xda") > MAX_SCANS:
        raise TooLargeError(f"The JPEG has more than {MAX_SCANS} scans", limit=MAX_SCANS)
    if _jpeg_frame(data)[2] == 4:
        return None
    try:
        try:
            return _jpeg_to_rgb(data, min_side, strict=True)
        except ValueError as error:
            if "extraneous bytes" not in str(error):
                raise
        # Some cameras pad between segments: a warning of libjpeg that loses nothing.
        return _jpeg_to_rgb(data, min_side, strict=False)
    except ValueError as error:
        raise DecodeError(f"The JPEG is damaged: {error}", format="jpeg") from error


def _jpeg_to_rgb(data: bytes, min_side: int, *, strict: bool) -> Image:
    import simplejpeg

    image: Image = simplejpeg.decode_jpeg(
        data, colorspace="RGB", min_height=min_side, min_width=min_side, strict=strict
    )
    return image


def _decode_with_opencv(data: bytes, header: Header) -> Image:
    import cv2
    import numpy as np

    _silence_opencv()
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise DecodeError(f"The {header.format} picture is damaged: {error.err}", format=header.format) from error
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        raise DecodeError(f"The {header.format} picture is damaged or truncated", format=header.format)
    return _to_rgb8(pixels, header.format)


@functools.cache
def _silence_opencv() -> None:
    """Its decoders print every fault of a picture to stderr; the fault is in our exception."""
    from cv2.utils import logging

    logging.setLogLevel(logging.LOG_LEVEL_SILENT)


def _to_rgb8(pixels: Array, name: str) -> Image:
    """Any of OpenCV's grey, BGR or BGRA pixels, 8 or 16 bits, as RGB with 8 bits."""
    import cv2
    import numpy as np

    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    if pixels.dtype != np.uint8:
        raise DecodeError(f"A {name} picture of {pixels.dtype} samples is not accepted", format=name)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB))
    if channels == 4:
        return _over_white(pixels)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def _over_white(bgra: Array) -> Image:
    import cv2
    import numpy as np

    rgb: Image = np.asarray(cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGB))
    alpha = bgra[..., 3:].astype(np.uint16)
    if alpha.min() == 255:
        return rgb
    blended = (rgb * alpha + 255 * (255 - alpha) + 127) // 255
    return blended.astype(np.uint8)


def _upright(image: Image, orientation: int) -> Image:
    """Undoes the eight EXIF orientations: mirrored, turned, or both."""
    import numpy as np

    if orientation <= 1 or orientation > 8:
        return image
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in {3, 4, 7, 8}:
        image = image[::-1]
    if orientation in {2, 3, 6, 7}:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _orientation(data: bytes, name: str) -> int:
    """The EXIF orientation, 1..8; 1 when there is none or it cannot be read (it never spoils a picture)."""
    try:
        exif = _EXIF.get(name, _no_exif)(data)
        return _tiff_tag(exif, _ORIENTATION, 1) if exif else 1
    except (struct.error, IndexError, ValueError):
        return 1


def _no_exif(_: bytes) -> bytes:
    return b""


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the payload of each segment before the first scan."""
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("no marker where one must be")
        while data[at] == 0xFF:
            at += 1
        marker, at = data[at], at + 1
        if marker == 0xDA:
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        length = struct.unpack_from(">H", data, at)[0]
        yield marker, at + 2, at + length
        at += length


def _jpeg_frame(data: bytes) -> tuple[int, int, int]:
    """Width, height and number of components."""
    for marker, start, _ in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width, components = struct.unpack_from(">HHB", data, start + 1)
            return width, height, components
    raise ValueError("no frame")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    return _jpeg_frame(data)[:2]


def _jpeg_exif(data: bytes) -> bytes:
    for marker, start, end in _jpeg_segments(data):
        if marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
            return data[start + 6 : end]
    return b""


def _png_size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise ValueError("no IHDR")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _png_exif(data: bytes) -> bytes:
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"eXIf":
            return data[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            break
        at += 12 + length
    return b""


def _png_picture(data: bytes) -> bytes:
    """The same PNG with nothing but the chunks its pixels are made of, each of them whole.

    Of all others (colour profiles, texts, animations) libpng prints complaints to stderr, and the pixels do not
    depend on them.
    """
    kept = [data[:8]]
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if kind in _PNG_CHUNKS:
            chunk = data[at:end]
            if len(chunk) < 12 + length or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                raise DecodeError("The png picture is damaged or truncated", format="png")
            kept.append(chunk)
        if kind == b"IEND":
            break
        at = end
    return b"".join(kept)


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("unknown chunk")


def _webp_exif(data: bytes) -> bytes:
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            return data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")
        at += 8 + length + (length & 1)
    return b""


def _bmp_size(data: bytes) -> tuple[int, int]:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return width, height
    width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _tiff_size(data: bytes) -> tuple[int, int]:
    if _tiff_tag(data, _SAMPLES, 1) > 4 or _tiff_tag(data, _BITS, 8) > 16:
        raise ValueError("more than four samples of 16 bits a pixel")
    return _tiff_tag(data, _WIDTH, 0), _tiff_tag(data, _HEIGHT, 0)


def _pnm_size(data: bytes) -> tuple[int, int]:
    match = _PNM_HEADER.match(data[:4096])
    if not match:
        raise ValueError("no size")
    return int(match[1]), int(match[2])


def _tiff_tag(data: bytes, wanted: int, default: int) -> int:
    """The first value of a SHORT or LONG tag in the first directory of a TIFF (EXIF is one)."""
    order = {b"II": "<", b"MM": ">"}[data[:2]] if data[:2] in {b"II", b"MM"} else ""
    if not order:
        raise ValueError("no byte order")
    at = struct.unpack_from(order + "I", data, 4)[0]
    count = struct.unpack_from(order + "H", data, at)[0]
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", data, entry)
        if tag == wanted:
            letter = "H" if kind == 3 else "I"
            fits = values * struct.calcsize(order + letter) <= 4
            place = entry + 8 if fits else struct.unpack_from(order + "I", data, entry + 8)[0]
            value: int = struct.unpack_from(order + letter, data, place)[0]
            return value
    return default


_WIDTH, _HEIGHT, _BITS, _ORIENTATION, _SAMPLES = 256, 257, 258, 274, 277
_PNG_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_PNM_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PNM_HEADER = re.compile(rb"P[1-6]" + _PNM_GAP + rb"(\d{1,9})" + _PNM_GAP + rb"(\d{1,9})\s")
_FORMATS: tuple[tuple[str, re.Pattern[bytes], Callable[[bytes], tuple[int, int]]], ...] = (
    ("jpeg", re.compile(rb"\xff\xd8\xff"), _jpeg_size),
    ("png", re.compile(rb"\x89PNG\r\n\x1a\n"), _png_size),
    ("webp", re.compile(rb"RIFF....WEBP", re.DOTALL), _webp_size),
    ("bmp", re.compile(rb"BM"), _bmp_size),
    ("gif", re.compile(rb"GIF8[79]a"), _gif_size),
    ("tiff", re.compile(rb"II\*\0|MM\0\*"), _tiff_size),
    ("pnm", re.compile(rb"P[1-6][\s#]"), _pnm_size),
)
_EXIF = {"jpeg": _jpeg_exif, "png": _png_exif, "webp": _webp_exif}
