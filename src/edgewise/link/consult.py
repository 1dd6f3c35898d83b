"""Asking the parent's model about a picture: within a deadline, seldom while nobody answers, and out of the part of the
day's bytes that pictures may use.

``POST infer/MODEL``: ``Question`` → ``Opinion``. The parent answers with its own model, or asks its own parent with
the time that is left.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated
from urllib.parse import quote

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.errors import AccessError, EdgewiseError, InputError, UnavailableError
from edgewise.link.base import MAX_BODY_BYTES, decode, encode
from edgewise.link.budget import Priority
from edgewise.link.client import ANSWER_S, Client
from edgewise.link.reconnect import Phase, Reconnect
from edgewise.link.spending import Spending
from edgewise.types import Result

MAX_PICTURE_BYTES = MAX_BODY_BYTES - 4096
"""Larger pictures are not sent."""

_HEAD_BYTES = 4096  # what a question costs beside its picture

MOST = 4
"""Pictures that are asked about at once; one more is not asked about."""

logger = logging.getLogger(__name__)


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is this?

    Attributes:
        picture: JPEG or PNG.
        within_s: The answer is of use by then.
    """

    picture: Annotated[bytes, Meta(max_length=MAX_PICTURE_BYTES)]
    within_s: Annotated[float, Meta(gt=0, le=5)]


class Opinion(msgspec.Struct, frozen=True):
    """What a model says.

    Attributes:
        result: The result.
        node: Whose model it is.
        model: Its name.
        version: Its version.
        variant: The variant that ran.
        took_ms: Its own time.
    """

    result: Result
    node: str
    model: str
    version: str
    variant: str
    took_ms: float


class Consulting:
    """Asks the parent. Safe for threads.

    Args:
        connect: Makes a connection to it.
        spending: The account of what the link costs.
        clock: Time.
        random: 0 to 1, for jitter.
    """

    def __init__(
        self, *, connect: Callable[[], Client], spending: Spending, clock: Clock, random: Callable[[], float]
    ) -> None:
        self._connect = connect
        self._spending = spending
        self._clock = clock
        self._random = random
        self._lock = threading.Lock()
        self._state = Reconnect(Phase.CONNECTED, since_s=clock.monotonic())
        self._threads = ThreadPoolExecutor(MOST, thread_name_prefix="consult")
        self._under_way = 0
        self._idle: list[Client] = []
        self._open: set[Client] = set()
        self._stopped = False

    @property
    def may_answer(self) -> bool:
        """Whether asking is worth anything now: the parent is not known to be away, there is a place, and there are
        bytes left.
        """
        if not self._affords(0):
            return False
        with self._lock:
            waits = self._state.phase is not Phase.CONNECTED and self._clock.monotonic() < self._state.until_s
            return not (waits or self._stopped or self._under_way >= MOST)

    def ask(self, model: str, picture: bytes, *, within_s: float) -> Opinion | None:
        """What the parent's model says; None when it says nothing in time."""
        if not self.may_answer or len(picture) > MAX_PICTURE_BYTES or not self._affords(len(picture)):
            return None
        question = Question(picture, within_s)
        try:
            with self._lock:
                asked: Future[Opinion] = self._threads.submit(self._call, model, question)
                self._under_way += 1
            asked.add_done_callback(self._ended)
            opinion = asked.result(within_s)
        except InputError as error:  # it has no such model, or cannot use the picture: it is there
            logger.debug("the parent does not answer about %s: %s", model, error)
            self._heard(error if isinstance(error, AccessError) else None)
            return None
        except (EdgewiseError, TimeoutError, RuntimeError) as error:
            told = error if isinstance(error, EdgewiseError) else UnavailableError("The parent is too slow")
            self._heard(told)
            return None
        self._heard(None)
        return opinion

    def stop(self) -> None:
        """Ends, also while an answer is waited for."""
        with self._lock:
            self._stopped = True
            idle, under_way = list(self._idle), list(self._open)
            self._idle.clear()
        for client in idle:
            client.close()
        for client in under_way:
            client.end()
        self._threads.shutdown(cancel_futures=True)

    def _affords(self, size: int) -> bool:
        left = self._spending.left(Priority.MEDIA)
        return left is None or left >= size + _HEAD_BYTES

    def _call(self, model: str, question: Question) -> Opinion:
        client = self._borrow()
        try:
            path = f"/infer/{quote(model, safe='')}"
            return decode(client.call("POST", path, encode(question), wait_s=question.within_s - ANSWER_S), Opinion)
        finally:
            self._give_back(client)

    def _borrow(self) -> Client:
        with self._lock:
            if self._stopped:
                raise UnavailableError("The node stops", hint="Nothing is asked any more.")
            client = self._idle.pop() if self._idle else self._connect()
            self._open.add(client)
        return client

    def _give_back(self, client: Client) -> None:
        with self._lock:
            self._open.discard(client)
            if not self._stopped:
                self._idle.append(client)
                return
        client.close()

    def _ended(self, _: object) -> None:
        with self._lock:
            self._under_way -= 1

    def _heard(self, error: EdgewiseError | None) -> None:
        """Opens the way, or closes it for a while that doubles: what fails costs one try now and then."""
        now_s = self._clock.monotonic()
        with self._lock:
            if error is None:
                self._state = Reconnect(Phase.CONNECTED, since_s=now_s)
            else:
                self._state = self._state.failed(error, now_s, random=self._random)
