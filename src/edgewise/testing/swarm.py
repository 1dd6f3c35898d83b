"""Many light, real children of one parent in one process: real links, proofs and TLS, journals in memory.

Each has a thread of its own (the ``Uplink``'s, as on a device), which nearly always sleeps; what they measure is
appended by a few threads that all share. They share one TLS context and time floor, which a device has for itself
alone, and keep nothing on disk: a swarm is as many children as a parent sees, not as many machines.
"""

from __future__ import annotations

import contextlib
import heapq
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgewise import __version__
from edgewise._lib.clock import Clock
from edgewise.errors import ClosedError, EdgewiseError
from edgewise.journal.base import StreamSettings
from edgewise.journal.memory import MemoryJournal
from edgewise.link.base import Join, Joined, UplinkSettings, Welcome, decode
from edgewise.link.budget import Budget, BudgetSettings
from edgewise.link.client import Client, ask_authority
from edgewise.link.credentials import Credentials
from edgewise.link.reconnect import Phase
from edgewise.link.reports import JournalReport, LinkReport, PipelineReport, Report, ResourceReport, Telling
from edgewise.link.spending import Spending
from edgewise.link.uplink import CONSUMER, Uplink
from edgewise.trust.floor import TimeFloor
from edgewise.trust.joining import JoinToken
from edgewise.trust.pinning import Pin
from edgewise.types import Entry

T = TypeVar("T")

_STREAM = StreamSettings(max_bytes=64 * 1024)
_JOINING = 8  # at a time
_APPENDING = 2
_PART, _PAUSE_S = 50, 0.001  # so many are looked at in one go, so that looking does not show in what is measured
_KEPT = 500_000  # latencies, the newest


class SwarmSettings(msgspec.Struct, frozen=True):
    """How a swarm behaves.

    Attributes:
        rate: Readings a second of each node.
        gather_s: A reading waits so long for others, see ``UplinkSettings``.
        every_s: Each reports how it is so often.
        start_s: They start spread over so many seconds.
    """

    rate: float = 0.2
    gather_s: float = 0.1
    every_s: float = 15.0
    start_s: float = 10.0


class Figures(msgspec.Struct, frozen=True):
    """What was measured in a while; times in seconds, 0 where nothing was.

    Attributes:
        nodes: In the swarm.
        connected: Of them, now.
        records: Answered for.
        sync_p50: From append to the parent's answer.
        answer_p50: From any request to its answer.
        errors: Connections that failed.
        welcomes: Times the parent said welcome.
        pending: Records that are still to be sent, now.
        dropped: Records that journals dropped since the start.
    """

    nodes: int
    connected: int
    seconds: float
    records: int
    sync_p50: float
    sync_p99: float
    sync_max: float
    answer_p50: float
    answer_p99: float
    answer_max: float
    errors: int
    welcomes: int
    pending: int
    dropped: int


class Return(msgspec.Struct, frozen=True):
    """How a swarm came back after all its connections broke at once: seconds until welcomes, and the slowest answer."""

    nodes: int
    back: int
    first: float
    p50: float
    p99: float
    last: float
    answer_max: float
    most_in_a_second: int


class _Tally:
    """What all nodes note. Safe for threads: each operation is one of ``deque``, or under the lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.syncs: deque[float] = deque(maxlen=_KEPT)
        self.answers: deque[float] = deque(maxlen=_KEPT)
        self.welcomes: deque[tuple[str, float]] = deque(maxlen=_KEPT)
        self.records = 0
        self.errors = 0

    def take(self) -> tuple[list[float], list[float], list[tuple[str, float]], int, int]:
        """All of it since the last time."""
        with self.lock:
            taken = sorted(self.syncs), sorted(self.answers), list(self.welcomes), self.records, self.errors
            for noted in (self.syncs, self.answers, self.welcomes):
                noted.clear()
            self.records = self.errors = 0
        return taken


class _TimedJournal(MemoryJournal):
    """Notes how long each record waits for the parent's answer."""

    tally: _Tally
    now: Callable[[], float]

    def append(self, stream: str, entries: Sequence[Entry]) -> range:
        accepted = super().append(stream, entries)
        self._waiting().append((accepted.stop - 1, self.now()))
        return accepted

    def advance_each(self, consumer: str, through: Mapping[str, int]) -> None:
        super().advance_each(consumer, through)
        waiting, now_s, newest = self._waiting(), self.now(), max(through.values(), default=0)
        with self.tally.lock:
            while waiting and waiting[0][0] <= newest:
                self.tally.syncs.append(now_s - waiting.popleft()[1])
                self.tally.records += 1

    def _waiting(self) -> deque[tuple[int, float]]:
        found: deque[tuple[int, float]] = self.__dict__.setdefault("waiting", deque(maxlen=10_000))
        return found


class _TimedClient(Client):
    """Notes how long answers take, and can lose its connection."""

    def __init__(self, *, tally: _Tally, now: Callable[[], float], **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._tally = tally
        self._now = now

    def call(self, *arguments: object, **options: object) -> bytes:
        begun_s = self._now()
        try:
            answer = super().call(*arguments, **options)  # type: ignore[arg-type]
        except ClosedError:
            raise
        except EdgewiseError:
            with self._tally.lock:
                self._tally.errors += 1
            raise
        with self._tally.lock:
            self._tally.answers.append(self._now() - begun_s)
        return answer

    def cut(self) -> None:
        """The connection breaks, as in the middle of the network: the next request fails."""
        if (connection := self._connection) is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(2)


class _SwarmNode:
    """One child."""

    def __init__(self, name: str, swarm: Swarm) -> None:
        self.name = name
        self.swarm = swarm
        self.credentials = Credentials(Ed25519PrivateKey.generate(), name, trusted=swarm.trusted)
        self.journal = _TimedJournal(node=name, streams={"readings": _STREAM}, clock=swarm.clock)
        self.journal.tally, self.journal.now = swarm.tally, swarm.clock.monotonic
        self.client: _TimedClient | None = None
        self.uplink: Uplink | None = None
        self.begun_s = swarm.clock.monotonic()

    def connect(self) -> _TimedClient:
        swarm = self.swarm
        self.client = _TimedClient(
            url=swarm.url,
            trusted=swarm.trusted,
            floor=swarm.floor,
            credentials=self.credentials,
            context=swarm.context,
            tally=swarm.tally,
            now=swarm.clock.monotonic,
        )
        return self.client

    def join(self, token: JoinToken) -> None:
        client = self.connect()
        try:
            request = msgspec.msgpack.encode(Join(token.secret, self.journal.identity))
            decode(client.introduce("/join", request), Joined)
        finally:
            client.close()

    def start(self) -> None:
        settings, clock = self.swarm.settings, self.swarm.clock
        telling = Telling(
            report=self.report,
            count=lambda streams: self.journal.standings(list(streams), CONSUMER),
            ends=lambda: self.uplink.ends() if self.uplink else {},
            clock=clock,
            every_s=lambda: settings.every_s,
        )
        self.uplink = Uplink(
            self.journal,
            node=self.name,
            version=__version__,
            connect=self.connect,
            brings=lambda _: False,
            below=tuple,
            settings=UplinkSettings(gather_s=settings.gather_s),
            clock=clock,
            random=self.swarm.random,
            spending=Spending(BudgetSettings(), budget=Budget(), keep=lambda _: None, clock=clock),
            told=self.welcomed,
            telling=telling,
        )
        self.uplink.start()

    def welcomed(self, _: Welcome) -> None:
        with self.swarm.tally.lock:
            self.swarm.tally.welcomes.append((self.name, self.swarm.clock.monotonic()))

    def stop(self) -> None:
        if self.uplink:
            self.uplink.stop()

    def append(self, value: float) -> None:
        self.journal.append("readings", [Entry("reading", {"source": "sensor", "values": {"value": value}})])

    def report(self) -> Report:
        state = self.uplink.state if self.uplink else None
        totals = self.journal.totals()
        return Report(
            node=self.name,
            version=__version__,
            uptime_s=self.swarm.clock.monotonic() - self.begun_s,
            every_s=self.swarm.settings.every_s,
            pipelines=(PipelineReport("sensor", "running", self.swarm.settings.rate),),
            resources=ResourceReport(self.swarm.random() * 0.2, rss_bytes=100_000_000),
            journal=JournalReport(totals.bytes, state.pending if state else 0, totals.dropped),
            link=LinkReport(state.link.phase, state.link.failures) if state else LinkReport(),
        )


class Swarm:
    """Children of one parent.

    Args:
        url: The parent's address.
        fingerprint: Of its authority.
        settings: How they behave.
        clock: Time.
        random: 0 to 1.

    Raises:
        AccessError: Whoever answers is another parent.
        UnavailableError: Nobody answers.

    Attributes:
        nodes: They, once they have joined.
    """

    def __init__(
        self, url: str, *, fingerprint: str, settings: SwarmSettings, clock: Clock, random: Callable[[], float]
    ) -> None:
        self.url = url
        self.settings = settings
        self.clock = clock
        self.random = random
        self.tally = _Tally()
        self.trusted: Pin = ask_authority(url, fingerprint)
        self.floor = TimeFloor()
        self.context: ssl.SSLContext = self.trusted.context(self.floor)
        self.nodes: list[_SwarmNode] = []
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._measured_s = clock.monotonic()

    def join(self, names: Sequence[str], tokens: Sequence[JoinToken]) -> None:
        """Lets nodes of these names join, each with a token of its own, several at a time. Errors as of joining."""
        nodes = [_SwarmNode(name, self) for name in names]
        _in_threads(lambda pair: pair[0].join(pair[1]), zip(nodes, tokens, strict=True))
        self.nodes += nodes

    def start(self) -> None:
        """They connect, spread over ``start_s``, and begin to measure."""
        step_s = self.settings.start_s / max(1, len(self.nodes))
        for node in self.nodes:
            node.start()
            if self._stopping.wait(step_s):
                return
        for number in range(_APPENDING):
            part = self.nodes[number::_APPENDING]
            self._threads.append(threading.Thread(target=self._append, args=(part,), name="swarm", daemon=True))
            self._threads[-1].start()

    def stop(self) -> None:
        """They go, and what they measured with them."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for node in self.nodes:
            node.journal.close()  # wakes whoever waits for news
        _in_threads(_SwarmNode.stop, self.nodes)

    def figures(self) -> Figures:
        """What was measured since the last time."""
        now_s = self.clock.monotonic()
        seconds, self._measured_s = now_s - self._measured_s, now_s
        syncs, answers, welcomes, records, errors = self.tally.take()
        states, dropped = [], 0
        for number, node in enumerate(self.nodes):
            if number % _PART == 0:
                self._stopping.wait(_PAUSE_S)
            states += [node.uplink.state] if node.uplink else []
            dropped += node.journal.totals().dropped
        return Figures(
            nodes=len(self.nodes),
            connected=sum(state.link.phase is Phase.CONNECTED for state in states),
            seconds=seconds,
            records=records,
            sync_p50=_part(syncs, 0.5),
            sync_p99=_part(syncs, 0.99),
            sync_max=_part(syncs, 1),
            answer_p50=_part(answers, 0.5),
            answer_p99=_part(answers, 0.99),
            answer_max=_part(answers, 1),
            errors=errors,
            welcomes=len(welcomes),
            pending=sum(state.pending for state in states),
            dropped=dropped,
        )

    def cut(self, nodes: Iterable[_SwarmNode]) -> None:
        """Breaks the connections of some, which notice at once since each has something to send."""
        for node in nodes:
            if node.client:
                node.client.cut()
            node.append(0.0)

    def storm(self, *, patience_s: float = 180.0) -> Return:
        """Breaks all connections at once; returns when all are back, or patience ends."""
        self.tally.take()
        begun_s = self.clock.monotonic()
        self.cut(self.nodes)
        back: dict[str, float] = {}
        slowest = 0.0
        while len(back) < len(self.nodes) and self.clock.monotonic() - begun_s < patience_s:
            if self._stopping.wait(0.5):
                break
            _, answers, welcomes, *_ = self.tally.take()
            slowest = max([slowest, *answers[-1:]])
            for name, time_s in welcomes:
                back.setdefault(name, time_s - begun_s)
        times = sorted(back.values())
        seconds = [int(time_s) for time_s in times]
        return Return(
            nodes=len(self.nodes),
            back=len(times),
            first=_part(times, 0),
            p50=_part(times, 0.5),
            p99=_part(times, 0.99),
            last=_part(times, 1),
            answer_max=slowest,
            most_in_a_second=max((seconds.count(second) for second in set(seconds)), default=0),
        )

    def churn(self, share: float) -> None:
        """Breaks the connections of some nodes, drawn at random."""
        self.cut(node for node in self.nodes if self.random() < share)

    def _append(self, nodes: Sequence[_SwarmNode]) -> None:
        """Appends to each node at its rate, each at a moment of its own."""
        if not self.settings.rate or not nodes:
            return
        every_s = 1 / self.settings.rate
        due = [(self.clock.monotonic() + every_s * self.random(), number) for number in range(len(nodes))]
        heapq.heapify(due)
        while not self._stopping.is_set():
            time_s, number = due[0]
            if self._stopping.wait(max(0.0, time_s - self.clock.monotonic())):
                return
            nodes[number].append(self.random())
            heapq.heapreplace(due, (time_s + every_s, number))


def _in_threads(function: Callable[[T], None], items: Iterable[T]) -> None:
    with ThreadPoolExecutor(_JOINING, thread_name_prefix="swarm") as pool:
        for _ in pool.map(function, items):
            pass


def _part(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
