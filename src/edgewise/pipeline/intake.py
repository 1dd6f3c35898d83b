"""What sources of readings share: a thread that talks to the origin, a bounded queue, and values as they may be kept.

A *session* is one opening of a source: a function that runs in a thread of its own, may block in a vendor's call as
long as it likes, and puts readings as they come. The reader of the source takes them; when the source is closed, or the
reader goes away, the reader is let go at once and the session is told to stop.
"""

from __future__ import annotations

import abc
import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Annotated, Any, NamedTuple, TypeAlias

from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.pipeline.base import Gives, Reading, Value

MAX_CHANNELS = 1024
MAX_TEXT = 1024
MAX_DEPTH = 8
_WIDEST_INT = 2**63
_WIDEST_FLOAT = 10**308

Channel: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
Capacity: TypeAlias = Annotated[int, Meta(ge=1, le=65536)]
Host: TypeAlias = Annotated[str, Meta(min_length=1, max_length=253)]
Port: TypeAlias = Annotated[int, Meta(ge=1, le=65535)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0.1, le=3600)]


class _Waiting(NamedTuple):
    reading: Reading
    taken: Callable[[], object] | None


class Session:
    """One opening of a source, for the function that reads its origin.

    Attributes:
        stopped: Set when nobody reads any more.
    """

    def __init__(self, intake: Intake) -> None:
        self.stopped = threading.Event()
        self.error: BaseException | None = None
        self.over = False
        self._intake = intake
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []

    def put(self, values: Mapping[str, Value], *, time_ns: int | None = None) -> None:
        """Adds a reading; when the queue is full the oldest makes way and counts as dropped.

        Args:
            values: As ``clean`` gives them.
            time_ns: When it was measured; None for now.
        """
        self._intake.add(self, values, time_ns)

    def lend(self, values: Mapping[str, Value], *, time_ns: int | None = None, taken: Callable[[], object]) -> None:
        """Adds a reading that its origin keeps until it is told; waits for room, or until nobody reads any more.

        Args:
            values: As ``clean`` gives them.
            time_ns: When it was measured; None for now.
            taken: Called once the reader has handed the reading on.
        """
        self._intake.add(self, values, time_ns, taken)

    def count_unreadable(self) -> None:
        """Something came that is no reading."""
        self._intake.unreadable += 1

    def on_stop(self, callback: Callable[[], object]) -> None:
        """Names what wakes the session where it waits; called at once when it is to stop already."""
        with self._lock:
            if not self.stopped.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def stop(self) -> None:
        """Tells the session to end."""
        with self._lock:
            self.stopped.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class Intake:
    """Readings of one source, from its sessions to its reader. Safe for threads.

    Args:
        name: Of the source.
        capacity: Readings that wait at most.
        clock: For readings that carry no time.

    Attributes:
        dropped: Readings that newer ones pushed out.
        unreadable: What came and was no reading.
    """

    def __init__(self, name: str, capacity: int, *, clock: Clock) -> None:
        self.dropped = 0
        self.unreadable = 0
        self._name = name
        self._capacity = capacity
        self._clock = clock
        self._number = 0
        self._waiting: deque[_Waiting] = deque()
        self._session: Session | None = None
        self._closed = False
        self._changed = threading.Condition()

    def read(self, work: Callable[[Session], None]) -> Generator[Reading, None, None]:
        """Runs a session and yields what it puts, until it ends or the intake is closed.

        Raises:
            Exception: What ``work`` raised, after the readings it put before.
        """
        session = Session(self)
        with self._changed:
            if self._closed:
                return
            self._session = session
        threading.Thread(target=self._run, args=(session, work), name=f"{self._name}-intake", daemon=True).start()
        try:
            while (waiting := self._take(session)) is not None:
                yield waiting.reading
                if waiting.taken is not None:
                    waiting.taken()
        finally:
            self._end(session)

    def add(
        self,
        session: Session,
        values: Mapping[str, Value],
        time_ns: int | None,
        taken: Callable[[], object] | None = None,
    ) -> None:
        """See ``Session.put`` and ``Session.lend``."""
        with self._changed:
            if taken is not None:
                self._changed.wait_for(lambda: session.stopped.is_set() or len(self._waiting) < self._capacity)
            if session.stopped.is_set():
                return
            self._number += 1
            at = self._clock.time_ns() if time_ns is None else time_ns
            if len(self._waiting) >= self._capacity:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(_Waiting(Reading(self._name, self._number, at, values), taken))
            self._changed.notify_all()

    def forget(self) -> int:
        """Gives back what is lent: its origin will give it again. Returns how many."""
        with self._changed:
            kept = deque(waiting for waiting in self._waiting if waiting.taken is None)
            forgotten = len(self._waiting) - len(kept)
            self._waiting = kept
            return forgotten

    def close(self) -> None:
        """Lets the reader go and stops the session; for good."""
        with self._changed:
            self._closed = True
            session = self._session
            self._changed.notify_all()
        if session is not None:
            self._end(session)

    def _end(self, session: Session) -> None:
        session.stop()
        with self._changed:
            self._changed.notify_all()

    def _run(self, session: Session, work: Callable[[Session], None]) -> None:
        try:
            work(session)
        except BaseException as error:  # noqa: BLE001 - the reader raises it
            session.error = error
        with self._changed:
            session.over = True
            self._changed.notify_all()

    def _take(self, session: Session) -> _Waiting | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting or session.over)
            if self._closed:
                return None
            if self._waiting:
                self._changed.notify_all()
                return self._waiting.popleft()
            if session.error is not None:
                raise session.error
            return None


class IntakeSource(abc.ABC):
    """A source of readings with an intake. Keeps the ``Source`` seam; a subclass writes ``_session``.

    Args:
        name: Its name in the settings.
        capacity: Readings that wait at most.
        clock: For readings that carry no time.
        live: See ``Source``.
    """

    gives = Gives.READING

    def __init__(self, name: str, capacity: int, *, clock: Clock, live: bool = False) -> None:
        self.name = name
        self.live = live
        self._intake = Intake(name, capacity, clock=clock)

    @property
    def dropped(self) -> int:
        """Pushed out by newer ones."""
        return self._intake.dropped

    @property
    def unreadable(self) -> int:
        """What came and was no reading."""
        return self._intake.unreadable

    def read(self) -> Iterator[Reading]:
        """Yields what comes; see ``Source``."""
        return self._intake.read(self._session)

    def close(self) -> None:
        """Ends ``read``."""
        self._intake.close()

    @abc.abstractmethod
    def _session(self, session: Session) -> None:
        """Opens the origin once and puts readings until it breaks off or ``session`` is stopped."""


def clean(value: object) -> Value:
    """A value as it may be kept: what is not finite is missing, an integer past 64 bits becomes a float.

    Raises:
        ValueError: It is no number, truth value or text of at most ``MAX_TEXT`` characters.
    """
    match value:
        case None | bool():
            return value
        case int() if -_WIDEST_INT <= value < _WIDEST_INT:
            return value
        case int() if abs(value) < _WIDEST_FLOAT:
            return float(value)
        case float():
            return value if math.isfinite(value) else None
        case str() if len(value) <= MAX_TEXT:
            return value
    raise ValueError(f"a {type(value).__name__} is no value of a reading")


def flatten(value: Any, name: str) -> dict[str, Value]:
    """A JSON value as channels: ``{"air": {"humidity": 40}}`` becomes ``air.humidity``, items of lists are numbered
    from 0.

    Args:
        value: The decoded value.
        name: Of the channel when it is a single value; else it stands before the names inside, where it is not empty.

    Raises:
        ValueError: It is nested deeper than ``MAX_DEPTH``, has more than ``MAX_CHANNELS`` values or none, or a name
            that is empty or too long.
    """
    found: dict[str, Value] = {}
    _flatten(value, name, found, MAX_DEPTH)
    if not found:
        raise ValueError("it holds no value")
    return found


def _flatten(value: Any, name: str, found: dict[str, Value], depth: int) -> None:
    match value:
        case dict() | list() if depth == 0:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH}")
        case dict():
            for key, item in value.items():
                _flatten(item, f"{name}.{key}" if name else str(key), found, depth - 1)
        case list():
            for place, item in enumerate(value):
                _flatten(item, f"{name}.{place}" if name else str(place), found, depth - 1)
        case _:
            if not 0 < len(name) <= 128:
                raise ValueError("the name of a value has 1 to 128 characters")
            if len(found) >= MAX_CHANNELS:
                raise ValueError(f"it holds more than {MAX_CHANNELS} values")
            found[name] = clean(value)
