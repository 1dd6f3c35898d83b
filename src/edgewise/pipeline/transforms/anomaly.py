"""From readings to ``anomaly.started`` and ``anomaly.ended``: what is far from usual, and why.

Each check gives a score: how many usual spreads a value is away from what is usual, smoothed over time; or whether it
lies outside fixed limits; or whether it stands still. What is usual is learned from the first stretch of the readings
themselves and kept on the node's disk; see ``edgewise.series.usual``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgewise._lib.files import write_atomic
from edgewise.errors import CorruptError
from edgewise.pipeline.base import Event, Gives, Observation, Reading, Sample, Tools
from edgewise.pipeline.readings import Channel, Seconds, SecondsOrNone, nanoseconds, numbers
from edgewise.series.usual import Ewma, Learner, Usual

# A single value counts for at most so many times the score that starts an anomaly: it takes several to raise it.
_CLIP = 3.0
# While it learns, what was learned goes to disk each time so many readings came.
_KEEP_EVERY = 1000
_MAX_BYTES = 64 << 20


class CheckSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that is watched.

    With ``low`` or ``high`` the channel must stay within them; with ``still_s`` it must not stand still so long;
    otherwise it must stay near what is usual.

    Attributes:
        channel: Which channel.
        by: Another channel that it follows: the usual value is learned for each bin of that one.
        bin: Width of a bin, in the unit of ``by``.
        least: The usual spread is taken to be at least so much, in the channel's unit.
        side: Which way is far: ``both``, ``above`` or ``below`` what is usual.
        smooth_s: Scores are averaged over about so long.
        start: Score from which on it is an anomaly.
        end: Score below which it is none any more.
        low: Least allowed value.
        high: Largest allowed value.
        still_s: Longest time without any change.
        for_s: It must be past ``start`` for so long before it is an anomaly.
    """

    channel: Channel
    by: Annotated[str, Meta(max_length=128)] = ""
    bin: Annotated[float, Meta(gt=0, le=1e9)] = 1.0
    least: Annotated[float, Meta(ge=0)] = 0.0
    side: Literal["both", "above", "below"] = "both"
    smooth_s: SecondsOrNone = 0.0
    start: Annotated[float, Meta(gt=0, le=1000)] = 5.0
    end: Annotated[float, Meta(gt=0, le=1000)] = 2.5
    low: float | None = None
    high: float | None = None
    still_s: SecondsOrNone = 0.0
    for_s: SecondsOrNone = 0.0

    def __post_init__(self) -> None:
        if self.end > self.start:
            raise ValueError(f"{self.channel}: end is past start")
        if (self.low is not None or self.high is not None) and self.still_s:
            raise ValueError(f"{self.channel}: limits and still_s are two checks")
        if self.by and (self.low is not None or self.high is not None or self.still_s):
            raise ValueError(f"{self.channel}: by is for what is learned")

    @property
    def learned(self) -> bool:
        """Whether it needs to know what is usual."""
        return self.low is None and self.high is None and not self.still_s

    @property
    def key(self) -> str:
        """What of it decides what is learned."""
        return f"{self.channel} by {self.by} in {self.bin}" if self.by else self.channel


class AnomalySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="anomaly"):
    """What is watched, and how long is learned.

    Attributes:
        checks: One or more.
        learn_s: Length of the stretch, in the readings' own time, that what is usual is learned from.
    """

    checks: Annotated[tuple[CheckSettings, ...], Meta(min_length=1, max_length=256)]
    learn_s: Seconds = 7 * 86400.0


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why it is an anomaly.

    Attributes:
        channel: Which channel.
        why: ``unusual``, ``low``, ``high`` or ``still``.
        score: Past which score it is.
        value: The newest value.
        expected: What would be usual.
    """

    channel: str
    why: str
    score: float
    value: float
    expected: float | None = None


class _Kept(msgspec.Struct):
    """What one learned check knows: what it has learned from so far, and what is usual once that is enough."""

    key: str
    since_ns: int
    learner: Learner | None = None
    usual: Usual | None = None


class Anomaly:
    """Keeps the ``Transform`` seam, ``Flushing`` and ``Counting``."""

    takes = frozenset({Gives.READING})
    Settings = AnomalySettings
    name = "anomaly"

    def __init__(self, settings: AnomalySettings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._checks = [_Check(check) for check in settings.checks]
        # Checks that differ in their thresholds alone share what is learned.
        self._learning = {check.key: check for check in settings.checks if check.learned}
        self._kept: dict[str, dict[str, _Kept]] = {}
        self._active: dict[int, Reason] = {}
        self._started_ns = 0
        self._worst: dict[int, Reason] = {}
        self._learned = 0
        self._sample: Sample | None = None

    def apply(self, observation: Observation) -> Observation:
        """Adds an event when an anomaly starts or ends; the fact ``anomaly`` holds the scores."""
        self._sample = observation.sample
        events: tuple[Event, ...] = ()
        for reading in observation.readings:
            events += self._take(reading)
        scores: dict[str, float] = {}
        for check in self._checks:
            channel = check.settings.channel
            scores[channel] = max(scores.get(channel, 0.0), round(check.score, 3))
        facts = {**observation.facts, self.name: {"active": bool(self._active), "scores": scores}}
        return msgspec.structs.replace(observation, events=observation.events + events, facts=facts)

    def flush(self) -> Observation | None:
        """Nothing is held back; what was learned so far goes to disk."""
        if self._sample is not None and any(kept.learner for kept in self._of(self._sample.source).values()):
            self._save(self._sample.source)
        return None

    def counts(self) -> Mapping[str, int]:
        """Readings that were ``learned`` from."""
        return {"learned": self._learned}

    def _take(self, reading: Reading) -> tuple[Event, ...]:
        values = numbers(reading)
        usual = {
            key: self._learn(check, values, reading, self._of(reading.source)) for key, check in self._learning.items()
        }
        was = bool(self._active)
        for place, check in enumerate(self._checks):
            reason = check.take(values, reading.time_ns, usual.get(check.settings.key))
            if reason is None:
                if check.decided:
                    self._active.pop(place, None)
                continue
            self._active[place] = reason
            if place not in self._worst or reason.score >= self._worst[place].score:
                self._worst[place] = reason
        if bool(self._active) == was:
            return ()
        return (self._event(reading, "ended" if was else "started"),)

    def _event(self, reading: Reading, what: str) -> Event:
        if what == "started":
            self._started_ns = reading.time_ns
        reasons = self._active if what == "started" else self._worst
        ordered = sorted(reasons.values(), key=lambda reason: -reason.score)
        body = {"score": ordered[0].score, "reasons": msgspec.to_builtins(ordered)}
        if what == "ended":
            self._worst = {}
            body["lasted_s"] = round((reading.time_ns - self._started_ns) / 1e9, 3)
        return Event(f"anomaly.{what}", reading.source, reading.time_ns, body)

    def _learn(
        self, check: CheckSettings, values: Mapping[str, float], reading: Reading, learned: dict[str, _Kept]
    ) -> Usual | None:
        """What is usual; None while that is still being learned."""
        kept = learned.setdefault(check.key, _Kept(check.key, reading.time_ns))
        if kept.usual is not None:
            return kept.usual
        kept.learner = kept.learner or Learner(check.bin if check.by else 0.0)
        if reading.time_ns - kept.since_ns > nanoseconds(self._settings.learn_s):
            kept.usual, kept.learner = kept.learner.usual(), None
            self._save(reading.source)
            return kept.usual
        if check.channel in values and (not check.by or check.by in values):
            kept.learner.add(values[check.channel], values.get(check.by, 0.0))
            self._learned += 1
            if self._learned % _KEEP_EVERY == 0:
                self._save(reading.source)
        return None

    def _of(self, source: str) -> dict[str, _Kept]:
        """What is known of a source, read from disk when it is first asked for."""
        if source not in self._kept:
            path = self._path(source)
            self._kept[source] = {kept.key: kept for kept in _read(path)} if path.exists() else {}
        return self._kept[source]

    def _save(self, source: str) -> None:
        write_atomic(self._path(source), msgspec.json.encode(list(self._kept[source].values())))

    def _path(self, source: str) -> Path:
        """Each source, and each set of checks, has a file of its own: a pipeline may hold several transforms."""
        checks = "\n".join(sorted({check.key for check in self._settings.checks}))
        return self._tools.folder(self.name) / f"{source}-{hashlib.sha256(checks.encode()).hexdigest()[:12]}.json"


def _read(path: Path) -> list[_Kept]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[_Kept])
    except msgspec.MsgspecError as error:
        raise CorruptError(f"{path} is damaged: {error}", hint="Delete it: what is usual is learned anew.") from error


class _Check:
    """The state of one check.

    Attributes:
        settings: Its settings.
        score: The newest one.
        decided: Whether the newest reading had what it needs.
    """

    def __init__(self, settings: CheckSettings) -> None:
        self.settings = settings
        self.score = 0.0
        self.decided = False
        self._average = Ewma(settings.smooth_s)
        self._on = False
        self._past_ns: int | None = None
        self._still: tuple[float, int] | None = None
        self._passed: tuple[str, float | None] = ("low", None)

    def take(self, values: Mapping[str, float], time_ns: int, usual: Usual | None) -> Reason | None:
        """Takes the numbers of a reading; a reason while it is an anomaly."""
        value = values.get(self.settings.channel)
        self.decided = value is not None and (not self.settings.by or self.settings.by in values)
        if value is None or not self.decided:
            return None
        away, why, expected = self._away(value, values.get(self.settings.by, 0.0), time_ns, usual)
        limit = _CLIP * self.settings.start
        signed = self._average.add(time_ns, max(-limit, min(limit, away)))
        side = self.settings.side if self.settings.learned else "both"
        self.score = abs(signed) if side == "both" else max(0.0, signed if side == "above" else -signed)
        self._step(time_ns)
        rounded = None if expected is None else round(expected, 6)
        return Reason(self.settings.channel, why, round(self.score, 3), value, rounded) if self._on else None

    def _step(self, time_ns: int) -> None:
        if self._on:
            self._on = self.score >= self.settings.end
            self._past_ns = None
        elif self.score < self.settings.start:
            self._past_ns = None
        else:
            self._past_ns = time_ns if self._past_ns is None else self._past_ns
            self._on = time_ns - self._past_ns >= nanoseconds(self.settings.for_s)

    def _away(self, value: float, driver: float, time_ns: int, usual: Usual | None) -> tuple[float, str, float | None]:
        """How far from right a value is, why, and what would be expected."""
        settings, far = self.settings, 2 * self.settings.start
        if settings.still_s:
            if self._still is None or self._still[0] != value:
                self._still = (value, time_ns)
            return (far if time_ns - self._still[1] >= nanoseconds(settings.still_s) else 0.0), "still", None
        if not settings.learned:
            return self._outside(value, far)
        found = usual.at(driver) if usual else None
        if found is None:
            return 0.0, "unusual", None
        middle, around = found
        around = max(around, settings.least)
        if around:
            return (value - middle) / around, "unusual", middle
        return (0.0 if value == middle else math.copysign(math.inf, value - middle)), "unusual", middle

    def _outside(self, value: float, far: float) -> tuple[float, str, float | None]:
        """Fixed limits; while the average still remembers one that was passed, that one is named."""
        low, high = self.settings.low, self.settings.high
        if low is not None and value < low:
            self._passed = ("low", low)
        elif high is not None and value > high:
            self._passed = ("high", high)
        else:
            return 0.0, *self._passed
        return far, *self._passed
