"""What a picture shows, or what a stretch of readings is, by any model whose task is classification.

Pictures are classified one by one. Of readings, the last stretch that is as long as the model takes is brought to the
model's rate by straight lines and classified again and again while time goes on.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from edgewise.errors import SettingsError
from edgewise.models.manifest import Input, Window
from edgewise.pipeline.base import Event, Frame, Gives, Observation, Reading, Tools
from edgewise.pipeline.joint import UnsureSettings, answered_by
from edgewise.pipeline.readings import Channel, Seconds, SecondsOrNone, nanoseconds, numbers
from edgewise.types import Classification, Label

if TYPE_CHECKING:
    from edgewise.models.model import Model
    from edgewise.models.prediction import Prediction
    from edgewise.types import Image

# What is said when the model is not sure enough.
UNSURE = "unsure"
# A gap of more than this part of the stretch (two steps of the model's rate at least) in any channel, and it is not
# classified: straight lines over it would be no motion that anybody made.
_GAP = 1 / 8


class ClassifySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="classify"):
    """Which model, and what is told.

    Attributes:
        model: Name of a model of this node.
        event: First word of the events' kind.
        tell: ``each``: an event ``EVENT.LABEL`` for every result; ``changes``: an event ``EVENT.changed`` when the
            label is another one than before; ``nothing``: only the facts. Readings tell changes and pictures each when
            it is not set.
        labels: Labels that ``each`` tells; all when empty.
        min_score: A result below it is ``unsure``: that is told by ``each``, and changes nothing.
        needed: A label must be the result so many times running before it counts as a change.
        every_s: Of readings: time between two results.
        length_s: Of readings: length of the stretch where the model does not say it.
        unsure: Of pictures: when a larger model above is asked instead; never when it is not set.
        channels: Of readings: the channel behind each of the model's channels, where its name differs.
    """

    model: str
    event: Annotated[str, Meta(pattern=r"^[a-z0-9_]+(?:\.[a-z0-9_]+)*$", max_length=64)] = "class"
    tell: Literal["each", "changes", "nothing"] | None = None
    labels: tuple[str, ...] = ()
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.0
    needed: Annotated[int, Meta(ge=1, le=1000)] = 2
    every_s: Seconds = 1.0
    length_s: SecondsOrNone = 0.0
    channels: dict[Channel, Channel] = {}
    unsure: UnsureSettings | None = None


class Classify:
    """Keeps the ``Transform`` seam."""

    takes = frozenset({Gives.FRAME, Gives.READING})
    Settings = ClassifySettings
    name = "classify"

    def __init__(self, settings: ClassifySettings, tools: Tools) -> None:
        self._settings = settings
        self._model = tools.model(settings.model)
        taken = self._model.manifest.inputs[0]
        self._stretch = _Stretch(settings, taken) if taken.kind == "series" else None
        self._said: str | None = None
        self._said_ns = 0
        self._next: str | None = None
        self._running = 0

    @property
    def model(self) -> Model:
        """What classifies."""
        return self._model

    @property
    def unsure(self) -> UnsureSettings | None:
        """See ``Doubting``."""
        return self._settings.unsure

    def apply(self, observation: Observation) -> Observation:
        """Adds the newest result as the fact ``classify``, and what is to be told of it."""
        picture = self.wanted(observation)
        return self.conclude(observation, None if picture is None else self._model.predict(picture))

    def wanted(self, observation: Observation) -> Image | None:
        """See ``Batched``; nothing of readings, whose stretches are their own."""
        return observation.sample.image if isinstance(observation.sample, Frame) else None

    def conclude(self, observation: Observation, prediction: Prediction | None) -> Observation:
        """See ``Batched``."""
        if prediction is not None:
            by = answered_by(prediction) if self._settings.unsure else ""
            return self._tell(observation, self._best(prediction), observation.sample.time_ns, default="each", by=by)
        if self._stretch is None:
            raise SettingsError(f"Model {self._settings.model!r} takes no series", model=self._settings.model)
        for reading in observation.readings:
            if (series := self._stretch.add(reading)) is not None:
                best = self._best(self._model.predict(series))
                observation = self._tell(observation, best, reading.time_ns, default="changes")
        return observation

    def _best(self, prediction: Prediction) -> Label:
        result = prediction.result
        if not isinstance(result, Classification):
            raise SettingsError(f"Model {self._settings.model!r} does not classify", model=self._settings.model)
        return result.labels[0]

    def _tell(self, observation: Observation, best: Label, time_ns: int, *, default: str, by: str = "") -> Observation:
        told = {"by": by} if by else {}
        sure = best.score >= self._settings.min_score
        label = best.name if sure else UNSURE
        event = None
        tell = self._settings.tell or default
        if tell == "each" and (not self._settings.labels or label in self._settings.labels):
            body = {"label": label, "score": round(best.score, 4), "number": observation.sample.number} | told
            event = Event(f"{self._settings.event}.{_word(label)}", observation.sample.source, time_ns, body)
        if tell == "changes" and sure:
            event = self._change(observation.sample.source, best, time_ns, told)
        fact = {"label": label, "score": round(best.score, 4), "said": self._said} | told
        facts = {**observation.facts, self.name: fact}
        events = observation.events + ((event,) if event else ())
        return msgspec.structs.replace(observation, facts=facts, events=events)

    def _change(self, source: str, best: Label, time_ns: int, told: Mapping[str, str]) -> Event | None:
        """The event of a change, once the new label came often enough running."""
        self._running = self._running + 1 if best.name == self._next else 1
        self._next = best.name
        if best.name == self._said or self._running < self._settings.needed:
            return None
        body = {"label": best.name, "score": round(best.score, 4), "before": self._said, **told}
        if self._said is not None:
            body["lasted_s"] = round((time_ns - self._said_ns) / 1e9, 3)
        self._said, self._said_ns = best.name, time_ns
        return Event(f"{self._settings.event}.changed", source, time_ns, body)


def _word(label: str) -> str:
    """A label as a word of an event's kind."""
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_") or "_"


class _Stretch:
    """The newest readings, as the model takes them."""

    def __init__(self, settings: ClassifySettings, taken: Input) -> None:
        if not taken.channels or not taken.rate_hz:
            raise SettingsError(
                f"Model {settings.model!r} does not say its channels and rate",
                hint="Write channels and rate_hz of its input into model.yaml.",
                model=settings.model,
            )
        window = next((step.length for step in taken.preprocess if isinstance(step, Window)), 0)
        self._rate_hz = taken.rate_hz
        self._count = round(settings.length_s * taken.rate_hz) or window
        if not self._count:
            hint = "Set length_s of the transform."
            raise SettingsError(f"Model {settings.model!r} does not say how long a stretch it takes", hint=hint)
        self._length_ns = nanoseconds(self._count / taken.rate_hz)
        self._step_ns = nanoseconds(1 / taken.rate_hz)
        self._every_ns = nanoseconds(settings.every_s)
        self._gap_ns = nanoseconds(max(2, self._count * _GAP) / taken.rate_hz)
        self._channels = [settings.channels.get(name, name) for name in taken.channels]
        self._times: dict[str, list[int]] = {name: [] for name in self._channels}
        self._values: dict[str, list[float]] = {name: [] for name in self._channels}
        self._due_ns: int | None = None
        self._newest_ns = 0

    def add(self, reading: Reading) -> object | None:
        """The stretch that ends with this reading, ``float32 [time, channels]``, when it is time for one."""
        found = numbers(reading, self._channels)
        if not found:
            return None
        self._keep(reading.time_ns, found)
        set_back = reading.time_ns < self._newest_ns - self._length_ns
        self._newest_ns = reading.time_ns if set_back else max(self._newest_ns, reading.time_ns)
        if self._due_ns is None or set_back:
            self._due_ns = reading.time_ns + self._length_ns
        if reading.time_ns < self._due_ns:
            return None
        self._due_ns = max(self._due_ns + self._every_ns, reading.time_ns)
        return self._even(reading.time_ns) if self._whole(reading.time_ns) else None

    def _keep(self, time_ns: int, found: Mapping[str, float]) -> None:
        for name, value in found.items():
            times, values = self._times[name], self._values[name]
            if times and time_ns <= times[-1]:
                if time_ns == times[-1] or times[-1] - time_ns < self._length_ns:
                    continue  # out of order; the next one is soon here
                times.clear()
                values.clear()
            times.append(time_ns)
            values.append(value)
            old = bisect_left(times, time_ns - self._length_ns - self._gap_ns)
            del times[:old], values[:old]

    def _whole(self, end_ns: int) -> bool:
        """Whether every channel reaches over the whole stretch without a long gap."""
        start_ns = end_ns - self._length_ns + 3 * self._step_ns // 2  # of the grid, give or take half a step
        for name in self._channels:
            times = self._times[name]
            if not times or times[0] > start_ns or times[-1] < end_ns - self._gap_ns:
                return False
            if any(after - before > self._gap_ns for before, after in itertools.pairwise(times)):
                return False
        return True

    def _even(self, end_ns: int) -> object:
        import numpy as np

        from edgewise.series.spectrum import evenly

        columns = [
            evenly(
                self._times[name],
                self._values[name],
                rate_hz=self._rate_hz,
                end_ns=end_ns + self._step_ns,  # the grid ends with the newest reading
                count=self._count,
            )
            for name in self._channels
        ]
        return np.stack(columns, 1).astype(np.float32)
