"""What a journal's folder holds: the database's tables and the segment being written, as one consistent state.

The node loads it when it opens the journal and after a write that failed; a reader beside it whenever it is asked.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from edgewise.journal import blocks, frames
from edgewise.journal.blocks import Block
from edgewise.journal.codec import MSGPACK
from edgewise.journal.database import SQL
from edgewise.journal.index import Place, Recent, Run, StreamIndex
from edgewise.journal.segments import SegmentFile, SegmentName, read_from, read_whole

_NO_CHECKSUM = -1


class Stored(msgspec.Struct):
    """The state of a folder.

    Attributes:
        state: Number of the newest group that changed the database.
        group: Number of the newest group.
        segments: Every segment; the last one is being written.
        sizes: Bytes of frames in each full segment.
        indexes: Where each stream's blocks lie, by the stream's number.
        end: Where the frames of the segment being written end.
        count: How many frames it has.
        damaged: Stream and first sequence of the blocks in it that were found damaged.
        known: The newest sequence that it shows of each stream, also by damaged frames.
        digests: Blobs that its blocks point to, by the position of the block.
    """

    state: int
    group: int
    segments: dict[int, SegmentName]
    sizes: dict[int, int]
    indexes: defaultdict[int, StreamIndex]
    end: int = 0
    count: int = 0
    damaged: list[tuple[int, int]] = []
    known: dict[int, int] = {}
    digests: dict[int, set[str]] = {}


class _Indexes(defaultdict[int, StreamIndex]):
    def __missing__(self, number: int) -> StreamIndex:
        self[number] = StreamIndex(number)
        return self[number]


def load(
    connection: sqlite3.Connection,
    folder: Path,
    recent: Recent,
    *,
    digests: Callable[[Block], set[str]] | None = None,
) -> Stored:
    """Reads a folder's state.

    Args:
        connection: The journal's database, all of whose answers must be of one state.
        folder: Where the segments lie.
        recent: Reads the columns of runs.
        digests: Tells the blobs that a block points to; without it ``Stored.digests`` stays empty.

    Raises:
        FileNotFoundError: The segment being written is not there.
    """
    state = connection.execute(SQL["select_state"]).fetchone()[0]
    rows = connection.execute(SQL["select_segments"]).fetchall()
    stored = Stored(
        state,
        state,
        {number: SegmentName(number, salt) for number, salt, _ in rows},
        {number: size for number, _, size in rows},
        _Indexes(),
    )
    _load_runs(stored, connection, recent)
    floors = {row[0]: row[5] for row in connection.execute(SQL["select_every_stream"]).fetchall()}
    for stream, floor in floors.items():
        for _ in stored.indexes[stream].drop_through(floor):
            pass
    if rows:
        _load_newest(stored, folder, floors, _Holes(connection), digests)
    return stored


def _load_runs(stored: Stored, connection: sqlite3.Connection, recent: Recent) -> None:
    for stream, first, last, segment, records, size, aged_ns, time_ns in connection.execute(SQL["select_runs"]):
        run = Run(stream, segment, first)
        run.last, run.records, run.size, run.stamp = last, records, size, (aged_ns, time_ns)
        run.store(recent)
        stored.indexes[stream].runs.append(run)


def _load_newest(
    stored: Stored,
    folder: Path,
    floors: dict[int, int],
    holes: _Holes,
    digests: Callable[[Block], set[str]] | None,
) -> None:
    """Reads the segment being written, whose blocks no table lists."""
    segment = stored.segments[max(stored.segments)]
    data = read_whole(folder, segment)
    found = frames.scan(data, salt=segment.salt, state=stored.state)
    stored.end, stored.count = found.end, len(found.frames)
    fresh: defaultdict[int, list[tuple[Place, int]]] = defaultdict(list)
    for frame in found.frames:
        if frame.group:
            stored.group = max(stored.group, frame.group.number)
        stream, first = frame.position >> blocks.SEQUENCE_BITS, blocks.sequence(frame.position)
        stored.known[stream] = max(stored.known.get(stream, 0), frame.last)
        if first <= floors.get(stream, 0) or holes.hold(stream, first):
            continue
        place = Place(first, frame.last, segment.number, frame.offset, frame.length, frame.aged_ns)
        fresh[stream].append((place, frame.time_ns))
        if not frame.intact:
            stored.damaged.append((stream, first))
        elif digests and frame.blobs:
            block = frames.unpack(data[frame.offset : frame.end], offset=frame.offset, salt=segment.salt)
            stored.digests[frame.position] = digests(block) if block else set()
    for stream, places in fresh.items():
        stored.indexes[stream].insert(sorted(places))


class _Holes:
    """Sequences of each stream that are accounted for without a block; read once for a stream that is asked for."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[int, list[tuple[int, int]]] = {}

    def hold(self, stream: int, sequence: int) -> bool:
        """Whether a sequence is in one."""
        if stream not in self._known:
            self._known[stream] = self._connection.execute(SQL["select_holes_of"], (stream,)).fetchall()
        holes = self._known[stream]
        number = bisect_right(holes, sequence, key=lambda hole: hole[0]) - 1
        return number >= 0 and sequence <= holes[number][1]


def locate(index: StreamIndex, *, after: int, through: int, limit: int, newest_first: bool = False) -> Iterator[Place]:
    """The blocks that hold the first (or last) ``limit`` records past ``after``, up to ``through``."""
    places = index.places_back(through) if newest_first else index.places(after + 1)
    for place in places:
        if place.first > through or place.last <= after or limit <= 0:
            return
        yield place
        limit -= min(place.last, through) - max(place.first, after + 1) + 1


def fetch(file: SegmentFile, segment: SegmentName, stream: int, place: Place) -> Block:
    """Reads one block from its segment; what is damaged beyond its head comes back as a block that is not intact."""
    data = read_from(file, place.offset, place.length + frames.OVERHEAD_BYTES)
    block = frames.unpack(data, offset=place.offset, salt=segment.salt)
    position = blocks.position(stream, place.first)
    if block is None or (block.position, block.last) != (position, place.last):
        return Block(position, place.last, 0, place.aged_ns, 0, MSGPACK, _NO_CHECKSUM, b"")
    return block
