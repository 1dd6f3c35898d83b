"""Spoken commands: ``voice.command`` with the word, always or for some seconds after a wake word.

A word counts when the mean of its scores over several windows is high: a window sees a second, and a single one may
take part of another word for a command. Labels that begin with ``_`` (silence, other words) are no commands.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgewise._lib.documents import nearest
from edgewise.errors import SettingsError
from edgewise.pipeline.base import Event, Gives, Observation, Tools
from edgewise.pipeline.hearing import Ear, Lasting, advised, scores_of

_NO_COMMAND = "_"


class CommandSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="command"):
    """When it listens, to which words, and how sure is sure.

    Attributes:
        model: A model of this node that tells words apart.
        listen: ``after_wake_word`` needs a ``wake_word`` before it in the pipeline: one command for each time it was
            heard. ``always`` takes every word it hears, in conversations too.
        listen_s: How long after the wake word.
        words: The words that count; all of the model when empty.
        threshold: From this score on the word was said; null takes what the model's author advises.
        quiet_s: How long after a command there is no other.
    """

    model: str = "voice-commands"
    listen: Literal["after_wake_word", "always"] = "after_wake_word"
    listen_s: Annotated[float, Meta(ge=1, le=60)] = 4.0
    words: tuple[str, ...] = ()
    threshold: Annotated[float, Meta(gt=0, lt=1)] | None = None
    quiet_s: Annotated[float, Meta(ge=0.1, le=60)] = 1.0


class Said(msgspec.Struct, frozen=True):
    """A command that was heard, and where in the stream its last window ended."""

    word: str
    score: float
    end_s: float


class CommandDecider:
    """From scores of windows to commands. Knows no model, so that training measures what a node does.

    Args:
        threshold: From this mean on a word was said.
        mean_of: Windows that are averaged.
        quiet_s: How long after a command there is no other.
    """

    def __init__(self, *, threshold: float, mean_of: int, quiet_s: float) -> None:
        self._threshold = threshold
        self._lasting = Lasting(mean_of)
        self._quiet_s = quiet_s
        self._deaf_until_s = 0.0

    def add(self, scores: dict[str, float], end_s: float) -> Said | None:
        """Takes in the scores of one window."""
        means = self._lasting.add(scores)
        if not means or end_s < self._deaf_until_s:
            return None
        word = max(means, key=lambda label: means[label])
        if word.startswith(_NO_COMMAND) or means[word] < self._threshold:
            return None
        self._deaf_until_s = end_s + self._quiet_s
        return Said(word, means[word], end_s)

    def forget(self, *, gap: bool = False) -> None:
        """What was heard so far counts no more; after a gap the stream's time begins anew."""
        self._lasting.clear()
        if gap:
            self._deaf_until_s = 0.0


class Command:
    """The transform."""

    takes = frozenset({Gives.SOUND})
    Settings = CommandSettings
    name = "command"

    def __init__(self, settings: CommandSettings, tools: Tools) -> None:
        self._settings = settings
        self._ear = Ear(settings.model, tools)
        self._decider = CommandDecider(
            threshold=settings.threshold or advised(self._ear.model, "threshold", 0.8),
            mean_of=int(advised(self._ear.model, "mean_of", 3)),
            quiet_s=settings.quiet_s,
        )
        self._woken_by = ""
        self._until_ns = 0
        known = self._ear.model.labels
        for word in settings.words:
            if word not in known:
                raise SettingsError(f"Model {settings.model!r} knows no word {word!r}", hint=nearest(word, known))

    def apply(self, observation: Observation) -> Observation:
        """Adds the event when a command was heard."""
        sound = observation.sound
        for event in observation.events:
            if event.kind == "wake_word.heard":
                self._woken_by = str(event.body["phrase"])
                self._until_ns = sound.time_ns + round(self._settings.listen_s * 1e9)
        if sound.time_ns > self._until_ns:
            self._woken_by = ""
        listening = self._settings.listen == "always" or bool(self._woken_by)
        heard, gap = self._ear.hear(sound, listen=listening)
        if gap or not listening:
            self._decider.forget(gap=gap)
        events = []
        for window in heard:
            said = self._decider.add(scores_of(window, self._settings.model), window.end_s)
            if said and (not self._settings.words or said.word in self._settings.words) and listening:
                events.append(self._event(observation, said))
                if self._settings.listen == "after_wake_word":
                    self._woken_by, listening = "", False
        return msgspec.structs.replace(observation, events=(*observation.events, *events))

    def _event(self, observation: Observation, said: Said) -> Event:
        body: dict[str, object] = {"word": said.word, "score": round(said.score, 4)}
        if self._woken_by:
            body["wake_word"] = self._woken_by
        return Event("voice.command", observation.sound.source, observation.sound.time_ns, body)
