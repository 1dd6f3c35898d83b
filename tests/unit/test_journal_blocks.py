"""Blocks: what is stored under one checksum."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import CorruptError, InputError, PermanentError
from edgewise.journal import blocks
from edgewise.types import Entry, Record

json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
some_entries = st.lists(
    st.builds(
        Entry,
        kind=st.text(),
        body=st.dictionaries(st.text(), json_values, max_size=4),
        blobs=st.lists(st.text(), max_size=2).map(tuple),
        time_ns=st.integers(0, 2**63 - 1),
    ),
    min_size=1,
    max_size=4,
)


def block_of(entries: list[Entry], *, first: int = 5) -> blocks.Block:
    [payload] = blocks.encode(entries)
    return payload.block(blocks.position(3, first), first + len(entries) - 1, 1000, 2000)


@given(some_entries)
def test_entries_come_back_as_records(entries: list[Entry]) -> None:
    block = block_of(entries)
    assert blocks.decode(block, node="n", stream="s") == [
        Record("n", "s", number, entry.time_ns or 1000, entry.kind, entry.body, entry.blobs)
        for number, entry in enumerate(entries, start=5)
    ]


@given(some_entries, st.data())
def test_any_flipped_bit_is_found(entries: list[Entry], data: st.DataObject) -> None:
    block = block_of(entries)
    field = data.draw(st.sampled_from(block._fields))
    value = getattr(block, field)
    if isinstance(value, bytes):
        bit = data.draw(st.integers(0, len(value) * 8 - 1))
        flipped: Any = bytearray(value)
        flipped[bit // 8] ^= 1 << bit % 8
        broken = block._replace(payload=bytes(flipped))
    else:
        broken = block._replace(**{field: value ^ 1 << data.draw(st.integers(0, 30))})
    with pytest.raises(CorruptError):
        blocks.decode(broken, node="n", stream="s")


def test_a_key_orders_by_stream_then_sequence_and_gives_the_sequence_back() -> None:
    keys = [blocks.position(1, 1), blocks.position(1, blocks.MAX_SEQUENCE), blocks.position(2, 1)]
    assert keys == sorted(keys)
    assert [blocks.sequence(key) for key in keys] == [1, blocks.MAX_SEQUENCE, 1]
    assert blocks.position(2**23 - 1, blocks.MAX_SEQUENCE) <= blocks.MAX_POSITION


def test_a_batch_past_the_bound_is_split_in_order() -> None:
    entries = [Entry("k", {"n": n, "x": "x" * 10_000}) for n in range(300)]
    payloads = blocks.encode(entries)
    assert len(payloads) > 1
    assert all(len(payload.content) <= blocks.MAX_BLOCK_BYTES for payload in payloads)
    assert sum(payload.records for payload in payloads) == 300


def test_a_block_that_a_later_release_wrote_is_refused_not_destroyed() -> None:
    block = block_of([Entry("k", {})])
    [payload] = blocks.encode([Entry("k", {})])
    head = (*block[:5], 99)
    later = blocks.Block(*head, blocks._head_checksum(payload.checksum, head), payload.content)
    with pytest.raises(PermanentError) as refusal:
        blocks.decode(later, node="n", stream="s")
    assert not isinstance(refusal.value, CorruptError)


@pytest.mark.parametrize("deep", [[], {}])
def test_endless_nesting_is_refused(deep: Any) -> None:
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InputError):
        blocks.encode([Entry("k", {"deep": deep})])
