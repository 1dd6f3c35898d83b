"""Batches across cameras: pictures of several pipelines that wait for the same model go through it in one call.

Whether that pays is measured, model by model: a small network takes half the time per picture in a batch of four, a
large one on a processor gains nothing, and then each picture goes alone. A batch is never waited for: it is made of
what waits for a turn anyway, and never of so much that another core would stand idle.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from edgewise.pipeline.scheduler import Lane

if TYPE_CHECKING:
    from edgewise.models.model import Model
    from edgewise.models.prediction import Prediction
    from edgewise.types import Image

MAX_BATCH = 8
# A batch has to save at least this part of the time of single pictures.
_WORTH = 0.95
# After so many calls of one way the other is tried again: what pays may change with what else runs.
_TRY_AGAIN = 200
_NEWEST = 0.2  # weight of the newest call in the averages


class Gain:
    """Learns whether batches of one model pay. Pure."""

    __slots__ = ("_calls", "_many_s", "_one_s")

    def __init__(self) -> None:
        self._one_s = 0.0
        self._many_s = 0.0
        self._calls = 0

    def size(self, waiting: int, *, cores: int) -> int:
        """How many of the pictures that wait go into the next call."""
        most = min(MAX_BATCH, max(1, -(-waiting // cores)))
        return most if most > 1 and self._tries_many() else 1

    def took(self, size: int, seconds: float) -> None:
        """Takes in how long a call took."""
        self._calls += 1
        each = seconds / size
        if size == 1:
            self._one_s = _average(self._one_s, each)
        else:
            self._many_s = _average(self._many_s, each)

    def _tries_many(self) -> bool:
        if not self._one_s:
            return False
        pays = not self._many_s or self._many_s < _WORTH * self._one_s
        return pays != (self._calls % _TRY_AGAIN == _TRY_AGAIN - 1)


class _Asked:
    """One picture, and what came of it."""

    __slots__ = ("done", "error", "picture", "prediction", "taken")

    def __init__(self, picture: Image) -> None:
        self.picture = picture
        self.taken = False
        self.prediction: Prediction | None = None
        self.error: Exception | None = None
        self.done = threading.Event()


class Batcher:
    """Predicts for all pipelines of a node. Safe for threads.

    Args:
        cores: Turns at once.
    """

    def __init__(self, *, cores: int) -> None:
        self._cores = cores
        self._gate = threading.Lock()
        self._waiting: dict[Model, deque[_Asked]] = {}
        self._gains: dict[Model, Gain] = {}

    def predict(self, lane: Lane, model: Model, picture: Image) -> Prediction:
        """Predicts for one picture, in a turn of ``lane`` or in a batch that another one computes.

        Raises:
            EdgewiseError: As ``Model.predict``.
        """
        own = _Asked(picture)
        with self._gate:
            self._waiting.setdefault(model, deque()).append(own)
            self._gains.setdefault(model, Gain())
        with lane.turn():
            if batch := self._take(model, own):
                self._compute(model, batch)
        own.done.wait()
        if own.error is not None:
            raise own.error
        assert own.prediction is not None  # noqa: S101, one of the two is set before done
        return own.prediction

    def _take(self, model: Model, own: _Asked) -> list[_Asked]:
        """Own picture and some that wait with it; none when another thread has taken it."""
        with self._gate:
            if own.taken:
                return []
            waiting = self._waiting[model]
            size = self._gains[model].size(len(waiting), cores=self._cores)
            waiting.remove(own)
            batch = [own, *(waiting.popleft() for _ in range(min(size - 1, len(waiting))))]
            for asked in batch:
                asked.taken = True
            return batch

    def _compute(self, model: Model, batch: list[_Asked]) -> None:
        start = time.perf_counter()
        try:
            predictions = model.predict_batch([asked.picture for asked in batch])
        except Exception as error:  # noqa: BLE001 - raised where each picture was asked about
            if len(batch) == 1:
                batch[0].error = error
                batch[0].done.set()
                return
            for asked in batch:  # one bad picture does not spoil the others
                self._compute(model, [asked])
            return
        self._gains[model].took(len(batch), time.perf_counter() - start)
        for asked, prediction in zip(batch, predictions, strict=True):
            asked.prediction = prediction
            asked.done.set()


def _average(before: float, newest: float) -> float:
    return newest if not before else before + _NEWEST * (newest - before)
