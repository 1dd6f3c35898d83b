"""A journal on disk: blocks in segment files, the rest in one SQLite database, one sync for many appends.

Everything that changes goes through ``GroupCommit``: one thread at a time runs the gathered actions, and what they
staged is written as one group (``store``). What the actions need to know of each stream is kept in memory (``Stream``)
and is read anew from the disk when a group fails, so memory never runs ahead of the disk. Other threads read beside it.
Blocks: ``blocks``, ``frames``; where they lie: ``index``, ``segments``; what is let go: ``retention``; consumers:
``cursors``; another process reads with ``reader``.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from edgewise._lib.clock import Clock, SystemClock
from edgewise.errors import ClosedError, ConflictError, CorruptError, EdgewiseError, WrongKeyError
from edgewise.journal import blocks, carry, custody
from edgewise.journal.actions import Actions, Stream
from edgewise.journal.base import (
    Balance,
    Batch,
    Claim,
    Loss,
    Packed,
    Pointer,
    Standing,
    StreamSettings,
    StreamState,
    Totals,
    WhenFull,
)
from edgewise.journal.blobs import BlobStore
from edgewise.journal.cipher import Cipher
from edgewise.journal.codec import Codec, Payload
from edgewise.journal.database import Database, Tables
from edgewise.journal.group import GroupCommit, Work
from edgewise.journal.index import Place
from edgewise.journal.proof import balances, read_losses
from edgewise.journal.refusals import check_claim, closed, not_appended_to, stream_full, too_large, unknown_stream
from edgewise.journal.segments import translate
from edgewise.journal.store import BlockStore
from edgewise.journal.stored import fetch
from edgewise.types import Entry, Record

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)

_SEGMENT_BYTES = 4 << 20, 32 << 20  # smallest and largest
_SEGMENTS = 16  # a segment has this part of what all streams may keep
_HELD = StreamSettings(when_full=WhenFull.BLOCK)
_GIVE_RATIO = 16  # readings get so much smaller by packing
_GIVE_BLOCKS = 1 << 16
_PAGE_RECORDS = 4096
_LARGE_BATCH = 256
_POINTED = 500  # blobs looked up at once: appends wait for so many


class DiskJournal:
    """``base.Journal`` with all optional abilities, on disk.

    Args:
        folder: Where the segments and the database lie; made when it is missing. One process at a time writes it.
        node: Name of this node; it stands in every record.
        streams: Bounds of each stream that may be appended to.
        clock: Time; the machine's own by default.
        blobs: The store whose blobs the records point to; it is told which of them are still needed.
        segment_bytes: A segment that is this long is full; by default fitted to the streams' bounds.
        cipher: Encrypts what is written from now on, and opens what was encrypted.
        held: Bounds of a stream of another node, by the stream's name; by default records are kept until every consumer
            is done with them.
        held_bytes: Bound of all streams of other nodes together.

    Raises:
        ConflictError: Another process has the journal open.
        CorruptError: The database is damaged.
        StorageFullError: The disk is full.
    """

    def __init__(
        self,
        folder: Path,
        *,
        node: str,
        streams: Mapping[str, StreamSettings],
        clock: Clock | None = None,
        blobs: BlobStore | None = None,
        segment_bytes: int = 0,
        cipher: Cipher | None = None,
        held: Callable[[str], StreamSettings] | None = None,
        held_bytes: int = 2 << 30,
    ) -> None:
        self._clock = clock or SystemClock()
        self._node = node
        self._settings = frozenset(streams)
        self._codec = Codec(cipher)
        self._blobs = blobs
        _make_folder(folder)
        self._closed = False
        self._changed = threading.Condition()
        self._waiting = 0
        self._news = 1
        self._group = GroupCommit(self._run)
        self._encoding = threading.Lock()
        fitted = sum(settings.max_bytes for settings in streams.values()) // _SEGMENTS
        segment_bytes = segment_bytes or min(max(fitted, _SEGMENT_BYTES[0]), _SEGMENT_BYTES[1])
        with contextlib.ExitStack() as opened:
            opened.callback(os.close, _lock(folder))
            self._database = opened.enter_context(contextlib.closing(Database(folder)))
            self._tables = opened.enter_context(contextlib.closing(Tables(folder)))
            self._store = opened.enter_context(
                contextlib.closing(
                    BlockStore(
                        folder,
                        self._database,
                        columns=self._tables.columns,
                        codec=self._codec,
                        segment_bytes=segment_bytes,
                    )
                )
            )
            self._actions = self._open(node, streams, held or (lambda _: _HELD), held_bytes)
            self._submit(self._actions.reconcile)
            if blobs:
                blobs.adopt(self._store.blobs())
            self.retain()
            self._opened = opened.pop_all()

    # What a producer and a reader see.

    def append(self, stream: str, entries: Sequence[Entry]) -> range:
        """See ``base.Journal``."""
        target = self._target(stream)
        payloads = self._encode(entries) if entries else []
        size = sum(payload.size for payload in payloads)
        if size > target.settings.max_bytes:
            raise too_large(stream, size, limit=target.settings.max_bytes)
        accepted = self._group.submit(functools.partial(self._actions.accept, target, payloads, size), size=size)
        return accepted if accepted is not None else self._append_when_free(target, payloads, size)

    def _encode(self, entries: Sequence[Entry]) -> list[Payload]:
        """Large batches one at a time: many that encode at once keep the interpreter from the thread that writes."""
        with self._encoding if len(entries) >= _LARGE_BATCH else contextlib.nullcontext():
            return self._codec.encode(entries)

    def read(
        self, stream: str, *, after: int = 0, before: int = 0, limit: int = 100, newest_first: bool = False
    ) -> list[Record]:
        """See ``base.Journal``. Damaged blocks are struck out (the ledger tells) and the others read."""
        target = self._known(stream)
        before = before or blocks.MAX_SEQUENCE
        while True:
            self._check_open()
            through = min(before - 1, target.durable)
            located = self._store.locate(
                target.id, after=after, through=through, limit=limit, newest_first=newest_first
            )
            found: list[Record] = []
            for file, segment, place in located:
                block = fetch(file, segment, target.id, place)
                try:
                    records = self._codec.decode(block, node=target.node, stream=target.name)
                except WrongKeyError:
                    raise
                except CorruptError:
                    self._submit(self._actions.strike_out, target, place.first)
                    break
                found += (
                    record
                    for record in (records[::-1] if newest_first else records)
                    if after < record.sequence < before
                )
            else:
                return found[:limit]

    def wait(self, stream: str, *, after: int, timeout_s: float) -> int:
        """See ``base.Followable``."""
        target = self._known(stream)
        with self._awaiting():
            self._changed.wait_for(lambda: self._closed or target.durable > after, timeout_s)
        self._check_open()
        return target.durable

    # Consumers.

    def claim(self, stream: str, consumer: str, *, limit: int = 100) -> Claim | None:
        """See ``base.Journal``."""
        check_claim(consumer, limit)
        target = self._known(stream)
        while True:
            cursor = target.consumers.get(consumer)
            if cursor and (cursor.acked >= target.durable or cursor.leased(self._clock.monotonic())):
                self._check_open()
                return None
            lent = self._submit(self._actions.lend, target, consumer, limit)
            if not lent:
                return None
            records = self.read(stream, after=lent.lent_first - 1, before=lent.lent + 1, limit=limit)
            if records:
                return Claim(consumer, stream, tuple(records), lent.attempts)
            self.release(stream, consumer)  # all of it was dropped or damaged meanwhile: on to what comes next

    def ack(self, stream: str, consumer: str, through: int) -> None:
        """See ``base.Journal``."""
        target = self._known(stream)
        self._submit(self._actions.acknowledge, target, consumer, through)

    def release(self, stream: str, consumer: str) -> None:
        """See ``base.Consumers``."""
        self._submit(self._actions.release, self._known(stream), consumer)

    def forget(self, stream: str, consumer: str) -> None:
        """See ``base.Consumers``."""
        self._submit(self._actions.forget, self._known(stream), consumer)

    # Other nodes' records.

    @property
    def identity(self) -> str:
        """See ``base.Custody``."""
        return self._actions.identity

    def streams(self) -> list[StreamState]:
        """See ``base.Custody``."""
        self._check_open()
        streams = list(self._actions.streams.values())
        streams.sort(key=lambda stream: stream.held)
        return [StreamState(stream.node, stream.name, stream.durable) for stream in streams]

    def mark(self, node: str, stream: str) -> int:
        """See ``base.Custody``."""
        found = self._actions.streams.get(custody.key_at(node, stream, own=self._node))
        return found.durable if found else 0

    def follow(self, stream: str, consumer: str) -> int:
        """See ``base.Custody``."""
        target = self._known(stream)
        check_claim(consumer, 1)
        if cursor := target.consumers.get(consumer):
            self._check_open()
            return cursor.acked
        return self._submit(self._actions.follow, target, consumer)

    def advance(self, stream: str, consumer: str, through: int) -> None:
        """See ``base.Custody``."""
        check_claim(consumer, 1)
        self._submit(self._actions.advance, consumer, [(self._known(stream), through)])

    def advance_each(self, consumer: str, through: Mapping[str, int]) -> None:
        """See ``base.Custody``."""
        check_claim(consumer, 1)
        if through:
            self._submit(self._actions.advance, consumer, [(self._known(key), last) for key, last in through.items()])

    def give(self, stream: str, consumer: str, *, after: int, max_bytes: int) -> Batch | None:
        """See ``base.Custody``."""
        target = self._known(stream)
        while True:
            self._check_open()
            durable = target.durable
            if after >= durable:
                return None
            try:
                packed = tuple(self._packed(target, after=after, through=durable, max_bytes=max_bytes))
            except WrongKeyError:
                raise
            except CorruptError as error:
                self._submit(self._actions.strike_out, target, int(str(error.facts["first"])))
                continue
            through = packed[-1].last if packed else durable
            told = self._submit(self._actions.missing, target, consumer, after, through)
            return custody.batch(
                target.node, target.name, packed, custody.missing(packed, after=after, through=through, told=told)
            )

    def take(self, batches: Sequence[Batch]) -> None:
        """See ``base.Custody``."""
        custody.check(batches, node=self._node)
        payloads = {part: self._codec.take(part) for batch in batches for part in batch.packed}
        size = sum(payload.size for payload in payloads.values())
        self._group.submit(functools.partial(self._actions.take, batches, payloads), size=size)

    def news(self, seen: int, *, timeout_s: float) -> int:
        """See ``base.Custody``."""
        with self._awaiting():
            self._changed.wait_for(lambda: self._closed or self._news != seen, timeout_s)
        self._check_open()
        return self._news

    def pointers(self, digests: Sequence[str]) -> list[list[Pointer]]:
        """See ``base.Pointers``."""
        pages = (digests[first : first + _POINTED] for first in range(0, len(digests), _POINTED))
        return [found for page in pages for found in self._submit(self._actions.pointers, page)]

    def _packed(self, stream: Stream, *, after: int, through: int, max_bytes: int) -> Iterator[Packed]:
        """Packed records past ``after``, about ``max_bytes`` of them and at most what a batch may hold."""
        with self._store.lock:
            places = itertools.takewhile(
                lambda place: place.first <= through, self._store.index(stream.id).places(after + 1)
            )
            taken: list[Place] = []
            size = 0
            for place in places:
                if taken and (size >= _GIVE_RATIO * max_bytes or len(taken) >= _GIVE_BLOCKS):
                    break
                taken.append(place)
                size += place.size
            located = [self._store.located(place) for place in taken]
        blocks_of = (fetch(file, segment, stream.id, place) for file, segment, place in located)
        sent = 0
        for count, packed in enumerate(
            self._codec.packed(blocks_of, after=after, node=stream.node, stream=stream.name, max_bytes=max_bytes)
        ):
            sent += len(packed.content)
            if count and (sent > max_bytes or count >= custody.MAX_PARTS // 2):
                return
            yield packed

    # Upkeep and proof.

    def audit(self) -> list[Balance]:
        """See ``base.Journal``."""
        return self._submit(lambda: balances(self._database.connection, self._store.index))

    def losses(self, stream: str = "") -> list[Loss]:
        """See ``base.LossLedger``."""
        return self._submit(lambda: read_losses(self._database.connection, stream))

    def standings(self, streams: Sequence[str], follower: str) -> list[Standing]:
        """See ``base.Counting``."""
        known = [self._known(stream) for stream in streams]
        return self._submit(lambda: [self._actions.standing(stream, follower) for stream in known])

    def totals(self) -> Totals:
        """See ``base.Counting``."""
        return self._submit(self._actions.totals)

    def retain(self) -> None:
        """See ``base.Upkeep``."""
        for stream in list(self._actions.streams.values()):
            if self._actions.aged(stream):
                self._submit(self._actions.make_room, stream, 0)

    def verify(self) -> int:
        """See ``base.Upkeep``."""
        return sum(
            self._submit(self._actions.strike_out, stream, first)
            for stream in list(self._actions.streams.values())
            for first in list(self._damaged(stream))
        )

    def close(self) -> None:
        """See ``base.Journal``."""
        try:
            self._submit(self._finish)
        except ClosedError:
            return
        except (EdgewiseError, sqlite3.Error) as error:  # all that was accepted is on disk already
            _log.debug("the journal was closed without a last word: %s", error)
            self._closed = True
        self._wake()
        self._opened.close()

    def _damaged(self, stream: Stream) -> Iterator[int]:
        """First sequences of the blocks that fail their checksum."""
        after = 0
        while page := self._store.locate(stream.id, after=after, through=stream.durable, limit=_PAGE_RECORDS):
            for file, segment, place in page:
                if not self._codec.sound(fetch(file, segment, stream.id, place)):
                    yield place.first
            after = page[-1].place.last

    # Opening.

    def _open(
        self, node: str, streams: Mapping[str, StreamSettings], held: Callable[[str], StreamSettings], held_bytes: int
    ) -> Actions:
        """What there is, after a journal of the first format was carried over."""
        start = functools.partial(
            Actions,
            self._database,
            self._store,
            codec=self._codec,
            clock=self._clock,
            node=node,
            streams=streams,
            held=held,
            held_bytes=held_bytes,
        )
        try:
            self._actions = start()
            if carry.needed(self._database):
                if not self._store.state:
                    self._submit(carry.prepare, self._database, self._store)
                    self._actions.load()
                while self._submit(carry.move, self._database, self._store, strike=self._actions.carry_over):
                    pass
                carry.finish(self._database)
                self._actions = start()
            self._database.shrink()
        except sqlite3.Error as error:
            raise self._database.translate(error) from error
        return self._actions

    def _finish(self) -> None:
        self._closed = True
        self._actions.finish()

    # Running actions.

    def _submit(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs an action within a transaction; returns its result once that is on disk."""
        return self._group.submit(functools.partial(action, *args, **kwargs))

    def _run(self, group: Sequence[Work[object]]) -> None:
        """Carries out a group; afterwards memory and disk agree, whatever happened."""
        if self._closed:
            raise closed()
        self._store.check()
        try:
            self._store.maintain()
            with self._store.lock:
                self._actions.heal()
                for work in group:
                    self._attempt(work)
            self._store.flush()
        except BaseException as error:
            self._undo()
            raise self._database.translate(error) from error
        self._settle()

    def _attempt(self, work: Work[object]) -> None:
        try:
            if self._closed:
                raise closed()
            work.result = work.action()
        except EdgewiseError as error:
            work.error = error

    def _undo(self) -> None:
        with self._store.lock:
            self._store.undo()
            self._actions.load()

    def _settle(self) -> None:
        """Tells everyone concerned what the group changed."""
        if self._actions.touched:
            for stream in self._actions.touched:
                stream.durable = stream.last
            self._actions.touched.clear()
            self._news += 1
        held, freed = self._store.settle()
        if self._blobs and (held or freed):
            self._blobs.hold(held)
            self._blobs.let_go(freed)
        if self._waiting:
            self._wake()

    # Waiting.

    @contextlib.contextmanager
    def _awaiting(self) -> Iterator[None]:
        """Inside, ``_changed`` is held and every transaction notifies it."""
        with self._changed:
            self._waiting += 1
            try:
                yield
            finally:
                self._waiting -= 1

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _append_when_free(self, stream: Stream, payloads: Sequence[Payload], size: int) -> range:
        """Tries again whenever records were removed or acknowledged, until the stream's timeout."""
        deadline = time.monotonic() + stream.settings.block_timeout_s  # a thread waits in the machine's time
        while True:
            seen = self._actions.released
            accepted = self._submit(self._actions.accept, stream, payloads, size)
            if accepted is not None:
                return accepted
            left = deadline - time.monotonic()
            if left <= 0:
                raise stream_full(stream.name, limit=stream.settings.max_bytes)
            self._await_release(seen, left)

    def _await_release(self, seen: int, timeout_s: float) -> None:
        with self._awaiting():
            self._changed.wait_for(lambda: self._closed or self._actions.released != seen, timeout_s)

    # Names.

    def _known(self, stream: str) -> Stream:
        streams = self._actions.streams
        if found := streams.get(stream):
            return found
        raise unknown_stream(stream, [name for name, each in streams.items() if not each.held])

    def _target(self, stream: str) -> Stream:
        found = self._known(stream)
        if found.held or stream not in self._settings:
            raise not_appended_to(stream)
        return found

    def _check_open(self) -> None:
        if self._closed:
            raise closed()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise translate(error, folder) from error


def _lock(folder: Path) -> int:
    """Makes this process the folder's only writer, until the descriptor is closed or the process ends."""
    descriptor = os.open(folder / "journal.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConflictError(
            f"Another process has the journal in {folder} open.",
            hint="Stop the other node, or use another data folder.",
        ) from error
    return descriptor
