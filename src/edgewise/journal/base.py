"""The seam of the journal: durable, bounded, ordered streams of records.

Promises, kept by every adapter and checked by ``edgewise.testing.journal.JournalContract``:

* *Accepted means on disk.* When ``append`` returns, the entries survive SIGKILL and power loss (adapters that keep
  nothing on disk say so). Appends from many threads share one sync (group commit).
* *Order.* A stream's sequences start at 1, have no gaps, and are handed out in order.
* *Bounded.* A stream keeps at most its bytes and age (measured at each append to it and by ``Upkeep.retain``). What is
  removed before every consumer acknowledged it stands in the loss ledger, with its reason. Age follows the monotonic
  clock, so a wall clock that jumps neither expires records nor keeps them.
* *Consumers* register by their first claim and see from the oldest record kept then. From there on nothing is hidden
  from them: they get each record at least once, or the ledger tells why not.
* *The balance.* For each consumer of a stream: produced = delivered + pending + dropped, each side counted on its own:
  *produced* from the sequences given, *delivered* as records are acknowledged, *pending* from the stored records,
  *dropped* from the ledger.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from edgewise.types import Entry, Record


class WhenFull(enum.StrEnum):
    """What a stream does with new entries when its bytes are used up."""

    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    BLOCK = "block"
    THIN = "thin"


class Reason(enum.StrEnum):
    """Why records were dropped. ``thinned``: to make room, with others kept before and behind. ``gone``: they were no
    longer kept when another node was to take them.
    """

    FULL = "full"
    THINNED = "thinned"
    EXPIRED = "expired"
    DEAD_LETTER = "dead_letter"
    CORRUPT = "corrupt"
    GONE = "gone"


class StreamSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of one stream.

    Attributes:
        max_bytes: Encoded bytes kept.
        max_age_s: Seconds kept.
        when_full: What happens to new entries at ``max_bytes``, once all records that every consumer acknowledged are
            gone. ``drop_newest`` gives them sequences and tells the ledger, but does not keep them. ``block`` waits up
            to ``block_timeout_s``, then raises StorageFullError. ``thin`` makes old records sparser, the older the
            sparser, from the very first one on; the newest half of the bytes stays whole. What one append stored stays
            or goes together.
        block_timeout_s: See ``when_full``.
        max_attempts: Claims of one record before it is dead: not lent again, and told in the ledger as ``dead_letter``.
        lease_s: Seconds a claim is held before another may take the records; each acknowledgement of a part renews it.
    """

    max_bytes: int = 256 * 1024 * 1024
    max_age_s: float = 30 * 86400.0
    when_full: WhenFull = WhenFull.DROP_OLDEST
    block_timeout_s: float = 5.0
    max_attempts: int = 10
    lease_s: float = 60.0


class Claim(msgspec.Struct, frozen=True):
    """Records lent to a consumer, in order; ``attempts`` counts how often the first of them was lent, this time
    included. Each retry lends half as many, so that one bad record in the end stands alone.
    """

    consumer: str
    stream: str
    records: tuple[Record, ...]
    attempts: int

    @property
    def last(self) -> int:
        """The sequence to acknowledge when all are done."""
        return self.records[-1].sequence


class Loss(msgspec.Struct, frozen=True):
    """One line of the loss ledger: sequences ``first``..``last`` of a stream, ``count`` of them, are gone.

    A line with a consumer says what that one missed. The lines with an empty ``consumer`` are the stream's own: what it
    removed before every consumer had acknowledged it (which is all it removes while it has no consumer).
    """

    node: str
    stream: str
    consumer: str
    first: int
    last: int
    count: int
    reason: Reason
    time_ns: int


class Balance(msgspec.Struct, frozen=True):
    """The audit of one stream as one consumer sees it: what was produced since it registered (what was kept then
    included). ``consumer`` empty: the stream's own storage, where *pending* are the records kept and *delivered* those
    removed after every consumer acknowledged them.
    """

    node: str
    stream: str
    consumer: str
    produced: int
    delivered: int
    pending: int
    dropped: int

    @property
    def balanced(self) -> bool:
        """Whether every record is accounted for."""
        return self.produced == self.delivered + self.pending + self.dropped


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """Records ``first``..``last`` of a stream, without a gap, as they travel (``journal.packed``)."""

    first: int
    last: int
    content: bytes


class Missing(msgspec.Struct, frozen=True, array_like=True):
    """Sequences ``first``..``last`` of a stream, of which there are no records any more, and why."""

    first: int
    last: int
    reason: Reason


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """A stretch of a stream on its way to another node: what there is and what is missing, together without a gap."""

    node: str
    stream: str
    packed: tuple[Packed, ...]
    missing: tuple[Missing, ...] = ()

    @property
    def last(self) -> int:
        """Its last sequence."""
        ends = [part.last for part in self.packed] + [part.last for part in self.missing]
        return max(ends)


class Pointer(msgspec.Struct, frozen=True):
    """Records of a stream point to a blob; the oldest of them stands at ``sequence``, or a little behind it."""

    node: str
    stream: str
    sequence: int


class StreamState(msgspec.Struct, frozen=True, array_like=True):
    """How far a stream goes: its newest sequence that is on disk."""

    node: str
    stream: str
    last: int


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """Where a follower stands in a stream, each figure counted on its own from what is stored.

    Attributes:
        node: Whose stream it is.
        stream: Its name there.
        last: Its newest sequence here.
        acked: The follower has it up to here.
        pending: Records kept past that.
        dropped: Sequences past that of which the ledger says that there are no records any more.
    """

    node: str
    stream: str
    last: int
    acked: int
    pending: int
    dropped: int

    @property
    def balanced(self) -> bool:
        """Whether all that the follower does not have is accounted for."""
        return self.last - self.acked == self.pending + self.dropped


class Totals(msgspec.Struct, frozen=True):
    """Of all streams together: encoded bytes kept, and records dropped before every consumer had them."""

    bytes: int
    dropped: int


class Journal(Protocol):
    """Streams of records. Safe for threads."""

    def append(self, stream: str, entries: Sequence[Entry]) -> range:
        """Accepts entries, all or none; returns their sequences once they are durable.

        Raises:
            StorageFullError: The disk is full, or the stream is and its policy is to block.
            TooLargeError: One entry is larger than the journal takes, or all are larger than the stream.
            InputError: An entry that cannot be encoded.
            NotFoundError: The settings name no such stream.
            ClosedError: The journal was closed.
        """
        ...

    def read(
        self, stream: str, *, after: int = 0, before: int = 0, limit: int = 100, newest_first: bool = False
    ) -> list[Record]:
        """Records with ``after < sequence`` (and ``sequence < before`` unless it is 0), at most ``limit``."""
        ...

    def claim(self, stream: str, consumer: str, *, limit: int = 100) -> Claim | None:
        """Lends a consumer the next records it has not acknowledged; None when there are none or a lease is held.

        The first claim registers the consumer. A lease outlives a restart by at most its own length.
        """
        ...

    def ack(self, stream: str, consumer: str, through: int) -> None:
        """Acknowledges all records up to ``through``; they will not be claimed again by this consumer.

        Acknowledging a part of a claim keeps and renews the lease on the rest; doing it twice does no harm.

        Raises:
            ConflictError: They were not claimed.
        """
        ...

    def audit(self) -> list[Balance]:
        """Counts every stream and consumer anew from what is stored."""
        ...

    def close(self) -> None:
        """Finishes what was begun and releases the files."""
        ...


class LossLedger(Protocol):
    """Optional ability: reading the loss ledger."""

    def losses(self, stream: str = "") -> list[Loss]:
        """The ledger, oldest first; of one stream when named."""
        ...


class Followable(Protocol):
    """Optional ability: waiting for new records without asking again and again."""

    def wait(self, stream: str, *, after: int, timeout_s: float) -> int:
        """Waits until the stream holds a sequence past ``after``; returns the newest one (``<= after`` on a timeout).

        Blocks its thread and costs no processor time. ``read(stream, after=after)`` then returns at once.

        Raises:
            ClosedError: The journal was closed, also while waiting.
        """
        ...


class Consumers(Protocol):
    """Optional ability: managing consumers."""

    def release(self, stream: str, consumer: str) -> None:
        """Gives a claim back before its lease ends; the attempt stays counted. A no-op when nothing is lent."""
        ...

    def forget(self, stream: str, consumer: str) -> None:
        """Removes a consumer that will not come back, and its lines of the ledger; records no longer wait for it.

        If it does come back, it is new: it sees from the oldest record kept. The stream's own lines stay.
        """
        ...


class Upkeep(Protocol):
    """Optional ability: what a node does now and then."""

    def retain(self) -> None:
        """Removes what is too old in streams that nobody appends to."""
        ...

    def verify(self) -> int:
        """Reads and checks everything; damaged blocks go to the ledger as ``corrupt``. Returns how many there were."""
        ...


class Pointers(Protocol):
    """Optional ability: telling which records a blob is kept for."""

    def pointers(self, digests: Sequence[str]) -> list[list[Pointer]]:
        """For each of these blobs the streams whose kept records point to it."""


class Counting(Protocol):
    """Optional ability: counting a part of what ``audit`` counts, for who asks often."""

    def standings(self, streams: Sequence[str], follower: str) -> list[Standing]:
        """Where a follower stands in each of the streams; one that never came stands at 0.

        With an empty name, of each stream as a whole, where it goes no further: *pending* are then all records that
        came and were not dropped, also those let go since.
        """
        ...

    def totals(self) -> Totals:
        """Of all streams together."""
        ...


class Custody(Protocol):
    """Optional ability: handing records to another node, and keeping those of others.

    A stream of another node is kept under that node's name and sequences. Where a stream's name is asked for it is
    called ``node/stream``; it can be read, claimed and acknowledged as any other, but not appended to.

    Whoever hands records on *follows* a stream: a consumer that claims nothing, since the receiver remembers how far it
    got, and so never loses a record as a dead letter.
    """

    @property
    def identity(self) -> str:
        """Made with the journal, and another one when it is made anew: sequences then start from 1 again."""
        ...

    def streams(self) -> list[StreamState]:
        """All streams, the node's own first."""
        ...

    def mark(self, node: str, stream: str) -> int:
        """How far a node's stream goes here; 0 where there is none."""
        ...

    def follow(self, stream: str, consumer: str) -> int:
        """Registers a follower, as the first claim does a consumer; returns how far it got."""
        ...

    def advance(self, stream: str, consumer: str, through: int) -> None:
        """Acknowledges all records up to ``through``; a no-op when they are.

        Raises:
            ConflictError: The stream does not go as far.
        """
        ...

    def advance_each(self, consumer: str, through: Mapping[str, int]) -> None:
        """Like ``advance`` for many streams at once, at the cost of one: all of them or none."""
        ...

    def give(self, stream: str, consumer: str, *, after: int, max_bytes: int) -> Batch | None:
        """What a receiver that has everything up to ``after`` is to have next; None when there is nothing.

        Packed, about ``max_bytes``, at least one part. What is missing comes with the reason that the ledger gives the
        follower.
        """
        ...

    def take(self, batches: Sequence[Batch]) -> None:
        """Accepts records of other nodes, all or none; once it returns they are durable. What was taken before is
        recognised and passed over.

        Raises:
            InputError: They are not what a child may send, or cannot be read.
            ConflictError: A batch does not join on; the fact ``expected`` says what comes next.
            StorageFullError: There is no room beside what still waits for a consumer.
        """
        ...

    def news(self, seen: int, *, timeout_s: float) -> int:
        """Waits until anything was accepted since ``seen`` (0 at first) was returned; returns a new such number, or
        the same on a timeout.

        Raises:
            ClosedError: The journal was closed, also while waiting.
        """
        ...
