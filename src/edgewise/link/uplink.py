"""Sending records to the parent: a thread that goes on where the parent says it has got.

The node's journal is the queue: nothing is held here but numbers. After each welcome the parent's marks say what is
next, so a lost answer, a restart of either side and a parent that was put back from a copy are all the same case. What
is most urgent goes first in each request. What was taken is acknowledged to the journal, which may let it go from then
on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import msgspec

from edgewise._lib.clock import Clock
from edgewise.errors import ConflictError, StorageFullError
from edgewise.journal.base import Batch, Custody, StreamState
from edgewise.journal.custody import key_at, key_of
from edgewise.link.base import MAX_RECORDS_BYTES, Hello, Records, Taken, UplinkSettings, Welcome
from edgewise.link.budget import Priority, priority_of
from edgewise.link.calling import Calling
from edgewise.link.client import Client
from edgewise.link.reconnect import Reconnect
from edgewise.link.reports import Noted, Telling
from edgewise.link.spending import Spending

T = TypeVar("T")

CONSUMER = "parent"
"""The follower of every stream."""

_REQUEST_BYTES = MAX_RECORDS_BYTES // 4
_LEAST_BYTES = 64 * 1024
_HELD_OFF_S = 10.0
_ASK_AGAIN_S = 60.0  # whether the parent takes now what it refused
_LOOK_S = 0.1  # while readings are gathered, an event is seen this soon
_IDLE_S = 1.0  # an idle link looks whether it was stopped this often

logger = logging.getLogger(__name__)


class UplinkState(msgspec.Struct, frozen=True):
    """What a person may want to know of the link.

    Attributes:
        link: Whether it is there, and why not.
        pending: Records that are still to be sent.
        sent_records: Sent since the node was started.
        sent_bytes: Bytes sent since then.
        used_today: Bytes of today's budget.
        held_off: Streams for which the parent has no room now.
    """

    link: Reconnect
    pending: int
    sent_records: int
    sent_bytes: int
    used_today: int
    held_off: tuple[str, ...] = ()


class Uplink:
    """The sending side of a link.

    Args:
        journal: What is sent.
        node: This node's name.
        version: Of the program.
        connect: Makes a connection to the parent.
        brings: Whether a node is below this one.
        below: All nodes that are.
        settings: How records go up.
        clock: Time.
        random: 0 to 1, for jitter.
        spending: The account of what the link costs.
        told: Called with each welcome.
        telling: Tells how the node is, over the same connection.
    """

    def __init__(
        self,
        journal: Custody,
        *,
        node: str,
        version: str,
        connect: Callable[[], Client],
        brings: Callable[[str], bool],
        below: Callable[[], Collection[str]],
        settings: UplinkSettings,
        clock: Clock,
        random: Callable[[], float],
        spending: Spending,
        told: Callable[[Welcome], None] | None = None,
        telling: Telling | None = None,
    ) -> None:
        self._journal = journal
        self._node = node
        self._version = version
        self._brings = brings
        self._below = below
        self._settings = settings
        self._told = told
        self._telling = telling
        self._calling = Calling("uplink", connect=connect, serve=self._serve, clock=clock, random=random)
        self._stopping = self._calling.stopping
        self._spending = spending
        self._marks: dict[str, int] = {}
        self._brought: frozenset[str] = frozenset()
        self._refused: frozenset[str] = frozenset()
        self._again_s = 0.0
        self._room = _REQUEST_BYTES
        self._held_off: dict[str, float] = {}
        self._random = random
        self._clock = clock
        self._sent_records = 0
        self._sent_bytes = 0

    def start(self) -> None:
        """Begins."""
        self._calling.start()

    def stop(self) -> None:
        """Ends; what is on the way is sent again next time, and recognised."""
        self._calling.stop()

    @property
    def state(self) -> UplinkState:
        """What it is at."""
        pending = sum(max(0, each.last - self._marks.get(self._key(each), 0)) for each in self._streams())
        used = self._spending.used_today
        return UplinkState(
            self._calling.state, pending, self._sent_records, self._sent_bytes, used, tuple(self._held_off)
        )

    @property
    def clock_ahead_s(self) -> float:
        """This node's wall clock less its parent's; 0 before the first welcome."""
        return self._clock.time_ns() / 1e9 - self._spending.time_s if self._spending.heard else 0.0

    def ends(self) -> dict[str, tuple[int, int]]:
        """How far each stream that goes up goes, and how far the parent has it."""
        return {key: (each.last, self._marks.get(key, 0)) for each in self._streams() if (key := self._key(each))}

    # The thread.

    def _serve(self, client: Client) -> None:
        """Says hello and sends until something fails."""
        self._greet(client)
        if self._telling:
            self._telling.begin()
        seen = 0
        while not self._stopping.is_set():
            if self._telling:
                self._telling.tell(lambda told: self._ask(client, "/health", told, Noted))
            if self._has_news():
                self._greet(client)
            try:
                sent = self._send(client)
            except StorageFullError:
                self._give_way()
                continue
            except ConflictError as error:
                if "expected" not in error.facts:
                    raise
                logger.debug("the parent has got elsewhere: %s", error)
                self._greet(client)
                continue
            if not sent:
                seen = self._await(seen)

    def _has_news(self) -> bool:
        """Whether a child came with a stream or went, or it may be that the parent takes now what it refused."""
        streams = self._streams()
        if self._refused and self._clock.monotonic() >= self._again_s:
            return True
        unknown = any(self._key(each) not in self._marks for each in streams if each.node not in self._refused)
        return unknown or self._bringing(streams) != self._brought

    def _bringing(self, streams: Sequence[StreamState]) -> frozenset[str]:
        """The nodes below, and those that were and have something to go up still."""
        return frozenset((*self._below(), *(each.node for each in streams))) - {self._node}

    def _greet(self, client: Client) -> None:
        streams = self._streams()
        self._brought = self._bringing(streams)
        hello = Hello(self._journal.identity, self._version, tuple(streams), tuple(sorted(self._brought)))
        welcome = self._ask(client, "/hello", hello, Welcome)
        self._note_refused(welcome)
        streams = [each for each in streams if each.node not in self._refused]
        self._spending.hear(welcome.time_s)
        client.hear(welcome.time_s)
        marks = {key_of(mark.node, mark.stream): mark.last for mark in welcome.marks}
        for stream in streams:
            self._reach(stream, marks.get(key_of(stream.node, stream.stream), 0))
        reached = {self._key(each): each.last for each in streams}
        self._journal.advance_each(
            CONSUMER, {key: self._marks[key] for key, last in reached.items() if self._marks[key] <= last}
        )
        self._calling.connected(spread_s=welcome.spread_s)
        if self._told:
            self._told(welcome)

    def _note_refused(self, welcome: Welcome) -> None:
        refused = self._brought & frozenset(welcome.refused)
        for node in sorted(refused - self._refused):
            logger.warning(
                "%s takes nothing of %s, which came to it another way before: edgewise nodes remove %s there",
                *(welcome.parent, node, node),
            )
        self._refused = refused
        self._again_s = self._clock.monotonic() + _ASK_AGAIN_S

    def _reach(self, stream: StreamState, mark: int) -> None:
        """Notes how far the parent has a stream."""
        key = self._key(stream)
        if mark > stream.last and stream.node != self._node:  # it waits until this node has as much: nobody else does
            if self._marks.get(key) != mark:
                logger.warning("the parent has %s up to %d, from before; here it is up to %d", key, mark, stream.last)
        elif mark > stream.last:
            raise ConflictError(
                f"The parent has {key} up to {mark}, this journal up to {stream.last}: it was put back from a copy",
                hint="Put the newer journal back; or join again, under another name.",
                stream=key,
                mark=mark,
                last=stream.last,
            )
        self._marks[key] = mark

    def _give_way(self) -> None:
        """The parent has no room: less at once, in the end one stream at a time, and that one not for a while."""
        if self._room > _LEAST_BYTES:
            self._room = max(_LEAST_BYTES, self._room // 4)
            return
        key = self._key(self._behind()[0])
        self._held_off[key] = self._clock.monotonic() + _HELD_OFF_S * (0.5 + self._random())
        logger.info("the parent has no room for %s", key)

    def _send(self, client: Client) -> bool:
        """Sends one request; whether there was anything to send."""
        batches = self._gather()
        if not batches:
            return False
        taken = self._ask(client, "/records", Records(tuple(batches)), Taken)
        for mark in taken.marks:
            key = self._key(mark)
            self._sent_records += max(0, mark.last - self._marks.get(key, 0))
            self._marks[key] = mark.last
        self._journal.advance_each(CONSUMER, {self._key(mark): mark.last for mark in taken.marks})
        self._room = min(_REQUEST_BYTES, self._room * 2)
        return True

    def _behind(self) -> list[StreamState]:
        """What may be sent, the most urgent first."""
        now_s = self._clock.monotonic()
        self._held_off = {key: until_s for key, until_s in self._held_off.items() if until_s > now_s}
        streams = [each for each in self._streams() if each.node not in self._refused]
        behind = plan(streams, self._marks, key=self._key)
        return [each for each in behind if self._key(each) not in self._held_off]

    def _ask(self, client: Client, path: str, content: object, kind: type[T]) -> T:
        before = client.sent
        try:
            return client.ask("POST", path, content, kind)
        finally:
            self._sent_bytes += client.sent - before

    def _gather(self) -> list[Batch]:
        """What goes next: the most urgent first, as much as one request carries and the budget allows."""
        batches: list[Batch] = []
        room = self._room
        for stream in self._behind()[: 1 if room <= _LEAST_BYTES else None]:
            left = self._spending.left(priority_of(stream.stream))
            most = room if left is None else min(room, left)
            if most <= 0:
                continue
            key = self._key(stream)
            if key not in self._marks:
                continue
            batch = self._journal.give(key, CONSUMER, after=self._marks[key], max_bytes=most)
            if batch is None:
                continue
            batches.append(batch)
            room -= sum(len(part.content) for part in batch.packed)
            if room <= 0:
                break
        return batches

    def _await(self, seen: int) -> int:
        """Sleeps until there is something to send: at once what is urgent, readings after a moment."""
        fresh = self._journal.news(seen, timeout_s=_IDLE_S)
        if fresh != seen:
            until_s = self._clock.monotonic() + self._settings.gather_s
            while not self._urgent() and (left_s := until_s - self._clock.monotonic()) > 0:
                if self._stopping.wait(min(left_s, _LOOK_S)):
                    break
        return fresh

    def _urgent(self) -> bool:
        ahead = self._behind()
        return bool(ahead) and priority_of(ahead[0].stream) <= Priority.EVENT

    def _streams(self) -> list[StreamState]:
        """What goes up."""
        return [each for each in self._journal.streams() if self._goes_up(each)]

    def _goes_up(self, stream: StreamState) -> bool:
        own = stream.node == self._node
        if not self._settings.sends(stream.stream, own=own):
            return False
        if own or self._brings(stream.node):
            return True
        return self._journal.follow(self._key(stream), CONSUMER) < stream.last  # it was below, and left something

    def _key(self, stream: StreamState) -> str:
        return key_at(stream.node, stream.stream, own=self._node)


def plan(
    streams: Sequence[StreamState], marks: Mapping[str, int], *, key: Callable[[StreamState], str]
) -> list[StreamState]:
    """The streams that the parent does not have all of, the most urgent first, then those that lag the least: so one
    with a long past does not hold up the others.
    """
    behind = [(each, each.last - marks.get(key(each), 0)) for each in streams]
    return [each for each, lag in sorted(behind, key=lambda pair: (priority_of(pair[0].stream), pair[1])) if lag > 0]
