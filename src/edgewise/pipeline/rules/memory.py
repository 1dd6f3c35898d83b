"""What a set of rules remembers between samples: recent history, cooldowns, sequences under way, timers.

All of it is bounded. It is rebuilt from the journal after a restart: by deciding the last records again, without
acting on what comes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from edgewise.pipeline.base import Event
from edgewise.pipeline.rules.expression import COUNT, OF_LATEST, Past
from edgewise.pipeline.rules.settings import READING
from edgewise.pipeline.rules.windows import REDUCE, Latest, Series, count

# Rule, source, and person (empty for none): what a cooldown belongs to.
Mark: TypeAlias = tuple[str, str, str]
Key: TypeAlias = tuple[str, ...]

# Keys (sources, people, tracks) that are remembered for each thing that is remembered by key; the oldest goes.
MAX_KEYS = 1024
_MAX_FIRED = 20_000
_NONE: frozenset[int] = frozenset()


class Part(msgspec.Struct, frozen=True):
    """One step of a sequence as it happened."""

    kind: str
    source: str
    time_ns: int
    sequence: int


class Holding(msgspec.Struct):
    """A condition that began to hold.

    Attributes:
        since_ns: When.
        sample: With which sample.
        parts: What had happened before.
        fired: Whether its rule has fired for it.
    """

    since_ns: int
    sample: Event
    parts: tuple[Part, ...]
    fired: bool = False


class _Counted(NamedTuple):
    kind: str
    window_ns: int
    same: str


class Memory:
    """What the rules of one engine remember. One thread at a time.

    Attributes:
        fired: When each rule last fired, by ``(rule, source, person)``.
        chains: How far sequences are, by rule and key: for each step the newest way to it.
        holding: Conditions that hold, by rule and key.
        timers: Heap of ``(due_ns, rule, key, since_ns)``.
        handled: Through which time the schedule of each rule was looked at, by its name.
        upcoming: The next time of the schedule of each rule; None for never.
        told: When a fault of a rule on readings was last told, by its name.
    """

    def __init__(self, pasts: frozenset[Past]) -> None:
        self.fired: dict[Mark, int] = {}
        self.chains: dict[tuple[int, Key], list[tuple[Part, ...]]] = {}
        self.holding: dict[tuple[int, Key], Holding] = {}
        self.timers: list[tuple[int, int, Key, int]] = []
        self.handled: dict[str, int] = {}
        self.upcoming: dict[str, int | None] = {}
        self.told: dict[str, int] = {}
        self._since_ns = 0
        self._forget_at = MAX_KEYS
        self._windows: dict[tuple[str, str], set[int]] = {}  # by source and channel
        self._latest_of: dict[str, set[str]] = {}
        self._counted: list[_Counted] = []
        self._series: dict[tuple[str, str, int], Series] = {}
        self._latest: dict[tuple[str, str], Latest] = {}
        self._counts: dict[tuple[_Counted, str], Series] = {}
        for past in sorted(pasts):
            if past.function in REDUCE:
                self._windows.setdefault((past.source, past.channel), set()).add(past.window_ns)
            elif past.function in OF_LATEST:
                self._latest_of.setdefault(past.channel, set()).add(past.source)
            elif (counted := _Counted(past.channel, past.window_ns, past.same)) not in self._counted:
                self._counted.append(counted)

    def remember(self, event: Event) -> None:
        """Takes a sample into the history that rules look at."""
        self._since_ns = self._since_ns or event.time_ns
        if event.kind == READING:
            values = event.body.get("values")
            for channel, value in values.items() if isinstance(values, Mapping) else ():
                self._remember_value(event, channel, value)
            return
        for counted in self._counted:
            if matches(counted.kind, event.kind):
                key = (counted, field_of(event, counted.same))
                series = self._counts.get(key)
                if series is None:
                    series = _put(self._counts, key, Series(counted.window_ns))
                series.add(event.time_ns, 1.0)

    def recall(self, past: Past, event: Event, now_ns: int) -> Any:
        """The value of a look at history, as it is for a sample at a time; None when there is none."""
        source = past.source or event.source
        if past.function == COUNT:
            series = self._counts.get((_Counted(past.channel, past.window_ns, past.same), field_of(event, past.same)))
            return count(series.cells(now_ns)) if series else 0
        if past.function in REDUCE:
            values = self._series.get((source, past.channel, past.window_ns))
            return REDUCE[past.function](values.cells(now_ns) if values else ())
        return self._recall_latest(past, self._latest.get((source, past.channel)), now_ns)

    def forget_cooldowns(self, now_ns: int, cooldowns_ns: Mapping[str, int]) -> None:
        """Drops cooldowns that are over; called now and then."""
        if len(self.fired) <= self._forget_at:
            return
        still = {m: t for m, t in self.fired.items() if 0 <= now_ns - t < cooldowns_ns.get(m[0], 0)}
        self.fired = dict(sorted(still.items(), key=lambda item: item[1])[-_MAX_FIRED:])
        self._forget_at = max(MAX_KEYS, 2 * len(self.fired))

    def _remember_value(self, event: Event, channel: str, value: Any) -> None:
        if value is None:
            return
        sources = self._latest_of.get(channel)
        if sources is not None and (event.source in sources or "" in sources):
            latest = self._latest.get((event.source, channel))
            if latest is None:
                _put(self._latest, (event.source, channel), Latest(event.time_ns, value))
            else:
                latest.add(event.time_ns, value)
        if isinstance(value, (int, float)):
            # A window of whatever source and one of this source are one and the same.
            lengths = self._windows.get((event.source, channel), _NONE) | self._windows.get(("", channel), _NONE)
            for window_ns in lengths:
                self._window(event.source, channel, window_ns).add(event.time_ns, float(value))

    def _window(self, source: str, channel: str, window_ns: int) -> Series:
        key = (source, channel, window_ns)
        series = self._series.get(key)
        return series if series is not None else _put(self._series, key, Series(window_ns))

    def _recall_latest(self, past: Past, latest: Latest | None, now_ns: int) -> Any:
        if past.function == "stale":
            newest_ns = max(self._since_ns or now_ns, latest.time_ns if latest else 0)
            return now_ns - newest_ns > past.window_ns
        if latest is None:
            return None if past.function == "last" else False
        if past.function == "last":
            if past.window_ns and now_ns - latest.time_ns > past.window_ns:
                return None
            number = isinstance(latest.value, (int, float)) and not isinstance(latest.value, bool)
            return float(latest.value) if number else latest.value  # type: ignore[arg-type]
        if not past.window_ns:
            return latest.changed
        return latest.changed_ns is not None and now_ns - past.window_ns < latest.changed_ns <= now_ns


def matches(pattern: str, kind: str) -> bool:
    """Whether a kind of event is meant by a pattern; ``*`` means no readings and no times."""
    if pattern == kind:
        return True
    return pattern.endswith("*") and kind.startswith(pattern[:-1]) and kind not in {READING, "time"}


def field_of(event: Event, name: str) -> str:
    """What ``same`` compares: the source, the person, or a field of the body; empty for nothing."""
    if not name:
        return ""
    if name == "source":
        return event.source
    return str(event.body.get("name" if name == "person" else name, ""))


def bounded(items: dict[Any, Any]) -> Iterator[Any]:
    """Takes the oldest keys out until there is place for one more, and yields them."""
    while len(items) >= MAX_KEYS:
        oldest = next(iter(items))
        del items[oldest]
        yield oldest


def _put(items: dict[Any, Any], key: Any, value: Any) -> Any:
    for _ in bounded(items):
        pass
    items[key] = value
    return value
