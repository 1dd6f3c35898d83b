"""Frames: what a crash or damage leaves of a segment, and what is found of it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.journal import blocks, frames
from edgewise.journal.blocks import Block
from edgewise.journal.codec import Codec
from edgewise.types import Entry

SALT = 0xDEADBEEF
CODEC = Codec()


def block_of(sequence: int, *, size: int = 30, count: int = 1) -> Block:
    [payload] = CODEC.encode([Entry("k", {"n": n, "x": "x" * size}) for n in range(count)])
    position = blocks.position(1, sequence)
    return CODEC.block(payload, position, last=sequence + count - 1, time_ns=1000, aged_ns=2000)


def write(*groups: list[Block], states: tuple[int, ...] = ()) -> tuple[bytes, list[int]]:
    """A segment of these groups, and where each frame begins."""
    data, offsets = b"", []
    for number, group in enumerate(groups, start=1):
        start, size = len(data), sum(block.size for block in group)
        state = states[number - 1] if states else 0
        for block in group:
            offsets.append(len(data))
            head = frames.Group(number, state, start, size)
            data += b"".join(frames.pack(block, head, offset=len(data), salt=SALT))
    return data, offsets


def found(data: bytes, *, state: int = 0) -> list[tuple[int, bool]]:
    """First sequence of each frame, and whether it is intact."""
    return [
        (blocks.sequence(frame.position), frame.intact) for frame in frames.scan(data, salt=SALT, state=state).frames
    ]


def flip(data: bytes, at: int, mask: int = 0x10) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


GROUPS = [[block_of(1), block_of(2)], [block_of(3, size=700)], [block_of(4, count=3), block_of(7), block_of(8)]]
DATA, OFFSETS = write(*GROUPS)
FIRSTS = [1, 2, 3, 4, 7, 8]
LAST_GROUP = OFFSETS[3]


def test_a_block_costs_what_it_says() -> None:
    assert blocks.OVERHEAD_BYTES == frames.OVERHEAD_BYTES
    assert len(DATA) == sum(block.size for group in GROUPS for block in group)


def test_what_was_written_is_found_also_before_empty_room() -> None:
    scan = frames.scan(DATA + bytes(5000), salt=SALT, state=0)
    assert found(DATA + bytes(5000)) == [(first, True) for first in FIRSTS]
    assert scan.end == len(DATA)
    assert [frames.unpack(DATA[f.offset : f.end], offset=f.offset, salt=SALT) for f in scan.frames] == [
        block for group in GROUPS for block in group
    ]


def test_a_group_that_the_power_cut_short_at_any_byte_was_never_accepted() -> None:
    for end in range(LAST_GROUP, len(DATA)):
        for rest in (b"", bytes(len(DATA) - end + 100)):  # the file ends there, or was longer before
            scan = frames.scan(DATA[:end] + rest, salt=SALT, state=0)
            assert [blocks.sequence(frame.position) for frame in scan.frames] == [1, 2, 3]
            assert scan.end == LAST_GROUP


def test_sectors_reach_the_disk_in_any_order_and_a_group_counts_only_with_all_of_them() -> None:
    data, _ = write([block_of(1)], [block_of(2, size=400), block_of(3, size=3000), block_of(4, size=200)])
    start = frames.scan(write([block_of(1)])[0], salt=SALT, state=0).end
    sectors = [(max(at, start), at + 512) for at in range(0, len(data), 512) if at + 512 > start]
    for missing in range(1, 2 ** len(sectors)):
        torn = bytearray(data)
        for bit, (begin, end) in enumerate(sectors):
            if missing >> bit & 1:
                torn[begin:end] = bytes(len(torn[begin:end]))
        assert found(bytes(torn)) == [(1, True)]


def test_any_flipped_bit_costs_its_block_alone_also_in_the_last_group() -> None:
    for at in range(len(DATA)):
        owner = max(number for number, offset in enumerate(OFFSETS) if offset <= at)
        whole = [(first, True) for first in FIRSTS]
        damaged = [(first, number != owner) for number, first in enumerate(FIRSTS)]
        assert found(flip(DATA, at, 1 << at % 8)) in (whole, damaged)
        if at < len(DATA) - 21 and frames.HEAD_BYTES <= at - OFFSETS[owner] < frames.HEAD_BYTES + 10:
            assert found(flip(DATA, at)) == damaged


def test_a_frame_that_is_destroyed_altogether_costs_no_other() -> None:
    for number, offset in enumerate(OFFSETS[:-1]):
        wiped = DATA[:offset] + random.Random(1).randbytes(OFFSETS[number + 1] - offset) + DATA[OFFSETS[number + 1] :]
        assert [first for first, intact in found(wiped) if intact] == FIRSTS[:number] + FIRSTS[number + 1 :]


def test_what_the_database_does_not_know_of_was_never_accepted() -> None:
    data, _ = write([block_of(1)], [block_of(2)], states=(3, 4))
    assert found(data, state=4) == [(1, True), (2, True)]
    assert found(data, state=3) == [(1, True)]


def test_a_copy_of_a_frame_inside_a_record_is_none() -> None:
    inner, _ = write([block_of(99)])
    [payload] = CODEC.encode([Entry("k", {"x": 1})])
    forged = payload._replace(content=inner * 3)
    data, offsets = write([CODEC.block(forged, blocks.position(1, 1), last=1, time_ns=0, aged_ns=0)], [block_of(2)])
    assert found(flip(data, offsets[0] + 12)) == [(1, False), (2, True)]


def test_frames_of_another_segment_left_in_the_file_are_none() -> None:
    data, _ = write([block_of(1)])
    assert found(data) == [(1, True)]
    assert frames.scan(data, salt=SALT + 1, state=0).frames == []


@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(1, 255)), min_size=1, max_size=40))
def test_nothing_is_made_up_whatever_happens_to_the_bytes(flips: list[tuple[int, int]]) -> None:
    data = DATA
    for at, mask in flips:
        data = flip(data, at, mask)
    for frame in frames.scan(data, salt=SALT, state=0).frames:
        assert blocks.sequence(frame.position) in FIRSTS
        if frame.intact:
            assert frames.unpack(data[frame.offset : frame.end], offset=frame.offset, salt=SALT) in [
                b for group in GROUPS for b in group
            ]


@pytest.mark.parametrize("length", [0, 1, 63, 64, 100])
def test_a_segment_with_nothing_in_it_has_no_frames(length: int) -> None:
    assert frames.scan(bytes(length), salt=SALT, state=0) == frames.Scan([], 0)
