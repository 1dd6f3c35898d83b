"""A journal on disk: blocks in segment files, the rest in one SQLite database, one sync for many appends.

Everything that changes goes through ``GroupCommit``: one thread at a time runs the gathered actions, and what they
staged is written as one group (``store``). What the actions need to know of each stream is kept in memory (``_Stream``)
and is read anew from the disk when a group fails, so memory never runs ahead of the disk. Other threads read beside it.
Blocks: ``blocks``, ``frames``; where they lie: ``index``, ``segments``; what is let go: ``retention``; consumers:
``cursors``; another process reads with ``reader``.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from msgspec import structs

from edgewise._lib.clock import Clock, SystemClock
from edgewise.errors import ClosedError, ConflictError, CorruptError, EdgewiseError, NotFoundError
from edgewise.journal import blocks, carry, retention
from edgewise.journal.base import Balance, Cipher, Claim, Loss, Reason, StreamSettings, WhenFull
from edgewise.journal.blobs import BlobStore
from edgewise.journal.codec import Codec, Payload
from edgewise.journal.cursors import Cursor
from edgewise.journal.database import Database, Tables
from edgewise.journal.group import GroupCommit, Work
from edgewise.journal.proof import balances, read_losses
from edgewise.journal.refusals import check_claim, closed, never_claimed, stream_full, too_large, unknown_stream
from edgewise.journal.segments import translate
from edgewise.journal.store import BlockStore
from edgewise.journal.stored import fetch
from edgewise.types import Entry, Record

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)

_LEDGER_SPAN_NS = 3600 * 10**9  # lines of the ledger are joined within an hour
_SEGMENT_BYTES = 4 << 20, 32 << 20  # smallest and largest
_SEGMENTS = 16  # a segment has this part of what all streams may keep
_PAGE_RECORDS = 4096


class _Stream:
    """What the writer knows of one stream. Changed by the leading thread only."""

    __slots__ = ("bytes", "consumers", "delivered", "durable", "floor", "id", "last", "name", "oldest_ns", "settings")

    def __init__(self, number: int, name: str, settings: StreamSettings) -> None:
        self.id = number
        self.name = name
        self.settings = settings
        self.last = 0
        self.durable = 0  # ``last`` as of the newest group that is on disk
        self.floor = 0  # everything up to here was removed by retention
        self.delivered = 0
        self.bytes = 0
        self.oldest_ns: int | None = None
        self.consumers: dict[str, Cursor] = {}

    @property
    def done(self) -> int:
        """Every consumer is done with the records up to here; 0 when there is none."""
        return min((cursor.acked for cursor in self.consumers.values()), default=0)


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
    ) -> None:
        self._clock = clock or SystemClock()
        self._settings = dict(streams)
        self._node = node
        self._codec = Codec(cipher)
        self._blobs = blobs
        _make_folder(folder)
        self._closed = False
        self._streams: dict[str, _Stream] = {}
        self._changed = threading.Condition()
        self._waiting = 0
        self._released = 0
        self._group = GroupCommit(self._run)
        fitted = sum(settings.max_bytes for settings in self._settings.values()) // _SEGMENTS
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
            self._age = retention.AgeClock(self._clock, *self._open())
            self._submit(self._reconcile)
            if blobs:
                blobs.adopt(self._store.blobs())
            self.retain()
            self._opened = opened.pop_all()

    # What a producer and a reader see.

    def append(self, stream: str, entries: Sequence[Entry]) -> range:
        """See ``base.Journal``."""
        target = self._target(stream)
        payloads = self._codec.encode(entries) if entries else []
        size = sum(payload.size for payload in payloads)
        if size > target.settings.max_bytes:
            raise too_large(stream, size, limit=target.settings.max_bytes)
        accepted = self._group.submit(functools.partial(self._accept, target, payloads, size), size=size)
        return accepted if accepted is not None else self._append_when_free(target, payloads, size)

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
                    records = self._codec.decode(block, node=self._node, stream=stream)
                except CorruptError:
                    self._submit(self._strike_out, target, place.first)
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
            lent = self._submit(self._lend, target, consumer, limit)
            if not lent:
                return None
            records = self.read(stream, after=lent.lent_first - 1, before=lent.lent + 1, limit=limit)
            if records:
                return Claim(consumer, stream, tuple(records), lent.attempts)
            self.release(stream, consumer)  # all of it was dropped or damaged meanwhile: on to what comes next

    def ack(self, stream: str, consumer: str, through: int) -> None:
        """See ``base.Journal``."""
        target = self._known(stream)
        self._submit(self._acknowledge, target, consumer, through)

    def release(self, stream: str, consumer: str) -> None:
        """See ``base.Consumers``."""
        target = self._known(stream)

        def action() -> None:
            if cursor := target.consumers.get(consumer):
                self._keep(target, consumer, cursor.release())

        self._submit(action)

    def forget(self, stream: str, consumer: str) -> None:
        """See ``base.Consumers``."""
        target = self._known(stream)

        def action() -> None:
            if target.consumers.pop(consumer, None):
                self._database.change("delete_consumer", target.id, consumer)
                self._database.change("delete_losses", target.id, consumer)
                self._released += 1

        self._submit(action)

    # Upkeep and proof.

    def audit(self) -> list[Balance]:
        """See ``base.Journal``."""
        return self._submit(lambda: balances(self._database.connection, self._store.index))

    def losses(self, stream: str = "") -> list[Loss]:
        """See ``base.LossLedger``."""
        return self._submit(lambda: read_losses(self._database.connection, stream))

    def retain(self) -> None:
        """See ``base.Upkeep``."""
        for stream in self._streams.values():
            if self._aged(stream):
                self._submit(self._make_room, stream, 0)

    def verify(self) -> int:
        """See ``base.Upkeep``."""
        return sum(
            self._submit(self._strike_out, stream, first)
            for stream in list(self._streams.values())
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

    def _damaged(self, stream: _Stream) -> Iterator[int]:
        """First sequences of the blocks that fail their checksum."""
        after = 0
        while page := self._store.locate(stream.id, after=after, through=stream.durable, limit=_PAGE_RECORDS):
            for file, segment, place in page:
                if not self._codec.sound(fetch(file, segment, stream.id, place)):
                    yield place.first
            after = page[-1].place.last

    # Opening.

    def _open(self) -> tuple[int, int]:
        """Makes the streams, carries over a journal of the first format; returns what ``_load`` does."""
        try:
            self._database.change_each("insert_stream", [(self._node, name) for name in self._settings])
            self._database.commit()
            stamps = self._load()
            if carry.needed(self._database):
                if not self._store.state:
                    self._submit(carry.prepare, self._database, self._store)
                    self._load()
                while self._submit(carry.move, self._database, self._store, strike=self._lose):
                    pass
                carry.finish(self._database)
                stamps = self._load()
            self._database.shrink()
        except sqlite3.Error as error:
            raise self._database.translate(error) from error
        return stamps

    def _lose(self, number: int, first: int, last: int) -> None:
        """Accounts for records that were found missing or damaged without a block to strike out."""
        for stream in self._streams.values():
            if stream.id == number:
                self._account(stream, retention.Run(first, last, Reason.CORRUPT))
                self._store.lose(number, first, last)
                self._save(stream)

    def _load(self) -> tuple[int, int]:
        """Reads what is kept in memory from the disk; returns the newest age and wall clock found there."""
        stamps = [(0, 0)]
        for number, name, last, delivered, floor in self._database.all("select_streams", self._node):
            stream = self._streams.get(name) or _Stream(number, name, self._settings.get(name, StreamSettings()))
            self._streams[name] = stream
            index = self._store.index(number)
            stream.delivered, stream.floor = delivered, floor
            stream.last = stream.durable = max(last, self._store.known(number))
            stream.bytes = index.size
            stamps += [index.runs[-1].stamp] if index.runs else []
            self._find_oldest(stream)
            stream.consumers = self._load_consumers(stream)
        return max(stamps)

    def _load_consumers(self, stream: _Stream) -> dict[str, Cursor]:
        wall, now = self._clock.time_ns(), self._clock.monotonic()
        consumers = {}
        for name, *fields, until_ns in self._database.all("select_consumers", stream.id):
            left = min(max(0.0, (until_ns - wall) / 1e9), stream.settings.lease_s)  # the wall clock may have jumped
            consumers[name] = structs.replace(Cursor(*fields), lease_until=now + left)
        return consumers

    def _reconcile(self) -> None:
        """Accounts for sequences that were given and that nothing shows: what was damaged beyond recognition."""
        for stream in self._streams.values():
            for first, last in list(self._store.gaps(stream.id, stream.floor, stream.last)):
                self._lose(stream.id, first, last)

    # Actions: run by the leading thread, whose changes are one group. They refuse before they change anything.

    def _accept(self, stream: _Stream, payloads: Sequence[Payload], size: int) -> range | None:
        """Stores payloads; None when the stream is full and its policy is to block."""
        first = stream.last + 1
        if self._make_room(stream, size):
            for payload in payloads:
                self._insert(stream, payload)
        elif stream.settings.when_full is WhenFull.BLOCK:
            return None
        else:
            stream.last += sum(payload.records for payload in payloads)
            self._account(stream, retention.Run(first, stream.last, Reason.FULL))
            self._store.add_hole(stream.id, first, stream.last)
            self._save(stream)
        return range(first, stream.last + 1)

    def _insert(self, stream: _Stream, payload: Payload) -> None:
        key, last = blocks.position(stream.id, stream.last + 1), stream.last + payload.records
        aged_ns = self._age.now_ns()
        block = self._codec.block(payload, key, last=last, time_ns=self._clock.time_ns(), aged_ns=aged_ns)
        self._store.stage(block, payload.digests)
        stream.last = last
        stream.bytes += payload.size
        if stream.oldest_ns is None:
            stream.oldest_ns = aged_ns

    def _make_room(self, stream: _Stream, incoming: int) -> bool:
        """Removes what retention says; whether the incoming bytes fit then."""
        if stream.bytes + incoming <= stream.settings.max_bytes and not self._aged(stream):
            return True
        drops, fits = retention.decide(
            (place.head for place in self._store.index(stream.id).places()),
            stream.settings,
            kept_bytes=stream.bytes,
            incoming=incoming,
            now_ns=self._age.now_ns(),
            done=stream.done,
        )
        if drops:
            stream.floor = drops[-1].head.last
            self._store.drop(stream.id, [drop.head for drop in drops])
            for run in retention.runs(drops):
                self._account(stream, run)
            stream.bytes -= sum(drop.head.size for drop in drops)
            self._find_oldest(stream)
            self._save(stream)
        return fits

    def _strike_out(self, stream: _Stream, first: int) -> bool:
        """Removes a block that is damaged, if it still is when read again; whether it was."""
        place = next(self._store.index(stream.id).places(first), None)
        if not place or place.first != first or self._codec.sound(self._store.fetch(stream.id, place)):
            return False
        self._store.strike(stream.id, place)
        self._account(stream, retention.Run(first, place.last, Reason.CORRUPT))
        stream.bytes -= place.size
        self._find_oldest(stream)
        self._save(stream)
        return True

    def _lend(self, stream: _Stream, consumer: str, limit: int) -> Cursor | None:
        """Lends the next records; the cursor afterwards, or None when there is nothing to lend."""
        cursor = stream.consumers.get(consumer) or self._register(stream, consumer)
        now = self._clock.monotonic()
        if cursor.leased(now):
            return None
        while span := self._next(stream, cursor, limit):
            first, last = span
            if not cursor.dead(first, max_attempts=stream.settings.max_attempts):
                cursor = cursor.lend(first, last, lease_until=now + stream.settings.lease_s)
                self._keep(stream, consumer, cursor)
                return cursor
            self._enter(stream, consumer, retention.Run(first, first, Reason.DEAD_LETTER))
            cursor = cursor.skip(first)
            self._keep(stream, consumer, cursor)
        return None

    def _next(self, stream: _Stream, cursor: Cursor, limit: int) -> tuple[int, int] | None:
        """First and last of the next records to lend, which may have holes between them."""
        span: tuple[int, int] | None = None
        for place in self._store.index(stream.id).places(cursor.acked + 1):
            first = max(place.first, cursor.acked + 1)
            if span is None:
                limit = cursor.share(first, limit=limit)
            through = min(place.last, first + limit - 1)
            span = (span[0] if span else first, through)
            limit -= through - first + 1
            if not limit:
                break
        return span

    def _register(self, stream: _Stream, consumer: str) -> Cursor:
        index = self._store.index(stream.id)
        start = index.oldest.first - 1 if index.oldest else stream.last
        kept = index.count(after=start, through=stream.last)
        cursor = Cursor(start, missed=stream.last - start - kept, acked=start)
        self._keep(stream, consumer, cursor)
        return cursor

    def _acknowledge(self, stream: _Stream, consumer: str, through: int) -> None:
        cursor = stream.consumers.get(consumer)
        if not cursor:
            raise never_claimed(stream.name, consumer)
        cursor.check_lent(through)
        if through <= cursor.acked:
            return
        index = self._store.index(stream.id)
        kept = index.count(after=cursor.acked, through=through)
        until = self._clock.monotonic() + stream.settings.lease_s
        cursor = cursor.acknowledge(through, kept=kept, lease_until=until)
        if not index.count(after=through, through=cursor.lent):
            cursor = cursor.release()  # the rest of the claim was dropped meanwhile
        self._keep(stream, consumer, cursor)

    def _finish(self) -> None:
        self._closed = True
        for stream in self._streams.values():
            self._save(stream)  # so that a lost end of the log shows when it is opened again

    # Parts of actions.

    def _account(self, stream: _Stream, run: retention.Run) -> None:
        """Enters removed records in the ledger, for each consumer that waited for them and for the stream itself."""
        for name, cursor in stream.consumers.items():
            self._enter(stream, name, run._replace(first=max(run.first, cursor.acked + 1)))
        lost = run._replace(first=max(run.first, stream.done + 1))
        self._enter(stream, "", lost)
        stream.delivered += min(lost.first, run.last + 1) - run.first

    def _enter(self, stream: _Stream, consumer: str, run: retention.Run) -> None:
        """Writes one line of the ledger, or extends the newest one."""
        count = run.last - run.first + 1
        if count <= 0 or run.reason is None:
            return
        now = self._clock.time_ns()
        line = self._database.one("select_last_loss", stream.id, consumer)
        if line and line[1] + 1 == run.first and line[2] == run.reason and abs(now - line[3]) < _LEDGER_SPAN_NS:
            self._database.change("extend_loss", run.last, count, line[0])
        else:
            values = (stream.id, consumer, run.first, run.last, count, run.reason, now)
            self._database.change("insert_loss", *values)

    def _keep(self, stream: _Stream, consumer: str, cursor: Cursor) -> None:
        """Stores where a consumer stands."""
        stream.consumers[consumer] = cursor
        left = cursor.lease_until - self._clock.monotonic()
        until_ns = self._clock.time_ns() + int(left * 1e9) if left > 0 else 0
        values = (cursor.start, cursor.missed, cursor.acked, cursor.delivered)
        lease = (cursor.lent_first, cursor.lent, cursor.attempts, until_ns)
        self._database.change("upsert_consumer", stream.id, consumer, *values, *lease)
        self._released += 1

    def _save(self, stream: _Stream) -> None:
        """Stores the stream's own figures."""
        self._database.change("update_stream", stream.last, stream.delivered, stream.floor, stream.id)

    def _find_oldest(self, stream: _Stream) -> None:
        oldest = self._store.index(stream.id).oldest
        stream.oldest_ns = oldest.aged_ns if oldest else None

    def _aged(self, stream: _Stream) -> bool:
        limit_ns = int(stream.settings.max_age_s * 1e9)
        return stream.oldest_ns is not None and stream.oldest_ns + limit_ns <= self._age.now_ns()

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
                self._heal()
                for work in group:
                    self._attempt(work)
            self._store.flush()
        except BaseException as error:
            self._undo()
            raise self._database.translate(error) from error
        self._settle()

    def _heal(self) -> None:
        """Strikes out what the store found damaged."""
        damaged, self._store.damaged[:] = list(self._store.damaged), ()
        for number, first in damaged:
            for stream in self._streams.values():
                if stream.id == number:
                    self._strike_out(stream, first)

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
            self._load()

    def _settle(self) -> None:
        """Tells everyone concerned what the group changed."""
        for stream in self._streams.values():
            stream.durable = stream.last
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

    def _append_when_free(self, stream: _Stream, payloads: Sequence[Payload], size: int) -> range:
        """Tries again whenever records were removed or acknowledged, until the stream's timeout."""
        deadline = time.monotonic() + stream.settings.block_timeout_s  # a thread waits in the machine's time
        while True:
            seen = self._released
            accepted = self._submit(self._accept, stream, payloads, size)
            if accepted is not None:
                return accepted
            left = deadline - time.monotonic()
            if left <= 0:
                raise stream_full(stream.name, limit=stream.settings.max_bytes)
            self._await_release(seen, left)

    def _await_release(self, seen: int, timeout_s: float) -> None:
        with self._awaiting():
            self._changed.wait_for(lambda: self._closed or self._released != seen, timeout_s)

    # Names.

    def _known(self, stream: str) -> _Stream:
        if found := self._streams.get(stream):
            return found
        raise unknown_stream(stream, self._streams)

    def _target(self, stream: str) -> _Stream:
        found = self._known(stream)
        if stream not in self._settings:
            raise NotFoundError(
                f"Stream {stream!r} is no longer in the settings: it can be read, not appended to.",
                hint=f"Add journal.{stream} to the settings.",
                kind="stream",
                name=stream,
            )
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
