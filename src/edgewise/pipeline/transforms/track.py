"""Stable numbers for objects, from picture to picture: SORT (Bewley et al. 2016, arXiv:1602.00763).

Boxes of one label are joined to tracks by overlap with where a Kalman filter (Similari's) sees them, so that all
together overlap the most. A track counts, and has a number, once it was seen in several pictures and at least once
clearly: single false boxes never get one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from edgewise.errors import MissingExtraError
from edgewise.pipeline.base import Event, Gives, Observation, Tools
from edgewise.pipeline.stays import about
from edgewise.types import Box, Detection

if TYPE_CHECKING:
    from edgewise.types import Array

# How far a box strays in a picture, as parts of its height: where it is, and how fast it moves (Wojke et al. 2017).
_POSITION_WEIGHT, _VELOCITY_WEIGHT = 1 / 20, 1 / 160


class TrackSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="track"):
    """How boxes are joined.

    Attributes:
        labels: Classes that are tracked; all when empty.
        overlap: A box belongs to a track when it overlaps with where that is expected by at least this much
            (intersection over union). Small, since boxes of light detectors jump.
        needed: Pictures a track must have been seen in to count.
        min_score: Score that one of its boxes must have reached.
        missed: Pictures a track may be missing in before it is over.
        events: Give ``object.appeared`` when a track begins to count, and ``object.left`` when it is over.
    """

    labels: tuple[str, ...] = ()
    overlap: Annotated[float, Meta(ge=0.01, le=0.95)] = 0.1
    needed: Annotated[int, Meta(ge=1, le=100)] = 3
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.5
    missed: Annotated[int, Meta(ge=1, le=1000)] = 20
    events: bool = False


class _Life(msgspec.Struct):
    """One track. ``number`` is 0 until it counts; ``motion`` is the Kalman filter's state of when it was last seen:
    while it is missing, its place stands still.
    """

    newest: Detection
    began_ns: int
    motion: Any
    seen_ns: int = 0
    pictures: int = 0
    missed: int = 0
    best: float = 0.0
    number: int = 0


class Track:
    """Numbers the objects, from 1. Its facts: how many tracks are ``present``, and how many there were in ``total``."""

    takes = frozenset({Gives.FRAME})
    Settings = TrackSettings
    name = "track"

    def __init__(self, settings: TrackSettings, tools: Tools | None = None) -> None:  # noqa: ARG002, it needs none
        self._settings = settings
        self._similari, self._lap = _library("similari"), _library("lap")
        self._filter = self._similari.Universal2DBoxKalmanFilter(_POSITION_WEIGHT, _VELOCITY_WEIGHT)
        self._lives: list[_Life] = []
        self._numbers = 0
        self._before: tuple[Detection, ...] = ()
        self._after: tuple[Detection, ...] = ()

    def apply(self, observation: Observation) -> Observation:
        """Numbers the objects of the frame. In a still picture everything is where it was."""
        events: list[Event] = []
        if not (observation.still and observation.objects == self._before):
            self._before = observation.objects
            self._after, events = self._follow(observation)
        present = sum(1 for life in self._lives if life.number)
        facts = {**observation.facts, self.name: {"present": present, "total": self._numbers}}
        return msgspec.structs.replace(
            observation, objects=self._after, facts=facts, events=(*observation.events, *events)
        )

    def _follow(self, observation: Observation) -> tuple[tuple[Detection, ...], list[Event]]:
        objects, time_ns = list(observation.objects), observation.frame.time_ns
        events = []
        for life in self._lives:
            life.missed += 1
        for place, life in self._joined(objects, time_ns):
            life.missed, life.pictures, life.seen_ns = 0, life.pictures + 1, time_ns
            life.best = max(life.best, objects[place].score)
            if not life.number and life.pictures >= self._settings.needed and life.best >= self._settings.min_score:
                self._numbers += 1
                life.number = self._numbers
                life.newest = msgspec.structs.replace(objects[place], track=life.number)
                events.append(self._event("object.appeared", life, observation))
            life.newest = objects[place] = msgspec.structs.replace(objects[place], track=life.number)
        gone = [life for life in self._lives if life.missed > self._settings.missed]
        self._lives = [life for life in self._lives if life.missed <= self._settings.missed]
        events += [self._event("object.left", life, observation) for life in gone if life.number]
        return tuple(objects), events if self._settings.events else []

    def _joined(self, objects: list[Detection], time_ns: int) -> list[tuple[int, _Life]]:
        """Place among the objects of each one that is tracked, with its life; a new one for what belongs to none."""
        wanted = self._settings.labels
        places = [place for place, found in enumerate(objects) if not wanted or found.label in wanted]
        lives = self._matches(objects, places)
        for place in places:
            box = self._box(objects[place].box)
            if place in lives:
                life = lives[place]
                life.motion = self._filter.update(self._filter.predict(life.motion), box)
            else:
                life = lives[place] = _Life(objects[place], time_ns, self._filter.initiate(box))
                self._lives.append(life)
        return sorted(lives.items())

    def _matches(self, objects: list[Detection], places: list[int]) -> dict[int, _Life]:
        """The lives that objects belong to, each at most once, so that together they overlap the most."""
        import numpy as np

        if not places or not self._lives:
            return {}
        boxes = np.array([[(box := objects[place].box).x1, box.y1, box.x2, box.y2] for place in places])
        overlap = _overlap(boxes, np.array([_corners(life.motion) for life in self._lives]))
        labels = np.array([objects[place].label for place in places])
        overlap[labels[:, None] != np.array([life.newest.label for life in self._lives])] = 0.0
        overlap[overlap < self._settings.overlap] = 0.0
        _, columns, _ = self._lap.lapjv(-overlap, extend_cost=True)
        return {
            place: self._lives[column]
            for row, (place, column) in enumerate(zip(places, columns.tolist(), strict=True))
            if column >= 0 and overlap[row, column] > 0
        }

    def _box(self, box: Box) -> Any:
        sides = max(1.0, box.width), max(1.0, box.height)
        return self._similari.BoundingBox(box.x1, box.y1, *sides).as_xyaah()

    def _event(self, kind: str, life: _Life, observation: Observation) -> Event:
        body = {**about(life.newest), "seconds": round((life.seen_ns - life.began_ns) / 1e9, 1)}
        return Event(kind, observation.frame.source, observation.frame.time_ns, body)


def _overlap(one: Array, other: Array) -> Array:
    """Intersection over union of each of ``[n, 4]`` boxes with each of ``[m, 4]``: ``[n, m]``."""
    import numpy as np

    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.prod(np.clip(high - low, 0.0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    whole = areas[0][:, None] + areas[1][None] - common
    overlap: Array = np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)
    return overlap


def _corners(motion: Any) -> tuple[float, float, float, float]:
    at = motion.bbox()
    return at.left, at.top, at.left + at.width, at.top + at.height


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"Tracking objects needs {name}", hint="pip install 'edgewise[tracking]'", extra="tracking"
        ) from error
