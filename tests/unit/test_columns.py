"""The column codec: lossless bit for bit, small where it can be, and never fooled by damage."""

import math
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise._lib.columns import MAGIC, decode, encode
from edgewise.errors import CorruptError, EdgewiseError, InputError, TooLargeError

FLOATS = st.one_of(
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]),  # every NaN too
    st.decimals(-1000, 1000, places=2).map(float),
)
INTS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-10, 10))
KINDS = [FLOATS, INTS, st.booleans(), st.text(max_size=8), st.one_of(FLOATS, INTS, st.booleans(), st.text(max_size=3))]


@st.composite
def blocks(draw):
    rows = draw(st.integers(0, 40))
    times = draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=rows, max_size=rows))
    columns = {
        name: draw(st.lists(st.one_of(st.none(), kind), min_size=rows, max_size=rows))
        for name, kind in draw(st.dictionaries(st.text(max_size=6), st.sampled_from(KINDS), max_size=4)).items()
    }
    return times, columns


def exactly(value):
    """A value with its type and, of a float, every bit."""
    return (type(value), struct.pack("<d", value) if isinstance(value, float) else value)


@given(blocks())
def test_what_comes_out_is_what_went_in_bit_for_bit(block):
    times, columns = block
    found = decode(encode(times, columns))
    assert found.times_ns == times
    assert list(found.columns) == list(columns)
    for name, values in columns.items():
        assert [exactly(value) for value in found.columns[name]] == [exactly(value) for value in values]


def test_a_day_of_a_thermometer_takes_a_byte_or_so_a_reading():
    random = np.random.default_rng(1)
    times = [1_700_000_000_000_000_000 + i * 10_000_000_000 for i in range(8640)]
    values = np.round(20 + np.cumsum(random.normal(0, 0.05, 8640)), 1).tolist()
    block = encode(times, {"temperature": values})
    assert decode(block).columns["temperature"] == values
    assert 8640 * 16 / len(block) > 40
    # Without knowing decimals the same bits take far more.
    assert len(encode(times, {"temperature": random.normal(20, 5, 8640).tolist()})) > 20 * len(block)


def test_what_was_a_float32_once_is_small_too():
    values = [float(f"{np.float32(x):.9g}") for x in np.random.default_rng(2).normal(300, 100, 5000).round(2)]
    assert 5000 * 8 / len(encode(range(5000), {"power": values})) > 1.5


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_damage_anywhere_is_noticed(place, change):
    block = bytearray(encode(range(100), {"a": [math.sin(i) for i in range(100)], "b": [None, 1] * 50}))
    block[place % len(block)] ^= change
    with pytest.raises(CorruptError):
        decode(bytes(block))


@given(st.binary(max_size=200))
def test_bytes_of_a_stranger_are_refused(content):
    for block in (content, MAGIC + content):
        with pytest.raises(EdgewiseError):
            decode(block)


def test_half_a_block_is_no_block():
    block = encode(range(10), {"a": [1.5] * 10})
    for length in range(len(block)):
        with pytest.raises(CorruptError):
            decode(block[:length])


def test_columns_of_other_lengths_and_numbers_beyond_64_bits_are_refused():
    with pytest.raises(InputError, match="'a' has 2 values for 3 times"):
        encode([1, 2, 3], {"a": [1, 2]})
    with pytest.raises(InputError, match="'a' has a value that cannot be packed"):
        encode([1], {"a": [2**70]})


def test_a_block_that_claims_to_be_huge_is_refused_before_anything_is_unpacked():
    block = bytearray(encode(range(10), {"a": [1.5] * 10}))
    head = block.index(b"\x94\x0a", 12)
    block[head + 1 : head + 2] = b"\xce\x7f\xff\xff\xff"  # two thousand million rows
    block[8:12] = (int.from_bytes(block[8:12], "little") + 4).to_bytes(4, "little")
    block[4:8] = zlib.crc32(block[8:]).to_bytes(4, "little")
    with pytest.raises(TooLargeError, match="too many readings"):
        decode(bytes(block))


@pytest.mark.parametrize("column", [[1.5] * 1000, [1] * 1000, [True] * 1000, ["on", 1, None] * 400, [None] * 1000])
def test_a_block_takes_no_more_memory_than_the_caller_allows(column):
    block = encode(range(len(column)), {f"c{n}": column for n in range(20)})
    assert len(decode(block, max_bytes=10_000_000).columns) == 20
    with pytest.raises(TooLargeError, match="unpacked"):
        decode(block, max_bytes=100_000)
    with pytest.raises(TooLargeError, match="too many readings"):
        decode(block, max_rows=len(column) - 1)


def test_columns_may_be_shorter_than_the_times_where_that_is_said():
    block = encode(range(5), {"a": [1.5, 2.5], "b": [], "c": [1, 2, 3, 4, 5]}, ragged=True)
    assert decode(block).columns == {"a": [1.5, 2.5], "b": [], "c": [1, 2, 3, 4, 5]}
    with pytest.raises(InputError, match="6 values for 5 times"):
        encode(range(5), {"a": [1] * 6}, ragged=True)
