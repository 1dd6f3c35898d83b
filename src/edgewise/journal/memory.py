"""A journal that keeps nothing on disk: for tests, simulators and nodes that may forget.

It keeps every promise of ``base`` but durability, with plain lists under one lock, and decides by the same pure code
(``retention``, ``cursors``) as the durable one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from edgewise._lib.clock import Clock, SystemClock
from edgewise.journal import blocks, retention
from edgewise.journal.base import Balance, Claim, Loss, Reason, StreamSettings, WhenFull
from edgewise.journal.blobs import BlobStore
from edgewise.journal.codec import Codec, Payload
from edgewise.journal.cursors import Cursor
from edgewise.journal.refusals import check_claim, closed, never_claimed, stream_full, too_large, unknown_stream
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
    """

    def __init__(
        self,
        *,
        node: str,
        streams: Mapping[str, StreamSettings],
        clock: Clock | None = None,
        blobs: BlobStore | None = None,
    ) -> None:
        self._node = node
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
            target = self._stream(stream)
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
            self._changed.notify_all()
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
            raise unknown_stream(name, self._streams)
        return self._streams[name]

    def _take(self, stream: _Stream, payload: Payload, *, keep: bool) -> None:
        first, last = stream.last + 1, stream.last + payload.records
        stream.last = last
        if not keep:
            self._account(stream, retention.Run(first, last, Reason.FULL))
            return
        times = {"time_ns": self._clock.time_ns(), "aged_ns": self._age.now_ns()}
        stream.kept.append(_codec.block(payload, blocks.position(0, first), last=last, **times))
        if self._blobs:
            self._blobs.hold(payload.digests)

    def _make_room(self, stream: _Stream, incoming: int) -> bool:
        heads = [retention.Head(block.first, block.last, block.aged_ns, block.size) for block in stream.kept]
        drops, fits = retention.decide(
            heads,
            stream.settings,
            kept_bytes=sum(head.size for head in heads),
            incoming=incoming,
            now_ns=self._age.now_ns(),
            done=stream.done,
        )
        gone = (
            {digest for record in stream.records(through=drops[-1].head.last) for digest in record.blobs}
            if drops
            else set()
        )
        del stream.kept[: len(drops)]
        for run in retention.runs(drops):
            self._account(stream, run)
        if self._blobs and gone:
            streams = self._streams.values()
            self._blobs.let_go(gone.difference(*(record.blobs for each in streams for record in each.records())))
        return fits

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
            stream.losses.append(Loss(self._node, stream.name, consumer, *values))

    def _balances(self, stream: _Stream) -> Iterator[Balance]:
        def dropped(consumer: str, start: int) -> int:
            return sum(loss.count for loss in stream.losses if loss.consumer == consumer and loss.first > start)

        def pending(acked: int) -> int:
            return sum(1 for _ in stream.records(after=acked))

        name = stream.name
        yield Balance(self._node, name, "", stream.last, stream.delivered, pending(0), dropped("", 0))
        for consumer, cursor in sorted(stream.consumers.items()):
            produced = stream.last - cursor.start - cursor.missed
            counts = (produced, cursor.delivered, pending(cursor.acked), dropped(consumer, cursor.start))
            yield Balance(self._node, name, consumer, *counts)
