"""Stable numbers for objects, from picture to picture: SORT (Bewley et al. 2016) as Similari implements it.

Boxes of one label are joined to tracks by overlap with where a Kalman filter expects them. A track counts, and has a
number, once it was seen in several pictures and at least once clearly: single false boxes never get one.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edgewise.errors import MissingExtraError
from edgewise.pipeline.base import Event, Gives, Observation, Tools
from edgewise.pipeline.stays import about
from edgewise.types import Box, Detection


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
    """One track. ``number`` is 0 until it counts."""

    newest: Detection
    began_ns: int
    seen_ns: int
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
        self._similari = _similari()
        # The confidence of a box weighs its overlap; ours is 1, so that ``overlap`` means the same for every box.
        self._tracker = self._similari.Sort(
            shards=1,
            bbox_history=1,
            max_idle_epochs=settings.missed,
            method=self._similari.PositionalMetricType.iou(settings.overlap),
        )
        self._scenes: dict[str, int] = {}
        self._lives: dict[int, _Life] = {}
        self._numbers = 0
        self._before: tuple[Detection, ...] = ()
        self._after: tuple[Detection, ...] = ()

    def apply(self, observation: Observation) -> Observation:
        """Numbers the objects of the frame. In a still picture everything is where it was."""
        events: list[Event] = []
        if not (observation.still and observation.objects == self._before):
            self._before = observation.objects
            self._after, events = self._follow(observation)
        present = sum(1 for life in self._lives.values() if life.number)
        facts = {**observation.facts, self.name: {"present": present, "total": self._numbers}}
        return msgspec.structs.replace(
            observation, objects=self._after, facts=facts, events=(*observation.events, *events)
        )

    def _follow(self, observation: Observation) -> tuple[tuple[Detection, ...], list[Event]]:
        objects, time_ns = list(observation.objects), observation.frame.time_ns
        events = []
        for life in self._lives.values():
            life.missed += 1
        for place, track in self._predict(objects):
            life = self._lives.setdefault(track, _Life(objects[place], time_ns, time_ns))
            life.missed, life.pictures, life.seen_ns = 0, life.pictures + 1, time_ns
            life.best = max(life.best, objects[place].score)
            if not life.number and life.pictures >= self._settings.needed and life.best >= self._settings.min_score:
                self._numbers += 1
                life.number = self._numbers
                life.newest = msgspec.structs.replace(objects[place], track=life.number)
                events.append(self._event("object.appeared", life, observation))
            life.newest = objects[place] = msgspec.structs.replace(objects[place], track=life.number)
        for track in [track for track, life in self._lives.items() if life.missed > self._settings.missed]:
            life = self._lives.pop(track)
            if life.number:
                events.append(self._event("object.left", life, observation))
        return tuple(objects), events if self._settings.events else []

    def _predict(self, objects: list[Detection]) -> list[tuple[int, int]]:
        """Place among the objects, and the tracker's number, of each one that is tracked. Each label is a scene of its
        own, so that nobody turns into a car.
        """
        wanted = self._settings.labels
        boxes: dict[int, list[Any]] = {scene: [] for scene in self._scenes.values()}
        for place, found in enumerate(objects):
            if not wanted or found.label in wanted:
                scene = self._scenes.setdefault(found.label, len(self._scenes))
                boxes.setdefault(scene, []).append((self._box(found.box), place))
        joined = [
            (int(track.custom_object_id), int(track.id))
            for scene, those in boxes.items()
            for track in self._tracker.predict_with_scene(scene, those)
        ]
        self._tracker.clear_wasted()
        return joined

    def _box(self, box: Box) -> Any:
        sides = max(1.0, box.width), max(1.0, box.height)
        return self._similari.BoundingBox.new_with_confidence(box.x1, box.y1, *sides, 1.0).as_xyaah()

    def _event(self, kind: str, life: _Life, observation: Observation) -> Event:
        body = {**about(life.newest), "seconds": round((life.seen_ns - life.began_ns) / 1e9, 1)}
        return Event(kind, observation.frame.source, observation.frame.time_ns, body)


def _similari() -> Any:
    try:
        return importlib.import_module("similari")
    except ImportError as error:
        raise MissingExtraError(
            "Tracking objects needs Similari", hint="pip install 'edgewise[tracking]'", extra="tracking"
        ) from error
