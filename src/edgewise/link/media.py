"""Sending blobs to the parent: a thread that sends what the store owes, piece by piece, as long as nothing else waits.

There is no queue but the store's own marks: what is here, is pointed to and is not marked is owed. What the parent has
of a blob it says itself, so a cut, a kill and a restart of either side all go on at the byte. Once the parent has
checked a blob and has it on its disk, it is marked.

A piece is proved as a whole, so it arrives as a whole or not at all: pieces grow while the link is fast and shrink
when it is cut.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from edgewise._lib.clock import Clock
from edgewise.errors import (
    AccessError,
    BusyError,
    ClosedError,
    ConflictError,
    CorruptError,
    InputError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from edgewise.journal.base import Custody, Pointers
from edgewise.journal.blobs import BlobStore
from edgewise.journal.custody import key_at
from edgewise.link.base import Begun, Offer, Partials, UplinkSettings, decode, encode
from edgewise.link.budget import Priority, priority_of
from edgewise.link.calling import Calling
from edgewise.link.client import Client
from edgewise.link.order import FIRST_BYTES, LEAST_BYTES, Item, Order, piece_after, smaller
from edgewise.link.reconnect import Reconnect
from edgewise.link.spending import Spending
from edgewise.link.uplink import CONSUMER

T = TypeVar("T")

_IDLE_S = 0.5  # it is looked so often for what is owed
_QUIET_S = 5.0  # a connection that is not needed is given back after so long
_HOLD_S, _HELD_S = 0.05, 1.0  # a piece waits for events to go first, and at most so long
_AGAIN_S = 60.0  # what the parent has no record of yet is offered again
_LATER_S = 3600.0  # so is what it cannot keep, or what is damaged here
_PROOF_BYTES = 2048  # what a request costs beside its body

logger = logging.getLogger(__name__)


class Kept(Custody, Pointers, Protocol):
    """What the sender needs of the journal."""


class MediaState(msgspec.Struct, frozen=True):
    """What a person may want to know of it.

    Attributes:
        link: Whether the parent is there, and why not.
        pending: Blobs that only this node has.
        sent_blobs: Blobs sent since the node was started.
        sent_bytes: Bytes sent since then, proofs and repeated pieces included.
    """

    link: Reconnect
    pending: int
    sent_blobs: int
    sent_bytes: int


class MediaUplink:
    """The sending side of blobs.

    Args:
        blobs: What is sent.
        journal: The records that point to it.
        node: This node's name.
        settings: Which streams go up.
        brings: Whether a node is below this one.
        connect: Makes a connection to the parent.
        spending: The account of what the link costs.
        clock: Time.
        random: 0 to 1, for jitter.
    """

    def __init__(
        self,
        blobs: BlobStore,
        journal: Kept,
        *,
        node: str,
        settings: UplinkSettings,
        brings: Callable[[str], bool],
        connect: Callable[[], Client],
        spending: Spending,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._blobs = blobs
        self._journal = journal
        self._node = node
        self._settings = settings
        self._brings = brings
        self._spending = spending
        self._clock = clock
        self._calling = Calling("media uplink", connect=connect, serve=self._serve, clock=clock, random=random)
        self._stopping = self._calling.stopping
        self._order = Order(blobs.owes)
        self._seen = 0
        self._offsets: dict[str, int] = {}  # of what was begun over this connection
        self._full = False
        self._piece_bytes = FIRST_BYTES
        self._sent_blobs = 0
        self._sent_bytes = 0

    def start(self) -> None:
        """Begins."""
        self._calling.start()

    def stop(self) -> None:
        """Ends; what was begun is gone on with next time."""
        self._calling.stop()

    @property
    def state(self) -> MediaState:
        """What it is at."""
        return MediaState(self._calling.state, self._blobs.owed_count, self._sent_blobs, self._sent_bytes)

    # The thread.

    def _serve(self, client: Client) -> None:
        """Sends until something fails; asks nothing of the parent while there is nothing to send."""
        greeted, used_s = False, self._clock.monotonic()
        while not self._stopping.is_set():
            self._look()
            item = self._next()
            if item is None:
                if self._clock.monotonic() - used_s > _QUIET_S:
                    client.close()
                self._stopping.wait(_IDLE_S)
                continue
            if not greeted:
                self._resume(client)
                greeted = True
                continue
            self._give_way()
            self._attempt(client, item)
            used_s = self._clock.monotonic()

    def _look(self) -> None:
        """Notes what is owed since it was looked last, and which of it may go by now."""
        owed = self._blobs.owed(after=self._seen)
        if owed:
            self._seen = owed[-1].number
        for blob, pointers in zip(owed, self._journal.pointers([blob.digest for blob in owed]), strict=True):
            for pointer in pointers:
                if not self._goes_up(pointer.node, pointer.stream):
                    continue
                self._order.add(
                    Item(
                        blob.digest,
                        blob.size,
                        blob.media_type,
                        blob.time_ns,
                        priority_of(pointer.stream),
                        self._key(pointer.node, pointer.stream),
                        pointer.sequence,
                    )
                )
        for stream in self._order.streams:
            self._order.reach(stream, self._journal.follow(stream, CONSUMER))

    def _next(self) -> Item | None:
        left = self._spending.left(Priority.MEDIA)
        if left is not None and left < LEAST_BYTES + _PROOF_BYTES:
            return None
        item = self._order.next(self._clock.monotonic(), begun_only=self._full)
        self._full = self._full and item is not None
        return item

    def _resume(self, client: Client) -> None:
        """Goes on where the parent is; gives up what cannot be finished."""
        self._offsets.clear()
        self._full = False
        begun = self._ask(client, "GET", "/blobs", b"", Partials).digests
        self._calling.connected()
        for digest in begun:
            if not self._blobs.owes(digest):
                self._call(client, "DELETE", f"/blobs/{digest}", b"")
        self._order.resume([digest for digest in begun if self._blobs.owes(digest)])

    def _give_way(self) -> None:
        """Lets events and alarms go first."""
        until_s = self._clock.monotonic() + _HELD_S
        while self._clock.monotonic() < until_s and self._urgent():
            if self._stopping.wait(_HOLD_S):
                return

    def _urgent(self) -> bool:
        for each in self._journal.streams():
            if priority_of(each.stream) > Priority.EVENT or not self._goes_up(each.node, each.stream):
                continue
            if self._journal.follow(self._key(each.node, each.stream), CONSUMER) < each.last:
                return True
        return False

    def _goes_up(self, node: str, stream: str) -> bool:
        own = node == self._node
        return self._settings.sends(stream, own=own) and (own or self._brings(node))

    def _key(self, node: str, stream: str) -> str:
        return key_at(node, stream, own=self._node)

    def _attempt(self, client: Client, item: Item) -> None:
        """One request of a blob; whatever concerns that blob alone sets it aside."""
        try:
            self._step(client, item)
        except (AccessError, ClosedError):
            raise
        except BusyError:
            if item.digest in self._offsets or not self._order.begun_besides(item.digest):
                raise
            self._full = True  # those begun have to be finished first
            self._order.set_aside(item, self._clock.monotonic())
        except (InputError, CorruptError) as error:
            self._offsets.pop(item.digest, None)
            missing = isinstance(error, NotFoundError) and error.facts.get("kind") == "record"
            self._order.set_aside(item, self._clock.monotonic() + (_AGAIN_S if missing else _LATER_S))
            log = logger.debug if missing or not self._blobs.owes(item.digest) else logger.warning
            log("blob %s cannot be sent: %s %s", item.digest, error, error.hint)

    def _step(self, client: Client, item: Item) -> None:
        """Begins a blob, or sends its next piece."""
        digest = item.digest
        if digest not in self._offsets:
            offer = Offer(digest, item.size, item.media_type)
            self._note(item, self._ask(client, "POST", "/blobs", encode(offer), Begun))
            return
        try:
            self._note(item, self._send_piece(client, item, self._offsets[digest]))
        except ConflictError as error:
            offset = error.facts.get("offset")
            if not isinstance(offset, int):
                raise
            self._note(item, Begun(offset, done=False))  # a piece came by an older connection meanwhile
        except NotFoundError as error:
            if error.facts.get("kind") != "upload":
                raise
            del self._offsets[digest]  # the parent was started anew

    def _send_piece(self, client: Client, item: Item, offset: int) -> Begun:
        most = self._spending.left(Priority.MEDIA)
        size = self._piece_bytes if most is None else max(LEAST_BYTES, min(self._piece_bytes, most - _PROOF_BYTES))
        with self._blobs.open_blob(item.digest) as file:
            file.seek(offset)
            piece = file.read(size)
        if not piece and offset < item.size:
            raise CorruptError(f"Blob {item.digest} has no byte {offset} here", name=item.digest)
        before_s = self._clock.monotonic()
        try:
            begun = self._ask(client, "PUT", f"/blobs/{item.digest}/{offset}", piece, Begun)
        except (UnavailableError, TooLargeError) as error:
            if isinstance(error, TooLargeError) and size == LEAST_BYTES:
                raise
            self._piece_bytes = smaller(size)
            if isinstance(error, TooLargeError):
                return Begun(offset, done=False)
            raise
        self._piece_bytes = piece_after(self._piece_bytes, self._clock.monotonic() - before_s)
        return begun

    def _note(self, item: Item, begun: Begun) -> None:
        """Takes the parent's word on a blob."""
        if not begun.done:
            if not 0 <= begun.offset <= item.size:
                raise UnavailableError(f"The parent states byte {begun.offset} of {item.size}", hint="Update it.")
            self._offsets[item.digest] = begun.offset
            return
        self._blobs.mark_upstream([item.digest])
        self._offsets.pop(item.digest, None)
        self._order.end(item.digest)
        self._full = False
        self._sent_blobs += 1

    def _ask(self, client: Client, method: str, path: str, body: bytes, kind: type[T]) -> T:
        return decode(self._call(client, method, path, body), kind)

    def _call(self, client: Client, method: str, path: str, body: bytes) -> bytes:
        before = client.sent
        try:
            return client.call(method, path, body)
        finally:
            self._sent_bytes += client.sent - before
