"""A journal in one SQLite database: write-ahead log, ``synchronous=FULL``, group commit.

Everything that changes goes through ``GroupCommit``: one thread at a time runs the gathered actions in one transaction
with one sync. What the actions need to know of each stream is kept in memory (``_Stream``) and is read anew from the
database when a transaction fails, so memory never runs ahead of the disk. Reading has a connection of its own
(``SqliteReader``). Blocks: ``blocks``; what is let go: ``retention``; consumers: ``cursors``.
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
from typing import Any, ParamSpec, TypeVar

from msgspec import structs

from edgewise._lib.clock import Clock, SystemClock
from edgewise._lib.sqlite import open_database, translate
from edgewise.errors import (
    ClosedError,
    ConflictError,
    CorruptError,
    EdgewiseError,
    NotFoundError,
)
from edgewise.journal import blocks, retention
from edgewise.journal.base import Balance, Claim, Loss, Reason, StreamSettings, WhenFull
from edgewise.journal.blobs import BlobStore
from edgewise.journal.cursors import Cursor
from edgewise.journal.group import GroupCommit, Work
from edgewise.journal.reader import DATABASE, SQL, SqliteReader, count_records, first_key
from edgewise.journal.refusals import check_claim, closed, never_claimed, stream_full, too_large, unknown_stream
from edgewise.types import Entry, Record

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)

_MIGRATIONS = [
    path.read_text(encoding="utf-8") for path in sorted(Path(__file__).with_name("migrations").glob("*.sql"))
]
_PAGE_BYTES = 16384
_WAL_BYTES = 4 << 20  # copied to the database at this size, then written anew from its start
_SAVE_EVERY_BLOCKS = 4096  # bounds what has to be summed when the journal is opened
_LEDGER_SPAN_NS = 3600 * 10**9  # lines of the ledger are joined within an hour


class _Stream:
    """What the writer knows of one stream. Changed by the leading thread only."""

    __slots__ = ("bytes", "consumers", "delivered", "durable", "id", "last", "name", "oldest_ns", "settings", "unsaved")

    def __init__(self, number: int, name: str, settings: StreamSettings) -> None:
        self.id = number
        self.name = name
        self.settings = settings
        self.last = 0
        self.durable = 0  # ``last`` as of the newest transaction that is on disk
        self.delivered = 0
        self.bytes = 0
        self.unsaved = 0  # blocks since ``bytes`` was saved
        self.oldest_ns: int | None = None
        self.consumers: dict[str, Cursor] = {}

    @property
    def done(self) -> int:
        """Every consumer is done with the records up to here; 0 when there is none."""
        return min((cursor.acked for cursor in self.consumers.values()), default=0)

    @property
    def low(self) -> int:
        """Smallest key of its blocks."""
        return blocks.position(self.id, 0)

    @property
    def high(self) -> int:
        """Largest key of its blocks."""
        return blocks.position(self.id, blocks.MAX_SEQUENCE)


class SqliteJournal:
    """``base.Journal`` with all optional abilities, on SQLite.

    Args:
        folder: Where the database lies; made when it is missing. One process at a time writes it.
        node: Name of this node; it stands in every record.
        streams: Bounds of each stream that may be appended to.
        clock: Time; the machine's own by default.
        blobs: The store whose blobs the records point to; it is told which of them are still needed.

    Raises:
        ConflictError: Another process has the journal open.
        CorruptError: The database is damaged beyond its blocks.
    """

    def __init__(
        self,
        folder: Path,
        *,
        node: str,
        streams: Mapping[str, StreamSettings],
        clock: Clock | None = None,
        blobs: BlobStore | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._settings = dict(streams)
        self._node = node
        self._blobs = blobs
        self._path = folder / DATABASE
        folder.mkdir(parents=True, exist_ok=True)
        self._closed = False
        self._streams: dict[str, _Stream] = {}
        self._changed = threading.Condition()
        self._waiting = 0
        self._released = 0
        self._blob_changes: tuple[set[str], set[str]] = set(), set()
        self._group = GroupCommit(self._run)
        with contextlib.ExitStack() as opened:
            opened.callback(os.close, _lock(folder))
            self._connection = opened.enter_context(contextlib.closing(self._open()))
            self._reader = opened.enter_context(contextlib.closing(SqliteReader(folder, node=node)))
            self._age = retention.AgeClock(self._clock, *self._load())
            if blobs:
                blobs.adopt(row[0] for row in self._connection.execute(SQL["select_blob_refs"]))
            self.retain()
            self._opened = opened.pop_all()

    # What a producer and a reader see.

    def append(self, stream: str, entries: Sequence[Entry]) -> range:
        """See ``base.Journal``."""
        target = self._target(stream)
        payloads = blocks.encode(entries) if entries else []
        size = sum(payload.size for payload in payloads)
        if size > target.settings.max_bytes:
            raise too_large(stream, size, limit=target.settings.max_bytes)
        accepted = self._submit(self._accept, target, payloads, size)
        return accepted if accepted is not None else self._append_when_free(target, payloads, size)

    def read(
        self, stream: str, *, after: int = 0, before: int = 0, limit: int = 100, newest_first: bool = False
    ) -> list[Record]:
        """See ``base.Journal``. Damaged blocks are struck out (the ledger tells) and the others read."""
        while True:
            try:
                return self._reader.read(stream, after=after, before=before, limit=limit, newest_first=newest_first)
            except CorruptError as error:
                position = error.facts.get("position")
                if not isinstance(position, int):
                    raise
                self._submit(self._strike_out, position)

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
                self._connection.execute(SQL["delete_consumer"], (target.id, consumer))
                self._connection.execute(SQL["delete_losses"], (target.id, consumer))
                self._released += 1

        self._submit(action)

    # Upkeep and proof.

    def audit(self) -> list[Balance]:
        """See ``base.Journal``."""
        return self._reader.audit()

    def losses(self, stream: str = "") -> list[Loss]:
        """See ``base.LossLedger``."""
        return self._reader.losses(stream)

    def retain(self) -> None:
        """See ``base.Upkeep``."""
        for stream in self._streams.values():
            if self._aged(stream):
                self._submit(self._make_room, stream, 0)

    def verify(self) -> int:
        """See ``base.Upkeep``."""
        return sum(self._submit(self._strike_out, position) for position in self._reader.damaged())

    def close(self) -> None:
        """See ``base.Journal``."""
        with contextlib.suppress(ClosedError):
            self._submit(self._finish)
            self._wake()
            self._opened.close()

    # Opening.

    def _open(self) -> sqlite3.Connection:
        connection = open_database(self._path, _MIGRATIONS, page_bytes=_PAGE_BYTES)
        try:
            connection.execute(f"PRAGMA wal_autocheckpoint={_WAL_BYTES // _PAGE_BYTES}")
            connection.execute("PRAGMA secure_delete=FAST")
            connection.executemany(SQL["insert_stream"], [(self._node, name) for name in self._settings])
        except sqlite3.Error as error:
            connection.close()
            raise translate(error, self._path) from error
        _lay_out(self._path.with_name(f"{DATABASE}-wal"))
        return connection

    def _load(self) -> tuple[int, int]:
        """Reads what is kept in memory from the database; returns the newest age and wall clock found there."""
        stamps = [(0, 0)]
        for number, name, last, delivered, tallied, size in self._connection.execute(
            SQL["select_streams"], (self._node,)
        ).fetchall():
            stream = self._streams.get(name) or _Stream(number, name, self._settings.get(name, StreamSettings()))
            self._streams[name] = stream
            stream.delivered = delivered
            newest = self._one("select_newest", stream.low, stream.high)
            stream.last = stream.durable = max(last, newest[1]) if newest else last
            stamps += [(newest[3], newest[2])] if newest else []
            untallied = self._one("sum_bytes", blocks.position(number, tallied + 1), stream.high)
            stream.unsaved = untallied[0]
            stream.bytes = size + untallied[1] + untallied[0] * blocks.OVERHEAD_BYTES
            self._find_oldest(stream)
            stream.consumers = self._load_consumers(stream)
        return max(stamps)

    def _load_consumers(self, stream: _Stream) -> dict[str, Cursor]:
        wall, now = self._clock.time_ns(), self._clock.monotonic()
        consumers = {}
        for name, *fields, until_ns in self._connection.execute(SQL["select_consumers"], (stream.id,)):
            left = min(max(0.0, (until_ns - wall) / 1e9), stream.settings.lease_s)  # the wall clock may have jumped
            consumers[name] = structs.replace(Cursor(*fields), lease_until=now + left)
        return consumers

    # Actions: run by the leading thread inside its transaction. They refuse before they change anything.

    def _accept(self, stream: _Stream, payloads: Sequence[blocks.Payload], size: int) -> range | None:
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
            self._save(stream)
        return range(first, stream.last + 1)

    def _insert(self, stream: _Stream, payload: blocks.Payload) -> None:
        key, last = blocks.position(stream.id, stream.last + 1), stream.last + payload.records
        time_ns, aged_ns = self._clock.time_ns(), self._age.now_ns()
        self._connection.execute(SQL["insert_block"], payload.block(key, last, time_ns, aged_ns))
        if payload.digests:
            self._connection.executemany(SQL["insert_blob_ref"], [(key, digest) for digest in payload.digests])
            self._blob_changes[0].update(payload.digests)
        stream.last = last
        stream.bytes += payload.size
        stream.unsaved += 1
        if stream.oldest_ns is None:
            stream.oldest_ns = aged_ns
        if stream.unsaved >= _SAVE_EVERY_BLOCKS:
            self._save(stream)

    def _make_room(self, stream: _Stream, incoming: int) -> bool:
        """Removes what retention says; whether the incoming bytes fit then."""
        if stream.bytes + incoming <= stream.settings.max_bytes and not self._aged(stream):
            return True
        rows = self._connection.execute(SQL["select_headers"], (stream.low, stream.high))
        with contextlib.closing(rows):
            drops, fits = retention.decide(
                (
                    retention.Head(blocks.sequence(key), last, aged_ns, size + blocks.OVERHEAD_BYTES)
                    for key, last, aged_ns, size in rows
                ),
                stream.settings,
                kept_bytes=stream.bytes,
                incoming=incoming,
                now_ns=self._age.now_ns(),
                done=stream.done,
            )
        if drops:
            self._delete(stream, drops[0].head.first, drops[-1].head.first)
            for run in retention.runs(drops):
                self._account(stream, run)
            stream.bytes -= sum(drop.head.size for drop in drops)
            self._find_oldest(stream)
            self._save(stream)
        return fits

    def _strike_out(self, key: int) -> bool:
        """Removes a block that is damaged, if it still is when read again; whether it was."""
        row = self._one("select_block", key)
        block = blocks.Block._make(row) if row else None
        stream = next((stream for stream in self._streams.values() if stream.low <= key <= stream.high), None)
        if not block or not stream or block.intact:
            return False
        after = self._one("select_oldest", key + 1, stream.high)
        end = blocks.sequence(after[0]) - 1 if after else max(stream.last, block.first)
        last = block.last if block.first <= block.last <= end else end  # its own head may be what is damaged
        self._delete(stream, block.first, block.first)
        self._account(stream, retention.Run(block.first, last, Reason.CORRUPT))
        stream.bytes -= block.size
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
        key = first_key(self._connection, stream.id, cursor.acked + 1)
        span: tuple[int, int] | None = None
        with contextlib.closing(self._connection.execute(SQL["select_headers"], (key, stream.high))) as rows:
            for key, last, *_ in rows:
                first = max(blocks.sequence(key), cursor.acked + 1)
                if span is None:
                    limit = cursor.share(first, limit=limit)
                through = min(last, first + limit - 1)
                span = (span[0] if span else first, through)
                limit -= through - first + 1
                if not limit:
                    break
        return span

    def _register(self, stream: _Stream, consumer: str) -> Cursor:
        oldest = self._one("select_oldest", stream.low, stream.high)
        start = blocks.sequence(oldest[0]) - 1 if oldest else stream.last
        kept = count_records(self._connection, stream.id, after=start)
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
        kept = count_records(self._connection, stream.id, after=cursor.acked, through=through)
        until = self._clock.monotonic() + stream.settings.lease_s
        cursor = cursor.acknowledge(through, kept=kept, lease_until=until)
        if not count_records(self._connection, stream.id, after=through, through=cursor.lent):
            cursor = cursor.release()  # the rest of the claim was dropped meanwhile
        self._keep(stream, consumer, cursor)

    def _finish(self) -> None:
        self._closed = True

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
        line = self._one("select_last_loss", stream.id, consumer)
        if line and line[1] + 1 == run.first and line[2] == run.reason and abs(now - line[3]) < _LEDGER_SPAN_NS:
            self._connection.execute(SQL["extend_loss"], (run.last, count, line[0]))
        else:
            values = (stream.id, consumer, run.first, run.last, count, run.reason, now)
            self._connection.execute(SQL["insert_loss"], values)

    def _delete(self, stream: _Stream, first: int, last: int) -> None:
        """Deletes the blocks that begin at ``first`` to ``last``, and lets go of blobs that nothing points to then."""
        bounds = (blocks.position(stream.id, first), blocks.position(stream.id, last))
        self._connection.execute(SQL["delete_blocks"], bounds)
        for (digest,) in self._connection.execute(SQL["delete_blob_refs"], bounds).fetchall():
            if not self._one("select_blob_ref", digest):
                self._blob_changes[1].add(digest)
        self._released += 1

    def _keep(self, stream: _Stream, consumer: str, cursor: Cursor) -> None:
        """Stores where a consumer stands."""
        stream.consumers[consumer] = cursor
        left = cursor.lease_until - self._clock.monotonic()
        until_ns = self._clock.time_ns() + int(left * 1e9) if left > 0 else 0
        values = (cursor.start, cursor.missed, cursor.acked, cursor.delivered)
        lease = (cursor.lent_first, cursor.lent, cursor.attempts, until_ns)
        self._connection.execute(SQL["upsert_consumer"], (stream.id, consumer, *values, *lease))
        self._released += 1

    def _save(self, stream: _Stream) -> None:
        """Stores the stream's own figures."""
        values = (stream.last, stream.delivered, stream.last, stream.bytes, stream.id)
        self._connection.execute(SQL["update_stream"], values)
        stream.unsaved = 0

    def _find_oldest(self, stream: _Stream) -> None:
        oldest = self._one("select_oldest", stream.low, stream.high)
        stream.oldest_ns = oldest[3] if oldest else None

    def _aged(self, stream: _Stream) -> bool:
        limit_ns = int(stream.settings.max_age_s * 1e9)
        return stream.oldest_ns is not None and stream.oldest_ns + limit_ns <= self._age.now_ns()

    def _one(self, statement: str, *values: object) -> Any:
        return self._connection.execute(SQL[statement], values).fetchone()

    # Running actions.

    def _submit(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs an action within a transaction; returns its result once that is on disk."""
        return self._group.submit(functools.partial(action, *args, **kwargs))

    def _run(self, group: Sequence[Work[object]]) -> None:
        """Carries out a group in one transaction; afterwards memory and disk agree, whatever happened."""
        if self._closed:
            raise closed()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for work in group:
                self._attempt(work)
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._undo()
            raise (translate(error, self._path) if isinstance(error, sqlite3.Error) else error) from error
        self._settle()

    def _attempt(self, work: Work[object]) -> None:
        try:
            if self._closed:
                raise closed()
            work.result = work.action()
        except EdgewiseError as error:
            work.error = error

    def _undo(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        for changes in self._blob_changes:
            changes.clear()
        self._load()

    def _settle(self) -> None:
        """Tells everyone concerned what the transaction changed."""
        for stream in self._streams.values():
            stream.durable = stream.last
        held, freed = self._blob_changes
        if self._blobs and (held or freed):
            self._blobs.hold(held)
            self._blobs.let_go(freed - held)
        held.clear()
        freed.clear()
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

    def _append_when_free(self, stream: _Stream, payloads: Sequence[blocks.Payload], size: int) -> range:
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


def _lay_out(log: Path) -> None:
    """Makes the write-ahead log as long as it will get, so that a commit overwrites blocks that are there.

    A sync then has no change of size or allocation to write, which nearly halves it. SQLite ignores what follows the
    last valid frame.
    """
    try:
        with open(log, "ab", buffering=0) as file:
            length = file.tell()
            try:
                file.write(bytes(max(0, _WAL_BYTES + _WAL_BYTES // 4 - length)))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(length)  # leaves the little room there is to the records
                raise
    except OSError as error:
        _log.debug("%s was not laid out, so syncs take longer: %s", log, error)
