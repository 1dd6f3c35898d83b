"""Arrays in files from strangers: ``.npy`` and ``.npz`` without pickles, their size known before memory is taken."""

from __future__ import annotations

import array
import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgewise.errors import DecodeError, PackageError, TooLargeError

if TYPE_CHECKING:
    import numpy as np

    from edgewise.types import Array

MAX_ARRAY_BYTES = 256 * 1024 * 1024
MAX_MEMBERS = 256
MAX_COLUMNS = 65_536
MAGIC = b"\x93NUMPY"

_MAX_AXES = 32
_MAX_HEADER_BYTES = 64 * 1024


def read_npy(data: bytes, *, max_bytes: int = MAX_ARRAY_BYTES) -> Array:
    """The array in the bytes of an ``.npy`` file.

    Raises:
        DecodeError: Not such a file, truncated, or of something else than numbers.
        TooLargeError: Larger than ``max_bytes`` in memory.
    """
    return _read(io.BytesIO(data), max_bytes)


def read_npz(path: Path, *, max_bytes: int = MAX_ARRAY_BYTES) -> dict[str, Array]:
    """The arrays of an ``.npz`` file by name.

    Raises:
        PackageError: Not such a file, or damaged.
        TooLargeError: More than ``max_bytes`` in memory in total, or too many arrays.
    """
    arrays: dict[str, Array] = {}
    left = max_bytes
    try:
        with zipfile.ZipFile(path) as archive:
            if len(archive.infolist()) > MAX_MEMBERS:
                raise TooLargeError(f"{path.name} holds more than {MAX_MEMBERS} arrays", limit=MAX_MEMBERS)
            for entry in archive.infolist():
                if entry.file_size > left + _MAX_HEADER_BYTES:
                    raise _too_large(entry.file_size, max_bytes)
                with archive.open(entry) as member:
                    content = _read(member, left)
                arrays[entry.filename.removesuffix(".npy")] = content
                left -= content.nbytes
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, DecodeError) as error:
        raise PackageError(f"{path.name} is no intact .npz file: {error}", file=path.name) from error
    return arrays


def _read(file: IO[bytes], max_bytes: int) -> Array:
    """Reads the header, compares the size it claims with the bound, then reads no more than that."""
    import numpy as np

    shape, fortran, dtype = _read_header(file)
    if dtype.kind not in "biuf":
        raise DecodeError("Arrays of something else than real numbers are not accepted")
    if len(shape) > _MAX_AXES or any(type(size) is not int or not 0 <= size <= max_bytes for size in shape):
        raise DecodeError("The array claims a shape that cannot be")
    size = math.prod(shape) * dtype.itemsize
    if size > max_bytes:
        raise _too_large(size, max_bytes)
    content = file.read(size)
    if len(content) != size:
        raise DecodeError(f"The array is truncated: {len(content)} of {size} bytes")
    flat = np.frombuffer(content, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran's order, and type. Numpy reads the header as Python, and fails in many ways."""
    from numpy.lib import format as npy

    try:
        version = npy.read_magic(file)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        return header(file)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise DecodeError(f"This is no .npy array: {error}") from error


def _too_large(size: int, limit: int) -> TooLargeError:
    return TooLargeError(f"An array of {size} bytes is larger than {limit}", limit=limit, actual=size)


def read_csv(data: bytes, *, max_bytes: int = MAX_ARRAY_BYTES) -> Array:
    """Numbers in comma-separated lines as float32 ``[lines, columns]``; a first line of words is a header.

    Raises:
        DecodeError: A line holds something else than numbers, or lines differ in length.
        TooLargeError: More than ``max_bytes`` of text.
    """
    import numpy as np

    if len(data) > max_bytes:
        raise TooLargeError(f"A series of {len(data)} bytes is larger than {max_bytes}", limit=max_bytes)
    try:
        columns, values = _cells(io.TextIOWrapper(io.BytesIO(data), "utf-8-sig"))
    except ValueError as error:
        raise DecodeError(f"This is no series of numbers in CSV: {error}") from error
    if not columns:
        raise DecodeError("This series is empty", hint="Give lines of comma-separated numbers.")
    return np.frombuffer(values, np.float32).reshape(-1, columns)


def _cells(lines: Iterable[str]) -> tuple[int, array.array[float]]:
    """Number of columns, and the cells one after the other: four bytes each, so memory stays near that of the text."""
    columns, cells = 0, array.array("f")
    for number, line in enumerate(line for line in lines if line.strip()):
        row = line.split(",", MAX_COLUMNS)
        if number == 0 and not _is_number(row[0]):
            continue
        columns = columns or len(row)
        if len(row) != columns:
            raise ValueError(f"lines of {columns} and of {len(row)} cells")
        cells.extend(map(float, row))
    return columns, cells


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
