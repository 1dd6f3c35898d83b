"""What the API counts of its own requests, kept so that counting costs next to nothing.

All counting happens on the event loop, so there is no lock. ``prometheus`` turns the counts into the exposition format
when they are asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque

import msgspec

from edgewise._lib.clock import Clock

# Upper edges in seconds, from a tensor echoed to a picture on a slow board.
BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_EDGES_NS = [int(edge * 1e9) for edge in BUCKETS_S]
WINDOW_S = 10
WINDOWS_KEPT = 360
RECENT_KEPT = 512


class Window(msgspec.Struct):
    """Requests of one model within ``WINDOW_S`` seconds."""

    time_ns: int
    count: int = 0
    sum_ns: int = 0
    max_ns: int = 0


class Latency:
    """Latencies of one model: a histogram since the start, and a bounded series over time."""

    __slots__ = ("buckets", "count", "recent", "sum_ns", "windows")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.count = 0
        self.sum_ns = 0
        self.recent: deque[int] = deque(maxlen=RECENT_KEPT)
        self.windows: deque[Window] = deque(maxlen=WINDOWS_KEPT)

    def observe(self, ns: int, *, now_ns: int) -> None:
        """Takes one request in."""
        self.buckets[bisect_left(_EDGES_NS, ns)] += 1
        self.count += 1
        self.sum_ns += ns
        self.recent.append(ns)
        window_ns = now_ns - now_ns % (WINDOW_S * 1_000_000_000)
        if not self.windows or self.windows[-1].time_ns != window_ns:
            self.windows.append(Window(window_ns))
        window = self.windows[-1]
        window.count += 1
        window.sum_ns += ns
        window.max_ns = max(window.max_ns, ns)

    def percentiles_ms(self) -> dict[str, float]:
        """``p50``, ``p95`` and ``p99`` of the last ``RECENT_KEPT`` requests; zeros when there were none."""
        ordered = sorted(self.recent) or [0]
        last = len(ordered) - 1
        return {f"p{share}": ordered[round(last * share / 100)] / 1e6 for share in (50, 95, 99)}


class Latencies:
    """Latencies by model. Observed only for requests that succeeded, so the names are those of real models."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.by_model: dict[str, Latency] = {}

    def observe(self, model: str, ns: int) -> None:
        """Takes one request of a model in."""
        latency = self.by_model.get(model)
        if latency is None:
            latency = self.by_model[model] = Latency()
        latency.observe(ns, now_ns=self._clock.time_ns())


class Metrics:
    """All counts of one node's API.

    Attributes:
        inference: Latency by model of tensor requests (``infer``) and predictions (``predict``), from request to
            answer, the body's way here included.
        requests: Requests by area of the API and status.
        errors: Requests that failed, by error code.
    """

    def __init__(self, clock: Clock) -> None:
        self.inference = Latencies(clock)
        self.requests: Counter[tuple[str, int]] = Counter()
        self.errors: Counter[str] = Counter()
