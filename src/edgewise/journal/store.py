"""The node's blocks: staged by actions, written together as a group, found again, given up.

One segment is written; when it is full it is *sealed*: the database is told where it has what, and the next is begun.
A segment of which nothing is wanted any more is removed. One of which less than half is wanted is *compacted*: what is
left is written anew at the log's end, so that streams that keep little do not hold up the room of those that keep much;
small neighbours of it in other segments come along. What the log takes on disk stays below twice what the streams keep,
and one segment.

The leading thread changes it, under ``lock``; other threads take ``lock`` to look blocks up, and read them without.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from edgewise.errors import CorruptError, StorageFullError, UnavailableError, WrongKeyError
from edgewise.journal import blocks, frames
from edgewise.journal.blocks import Block
from edgewise.journal.codec import Codec
from edgewise.journal.database import DATABASE, Database
from edgewise.journal.index import Place, Recent, Run, StreamIndex
from edgewise.journal.retention import Head, Span, join
from edgewise.journal.segments import SegmentFile, SegmentName, SegmentReader, SegmentWriter, list_segments
from edgewise.journal.stored import Stored, fetch, load, locate

_log = logging.getLogger(__name__)

_MAX_BLOCKS = 1 << 16  # bounds what has to be looked at when the journal is opened
_RUNS = 8  # blocks that are written anew are brought together in runs of this part of a segment
_MAX_END = 1 << 31  # a segment that cannot be followed by another (the disk is full) still ends


class Located(NamedTuple):
    """A block and the file that holds it."""

    file: SegmentFile
    segment: SegmentName
    place: Place


class BlockStore:
    """Segments of blocks, and the database's word on them.

    Args:
        folder: Where the segments lie.
        database: The journal's. Changes made to it belong to the group that is written next.
        columns: Another connection's way to read the columns of a run.
        codec: Reads blocks.
        segment_bytes: A segment that is this long is full.

    Attributes:
        lock: Held while something is changed or looked up.
        held: Blobs that staged blocks point to.
        freed: Blobs that nothing points to any more, as far as the group under way is concerned.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        *,
        columns: Callable[[int, int], bytes],
        codec: Codec,
        segment_bytes: int,
    ) -> None:
        self.lock = threading.RLock()
        self.held: set[str] = set()
        self.freed: set[str] = set()
        self._folder = folder
        self._database = database
        self._recent = Recent(columns)
        self._codec = codec
        self._segment_bytes = segment_bytes
        self._files = SegmentReader(folder)
        self._staged: list[tuple[Block, int]] = []
        self._staged_bytes = 0
        self._changed_runs: list[Run] = []
        self._stored: Stored
        self._writer: SegmentWriter
        self._pointers: dict[str, set[int]]  # positions of the blocks of the segment being written, by blob
        self._live: dict[int, int]  # bytes of each segment that are still wanted
        self._shrunk: set[int]  # full segments that may be worth compacting
        self._dead: list[int] = []
        self._broken: BaseException | None = None
        self._tidy()
        self._load()

    # Looking up.

    def index(self, stream: int) -> StreamIndex:
        """Where a stream's blocks lie."""
        return self._stored.indexes[stream]

    @property
    def state(self) -> int:
        """Number of the newest group that changed the database; 0 before the first."""
        return self._stored.state

    def gaps(self, stream: int, after: int, through: int) -> Iterator[tuple[int, int]]:
        """Sequences past ``after``, up to ``through``, that are neither stored nor accounted for."""
        holes = iter(self._database.all("select_holes_of", stream))
        hole = next(holes, None)
        for first, last in self.index(stream).gaps(after, through):
            while hole and hole[0] <= last:
                if first < hole[0]:
                    yield first, hole[0] - 1
                first = max(first, hole[1] + 1)
                if hole[1] > last:
                    break
                hole = next(holes, None)
            if first <= last:
                yield first, last

    @property
    def damaged(self) -> list[tuple[int, int]]:
        """Stream and first sequence of blocks that were found damaged when the folder was read."""
        return self._stored.damaged

    def known(self, stream: int) -> int:
        """The newest sequence of a stream that the segments showed when the folder was read."""
        return max(self._stored.known.get(stream, 0), self.index(stream).newest)

    def blobs(self) -> Iterator[str]:
        """What kept blocks point to."""
        yield from (row[0] for row in self._database.all("select_blob_refs"))
        yield from self._pointers

    def pointers(self, digest: str) -> dict[int, int]:
        """The streams whose blocks point to a blob, each with the first sequence of the oldest such block."""
        positions = [row[1] for row in self._database.all("select_pointers", digest)]
        positions += self._pointers.get(digest, ())
        found: dict[int, int] = {}
        for position in positions:
            stream, first = position >> blocks.SEQUENCE_BITS, position & blocks.MAX_SEQUENCE
            found[stream] = min(first, found.get(stream, first))
        return found

    def locate(self, stream: int, *, after: int, through: int, limit: int, newest_first: bool = False) -> list[Located]:
        """The blocks that hold some records, for ``stored.fetch`` without the lock."""
        with self.lock:
            places = locate(self.index(stream), after=after, through=through, limit=limit, newest_first=newest_first)
            return [self.located(place) for place in places]

    def located(self, place: Place) -> Located:
        """A block with its file, for ``stored.fetch`` without the lock; to be asked under it."""
        return Located(*self._open(place.segment), place)

    def fetch(self, stream: int, place: Place) -> Block:
        """Reads one block."""
        return fetch(*self._open(place.segment), stream, place)

    def _open(self, number: int) -> tuple[SegmentFile, SegmentName]:
        segment = self._stored.segments[number]
        try:
            return self._files.open(segment), segment
        except FileNotFoundError:  # somebody removed it: nothing can be read, which shows as damage
            return SegmentFile(Path(os.devnull), os.O_RDONLY), segment

    # Changing, by the leading thread within a group.

    def stage(self, block: Block, digests: Iterable[str]) -> None:
        """Takes a block into the group under way."""
        offset = self._writer.end + self._staged_bytes
        place = Place(block.first, block.last, self._writer.segment.number, offset, len(block.payload), block.aged_ns)
        stream = block.position >> blocks.SEQUENCE_BITS
        self.index(stream).add(place, block.time_ns)
        self._staged.append((block, offset))
        self._staged_bytes += place.size
        self._live[place.segment] += place.size
        if digests:
            self._stored.digests[block.position] = set(digests)
            self._point(block.position, digests)
            self.held.update(digests)

    def drop(self, stream: int, oldest: Sequence[Head]) -> None:
        """Gives up a stream's oldest blocks; the floor rises to the end of the last."""
        first, last = oldest[0].first, oldest[-1].last
        gone: set[str] = set()
        if self._stored.digests:
            gone.update(*(self._unpoint(blocks.position(stream, head.first)) for head in oldest))
        bounds = blocks.position(stream, first), blocks.position(stream, last)
        gone.update(row[0] for row in self._database.change("delete_blob_refs", *bounds).fetchall())
        for segment, size in self.index(stream).drop_through(last):
            self._leave(segment, size)
        self._database.change("delete_runs", stream, last)
        self._database.change("delete_holes", stream, last)
        self._free(gone)
        self._remove_dead()

    def thin(self, stream: int, heads: Sequence[Head], spans: Sequence[tuple[int, int]]) -> None:
        """Gives up blocks from between others.

        Args:
            stream: Its number.
            heads: The blocks, in order.
            spans: Their sequences, those of neighbours together.
        """
        gone: set[str] = set()
        if self._stored.digests:
            gone.update(*(self._unpoint(blocks.position(stream, head.first)) for head in heads))
        bounds = blocks.position(stream, heads[0].first), blocks.position(stream, heads[-1].first)
        if self._database.one("select_blob_ref_of", *bounds):
            for span in spans:
                first, last = (blocks.position(stream, sequence) for sequence in span)
                gone.update(row[0] for row in self._database.change("delete_blob_refs", first, last).fetchall())
        for run, size in self.index(stream).remove_each(head.first for head in heads):
            if run.stored:
                self._store_again(run)
            self._leave(run.segment, size)
        holes = self._database.all("select_holes_at", stream, spans[0][0], spans[-1][1] + 1)
        filled, made = join([Span(*hole) for hole in holes], spans)
        self._database.change_each("delete_hole", ((stream, first) for first in filled))
        self._database.change_each("insert_hole", ((stream, *hole) for hole in made))
        self._free(gone)
        self._remove_dead()

    def strike(self, stream: int, place: Place) -> None:
        """Gives up one block, wherever it stands."""
        position = blocks.position(stream, place.first)
        gone = self._unpoint(position)
        gone.update(row[0] for row in self._database.change("delete_blob_refs", position, position).fetchall())
        run = self.index(stream).remove(place.first)
        if run and run.stored:
            self._store_again(run)
        self._leave(place.segment, place.size)
        self.add_hole(stream, place.first, place.last)
        self._free(gone)
        self._remove_dead()

    def lose(self, stream: int, first: int, last: int) -> None:
        """Gives up sequences of which no block is left."""
        bounds = blocks.position(stream, first), blocks.position(stream, last)
        gone = {row[0] for row in self._database.change("delete_blob_refs", *bounds).fetchall()}
        self.add_hole(stream, first, last)
        self._free(gone)

    def add_hole(self, stream: int, first: int, last: int) -> None:
        """Notes that no block holds these sequences, and that somebody accounts for them."""
        if not self._database.change("extend_hole", last, stream, first).rowcount:
            self._database.change("insert_hole", stream, first, last)

    def _store_again(self, run: Run) -> None:
        if not run.records:
            self._database.change("delete_run", run.stream, run.key)
            return
        run.changed = True
        self._changed_runs.append(run)
        values = (run.last, run.records, run.size, run.columns.pack())
        self._database.change("update_run", *values, run.stream, run.key)

    def _unpoint(self, position: int) -> set[str]:
        digests = self._stored.digests.pop(position, set())
        for digest in digests:
            self._pointers[digest].discard(position)
            if not self._pointers[digest]:
                del self._pointers[digest]
        return digests

    def _point(self, position: int, digests: Iterable[str]) -> None:
        for digest in digests:
            self._pointers.setdefault(digest, set()).add(position)

    def _free(self, gone: set[str]) -> None:
        for digest in gone:
            if digest not in self._pointers and not self._database.one("select_blob_ref", digest):
                self.freed.add(digest)

    def _leave(self, segment: int, size: int) -> None:
        self._live[segment] -= size
        if segment != self._writer.segment.number:
            self._shrunk.add(segment)

    def _remove_dead(self) -> None:
        for segment in [number for number in self._shrunk if not self._live[number]]:
            self._shrunk.discard(segment)
            self._database.change("delete_runs_of", segment)
            self._database.change("delete_segment", segment)
            self._dead.append(segment)

    # Writing, by the leading thread.

    def check(self) -> None:
        """Refuses to go on when it is not known what the disk holds.

        Raises:
            UnavailableError: A write failed and could not be taken back.
        """
        if self._broken:
            raise UnavailableError(
                f"The journal stopped after a disk error: {self._broken}",
                hint="Look at the disk, then restart the node.",
            )

    def flush(self) -> None:
        """Writes what was staged, and the changes of the database with it; returns once both are on disk."""
        number = self._stored.group + 1
        joint = self._database.changed
        if joint:
            self._database.change("update_state", number)
        if self._staged:
            state = number if joint else self._stored.state
            self._writer.write(
                self._parts(frames.Group(number, state, self._writer.end, self._staged_bytes)), self._staged_bytes
            )
        self._database.commit()
        self._stored.group = number
        if joint:
            self._stored.state = number
        self._writer.advance(self._staged_bytes)
        self._stored.count += len(self._staged)
        self._staged, self._staged_bytes = [], 0

    def settle(self) -> tuple[set[str], set[str]]:
        """After ``flush``: removes the segments that nobody wants any more; the blobs to hold, and those to let go."""
        for run in self._changed_runs:
            self._recent.settle(run)
        self._changed_runs.clear()
        if self._dead:
            with self.lock:
                while self._dead:
                    self._unlink(self._stored.segments.pop(self._dead.pop()))
        freed = self.freed.difference(self._pointers)  # it may have been pointed to again, within the group
        told = self.held - freed, freed
        self.held, self.freed = set(), set()
        return told

    def undo(self) -> None:
        """After a group failed: takes back what is on disk of it, and reads everything anew."""
        try:
            self._database.rollback()
            if self._staged and self._database.one("select_state")[0] <= self._stored.group:
                self._writer.cut()
            self._staged, self._staged_bytes = [], 0
            for changes in (self.held, self.freed, self._changed_runs, self._dead):
                changes.clear()
            self._load()
        except BaseException as error:
            self._broken = error
            raise

    def _parts(self, group: frames.Group) -> list[bytes]:
        salt = self._writer.segment.salt
        return [part for block, offset in self._staged for part in frames.pack(block, group, offset=offset, salt=salt)]

    # Segments.

    def maintain(self) -> None:
        """Between groups: begins the next segment when one is full, and compacts one that is nearly empty."""
        full = self._writer.end >= self._segment_bytes or self._stored.count >= _MAX_BLOCKS
        if not full and not self._shrunk:
            return
        try:
            if full:
                self._seal()
            self._compact()
        except StorageFullError as error:
            self.undo()
            if self._writer.end >= _MAX_END:
                raise
            _log.debug("no room for the next segment yet: %s", error)

    def _seal(self) -> None:
        old = self._writer.segment
        fresh = SegmentName(old.number + 1, secrets.randbits(32))
        writer = SegmentWriter(self._folder, fresh)
        runs = [run for index in self._stored.indexes.values() for run in index.runs if run.segment == old.number]
        self._database.change("insert_segment", *fresh)
        self._database.change("update_segment", self._writer.end, old.number)
        self._database.change_each("insert_run", map(_row, runs))
        refs = ((position, digest) for position, digests in self._stored.digests.items() for digest in digests)
        self._database.change_each("insert_blob_ref", refs)
        self.flush()
        with self.lock:
            for run in runs:
                run.store(self._recent)
            self._stored.digests.clear()
            self._pointers.clear()
            self._stored.count = 0
            self._stored.segments[fresh.number] = fresh
            self._live[fresh.number] = 0
            self._stored.sizes[old.number] = self._writer.end
            self._writer = writer
            self._shrunk.add(old.number)

    def _compact(self) -> None:
        """Moves what is left of one segment to the end of the log, when that is less than half of it."""
        for number in sorted(self._shrunk):
            self._shrunk.discard(number)
            if self._live[number] * 2 < self._stored.sizes[number]:
                with self.lock:
                    self._move(number)
                return

    def _move(self, number: int) -> None:
        moved: list[tuple[StreamIndex, Sequence[Run], Run]] = []
        for stream, index in self._stored.indexes.items():
            staying = {run for run in index.runs if run.segment == self._writer.segment.number}
            for run in [run for run in index.runs if run.segment == number]:
                if run in staying:
                    continue
                runs = index.around(run, limit=self._segment_bytes // _RUNS, staying=staying.__contains__)
                staying.update(runs)
                fresh = self._copy(stream, runs)
                if fresh is None:
                    self._staged, self._staged_bytes = [], 0
                    return  # a damaged block has to be accounted for first; then this is tried again
                moved.append((index, runs, fresh))
        for _, runs, _ in moved:
            self._database.change_each("delete_run", ((run.stream, run.key) for run in runs))
        self._database.change("delete_segment", number)
        self.flush()
        for index, runs, fresh in moved:
            for run in runs:
                self._leave(run.segment, run.size)
            self._live[fresh.segment] += fresh.size
            index.replace(runs, fresh)
        self._shrunk.discard(number)
        del self._live[number]
        self._unlink(self._stored.segments.pop(number))

    def _copy(self, stream: int, runs: Sequence[Run]) -> Run | None:
        """Stages the blocks of neighbouring runs to be written anew as one; None when one of them is damaged."""
        fresh = Run(stream, self._writer.segment.number, runs[0].first)
        for place in (place for run in runs for place in run.places()):
            block = self.fetch(stream, place)
            if not block.intact:
                self.damaged.append((stream, place.first))
                return None
            offset = self._writer.end + self._staged_bytes
            fresh.add(place._replace(segment=fresh.segment, offset=offset), block.time_ns)
            self._staged.append((block, offset))
            self._staged_bytes += place.size
        return fresh

    def _unlink(self, segment: SegmentName) -> None:
        self._files.forget(segment)
        with contextlib.suppress(FileNotFoundError):
            (self._folder / segment.file).unlink()

    # Opening.

    def _tidy(self) -> None:
        """Makes folder and database agree on which segments there are."""
        rows = self._database.all("select_segments")
        files = list_segments(self._folder)
        if not rows:
            if any(path.stat().st_size for path in files.values()):
                raise CorruptError(
                    f"{self._folder} holds segments, but the database does not know of any.",
                    hint=f"Restore {DATABASE} from a backup, or move the segments away.",
                )
            rows = [(1, secrets.randbits(32), 0)]
            self._database.change("insert_segment", *rows[0][:2])
        for number in files.keys() - {row[0] for row in rows}:
            files[number].unlink()  # begun, or given up, when the process was killed
        newest = SegmentName(*rows[-1][:2])
        for number, _, _ in rows[:-1]:
            if number not in files:  # somebody removed it: its blocks are missing, and told so
                self._database.change("delete_runs_of", number)
                self._database.change("delete_segment", number)
        SegmentWriter(self._folder, newest, end=_MAX_END)  # makes it when it is not there
        self._database.commit()

    def _load(self) -> None:
        with self.lock:
            stored = load(self._database.connection, self._folder, self._recent, digests=self._digests)
            newest = max(stored.segments)
            self._stored = stored
            self._writer = SegmentWriter(self._folder, stored.segments[newest], end=stored.end)
            self._pointers = {}
            for position, digests in stored.digests.items():
                self._point(position, digests)
            self._live = dict.fromkeys(stored.segments, 0)
            for index in stored.indexes.values():
                for run in index.runs:
                    self._live[run.segment] += run.size
            self._shrunk = set(stored.segments) - {newest}

    def _digests(self, block: Block) -> set[str]:
        try:
            return self._codec.digests(block)
        except WrongKeyError:
            raise
        except CorruptError:  # tampered with: whoever reads it strikes it out
            return set()

    def close(self) -> None:
        """Lets go of all files."""
        with self.lock:
            self._files.close()
            del self._writer


def _row(run: Run) -> tuple[object, ...]:
    return run.stream, run.first, run.last, run.segment, run.records, run.size, *run.stamp, run.columns.pack()
