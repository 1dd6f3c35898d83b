"""Whether somebody speaks: ``speech.started`` and ``speech.ended``.

With hysteresis: speech begins when the score stays above one threshold for some time, and ends when it stays below a
lower one for longer, so that neither a click nor a breath makes an event. ``step`` is pure.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edgewise.errors import SettingsError
from edgewise.pipeline.base import Event, Gives, Observation, Tools
from edgewise.pipeline.hearing import Ear, advised, scores_of

Score = Annotated[float, Meta(gt=0, lt=1)]


class VoiceActivitySettings(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="voice_activity"
):
    """What counts as speech.

    Attributes:
        model: A model of this node that hears speech.
        threshold: From this score on it is speech; null takes what the model's author advises.
        release: Below this score it is none; null takes 0.15 less than the threshold.
        min_speech_s: It begins when it lasted so long.
        min_silence_s: It ends when there was none for so long.
    """

    model: str = "silero-vad"
    threshold: Score | None = None
    release: Score | None = None
    min_speech_s: Annotated[float, Meta(ge=0, le=10)] = 0.1
    min_silence_s: Annotated[float, Meta(ge=0.05, le=60)] = 0.5

    def __post_init__(self) -> None:
        if self.threshold is not None and self.release is not None and self.release > self.threshold:
            raise ValueError("release must not lie above threshold")


class SpeechState(msgspec.Struct, frozen=True):
    """What is remembered, in seconds of the stream.

    Attributes:
        speaking: Whether ``speech.started`` was told and ``speech.ended`` was not.
        since_s: When the score began to say otherwise; None while it does not.
        began_s: When the speech began.
    """

    speaking: bool = False
    since_s: float | None = None
    began_s: float = 0.0


def step(
    settings: VoiceActivitySettings, state: SpeechState, score: float, *, before_s: float, end_s: float
) -> SpeechState:
    """Takes in the score of one window; ``threshold`` and ``release`` of the settings must be numbers.

    Args:
        settings: What counts as speech.
        state: What is remembered.
        score: Of speech.
        before_s: Where the window before ended.
        end_s: Where this one ended.
    """
    assert settings.threshold is not None  # noqa: S101
    assert settings.release is not None  # noqa: S101
    otherwise = score < settings.release if state.speaking else score >= settings.threshold
    if not otherwise:
        return msgspec.structs.replace(state, since_s=None)
    since = before_s if state.since_s is None else state.since_s
    if end_s - since < (settings.min_silence_s if state.speaking else settings.min_speech_s):
        return msgspec.structs.replace(state, since_s=since)
    return SpeechState(not state.speaking, None, state.began_s if state.speaking else since)


class VoiceActivity:
    """The transform."""

    takes = frozenset({Gives.SOUND})
    Settings = VoiceActivitySettings
    name = "voice_activity"

    def __init__(self, settings: VoiceActivitySettings, tools: Tools) -> None:
        self._ear = Ear(settings.model, tools)
        threshold = settings.threshold or advised(self._ear.model, "threshold", 0.5)
        release = settings.release or max(threshold - 0.15, 0.01)
        if release > threshold:
            raise SettingsError(f"release {release} lies above the threshold of {settings.model}, {threshold}")
        self._settings = msgspec.structs.replace(settings, threshold=threshold, release=release)
        self._state = SpeechState()
        self._end_s = 0.0

    def apply(self, observation: Observation) -> Observation:
        """Adds ``facts.voice_activity`` (``speaking``, ``score``) and the events of this piece."""
        sound = observation.sound
        heard, gap = self._ear.hear(sound)
        events = []
        if gap:  # a gap: what was going on ended somewhere in it
            events += self._ended(observation, self._end_s) if self._state.speaking else []
            self._state, self._end_s = SpeechState(), 0.0
        score = observation.facts.get(self.name, {}).get("score", 0.0)
        for window in heard:
            (score,) = scores_of(window, self._settings.model).values()
            before = self._state
            self._state = step(self._settings, before, score, before_s=self._end_s, end_s=window.end_s)
            self._end_s = window.end_s
            if self._state.speaking and not before.speaking:
                events.append(Event("speech.started", sound.source, sound.time_ns, {"score": round(score, 4)}))
            elif before.speaking and not self._state.speaking:
                events += self._ended(observation, before.since_s or window.end_s, began_s=before.began_s)
        facts = {**observation.facts, self.name: {"speaking": self._state.speaking, "score": round(float(score), 4)}}
        return msgspec.structs.replace(observation, events=(*observation.events, *events), facts=facts)

    def _ended(self, observation: Observation, end_s: float, *, began_s: float | None = None) -> list[Event]:
        began = self._state.began_s if began_s is None else began_s
        sound = observation.sound
        return [Event("speech.ended", sound.source, sound.time_ns, {"seconds": round(end_s - began, 2)})]
