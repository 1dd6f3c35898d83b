"""A phrase that wakes a device: ``wake_word.heard``."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edgewise.pipeline.base import Event, Gives, Observation, Tools
from edgewise.pipeline.hearing import Ear, Lasting, advised, scores_of


class WakeWordSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="wake_word"):
    """Which phrase, and how sure is sure.

    Attributes:
        model: A model of this node that listens for a phrase.
        threshold: From this score on it was said; null takes what the model's author advises. Higher hears less that
            was not meant.
        quiet_s: How long after it was heard it is not heard again.
    """

    model: str = "hey-jarvis"
    threshold: Annotated[float, Meta(gt=0, lt=1)] | None = None
    quiet_s: Annotated[float, Meta(ge=0.1, le=60)] = 1.0


class WakeWord:
    """The transform."""

    takes = frozenset({Gives.SOUND})
    Settings = WakeWordSettings
    name = "wake_word"

    def __init__(self, settings: WakeWordSettings, tools: Tools) -> None:
        self._settings = settings
        self._ear = Ear(settings.model, tools)
        self._threshold = settings.threshold or advised(self._ear.model, "threshold", 0.5)
        self._lasting = Lasting(int(advised(self._ear.model, "mean_of", 1)))
        self._deaf_until_s = 0.0

    def apply(self, observation: Observation) -> Observation:
        """Adds the event when the phrase was heard."""
        sound = observation.sound
        heard, gap = self._ear.hear(sound)
        if gap:
            self._lasting.clear()
            self._deaf_until_s = 0.0
        events = []
        for window in heard:
            means = self._lasting.add(scores_of(window, self._settings.model))
            for phrase, score in means.items():
                if score > self._threshold and window.end_s >= self._deaf_until_s:
                    self._deaf_until_s = window.end_s + self._settings.quiet_s
                    body = {"phrase": phrase, "score": round(score, 4)}
                    events.append(Event("wake_word.heard", sound.source, sound.time_ns, body))
        return msgspec.structs.replace(observation, events=(*observation.events, *events))
