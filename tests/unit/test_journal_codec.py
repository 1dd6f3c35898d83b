"""How records become blocks and records again: in the clear, packed, sealed."""

import hashlib
import hmac
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import CorruptError, InputError, PermanentError, SettingsError, TooLargeError
from edgewise.journal import blocks
from edgewise.journal.base import Packed
from edgewise.journal.codec import PACKED, Codec
from edgewise.journal.packed import MAX_RECORDS, pack
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


class Hidden:
    """A cipher that is none, but that notices another context."""

    overhead = 32

    def seal(self, plain: bytes, *, context: bytes) -> bytes:
        hidden = bytes(byte ^ 0x55 for byte in plain)
        return hmac.digest(context, hidden, hashlib.sha256) + hidden

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        if hmac.digest(context, sealed[32:], hashlib.sha256) != sealed[:32]:
            raise CorruptError("tampered with")
        return bytes(byte ^ 0x55 for byte in sealed[32:])


CLEAR, SECRET = Codec(), Codec(Hidden())


def block_of(entries: list[Entry], *, first: int = 5, codec: Codec = CLEAR) -> blocks.Block:
    [payload] = codec.encode(entries)
    position = blocks.position(3, first)
    return codec.block(payload, position, last=first + len(entries) - 1, time_ns=1000, aged_ns=2000)


def numbered(*numbers: int, ballast: int = 0) -> list[Entry]:
    return [Entry("k", {"n": number, "x": "x" * ballast}) for number in numbers]


@pytest.mark.parametrize("codec", [CLEAR, SECRET], ids=["clear", "sealed"])
@given(entries=some_entries)
def test_entries_come_back_as_records(codec: Codec, entries: list[Entry]) -> None:
    block = block_of(entries, codec=codec)
    assert codec.decode(block, node="n", stream="s") == [
        Record("n", "s", number, entry.time_ns or 1000, entry.kind, entry.body, entry.blobs)
        for number, entry in enumerate(entries, start=5)
    ]
    assert codec.digests(block) == {digest for entry in entries for digest in entry.blobs}


@pytest.mark.parametrize("codec", [CLEAR, SECRET], ids=["clear", "sealed"])
@given(entries=some_entries, data=st.data())
def test_any_flipped_bit_is_found(codec: Codec, entries: list[Entry], data: st.DataObject) -> None:
    block = block_of(entries, codec=codec)
    field = data.draw(st.sampled_from(block._fields))
    value = getattr(block, field)
    if isinstance(value, bytes):
        bit = data.draw(st.integers(0, len(value) * 8 - 1))
        flipped: Any = bytearray(value)
        flipped[bit // 8] ^= 1 << bit % 8
        broken = block._replace(payload=bytes(flipped))
    else:
        broken = block._replace(**{field: value ^ 1 << data.draw(st.integers(0, 30))})
    assert not codec.sound(broken)
    with pytest.raises(CorruptError):
        codec.decode(broken, node="n", stream="s")


def test_what_is_sealed_is_not_to_be_read_and_not_to_be_moved() -> None:
    block = block_of([Entry("face.known", {"name": "Ada"})], codec=SECRET)
    assert b"Ada" not in block.payload
    with pytest.raises(SettingsError, match="no key"):
        CLEAR.decode(block, node="n", stream="s")
    moved = block.head._replace(position=block.position + 1, last=block.last + 1)
    with pytest.raises(CorruptError):
        SECRET.decode(moved.block(block.payload, zlib.crc32(block.payload)), node="n", stream="s")


def test_what_was_written_before_there_was_a_key_stays_readable() -> None:
    assert SECRET.decode(block_of([Entry("k", {"n": 1})]), node="n", stream="s")[0].body == {"n": 1}


def test_a_key_orders_by_stream_then_sequence_and_gives_the_sequence_back() -> None:
    keys = [blocks.position(1, 1), blocks.position(1, blocks.MAX_SEQUENCE), blocks.position(2, 1)]
    assert keys == sorted(keys)
    assert [blocks.sequence(key) for key in keys] == [1, blocks.MAX_SEQUENCE, 1]
    assert blocks.position(2**23 - 1, blocks.MAX_SEQUENCE) <= blocks.MAX_POSITION


def test_a_batch_past_the_bound_is_split_in_order() -> None:
    payloads = CLEAR.encode(numbered(*range(300), ballast=10_000))
    assert len(payloads) > 1
    assert all(len(payload.content) <= blocks.MAX_BLOCK_BYTES for payload in payloads)
    assert sum(payload.records for payload in payloads) == 300


def test_a_block_that_a_later_release_wrote_is_refused_not_destroyed() -> None:
    block = block_of([Entry("k", {})])
    later = block.head._replace(codec=99).block(block.payload, zlib.crc32(block.payload))
    with pytest.raises(PermanentError) as refusal:
        CLEAR.decode(later, node="n", stream="s")
    assert not isinstance(refusal.value, CorruptError)


@pytest.mark.parametrize("deep", [[], {}])
def test_endless_nesting_is_refused(deep: Any) -> None:
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InputError):
        CLEAR.encode([Entry("k", {"deep": deep})])


# To another node.


def carried(block_list: list[blocks.Block], *, after: int = 0, codec: Codec = CLEAR) -> list[Record]:
    """Records that were packed for a parent and stored there."""
    records = []
    for packed in codec.packed(block_list, after=after, node="n", stream="s"):
        payload = CLEAR.take(packed)
        position = blocks.position(9, packed.first)
        block = CLEAR.block(payload, position, last=packed.last, time_ns=1, aged_ns=1)
        records += CLEAR.decode(block, node="n", stream="s")
    return records


@pytest.mark.parametrize("codec", [CLEAR, SECRET], ids=["clear", "sealed"])
def test_records_arrive_with_their_sequences_and_times(codec: Codec) -> None:
    stored = [
        block_of(numbered(5, 6, 7), first=5, codec=codec),
        block_of(numbered(8), first=8, codec=codec),
        block_of(numbered(20, 21), first=20, codec=codec),
    ]
    expected = [record for block in stored for record in codec.decode(block, node="n", stream="s")]
    assert carried(stored, codec=codec) == expected
    assert carried(stored, after=6, codec=codec) == expected[2:]
    assert carried(stored, after=21, codec=codec) == []
    packed = list(codec.packed(stored, after=5, node="n", stream="s"))
    assert [(each.first, each.last) for each in packed] == [(6, 8), (20, 21)]


def test_what_came_packed_goes_on_as_it_is() -> None:
    [packed] = CLEAR.packed([block_of(numbered(5, 6))], after=0, node="n", stream="s")
    payload = SECRET.take(packed)
    kept = SECRET.block(payload, blocks.position(3, 5), last=6, time_ns=1, aged_ns=1)
    assert list(SECRET.packed([kept], after=0, node="n", stream="s")) == [packed]
    [half] = SECRET.packed([kept], after=5, node="n", stream="s")
    assert (half.first, half.last) == (6, 6)


def test_much_is_packed_in_pieces_that_a_parent_takes() -> None:
    stored = [block_of(numbered(n, ballast=600_000), first=n) for n in range(1, 5)]
    assert [(each.first, each.last) for each in CLEAR.packed(stored, after=0, node="n", stream="s")] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
    ]
    many = [block_of(numbered(*range(10_000)), first=1), block_of(numbered(*range(10_000)), first=10_001)]
    assert len(list(CLEAR.packed(many, after=0, node="n", stream="s"))) == 2


def test_what_says_that_it_is_more_than_it_is_is_refused() -> None:
    content = pack([Entry("k", {}, time_ns=1)] * 3)
    assert CLEAR.take(Packed(1, 3, content)).codec == PACKED
    for lie in (Packed(1, 4, content), Packed(1, 2, content), Packed(1, 3, b"\x01junk"), Packed(3, 1, content)):
        with pytest.raises(InputError):
            CLEAR.take(lie)
    with pytest.raises(TooLargeError):
        CLEAR.take(Packed(1, MAX_RECORDS + 1, content))
    with pytest.raises(TooLargeError):
        CLEAR.take(Packed(1, 1, bytes(2 << 20)))
