"""What the writer knows of each stream, and the actions that change it. Run by the leading thread alone, in groups.

An action refuses before it changes anything, since what it changed is written with the rest of its group. Nothing here
is durable, and nothing is to be told, before the group is on disk; after one that failed all is read anew (``load``).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence

from msgspec import structs

from edgewise._lib.clock import Clock
from edgewise.journal import blocks, custody, retention
from edgewise.journal.base import Batch, Missing, Packed, Pointer, Reason, Standing, StreamSettings, Totals, WhenFull
from edgewise.journal.codec import Codec, Payload
from edgewise.journal.cursors import Cursor
from edgewise.journal.database import Database
from edgewise.journal.ledger import Ledger
from edgewise.journal.refusals import custody_full, never_claimed, not_so_far, too_many_streams
from edgewise.journal.store import BlockStore

_MAX_STREAMS = 1 << 17


class Stream:
    """What the writer knows of one stream. ``durable`` is ``last`` as of the newest group that is on disk; everything
    up to ``floor`` was removed by retention. ``key`` is what it is called where a stream's name is asked for.
    """

    __slots__ = (
        "bytes",
        "consumers",
        "delivered",
        "durable",
        "floor",
        "held",
        "id",
        "key",
        "last",
        "name",
        "node",
        "oldest_ns",
        "settings",
    )

    def __init__(self, number: int, node: str, name: str, *, settings: StreamSettings, own: str) -> None:
        self.id = number
        self.node = node
        self.name = name
        self.settings = settings
        self.key = custody.key_at(node, name, own=own)
        self.held = node != own
        self.last = 0
        self.durable = 0
        self.floor = 0
        self.delivered = 0
        self.bytes = 0
        self.oldest_ns: int | None = None
        self.consumers: dict[str, Cursor] = {}

    @property
    def done(self) -> int:
        """Every consumer is done with the records up to here; 0 when there is none."""
        return min((cursor.acked for cursor in self.consumers.values()), default=0)


class Actions:
    """All streams of a journal.

    Args:
        database: The journal's.
        store: Its blocks.
        codec: Writes and reads them.
        clock: Time.
        node: The name of this node.
        streams: Bounds of the node's own streams.
        held: Bounds of a stream of another node, by the stream's name.
        held_bytes: Bound of all those together.

    Attributes:
        streams: By the names they are asked for.
        touched: Streams whose end the group under way has moved.
        released: Counts what may have made room for appends that wait.
        identity: See ``base.Custody``.
    """

    def __init__(
        self,
        database: Database,
        store: BlockStore,
        *,
        codec: Codec,
        clock: Clock,
        node: str,
        streams: Mapping[str, StreamSettings],
        held: Callable[[str], StreamSettings],
        held_bytes: int,
    ) -> None:
        self._database = database
        self._ledger = Ledger(database, clock)
        self._store = store
        self._codec = codec
        self._clock = clock
        self._node = node
        self._settings = dict(streams)
        self._held = held
        self._held_bound = held_bytes
        self._held_bytes = 0
        self.streams: dict[str, Stream] = {}
        self.touched: set[Stream] = set()
        self.released = 0
        database.change_each("insert_stream", [(node, name) for name in streams])
        if not database.one("select_identity")[0]:
            database.change("update_identity", secrets.token_hex(16))
        database.commit()
        self.identity: str = database.one("select_identity")[0]
        self._age = retention.AgeClock(clock, *self.load())

    def load(self) -> tuple[int, int]:
        """Reads everything from the disk; returns the newest age and wall clock found there."""
        stamps = [(0, 0)]
        streams: dict[str, Stream] = {}
        for number, node, name, last, delivered, floor in self._database.all("select_every_stream"):
            settings = self._settings.get(name, StreamSettings()) if node == self._node else self._held(name)
            fresh = Stream(number, node, name, settings=settings, own=self._node)
            stream = streams[fresh.key] = self.streams.get(fresh.key, fresh)
            index = self._store.index(number)
            stream.delivered, stream.floor = delivered, floor
            stream.last = stream.durable = max(last, self._store.known(number))
            stream.bytes = index.size
            stamps += [index.runs[-1].stamp] if index.runs else []
            self._find_oldest(stream)
            stream.consumers = self._load_consumers(stream)
        self.streams = streams
        self.streams = streams
        self._held_bytes = sum(stream.bytes for stream in self.streams.values() if stream.held)
        self.touched.clear()
        return max(stamps)

    def carry_over(self, number: int, first: int, last: int) -> None:
        """Accounts for a damaged block of a journal of the first format."""
        self._lose(self._numbered(number), first, last)

    def reconcile(self) -> None:
        """Accounts for sequences that were given and that nothing shows: what was damaged beyond recognition."""
        for stream in self.streams.values():
            for first, last in list(self._store.gaps(stream.id, stream.floor, stream.last)):
                self._lose(stream, first, last)

    def heal(self) -> None:
        """Strikes out what the store found damaged."""
        damaged, self._store.damaged[:] = list(self._store.damaged), ()
        for number, first in damaged:
            self.strike_out(self._numbered(number), first)

    def finish(self) -> None:
        """Stores each stream's figures, so that a lost end of the log shows when it is opened again."""
        for stream in self.streams.values():
            self._save(stream)

    # Appending.

    def accept(self, stream: Stream, payloads: Sequence[Payload], size: int) -> range | None:
        """Stores payloads; None when the stream is full and its policy is to block."""
        first = stream.last + 1
        if self.make_room(stream, size):
            for payload in payloads:
                self._insert(stream, payload)
        elif stream.settings.when_full is WhenFull.BLOCK:
            return None
        else:
            last = stream.last + sum(payload.records for payload in payloads)
            self._miss(stream, last, Reason.FULL)
        return range(first, stream.last + 1)

    def make_room(self, stream: Stream, incoming: int) -> bool:
        """Removes what retention says; whether the incoming bytes fit then."""
        if stream.bytes + incoming <= stream.settings.max_bytes and not self.aged(stream):
            return True
        verdict = self._decide(stream, stream.settings, incoming)
        self._let_go(stream, verdict)
        return verdict.fits

    def aged(self, stream: Stream) -> bool:
        """Whether its oldest block is too old."""
        limit_ns = int(stream.settings.max_age_s * 1e9)
        return stream.oldest_ns is not None and stream.oldest_ns + limit_ns <= self._age.now_ns()

    def strike_out(self, stream: Stream, first: int) -> bool:
        """Removes a block that is damaged, if it still is when read again; whether it was."""
        place = next(self._store.index(stream.id).places(first), None)
        if not place or place.first != first or self._codec.sound(self._store.fetch(stream.id, place)):
            return False
        self._store.strike(stream.id, place)
        self._account(stream, retention.Run(first, place.last, Reason.CORRUPT))
        self._shrink(stream, place.size)
        self._save(stream)
        return True

    # Consumers.

    def lend(self, stream: Stream, consumer: str, limit: int) -> Cursor | None:
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
            self._ledger.enter(stream.id, consumer, retention.Run(first, first, Reason.DEAD_LETTER))
            cursor = cursor.skip(first)
            self._keep(stream, consumer, cursor)
        return None

    def acknowledge(self, stream: Stream, consumer: str, through: int) -> None:
        """See ``base.Journal.ack``."""
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

    def release(self, stream: Stream, consumer: str) -> None:
        """See ``base.Consumers``."""
        if cursor := stream.consumers.get(consumer):
            self._keep(stream, consumer, cursor.release())

    def forget(self, stream: Stream, consumer: str) -> None:
        """See ``base.Consumers``."""
        if stream.consumers.pop(consumer, None):
            self._database.change("delete_consumer", stream.id, consumer)
            self._database.change("delete_losses", stream.id, consumer)
            self.released += 1

    # Custody.

    def follow(self, stream: Stream, consumer: str) -> int:
        """See ``base.Custody``."""
        cursor = stream.consumers.get(consumer) or self._register(stream, consumer)
        return cursor.acked

    def advance(self, consumer: str, ends: Sequence[tuple[Stream, int]]) -> None:
        """See ``base.Custody.advance_each``."""
        for stream, through in ends:
            if through > stream.last:
                raise not_so_far(stream.key, through, last=stream.last)
        for stream, through in ends:
            cursor = stream.consumers.get(consumer) or self._register(stream, consumer)
            if through > cursor.acked:
                kept = self._store.index(stream.id).count(after=cursor.acked, through=through)
                self._keep(stream, consumer, cursor.advance(through, kept=kept))

    def missing(self, stream: Stream, consumer: str, after: int, through: int) -> list[Missing]:
        """What the ledger tells a follower of sequences past ``after``, up to ``through``."""
        rows = self._database.all("select_missing", stream.id, consumer, after, through)
        return [Missing(first, last, Reason(reason)) for first, last, reason in rows]

    def pointers(self, digests: Sequence[str]) -> list[list[Pointer]]:
        """See ``base.Pointers``."""
        streams = {stream.id: stream for stream in self.streams.values()}
        return [
            [
                Pointer(streams[number].node, streams[number].name, first)
                for number, first in self._store.pointers(digest).items()
                if number in streams
            ]
            for digest in digests
        ]

    def standing(self, stream: Stream, follower: str) -> Standing:
        """See ``base.Counting``."""
        if not follower:
            kept = self._store.index(stream.id).count(after=0, through=stream.last)
            dropped = int(self._database.one("sum_dropped_of", stream.id)[0])
            return Standing(stream.node, stream.name, stream.last, 0, stream.delivered + kept, dropped)
        cursor = stream.consumers.get(follower)
        acked, last = cursor.acked if cursor else 0, stream.last
        if acked == last:
            return Standing(stream.node, stream.name, last, acked, 0, 0)
        told = self.missing(stream, follower, acked, last)
        pending = self._store.index(stream.id).count(after=acked, through=last)
        dropped = custody.count_missing(told, after=acked, through=last)
        return Standing(stream.node, stream.name, last, acked, pending, dropped)

    def totals(self) -> Totals:
        """See ``base.Counting``."""
        kept = sum(stream.bytes for stream in self.streams.values())
        return Totals(kept, int(self._database.one("sum_dropped")[0]))

    def take(self, batches: Sequence[Batch], payloads: Mapping[Packed, Payload]) -> None:
        """Stores records of other nodes: all of them or none.

        Args:
            batches: Checked.
            payloads: What each of their packed records becomes.
        """
        fresh = []
        for batch in batches:
            stream = self.streams.get(custody.key_of(batch.node, batch.stream))
            if parts := custody.admit(batch, mark=stream.last if stream else 0):
                fresh.append((batch, parts))
        sizes = [sum(payloads[part].size for part in parts if isinstance(part, Packed)) for _, parts in fresh]
        streams = [self._custody(batch.node, batch.stream) for batch, _ in fresh]
        if not self._make_held_room(streams, sizes):
            raise custody_full(limit=self._held_bound)
        for stream, (_, parts) in zip(streams, fresh, strict=True):
            for part in parts:
                if isinstance(part, Packed):
                    self._insert(stream, payloads[part])
                else:
                    self._miss(stream, part.last, part.reason)

    def _custody(self, node: str, name: str) -> Stream:
        key = custody.key_of(node, name)
        if key not in self.streams:
            if len(self.streams) >= _MAX_STREAMS:
                raise too_many_streams(limit=_MAX_STREAMS)
            self._database.change("insert_stream", node, name)
            number = self._database.one("select_stream", node, name)[0]
            self.streams[key] = Stream(number, node, name, settings=self._held(name), own=self._node)
        return self.streams[key]

    def _make_held_room(self, streams: Sequence[Stream], sizes: Sequence[int]) -> bool:
        if not all(self.make_room(stream, size) for stream, size in zip(streams, sizes, strict=True)):
            return False
        excess = self._held_bytes + sum(sizes) - self._held_bound
        if excess > 0:
            largest = sorted((each for each in self.streams.values() if each.held), key=lambda each: -each.bytes)
            for stream in largest:
                before = stream.bytes
                lower = structs.replace(stream.settings, max_bytes=max(0, stream.bytes - excess))
                self._let_go(stream, self._decide(stream, lower, 0))
                excess -= before - stream.bytes
                if excess <= 0:
                    break
        return excess <= 0

    # Parts of actions.

    def _decide(self, stream: Stream, settings: StreamSettings, incoming: int) -> retention.Verdict:
        return retention.decide(
            self._store.index(stream.id).heads(),
            settings,
            kept_bytes=stream.bytes,
            incoming=incoming,
            now_ns=self._age.now_ns(),
            done=stream.done,
        )

    def _let_go(self, stream: Stream, verdict: retention.Verdict) -> None:
        if verdict.drops:
            self._drop(stream, verdict.drops)
        if verdict.thinned:
            self._thin(stream, verdict.thinned)
        if verdict.drops or verdict.thinned:
            self._save(stream)

    def _insert(self, stream: Stream, payload: Payload) -> None:
        key, last = blocks.position(stream.id, stream.last + 1), stream.last + payload.records
        aged_ns = self._age.now_ns()
        block = self._codec.block(payload, key, last=last, time_ns=self._clock.time_ns(), aged_ns=aged_ns)
        self._store.stage(block, payload.digests)
        self._reach(stream, last)
        self._grow(stream, payload.size)
        if stream.oldest_ns is None:
            stream.oldest_ns = aged_ns

    def _miss(self, stream: Stream, last: int, reason: Reason) -> None:
        """Moves a stream's end to ``last``, with nothing to show for it."""
        first = stream.last + 1
        self._reach(stream, last)
        self._account(stream, retention.Run(first, last, reason))
        self._store.add_hole(stream.id, first, last)
        self._save(stream)

    def _reach(self, stream: Stream, last: int) -> None:
        stream.last = last
        self.touched.add(stream)

    def _grow(self, stream: Stream, size: int) -> None:
        stream.bytes += size
        if stream.held:
            self._held_bytes += size

    def _shrink(self, stream: Stream, size: int) -> None:
        self._grow(stream, -size)
        self._find_oldest(stream)

    def _drop(self, stream: Stream, drops: Sequence[retention.Drop]) -> None:
        stream.floor = drops[-1].head.last
        self._store.drop(stream.id, [drop.head for drop in drops])
        for run in retention.runs(drops):
            self._account(stream, run)
        self._shrink(stream, sum(drop.head.size for drop in drops))

    def _thin(self, stream: Stream, heads: Sequence[retention.Head]) -> None:
        """Removes blocks from between others; none of them is done, since what is done goes first."""
        runs = [(run.first, run.last) for run in retention.runs(retention.Drop(head, Reason.THINNED) for head in heads)]
        for name, cursor in stream.consumers.items():
            missed = [(max(first, cursor.acked + 1), last) for first, last in runs if last > cursor.acked]
            self._ledger.enter_thinned(stream.id, name, missed)
        self._ledger.enter_thinned(stream.id, "", runs)
        self._store.thin(stream.id, heads, runs)
        self._shrink(stream, sum(head.size for head in heads))

    def _lose(self, stream: Stream, first: int, last: int) -> None:
        """Accounts for records that were found missing or damaged without a block to strike out."""
        self._account(stream, retention.Run(first, last, Reason.CORRUPT))
        self._store.lose(stream.id, first, last)
        self._save(stream)

    def _account(self, stream: Stream, run: retention.Run) -> None:
        """Enters removed records in the ledger, for each consumer that waited for them and for the stream itself."""
        for name, cursor in stream.consumers.items():
            self._ledger.enter(stream.id, name, run._replace(first=max(run.first, cursor.acked + 1)))
        lost = run._replace(first=max(run.first, stream.done + 1))
        self._ledger.enter(stream.id, "", lost)
        stream.delivered += min(lost.first, run.last + 1) - run.first

    def _next(self, stream: Stream, cursor: Cursor, limit: int) -> tuple[int, int] | None:
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

    def _register(self, stream: Stream, consumer: str) -> Cursor:
        index = self._store.index(stream.id)
        start = index.oldest.first - 1 if index.oldest else stream.last
        kept = index.count(after=start, through=stream.last)
        cursor = Cursor(start, missed=stream.last - start - kept, acked=start)
        self._keep(stream, consumer, cursor)
        return cursor

    def _keep(self, stream: Stream, consumer: str, cursor: Cursor) -> None:
        """Stores where a consumer stands."""
        stream.consumers[consumer] = cursor
        left = cursor.lease_until - self._clock.monotonic()
        until_ns = self._clock.time_ns() + int(left * 1e9) if left > 0 else 0
        values = (cursor.start, cursor.missed, cursor.acked, cursor.delivered)
        lease = (cursor.lent_first, cursor.lent, cursor.attempts, until_ns)
        self._database.change("upsert_consumer", stream.id, consumer, *values, *lease)
        self.released += 1

    def _save(self, stream: Stream) -> None:
        """Stores the stream's own figures."""
        self._database.change("update_stream", stream.last, stream.delivered, stream.floor, stream.id)

    def _find_oldest(self, stream: Stream) -> None:
        oldest = self._store.index(stream.id).oldest
        stream.oldest_ns = oldest.aged_ns if oldest else None

    def _load_consumers(self, stream: Stream) -> dict[str, Cursor]:
        wall, now = self._clock.time_ns(), self._clock.monotonic()
        consumers = {}
        for name, *fields, until_ns in self._database.all("select_consumers", stream.id):
            left = min(max(0.0, (until_ns - wall) / 1e9), stream.settings.lease_s)  # the wall clock may have jumped
            consumers[name] = structs.replace(Cursor(*fields), lease_until=now + left)
        return consumers

    def _numbered(self, number: int) -> Stream:
        return next(stream for stream in self.streams.values() if stream.id == number)
