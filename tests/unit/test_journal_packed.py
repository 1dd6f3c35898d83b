"""Packed records: the same records again, in few bytes, and never more of them than they say."""

import random
import struct
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import CorruptError, EdgewiseError, TooLargeError
from edgewise.journal import packed
from edgewise.journal.packed import MAX_CELLS, MAX_RECORDS, pack, unpack
from edgewise.types import Entry

VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5)
READINGS = st.builds(
    lambda source, values, time_ns: Entry("reading", {"source": source, "values": values}, time_ns=time_ns),
    st.sampled_from(["boiler", "hall"]),
    st.dictionaries(st.sampled_from(["t", "rh", "on"]), VALUES, max_size=3),
    st.integers(1, 2**62),
)
OTHERS = st.builds(
    Entry,
    kind=st.text(max_size=5),
    body=st.dictionaries(st.text(max_size=5), VALUES | st.lists(VALUES, max_size=2), max_size=3),
    blobs=st.lists(st.text(max_size=5), max_size=2).map(tuple),
    time_ns=st.integers(1, 2**62),
)


def plain(entries: list[Any]) -> list[tuple[Any, ...]]:
    """Entries with each value's type, since 1 equals 1.0 and True."""
    return [(e.kind, repr(sorted(e.body.items())), tuple(e.blobs), e.time_ns) for e in entries]


def thermometers(count: int, sources: int = 4) -> list[Entry]:
    """What some thermometers said, one after the other, once a second."""
    walk = random.Random(1)
    values = [20.0] * sources
    entries = []
    for n in range(count):
        which = n % sources
        values[which] = round(values[which] + walk.gauss(0, 0.05), 2)
        body = {"source": f"room-{which}", "values": {"temperature": values[which]}}
        entries.append(Entry("reading", body, time_ns=1_700_000_000_000_000_000 + n // sources * 10**9))
    return entries


@given(st.lists(READINGS, max_size=40) | st.lists(READINGS | OTHERS, max_size=10))
def test_what_comes_out_is_what_went_in(entries: list[Entry]) -> None:
    assert plain(unpack(pack(entries))) == plain(entries)


def test_readings_take_a_few_bytes_each() -> None:
    entries = thermometers(2000)
    content = pack(entries)
    assert content[:1] == b"\x02"
    assert len(content) / len(entries) < 2
    assert plain(unpack(content)) == plain(entries)


def test_a_value_that_changes_its_type_stays_what_it_was() -> None:
    entries = [
        Entry("reading", {"source": "a", "values": {"t": value}}, time_ns=n + 1)
        for n, value in enumerate([21, 21.5, True, "off", None, 2**64 - 1, -0.0] * 10)
    ]
    content = pack(entries)
    assert content[:1] == b"\x02"
    assert plain(unpack(content)) == plain(entries)


def test_readings_that_have_little_in_common_are_packed_as_plain_records() -> None:
    entries = [Entry("reading", {"source": f"s{n}", "values": {f"c{n}": 1.5}}, time_ns=1) for n in range(20)]
    assert pack(entries)[:1] == b"\x01"
    wide = {f"c{n}": 1.5 for n in range(200)}
    many = [Entry("reading", {"source": "s", "values": wide}, time_ns=1)] * (MAX_CELLS // 200)
    assert pack(many)[:1] == b"\x01"
    assert len(unpack(pack(many))) == len(many)


def test_no_more_are_packed_than_may_be_unpacked() -> None:
    entries = thermometers(MAX_RECORDS)
    assert len(unpack(pack(entries))) == MAX_RECORDS
    with pytest.raises(TooLargeError):
        pack([*entries, entries[0]])


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x01", b"\x02"]))
def test_bytes_of_a_stranger_are_refused(content: bytes, start: bytes) -> None:
    with pytest.raises((CorruptError, TooLargeError)):
        unpack(start + content)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_changed_bytes_are_refused_or_make_other_records_but_nothing_else(place: int, change: int) -> None:
    content = bytearray(pack(thermometers(50)))
    content[place % len(content)] ^= change
    try:
        found = unpack(bytes(content))
    except EdgewiseError as error:
        assert isinstance(error, CorruptError | TooLargeError)
    else:
        assert len(found) == 50


def columns_of(rows: int, shapes: list[Any], order: list[int], **columns: list[Any]) -> bytes:
    """Packed readings made by hand."""
    from edgewise._lib.columns import encode

    head = zstandard.compress(msgspec.msgpack.encode(shapes))
    body = encode(list(range(1, rows + 1)), {"order": order, **columns}, ragged=True)
    return b"\x02" + struct.pack("<I", len(head)) + head + body


def test_rows_and_shapes_that_do_not_fit_are_refused() -> None:
    fine = columns_of(2, [["reading", "a", 2, [["t", 0]]]], [0, 0], **{"0": [1.5, 2.5]})
    assert [entry.body["values"]["t"] for entry in unpack(fine)] == [1.5, 2.5]
    for broken in (
        columns_of(2, [["reading", "a", 1, [["t", 0]]]], [0, 0], **{"0": [1.5, 2.5]}),
        columns_of(2, [["reading", "a", 2, [["t", 0]]]], [0, 1], **{"0": [1.5, 2.5]}),
        columns_of(2, [["reading", "a", 2, [["t", 0]]]], [0, 0], **{"0": [1.5]}),
        columns_of(2, [["reading", "a", 2, [["t", 1]]]], [0, 0], **{"0": [1.5, 2.5]}),
        columns_of(2, [["reading", "a", 2, []]], [0, 0], **{"0": [1.5, 2.5]}),
        columns_of(2, [["r", "a", 1, []], ["r", "b", 1, []]], [1, 1]),
    ):
        with pytest.raises(CorruptError):
            unpack(broken)


def test_a_few_bytes_cannot_claim_a_lot_of_memory() -> None:
    wide = [[f"c{n}", -1] for n in range(1000)]
    rows = MAX_CELLS // 1000
    with pytest.raises(TooLargeError):
        unpack(columns_of(rows, [["reading", "a", rows, wide]], [0] * rows))
    zeros = zstandard.compress(bytes(packed.MAX_UNPACKED_BYTES + 1))
    with pytest.raises(TooLargeError):
        unpack(b"\x01" + zeros)
    assert len(zeros) < 10_000
