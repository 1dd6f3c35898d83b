"""Where each block of a stream lies: columns of numbers in memory, 28 bytes for a block.

A stream's blocks are kept in *runs*: blocks in the order of their sequences that lie in one segment, and no run begins
inside another. The blocks of a sealed segment are columns in the database; a run reads them when somebody asks and
forgets them when others are wanted more (``Recent``), so that what a stream holds in memory does not grow with it.
Nothing here is safe for threads; the journal has a lock around it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from itertools import compress
from typing import NamedTuple

from edgewise.journal.blocks import OVERHEAD_BYTES
from edgewise.journal.retention import Head

_LOADED = 8  # runs of sealed segments whose columns stay in memory; each is bounded by a segment's blocks


class Place(NamedTuple):
    """Where a block lies: payload of ``length`` bytes in the frame at ``offset`` of a segment."""

    first: int
    last: int
    segment: int
    offset: int
    length: int
    aged_ns: int

    @property
    def size(self) -> int:
        """Bytes that count against the stream's bound."""
        return self.length + OVERHEAD_BYTES

    @property
    def head(self) -> Head:
        """What retention needs to know."""
        return Head(self.first, self.last, self.aged_ns, self.size)


class Columns:
    """The blocks of a run, a column for each field."""

    __slots__ = ("aged", "counts", "firsts", "lengths", "offsets")

    def __init__(self) -> None:
        self.firsts = array("q")
        self.aged = array("q")
        self.counts = array("I")
        self.offsets = array("I")
        self.lengths = array("I")

    def __len__(self) -> int:
        return len(self.firsts)

    def add(self, place: Place) -> None:
        """Puts a block behind the others."""
        self.firsts.append(place.first)
        self.aged.append(place.aged_ns)
        self.counts.append(place.last - place.first + 1)
        self.offsets.append(place.offset)
        self.lengths.append(place.length)

    def place(self, number: int, segment: int) -> Place:
        """One block."""
        first = self.firsts[number]
        last = first + self.counts[number] - 1
        return Place(first, last, segment, self.offsets[number], self.lengths[number], self.aged[number])

    def remove(self, start: int, stop: int) -> None:
        """Forgets blocks."""
        for column in self._all():
            del column[start:stop]

    def select(self, kept: Sequence[bool]) -> None:
        """Forgets all blocks but those that are marked."""
        for name in self.__slots__:
            column = getattr(self, name)
            setattr(self, name, array(column.typecode, compress(column, kept)))

    def extend(self, others: Columns) -> None:
        """Puts blocks behind the others."""
        for column, more in zip(self._all(), others._all(), strict=True):
            column.extend(more)

    def pack(self) -> bytes:
        """All columns, one after the other."""
        return b"".join(column.tobytes() for column in self._all())

    @classmethod
    def unpack(cls, packed: bytes) -> Columns:
        """What ``pack`` gave."""
        columns = cls()
        view = memoryview(packed)
        rows = len(packed) // sum(column.itemsize for column in columns._all())
        for column in columns._all():
            size = rows * column.itemsize
            column.frombytes(view[:size])
            view = view[size:]
        return columns

    def _all(self) -> tuple[array[int], ...]:
        return self.firsts, self.aged, self.counts, self.offsets, self.lengths


class Recent:
    """Which runs have their columns in memory: the newest used, and those changed since they were stored."""

    def __init__(self, load: Callable[[int, int], bytes]) -> None:
        self._load = load
        self._runs: OrderedDict[Run, None] = OrderedDict()

    def columns(self, run: Run) -> Columns:
        """Reads a run's columns, at the cost of those that were not wanted for longest."""
        columns = Columns.unpack(self._load(run.stream, run.key))
        columns.remove(0, bisect_left(columns.firsts, run.first))
        self._runs[run] = None
        while len(self._runs) > _LOADED:
            victim, _ = self._runs.popitem(last=False)
            victim.unload()
        return columns

    def settle(self, run: Run) -> None:
        """A run that was changed is stored; its columns were kept until then, wanted or not."""
        run.changed = False
        if run not in self._runs:
            run.unload()


class Run:
    """Blocks of one stream in one segment, by their sequence.

    Attributes:
        stream: Number of the stream.
        segment: Number of the segment.
        key: Sequence by which the database knows it: its first one when it was stored.
        first: Its first sequence now.
        last: Its last.
        records: How many records it has; fewer than ``last - first + 1`` when there are holes.
        size: Bytes that count against the stream's bound.
        stamp: Age and wall clock of its newest block.
    """

    __slots__ = (
        "_columns",
        "_recent",
        "changed",
        "first",
        "key",
        "last",
        "records",
        "segment",
        "size",
        "stamp",
        "stream",
    )

    def __init__(self, stream: int, segment: int, first: int) -> None:
        self.stream = stream
        self.segment = segment
        self.key = self.first = first
        self.last = first - 1
        self.records = 0
        self.size = 0
        self.stamp = (0, 0)
        self.changed = False
        self._columns: Columns | None = Columns()
        self._recent: Recent | None = None

    @property
    def columns(self) -> Columns:
        """Its blocks."""
        if self._columns is None:
            if self._recent is None:
                raise LookupError("a run that was never stored has its columns in memory")
            self._columns = self._recent.columns(self)
        return self._columns

    def add(self, place: Place, time_ns: int) -> None:
        """Puts a block behind the others."""
        self.columns.add(place)
        self.last = place.last
        self.records += place.last - place.first + 1
        self.size += place.size
        self.stamp = (place.aged_ns, time_ns)

    def remove(self, start: int, stop: int) -> None:
        """Forgets the blocks with these numbers."""
        columns = self.columns
        self.records -= sum(columns.counts[start:stop])
        self.size -= sum(columns.lengths[start:stop]) + (stop - start) * OVERHEAD_BYTES
        columns.remove(start, stop)
        if columns:
            self.first = columns.firsts[0]
            self.last = columns.firsts[-1] + columns.counts[-1] - 1

    def remove_each(self, firsts: Set[int]) -> int:
        """Forgets the blocks that begin at these sequences; the bytes they had."""
        before = self.size
        columns = self.columns
        kept = [first not in firsts for first in columns.firsts]
        if all(kept):
            return 0
        columns.select(kept)
        self.records = sum(columns.counts)
        self.size = sum(columns.lengths) + len(columns) * OVERHEAD_BYTES
        if columns:
            self.first = columns.firsts[0]
            self.last = columns.firsts[-1] + columns.counts[-1] - 1
        return before - self.size

    def join(self, behind: Run) -> None:
        """Takes over the blocks of the run behind it, which lies in the same segment."""
        self.columns.extend(behind.columns)
        self.last, self.stamp = behind.last, behind.stamp
        self.records += behind.records
        self.size += behind.size

    @property
    def stored(self) -> bool:
        """Whether its columns are in the database."""
        return self._recent is not None

    def store(self, recent: Recent) -> None:
        """From now on its columns can be read again."""
        self.key = self.first
        self._recent = recent
        self._columns = None

    def unload(self) -> None:
        """Forgets the columns, unless they were changed since they were stored."""
        if not self.changed:
            self._columns = None

    def places(self, sequence: int = 0) -> Iterator[Place]:
        """Its blocks from the one that holds ``sequence``."""
        columns = self.columns
        start = bisect_right(columns.firsts, sequence) - 1
        if start < 0 or columns.firsts[start] + columns.counts[start] <= sequence:
            start += 1
        for number in range(start, len(columns)):
            yield columns.place(number, self.segment)

    def heads(self) -> Iterator[Head]:
        """What retention needs to know of its blocks."""
        columns = self.columns
        for first, count, aged_ns, length in zip(
            columns.firsts, columns.counts, columns.aged, columns.lengths, strict=True
        ):
            yield Head(first, first + count - 1, aged_ns, length + OVERHEAD_BYTES)

    def places_back(self, sequence: int) -> Iterator[Place]:
        """Its blocks from the one that holds ``sequence``, or the one before it, backwards."""
        columns = self.columns
        for number in range(bisect_right(columns.firsts, sequence) - 1, -1, -1):
            yield columns.place(number, self.segment)


class StreamIndex:
    """All blocks of one stream, in order."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.runs: list[Run] = []

    @property
    def size(self) -> int:
        """Bytes that count against the stream's bound."""
        return sum(run.size for run in self.runs)

    @property
    def newest(self) -> int:
        """Its last sequence; 0 when it is empty."""
        return self.runs[-1].last if self.runs else 0

    @property
    def oldest(self) -> Place | None:
        """Its first block."""
        return next(self.runs[0].places(), None) if self.runs else None

    def add(self, place: Place, time_ns: int) -> None:
        """Puts a block behind the others; it lies in the segment that is being written."""
        if not self.runs or self.runs[-1].segment != place.segment:
            self.runs.append(Run(self.number, place.segment, place.first))
        self.runs[-1].add(place, time_ns)

    def insert(self, places: Sequence[tuple[Place, int]]) -> None:
        """Puts blocks of the segment being written where they belong among runs that are there already."""
        runs = self.runs
        fresh: list[Run] = []
        for place, time_ns in places:
            after = bisect_left(runs, place.first, key=lambda run: run.first)
            if not fresh or (after and runs[after - 1].first > fresh[-1].first):
                fresh.append(Run(self.number, place.segment, place.first))
            fresh[-1].add(place, time_ns)
        self.runs = sorted([*runs, *fresh], key=lambda run: run.first)

    def places(self, sequence: int = 0) -> Iterator[Place]:
        """The blocks from the one that holds ``sequence``, or the next."""
        for run in self.runs[self._run_at(sequence) :]:
            yield from run.places(sequence)

    def heads(self) -> Iterator[Head]:
        """What retention needs to know of all blocks, oldest first."""
        for run in self.runs:
            yield from run.heads()

    def places_back(self, sequence: int) -> Iterator[Place]:
        """The blocks from the one that holds ``sequence``, or the one before it, backwards."""
        for number in range(self._run_at(sequence, before=True), -1, -1):
            yield from self.runs[number].places_back(sequence)

    def count(self, *, after: int = 0, through: int) -> int:
        """How many records past ``after``, up to ``through``, are stored."""
        total = 0
        for run in self.runs[self._run_at(after + 1) :]:
            if run.first > through:
                break
            if run.first > after and run.last <= through:
                total += run.records
                continue
            for place in run.places(after + 1):
                if place.first > through:
                    break
                total += min(place.last, through) - max(place.first, after + 1) + 1
        return total

    def drop_through(self, last: int) -> Iterator[tuple[int, int]]:
        """Forgets the blocks that end at or before ``last``; yields segments, each with the bytes that left it."""
        while self.runs and self.runs[0].last <= last:
            run = self.runs.pop(0)
            yield run.segment, run.size
        if self.runs and self.runs[0].first <= last:
            run = self.runs[0]
            before = run.size
            run.remove(0, bisect_right(run.columns.firsts, last))
            yield run.segment, before - run.size

    def remove(self, first: int) -> Run | None:
        """Forgets the block that begins at ``first``; the run it was in."""
        number = self._run_at(first)
        run = self.runs[number] if number < len(self.runs) else None
        row = bisect_left(run.columns.firsts, first) if run else 0
        if not run or row == len(run.columns) or run.columns.firsts[row] != first:
            return None
        run.remove(row, row + 1)
        if not run.records:
            del self.runs[number]
        return run

    def remove_each(self, firsts: Iterable[int]) -> Iterator[tuple[Run, int]]:
        """Forgets the blocks that begin at these sequences; yields the runs they were in, with the bytes that left."""
        wanted = set(firsts)
        bounds = min(wanted), max(wanted)
        for run in self.runs[:]:
            if run.first > bounds[1] or run.last < bounds[0]:
                continue
            if size := run.remove_each(wanted):
                yield run, size
        self.runs = [run for run in self.runs if run.records]

    def around(self, run: Run, *, limit: int, staying: Callable[[Run], bool]) -> Sequence[Run]:
        """A run with the neighbours to write anew with it, as one: those no larger than it and those between.

        So each block is taken along only where its run becomes twice as large, and the runs of which thinning leaves
        little do not stay as many as they were.

        Args:
            run: One of the stream's.
            limit: Bytes that are enough for a run.
            staying: Whether a run is not to be taken.
        """
        first = last = self.runs.index(run)
        size = run.size
        while size < limit:
            sides = [number for number in (first - 1, last + 1) if 0 <= number < len(self.runs)]
            small = [number for number in sides if self.runs[number].size <= size and not staying(self.runs[number])]
            if not small:
                break
            first, last = min(first, small[0]), max(last, small[0])
            size += self.runs[small[0]].size
        return self.runs[first : last + 1]

    def replace(self, runs: Sequence[Run], fresh: Run) -> None:
        """Puts what was written anew in the place of neighbouring runs, joined with those beside it in its segment."""
        number = self.runs.index(runs[0])
        self.runs[number : number + len(runs)] = [fresh]
        for left in (number, number - 1):
            if left >= 0 and left + 1 < len(self.runs) and self.runs[left].segment == self.runs[left + 1].segment:
                self.runs[left].join(self.runs.pop(left + 1))

    def gaps(self, after: int, through: int) -> Iterator[tuple[int, int]]:
        """Sequences past ``after``, up to ``through``, that no block holds. Looks into no run that has none."""
        for run in self.runs:
            if run.first > after + 1:
                yield after + 1, run.first - 1
            after = max(after, run.first - 1)
            if run.records != run.last - run.first + 1:
                for first, count in zip(run.columns.firsts, run.columns.counts, strict=True):
                    if first > after + 1:
                        yield after + 1, first - 1
                    after = first + count - 1
            after = run.last
        if through > after:
            yield after + 1, through

    def _run_at(self, sequence: int, *, before: bool = False) -> int:
        """The run that holds ``sequence``, or the next one (``before``: the one before it)."""
        number = bisect_right(self.runs, sequence, key=lambda run: run.first) - 1
        if before or (number >= 0 and self.runs[number].last >= sequence):
            return number
        return number + 1
