"""The child's side of requests from above: fetches them, has the node answer them, sends the answers up.

One thread polls. Each request is answered by a thread of a bounded pool over a connection of its own, which is kept
for the next one. What this node may be asked is decided where it is performed; see ``Perform``. Requests and answers go
out of the part of the day's bytes that is for what a person asks for: when that is used up, an answer breaks off and
says why, and the parent hands nothing down.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from edgewise._lib.clock import Clock
from edgewise.errors import EdgewiseError, RetryError
from edgewise.link.base import decode, encode
from edgewise.link.budget import Priority
from edgewise.link.calling import Calling
from edgewise.link.client import Client
from edgewise.link.reconnect import Reconnect
from edgewise.link.spending import Spending
from edgewise.link.work import BRINGING_POLL_S, MAX_WORK_BYTES, POLL_S, Asked, Headers, Heard, Part, Poll, Work

# A part is tried so often before its answer is given up; the waits in between, in seconds, outlast a reconnect.
_WAITS_S = (0.0, 0.2, 1.0, 3.0)
# The parent may keep a part so much longer than other requests, until who asked has read what came before it.
_SLOW_S = 15.0
# A connection that was idle for longer may have been closed by the parent: the next request gets a new one.
_IDLE_S = 20.0

logger = logging.getLogger(__name__)


class Piece(msgspec.Struct, frozen=True):
    """What of an answer is there: see ``link.work.Part``."""

    body: bytes = b""
    last: bool = False
    broken: bool = False
    status: int = 200
    headers: Headers = ()
    spent: bool = False


_SPENT = Piece(broken=True, spent=True)


class Answering(Protocol):
    """An answer that the node is making."""

    def next(self) -> Piece:
        """What is there by now, at most ``MAX_PART_BYTES``; waits until there is something. Never raises: a failure
        is a piece as well.
        """
        ...

    def drop(self) -> None:
        """Nobody wants the rest. From any thread, any number of times; ``next`` returns soon."""
        ...


class _Refusal:
    """The answer of a node whose bytes for today are used up: it does not even begin."""

    def next(self) -> Piece:
        return _SPENT

    def drop(self) -> None:
        pass


class Perform(Protocol):
    """How the node answers a request from above."""

    def __call__(self, asked: Asked) -> Answering:
        """Begins to answer, as far as the parent may ask it. Does not wait and does not raise."""
        ...


class RelayState(msgspec.Struct, frozen=True):
    """What a person may want to know: whether the parent is there, what is under way, what was answered."""

    link: Reconnect
    under_way: int
    answered: int


class Relay:
    """Answers what the parent hands down.

    Args:
        connect: Makes a connection to the parent.
        spending: The account of what the link costs.
        perform: Answers.
        most: Requests that are answered at once.
        workers: What the node computes at once.
        brings: The nodes below this one; None where there can be none.
        clock: Time.
        random: 0 to 1, for jitter.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], Client],
        spending: Spending,
        perform: Perform,
        most: int,
        workers: int,
        brings: Callable[[], Iterable[str]] | None,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._connect = connect
        self._spending = spending
        self._perform = perform
        self._most = most
        self._workers = workers
        self._brings = brings
        self._wait_s = BRINGING_POLL_S if brings else POLL_S
        self._clock = clock
        self._calling = Calling("work", connect=connect, serve=self._serve, clock=clock, random=random)
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="answer")
        self._lock = threading.Lock()
        self._holding: dict[str, Answering | None] = {}
        self._idle: list[tuple[float, Client]] = []
        self._open: set[Client] = set()
        self._answered = 0

    def start(self) -> None:
        """Begins."""
        self._calling.start()

    def stop(self) -> None:
        """Ends; what is under way is given up, and who asked is told."""
        self._calling.stopping.set()
        with self._lock:
            answering, under_way = list(self._holding.values()), list(self._open)
            idle = [client for _, client in self._idle]
            self._idle.clear()
        for each in answering:
            if each:
                each.drop()
        for client in under_way:
            client.end()
        for client in idle:
            client.close()
        self._calling.stop()
        self._threads.shutdown(cancel_futures=True)

    @property
    def state(self) -> RelayState:
        """What it is at."""
        return RelayState(self._calling.state, len(self._holding), self._answered)

    def _serve(self, client: Client) -> None:
        """Polls until something fails."""
        told: tuple[str, ...] | None = None
        while not self._calling.stopping.is_set():
            brings = tuple(sorted(self._brings())) if self._brings else ()
            left = self._spending.for_requests
            with self._lock:
                news = None if brings == told else brings
                wait_s = 0.0 if left == 0 else self._wait_s
                poll = Poll(self._most, tuple(self._holding), self._workers, wait_s, news, left)
            body = client.call("POST", "/work", encode(poll), wait_s=self._wait_s, limit=MAX_WORK_BYTES)
            work = decode(body, Work)
            self._calling.connected()
            told = brings
            for dropped in work.dropped:
                self._drop(dropped)
            for asked in work.asked:
                with self._lock:
                    self._holding[asked.id] = None
                with contextlib.suppress(RuntimeError):  # it is being stopped
                    self._threads.submit(self._answer, asked)
            self._forget_idle()
            if left == 0:
                self._calling.rest(self._spending)

    def _drop(self, identity: str) -> None:
        with self._lock:
            answering = self._holding.get(identity)
        if answering:
            answering.drop()

    def _answer(self, asked: Asked) -> None:
        """Answers one request."""
        answering = _Refusal() if self._spending.is_sparing else self._perform(asked)
        with self._lock:
            self._holding[asked.id] = answering
        client = self._borrow()
        try:
            self._send_all(client, asked.id, answering)
        except EdgewiseError as error:  # who asked is told by the parent, which finds it missing in the next poll
            logger.debug("the answer to %s is given up: %s", asked.path, error)
        except Exception:
            logger.exception("answering %s failed", asked.path)
        finally:
            answering.drop()
            with self._lock:
                del self._holding[asked.id]
                self._answered += 1
            self._give_back(client)

    def _send_all(self, client: Client, identity: str, answering: Answering) -> None:
        number = 0
        while True:
            piece = answering.next()
            left = self._spending.left(Priority.ASKED)
            if left is not None and left < len(piece.body):
                piece = _SPENT
            headers = piece.headers if not number else ()
            part = Part(number, piece.body, piece.last, piece.broken, piece.status, headers, piece.spent)
            heard = self._send(client, identity, part)
            if not heard.goes_on or piece.last or piece.broken:
                return
            number += 1

    def _send(self, client: Client, identity: str, part: Part) -> Heard:
        """Sends a part until it is taken."""
        body = encode(part)
        failures = 0
        while True:
            try:
                heard = decode(client.call("POST", f"/answer/{identity}", body, wait_s=_SLOW_S), Heard)
            except RetryError:
                failures += 1
                if failures == len(_WAITS_S) or self._calling.stopping.wait(_WAITS_S[failures]):
                    raise
                continue
            if not heard.goes_on or heard.next > part.number:
                return heard

    def _borrow(self) -> Client:
        self._forget_idle()
        with self._lock:
            client = self._idle.pop()[1] if self._idle else self._connect()
            self._open.add(client)
            if self._calling.stopping.is_set():  # ``stop`` has not seen it
                client.end()
        return client

    def _give_back(self, client: Client) -> None:
        with self._lock:
            self._open.discard(client)
            if not self._calling.stopping.is_set():
                self._idle.append((self._clock.monotonic(), client))
                return
        client.close()

    def _forget_idle(self) -> None:
        before_s = self._clock.monotonic() - _IDLE_S
        with self._lock:
            stale = [client for since_s, client in self._idle if since_s < before_s]
            self._idle = [each for each in self._idle if each[0] >= before_s]
        for client in stale:
            client.close()
