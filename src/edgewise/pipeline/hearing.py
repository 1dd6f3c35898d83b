"""What transforms of sound share: a model that listens to a source, and scores that have to last."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from edgewise.errors import SettingsError
from edgewise.models.model import Model
from edgewise.models.stream import Heard, Stream
from edgewise.pipeline.base import Sound, Tools
from edgewise.types import Classification


class Ear:
    """A model that listens to one source. After a gap (pieces that were dropped) it begins anew, so it never takes the
    end of one word and the beginning of another for one.

    Args:
        model: Name of a model of this node that listens.
        tools: Where it is.
    """

    def __init__(self, model: str, tools: Tools) -> None:
        self._model = tools.model(model)
        self._stream: Stream | None = None
        self._rate = 0
        self._number = 0

    @property
    def model(self) -> Model:
        """The model."""
        return self._model

    def hear(self, sound: Sound, *, listen: bool = True) -> tuple[list[Heard], bool]:
        """What the model makes of the windows that this piece completes, and whether it began anew, after a gap.

        Args:
            sound: The next piece.
            listen: See ``Stream.feed``.
        """
        whole = sound.number == self._number + 1 and sound.rate == self._rate
        gap = bool(self._number) and not whole
        if self._stream is None or sound.rate != self._rate:
            self._stream, self._rate = self._model.stream(rate=sound.rate), sound.rate
        elif gap:
            self._stream.reset()
        self._number = sound.number
        return self._stream.feed(sound.samples, listen=listen), gap


class Lasting:
    """The mean of the last scores, once there are enough.

    Args:
        count: How many are averaged.
    """

    def __init__(self, count: int) -> None:
        self._last: deque[Mapping[str, float]] = deque(maxlen=count)

    def add(self, scores: Mapping[str, float]) -> dict[str, float]:
        """The means with these scores in; empty while there are too few."""
        self._last.append(scores)
        if len(self._last) < (self._last.maxlen or 0):
            return {}
        return {name: sum(each.get(name, 0.0) for each in self._last) / len(self._last) for name in scores}

    def clear(self) -> None:
        """Forgets them all."""
        self._last.clear()


def scores_of(heard: Heard, model: str) -> dict[str, float]:
    """Score by label.

    Raises:
        SettingsError: The model does not classify.
    """
    if not isinstance(heard.result, Classification):
        raise SettingsError(f"Model {model!r} does not say what it hears", model=model)
    return {label.name: label.score for label in heard.result.labels}


def advised(model: Model, name: str, otherwise: float) -> float:
    """What the model's author advises, from the options of its task."""
    value = model.manifest.task.get(name, otherwise)
    return float(value) if isinstance(value, int | float) else otherwise
