"""Arrays in files from strangers: ``.npy`` and ``.npz`` without pickles, their size known before memory is taken."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgewise.errors import DecodeError, PackageError, TooLargeError

if TYPE_CHECKING:
    from edgewise.types import Array

MAX_ARRAY_BYTES = 256 * 1024 * 1024
MAX_MEMBERS = 256
MAGIC = b"\x93NUMPY"


def read_npy(data: bytes, *, max_bytes: int = MAX_ARRAY_BYTES) -> Array:
    """The array in the bytes of an ``.npy`` file.

    Raises:
        DecodeError: Not such a file, truncated, or of Python objects.
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
            for name in archive.namelist():
                with archive.open(name) as member:
                    array = _read(member, left)
                arrays[name.removesuffix(".npy")] = array
                left -= array.nbytes
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, DecodeError) as error:
        raise PackageError(f"{path.name} is no intact .npz file: {error}", file=path.name) from error
    return arrays


def _read(file: IO[bytes], max_bytes: int) -> Array:
    """Reads the header, compares the size it claims with the bound, then reads no more than that."""
    import numpy as np
    from numpy.lib import format as npy

    try:
        version = npy.read_magic(file)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = header(file)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise DecodeError(f"This is no .npy array: {error}") from error
    if dtype.hasobject or dtype.names is not None or any(size < 0 for size in shape):
        raise DecodeError("Arrays of Python objects or records are not accepted")
    size = math.prod(shape) * dtype.itemsize
    if size > max_bytes:
        raise TooLargeError(f"An array of {size} bytes is larger than {max_bytes}", limit=max_bytes, actual=size)
    content = file.read(size)
    if len(content) != size:
        raise DecodeError(f"The array is truncated: {len(content)} of {size} bytes")
    flat = np.frombuffer(content, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


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
        lines = [line for line in data.decode("utf-8-sig").splitlines() if line.strip()]
        if lines and not _is_number(lines[0].split(",")[0]):
            lines = lines[1:]
        if not lines:
            raise DecodeError("This series is empty", hint="Give lines of comma-separated numbers.")
        rows = [[float(cell) for cell in line.split(",")] for line in lines]
        return np.array(rows, np.float32)
    except ValueError as error:
        raise DecodeError(f"This is no series of numbers in CSV: {error}") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
