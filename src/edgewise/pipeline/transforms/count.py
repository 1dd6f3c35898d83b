"""Counting tracked objects: over lines in both directions, and in zones.

Needs ``track`` before it. An object is where its box ends below. To be counted over a line it must have been clearly on
one side and then be clearly on the other: who stands on the line, in a box that trembles, is not counted each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from edgewise.pipeline.base import Event, Gives, Observation, Reading, Tools, Value
from edgewise.pipeline.places import Line, Polygon, crosses, foot, inside, side
from edgewise.pipeline.stays import Stay, about, visit
from edgewise.types import Detection

PlaceName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
# A track that was not seen for this long is forgotten; longer than trackers wait.
_FORGET_S = 60.0


class CountSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="count"):
    """What is counted where. Places are in shares of width and height, 0..1 from the top left corner.

    Attributes:
        lines: ``[[x, y], [x, y]]`` by name. *Forward* is from the left-hand to the right-hand side of somebody who
            walks from the first point to the second.
        zones: Polygons by name.
        labels: Classes counted; all when empty.
        margin: How far from a line an object is clearly on one side, in shares of the picture.
        absent_s: Who was not seen in a zone for longer than this has left it.
        every_s: Gives a reading every so many seconds, with what was counted since the last one; 0 gives none.
        events: Give ``line.crossed`` for each crossing.
    """

    lines: Annotated[dict[PlaceName, Line], Meta(max_length=32)] = {}
    zones: Annotated[dict[PlaceName, Polygon], Meta(max_length=32)] = {}
    labels: tuple[str, ...] = ()
    margin: Annotated[float, Meta(ge=0, le=0.2)] = 0.01
    absent_s: Annotated[float, Meta(ge=0, le=3600)] = 1.0
    every_s: Annotated[float, Meta(ge=0, le=86400)] = 0.0
    events: bool = False

    def __post_init__(self) -> None:
        if not self.lines and not self.zones:
            raise ValueError("count needs a line or a zone")
        if self.lines.keys() & self.zones.keys():
            raise ValueError("a line and a zone have the same name")


class Crossings(msgspec.Struct):
    """Over one line, of one label."""

    forward: int = 0
    backward: int = 0


class Occupancy(msgspec.Struct):
    """In one zone, of one label: how many came in, left, and are inside now."""

    entered: int = 0
    left: int = 0
    inside: int = 0


class Count:
    """Counts. Its facts: ``lines`` (name, label: ``forward``, ``backward``) and ``zones`` (name, label: ``entered``,
    ``left``, ``inside``). A reading has the same figures since the last one, under names such as
    ``gate.person.forward``; of ``inside`` it has the most at once.
    """

    takes = frozenset({Gives.FRAME})
    Settings = CountSettings
    name = "count"

    def __init__(self, settings: CountSettings, tools: Tools | None = None) -> None:  # noqa: ARG002, it needs none
        self._settings = settings
        self._sides: dict[str, dict[int, tuple[tuple[float, float], int]]] = {name: {} for name in settings.lines}
        self._stays: dict[str, dict[int, Stay]] = {name: {} for name in settings.zones}
        self._lines = {name: {label: Crossings() for label in settings.labels} for name in settings.lines}
        self._zones = {name: {label: Occupancy() for label in settings.labels} for name in settings.zones}
        self._interval = _Interval(settings.every_s)

    def apply(self, observation: Observation) -> Observation:
        """Counts the tracked objects of the frame."""
        wanted = self._settings.labels
        objects = [each for each in observation.objects if each.track and (not wanted or each.label in wanted)]
        events = [event for name in self._lines for event in self._count_line(name, objects, observation)]
        for name in self._zones:
            self._count_zone(name, objects, observation)
        facts = {**observation.facts, self.name: msgspec.to_builtins({"lines": self._lines, "zones": self._zones})}
        reading = self._interval.take(self._figures(), observation)
        return msgspec.structs.replace(
            observation,
            facts=facts,
            events=(*observation.events, *events) if self._settings.events else observation.events,
            readings=(*observation.readings, *reading),
        )

    def _count_line(self, name: str, objects: list[Detection], observation: Observation) -> list[Event]:
        line, sides, frame = self._settings.lines[name], self._sides[name], observation.frame
        events = []
        for found in objects:
            here = foot(found.box, frame)
            before, _ = sides.get(found.track, (here, 0))
            if found.track in sides and abs(side(line, here)) < self._settings.margin:
                here = before
            sides[found.track] = here, frame.time_ns
            crossed = crosses(line, before, here)
            if not crossed:
                continue
            tally = self._lines[name].setdefault(found.label, Crossings())
            tally.forward += crossed > 0
            tally.backward += crossed < 0
            body = {"line": name, "direction": "forward" if crossed > 0 else "backward", **about(found)}
            events.append(Event("line.crossed", frame.source, frame.time_ns, body))
        oldest_ns = frame.time_ns - int(_FORGET_S * 1e9)
        self._sides[name] = {track: place for track, place in sides.items() if place[1] >= oldest_ns}
        return events

    def _count_zone(self, name: str, objects: list[Detection], observation: Observation) -> None:
        zone, tally, frame = self._settings.zones[name], self._zones[name], observation.frame
        there = {found.track: found for found in objects if inside(zone, foot(found.box, frame))}
        change = visit(
            self._stays[name],
            there,
            outside=[found.track for found in objects if found.track not in there],
            time_ns=frame.time_ns,
            absent_s=self._settings.absent_s,
            still=observation.still,
        )
        self._stays[name] = dict(change.stays)
        for stay in change.entered:
            tally.setdefault(stay.newest.label, Occupancy()).entered += 1
        for stay in change.left:
            tally[stay.newest.label].left += 1
        for each in tally.values():
            each.inside = each.entered - each.left

    def _figures(self) -> Iterator[tuple[str, int]]:
        for places in (self._lines, self._zones):
            for place, labels in places.items():
                for label, tally in labels.items():
                    for field in tally.__struct_fields__:
                        yield f"{place}.{label}.{field}", getattr(tally, field)


class _Interval:
    """Turns running totals into what came in each interval. Intervals begin at whole multiples of their length, so that
    those of several cameras fit together.
    """

    def __init__(self, every_s: float) -> None:
        self._every_ns = int(every_s * 1e9)
        self._ends_ns = 0
        self._before: dict[str, int] = {}
        self._latest: dict[str, int] = {}
        self._most: dict[str, int] = {}
        self._number = 0

    def take(self, figures: Iterator[tuple[str, int]], observation: Observation) -> tuple[Reading, ...]:
        """The reading of the interval that has ended, if one has. What is in this picture belongs to the next."""
        if not self._every_ns:
            return ()
        frame, totals = observation.frame, dict(figures)
        readings: tuple[Reading, ...] = ()
        if self._ends_ns and frame.time_ns >= self._ends_ns:
            self._number += 1
            readings = (Reading(frame.source, self._number, self._ends_ns, self._values()),)
            self._before, self._most = self._latest, {}
        if not self._ends_ns or readings:
            self._ends_ns = (frame.time_ns // self._every_ns + 1) * self._every_ns
        self._latest = totals
        for name, value in totals.items():
            self._most[name] = max(self._most.get(name, 0), value)
        return readings

    def _values(self) -> dict[str, Value]:
        return {
            name: self._most[name] if name.endswith(".inside") else value - self._before.get(name, 0)
            for name, value in self._latest.items()
        }
