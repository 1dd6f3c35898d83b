"""A journal that keeps nothing on disk: for tests, simulators and nodes that may forget.

It keeps every promise of ``base`` but durability, with plain lists under one lock, and decides by the same pure code
(``retention``, ``cursors``) as the durable one.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from msgspec.structs import replace

from edgewise._lib.clock import Clock, SystemClock
from edgewise.journal import blocks, custody, retention
from edgewise.journal.base import (
    Balance,
    Batch,
    Claim,
    Loss,
    Missing,
    Packed,
    Reason,
    Standing,
    StreamSettings,
    StreamState,
    Totals,
    WhenFull,
)
from edgewise.journal.blobs import BlobStore
from edgewise.journal.codec import Codec, Payload
from edgewise.journal.cursors import Cursor
from edgewise.journal.refusals import (
    check_claim,
    closed,
    custody_full,
    never_claimed,
    not_appended_to,
    not_so_far,
    stream_full,
    too_large,
    unknown_stream,
)
from edgewise.types import Entry, Record

_codec = Codec()


class _Stream:
    def __init__(self, node: str, name: str, settings: StreamSettings) -> None:
        self.node = node
        self.name = name
        self.settings = settings
        self.last = 0
        self.delivered = 0
        self.kept: list[blocks.Block] = []
        self.consumers: dict[str, Cursor] = {}
        self.losses: list[Loss] = []

    @property
    def done(self) -> int:
        return min((cursor.acked for cursor in self.consumers.values()), default=0)

    @property
    def size(self) -> int:
        return sum(block.size for block in self.kept)

    @property
    def heads(self) -> list[retention.Head]:
        return [retention.Head(block.first, block.last, block.aged_ns, block.size) for block in self.kept]

    def records(self, *, after: int = 0, through: int = blocks.MAX_SEQUENCE) -> Iterator[Record]:
        for block in self.kept:
            if block.last > after and block.first <= through:
                records = _codec.decode(block, node=self.node, stream=self.name)
                yield from (record for record in records if after < record.sequence <= through)


class MemoryJournal:
    """``base.Journal`` with all optional abilities, in memory.

    Args:
        node: Name of this node; it stands in every record.
        streams: Bounds of each stream.
        clock: Time; the machine's own by default.
        blobs: The store whose blobs the records point to; it is told which of them are still needed.
        held: Bounds of a stream of another node, by the stream's name; by default records are kept until every consumer
            is done with them.
        held_bytes: Bound of all streams of other nodes together.
    """

    def __init__(
        self,
        *,
        node: str,
        streams: Mapping[str, StreamSettings],
        clock: Clock | None = None,
        blobs: BlobStore | None = None,
        held: Callable[[str], StreamSettings] | None = None,
        held_bytes: int = 2 << 30,
    ) -> None:
        self.identity = secrets.token_hex(16)
        self._node = node
        self._held = held or (lambda _: StreamSettings(when_full=WhenFull.BLOCK))
        self._held_bytes = held_bytes
        self._news = 1
        self._clock = clock or SystemClock()
        self._age = retention.AgeClock(self._clock)
        self._blobs = blobs
        self._streams = {name: _Stream(node, name, settings) for name, settings in streams.items()}
        self._changed = threading.Condition()
        self._closed = False

    def append(self, stream: str, entries: Sequence[Entry]) -> range:
        """See ``base.Journal``."""
        payloads = _codec.encode(entries) if entries else []
        size = sum(payload.size for payload in payloads)
        with self._changed:
            target = self._own(stream)
            if size > target.settings.max_bytes:
                raise too_large(stream, size, limit=target.settings.max_bytes)
            deadline = time.monotonic() + target.settings.block_timeout_s
            while not (fits := self._make_room(target, size)) and target.settings.when_full is WhenFull.BLOCK:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise stream_full(stream, limit=target.settings.max_bytes)
                self._stream(stream)
            first = target.last + 1
            for payload in payloads:
                self._take(target, payload, keep=fits)
            self._tell()
            return range(first, target.last + 1)

    def read(
        self, stream: str, *, after: int = 0, before: int = 0, limit: int = 100, newest_first: bool = False
    ) -> list[Record]:
        """See ``base.Journal``."""
        with self._changed:
            through = before - 1 if before else blocks.MAX_SEQUENCE
            records = list(self._stream(stream).records(after=after, through=through))
        return records[: -limit - 1 : -1] if newest_first else records[:limit]

    def claim(self, stream: str, consumer: str, *, limit: int = 100) -> Claim | None:
        """See ``base.Journal``."""
        check_claim(consumer, limit)
        with self._changed:
            target = self._stream(stream)
            cursor = target.consumers.get(consumer) or self._register(target)
            target.consumers[consumer] = cursor
            now = self._clock.monotonic()
            while not cursor.leased(now) and (first := next(target.records(after=cursor.acked), None)):
                if cursor.dead(first.sequence, max_attempts=target.settings.max_attempts):
                    self._enter(target, consumer, retention.Run(first.sequence, first.sequence, Reason.DEAD_LETTER))
                    target.consumers[consumer] = cursor = cursor.skip(first.sequence)
                    continue
                share = cursor.share(first.sequence, limit=limit)
                lent = tuple(islice(target.records(after=cursor.acked), share))
                until = now + target.settings.lease_s
                cursor = cursor.lend(first.sequence, lent[-1].sequence, lease_until=until)
                target.consumers[consumer] = cursor
                return Claim(consumer, stream, lent, cursor.attempts)
            return None

    def ack(self, stream: str, consumer: str, through: int) -> None:
        """See ``base.Journal``."""
        with self._changed:
            target = self._stream(stream)
            cursor = target.consumers.get(consumer)
            if not cursor:
                raise never_claimed(stream, consumer)
            cursor.check_lent(through)
            if through > cursor.acked:
                done = sum(record.sequence <= through for record in target.records(after=cursor.acked))
                until = self._clock.monotonic() + target.settings.lease_s
                cursor = cursor.acknowledge(through, kept=done, lease_until=until)
                if not any(record.sequence <= cursor.lent for record in target.records(after=through)):
                    cursor = cursor.release()  # the rest of the claim was dropped meanwhile
                target.consumers[consumer] = cursor
                self._changed.notify_all()

    def release(self, stream: str, consumer: str) -> None:
        """See ``base.Consumers``."""
        with self._changed:
            consumers = self._stream(stream).consumers
            if consumer in consumers:
                consumers[consumer] = consumers[consumer].release()

    def forget(self, stream: str, consumer: str) -> None:
        """See ``base.Consumers``."""
        with self._changed:
            target = self._stream(stream)
            if target.consumers.pop(consumer, None):
                target.losses = [loss for loss in target.losses if loss.consumer != consumer]
            self._changed.notify_all()

    def wait(self, stream: str, *, after: int, timeout_s: float) -> int:
        """See ``base.Followable``."""
        with self._changed:
            target = self._stream(stream)
            self._changed.wait_for(lambda: self._closed or target.last > after, timeout_s)
            return self._stream(stream).last

    def streams(self) -> list[StreamState]:
        """See ``base.Custody``."""
        with self._changed:
            self._check_open()
            streams = sorted(self._streams.values(), key=lambda stream: stream.node != self._node)
            return [StreamState(stream.node, stream.name, stream.last) for stream in streams]

    def mark(self, node: str, stream: str) -> int:
        """See ``base.Custody``."""
        found = self._streams.get(custody.key_at(node, stream, own=self._node))
        return found.last if found else 0

    def follow(self, stream: str, consumer: str) -> int:
        """See ``base.Custody``."""
        check_claim(consumer, 1)
        with self._changed:
            target = self._stream(stream)
            return target.consumers.setdefault(consumer, self._register(target)).acked

    def advance(self, stream: str, consumer: str, through: int) -> None:
        """See ``base.Custody``."""
        self.advance_each(consumer, {stream: through})

    def advance_each(self, consumer: str, through: Mapping[str, int]) -> None:
        """See ``base.Custody``."""
        check_claim(consumer, 1)
        with self._changed:
            ends = [(self._stream(key), last) for key, last in through.items()]
            for target, last in ends:
                if last > target.last:
                    raise not_so_far(target.name, last, last=target.last)
            for target, last in ends:
                cursor = target.consumers.get(consumer) or self._register(target)
                if last > cursor.acked:
                    kept = sum(1 for _ in target.records(after=cursor.acked, through=last))
                    cursor = cursor.advance(last, kept=kept)
                target.consumers[consumer] = cursor
            self._changed.notify_all()

    def give(self, stream: str, consumer: str, *, after: int, max_bytes: int) -> Batch | None:
        """See ``base.Custody``."""
        with self._changed:
            target = self._stream(stream)
            if after >= target.last:
                return None
            kept = [block for block in target.kept if block.last > after]
            packed: list[Packed] = []
            for part in _codec.packed(kept, after=after, node=target.node, stream=target.name, max_bytes=max_bytes):
                if packed and sum(len(each.content) for each in packed) + len(part.content) > max_bytes:
                    break
                packed.append(part)
            told = [
                Missing(loss.first, loss.last, loss.reason) for loss in target.losses if loss.consumer in {consumer, ""}
            ]
            through = packed[-1].last if packed else target.last
            missing = custody.missing(packed, after=after, through=through, told=told)
            return custody.batch(target.node, target.name, packed, missing)

    def take(self, batches: Sequence[Batch]) -> None:
        """See ``base.Custody``."""
        custody.check(batches, node=self._node)
        payloads = {part: _codec.take(part) for batch in batches for part in batch.packed}
        with self._changed:
            self._check_open()
            fresh = []
            for batch in batches:
                known = self._streams.get(custody.key_of(batch.node, batch.stream))
                fresh.append((batch, custody.admit(batch, mark=known.last if known else 0)))
            size = 0
            for batch, parts in fresh:
                incoming = sum(payloads[part].size for part in parts if isinstance(part, Packed))
                size += incoming
                if not self._make_room(self._custody(batch), incoming):
                    raise custody_full(limit=self._held_bytes)
            if not self._make_held_room(size):
                raise custody_full(limit=self._held_bytes)
            for batch, parts in fresh:
                target = self._custody(batch)
                for part in parts:
                    if isinstance(part, Packed):
                        self._take(target, payloads[part], keep=True)
                    else:
                        self._miss(target, part.last, part.reason)
            self._tell()

    def news(self, seen: int, *, timeout_s: float) -> int:
        """See ``base.Custody``."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._news != seen, timeout_s)
            self._check_open()
            return self._news

    def audit(self) -> list[Balance]:
        """See ``base.Journal``."""
        with self._changed:
            self._check_open()
            return [balance for stream in self._streams.values() for balance in self._balances(stream)]

    def losses(self, stream: str = "") -> list[Loss]:
        """See ``base.LossLedger``."""
        with self._changed:
            self._check_open()
            lines = [loss for each in self._streams.values() for loss in each.losses if stream in {"", each.name}]
        return sorted(lines, key=lambda loss: loss.time_ns)

    def standings(self, streams: Sequence[str], follower: str) -> list[Standing]:
        """See ``base.Counting``."""
        with self._changed:
            return [self._standing(self._stream(stream), follower) for stream in streams]

    def totals(self) -> Totals:
        """See ``base.Counting``."""
        with self._changed:
            self._check_open()
            streams = self._streams.values()
            dropped = sum(loss.count for stream in streams for loss in stream.losses if not loss.consumer)
            return Totals(sum(stream.size for stream in streams), dropped)

    def retain(self) -> None:
        """See ``base.Upkeep``."""
        with self._changed:
            self._check_open()
            for stream in self._streams.values():
                self._make_room(stream, 0)

    def verify(self) -> int:
        """See ``base.Upkeep``; memory is trusted."""
        return 0

    def close(self) -> None:
        """See ``base.Journal``."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            raise closed()

    def _stream(self, name: str) -> _Stream:
        self._check_open()
        if name not in self._streams:
            raise unknown_stream(name, [key for key, each in self._streams.items() if each.node == self._node])
        return self._streams[name]

    def _own(self, name: str) -> _Stream:
        found = self._stream(name)
        if found.node != self._node:
            raise not_appended_to(name)
        return found

    def _custody(self, batch: Batch) -> _Stream:
        fresh = _Stream(batch.node, batch.stream, self._held(batch.stream))
        return self._streams.setdefault(custody.key_of(batch.node, batch.stream), fresh)

    def _tell(self) -> None:
        self._news += 1
        self._changed.notify_all()

    def _take(self, stream: _Stream, payload: Payload, *, keep: bool) -> None:
        first, last = stream.last + 1, stream.last + payload.records
        if not keep:
            self._miss(stream, last, Reason.FULL)
            return
        stream.last = last
        times = {"time_ns": self._clock.time_ns(), "aged_ns": self._age.now_ns()}
        stream.kept.append(_codec.block(payload, blocks.position(0, first), last=last, **times))
        if self._blobs:
            self._blobs.hold(payload.digests)

    def _miss(self, stream: _Stream, last: int, reason: Reason) -> None:
        first, stream.last = stream.last + 1, last
        self._account(stream, retention.Run(first, last, reason))

    def _make_room(self, stream: _Stream, incoming: int) -> bool:
        verdict = self._decide(stream, stream.settings, incoming)
        self._let_go(stream, verdict)
        return verdict.fits

    def _make_held_room(self, incoming: int) -> bool:
        held = [stream for stream in self._streams.values() if stream.node != self._node]
        excess = sum(stream.size for stream in held) + incoming - self._held_bytes
        for stream in sorted(held, key=lambda stream: -stream.size):
            if excess > 0:
                before = stream.size
                lower = replace(stream.settings, max_bytes=max(0, before - excess))
                self._let_go(stream, self._decide(stream, lower, 0))
                excess -= before - stream.size
        return excess <= 0

    def _decide(self, stream: _Stream, settings: StreamSettings, incoming: int) -> retention.Verdict:
        return retention.decide(
            stream.heads,
            settings,
            kept_bytes=stream.size,
            incoming=incoming,
            now_ns=self._age.now_ns(),
            done=stream.done,
        )

    def _let_go(self, stream: _Stream, verdict: retention.Verdict) -> None:
        drops = [*verdict.drops, *(retention.Drop(head, Reason.THINNED) for head in verdict.thinned)]
        if not drops:
            return
        firsts = {drop.head.first for drop in drops}
        before = stream.kept
        stream.kept = [block for block in before if block.first not in firsts]
        for run in retention.runs(drops):
            self._account(stream, run)
        if self._blobs:
            removed = [block for block in before if block.first in firsts]
            gone = {digest for block in removed for digest in _codec.digests(block)}
            streams = self._streams.values()
            self._blobs.let_go(gone.difference(*(record.blobs for each in streams for record in each.records())))

    def _register(self, stream: _Stream) -> Cursor:
        start = stream.kept[0].first - 1 if stream.kept else stream.last
        missed = stream.last - start - sum(1 for _ in stream.records(after=start))
        return Cursor(start, missed, acked=start)

    def _account(self, stream: _Stream, run: retention.Run) -> None:
        for name, cursor in stream.consumers.items():
            self._enter(stream, name, run._replace(first=max(run.first, cursor.acked + 1)))
        lost = run._replace(first=max(run.first, stream.done + 1))
        self._enter(stream, "", lost)
        stream.delivered += min(lost.first, run.last + 1) - run.first

    def _enter(self, stream: _Stream, consumer: str, run: retention.Run) -> None:
        count = run.last - run.first + 1
        if count > 0 and run.reason is not None:
            values = (run.first, run.last, count, run.reason, self._clock.time_ns())
            stream.losses.append(Loss(stream.node, stream.name, consumer, *values))

    def _standing(self, stream: _Stream, follower: str) -> Standing:
        if not follower:
            dropped = sum(loss.count for loss in stream.losses if not loss.consumer)
            came = stream.delivered + sum(1 for _ in stream.records())
            return Standing(stream.node, stream.name, stream.last, 0, came, dropped)
        cursor = stream.consumers.get(follower)
        acked, last = cursor.acked if cursor else 0, stream.last
        pending = sum(1 for _ in stream.records(after=acked))
        told = [
            Missing(loss.first, loss.last, loss.reason) for loss in stream.losses if loss.consumer in {follower, ""}
        ]
        dropped = custody.count_missing(told, after=acked, through=last)
        return Standing(stream.node, stream.name, last, acked, pending, dropped)

    def _balances(self, stream: _Stream) -> Iterator[Balance]:
        def dropped(consumer: str, start: int) -> int:
            return sum(loss.count for loss in stream.losses if loss.consumer == consumer and loss.first > start)

        def pending(acked: int) -> int:
            return sum(1 for _ in stream.records(after=acked))

        name = stream.name
        yield Balance(stream.node, name, "", stream.last, stream.delivered, pending(0), dropped("", 0))
        for consumer, cursor in sorted(stream.consumers.items()):
            produced = stream.last - cursor.start - cursor.missed
            counts = (produced, cursor.delivered, pending(cursor.acked), dropped(consumer, cursor.start))
            yield Balance(stream.node, name, consumer, *counts)
