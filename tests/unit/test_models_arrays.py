"""Arrays from strangers: what is no plain array of numbers is refused in words, and memory stays within the bounds."""

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgewise.errors import DecodeError, InputError, TooLargeError
from edgewise.models.arrays import read_csv, read_npy, read_npz

MIB = 1024 * 1024


def npy(header: str, content: bytes = b"\0" * 64) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content


def described(descr: str = "'<f4'", shape: str = "(2, 3)") -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")


@pytest.mark.parametrize(
    "data",
    [
        npy("{'a': ("),
        npy("{[]: 1}"),
        npy("{'descr': '<f4', 1: 2}"),
        described("('<f4', (3,))"),
        described("'<U3'"),
        described("'S0'"),
        described("'<M8[s]'"),
        described("'<c8'"),
        described("'V4'"),
        described(shape=f"(0, {2**70})"),
        described(shape="(True, 3)"),
        described(shape=f"({'1,' * 100})"),
        described(shape="(-1, 3)"),
    ],
)
def test_a_header_that_describes_no_array_of_numbers_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_npy(data)


def test_an_archive_that_inflates_past_the_bound_is_refused_before_it_does(tmp_path: Path) -> None:
    """Not only its arrays: a header, too, may say that it is gigabytes long."""
    bomb = b"\x93NUMPY\x02\x00" + struct.pack("<I", 64 * MIB) + b" " * (64 * MIB)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bomb)
    del bomb
    tracemalloc.start()
    with pytest.raises(TooLargeError):
        read_npz(tmp_path / "bomb.npz", max_bytes=MIB)
    assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    tracemalloc.stop()


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2", "?", "<u8", "<f2"])
def test_numbers_of_every_kind_come_back_as_they_were(tmp_path: Path, dtype: str) -> None:
    x = np.arange(6).reshape(2, 3).astype(dtype)
    file = io.BytesIO()
    np.save(file, np.asfortranarray(x))
    np.savez(tmp_path / "arrays.npz", x=x)
    for read in (read_npy(file.getvalue()), read_npz(tmp_path / "arrays.npz")["x"]):
        assert read.dtype == x.dtype
        np.testing.assert_array_equal(read, x)


@pytest.mark.parametrize("row", ["0\n", "0,0\n", "0," * 1000 + "0\n"])
def test_csv_takes_little_more_memory_than_its_text(row: str) -> None:
    data = (row * (MIB // len(row))).encode()
    tracemalloc.start()
    series = read_csv(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert series.shape == (MIB // len(row), row.count("0"))
    assert peak < 8 * len(data)


@pytest.mark.parametrize("text", ["", "\n\n", "left,right\n", "1,2\n3\n", "0," * 100_000 + "0", "1,x\n", "\xff"])
def test_lines_that_are_no_rectangle_of_numbers_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_csv(text.encode("latin1"))
