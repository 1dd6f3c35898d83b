"""Who enters a zone, stays too long in it, and leaves: ``zone.entered``, ``object.loitering`` and ``zone.left``.

Needs ``track`` before it. At which times of day an intruder is one is a matter of rules.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edgewise.pipeline.base import Event, Gives, Observation, Tools
from edgewise.pipeline.places import Polygon, foot, inside
from edgewise.pipeline.stays import Stay, about, visit
from edgewise.pipeline.transforms.count import PlaceName


class DwellSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="dwell"):
    """Which zones are watched. Places are in shares of width and height, 0..1 from the top left corner.

    Attributes:
        zones: Polygons by name.
        labels: Classes watched; all when empty.
        loiter_s: Who stays this long is loitering, which is told once a stay.
        absent_s: Who was not seen in the zone for longer than this has left it.
    """

    zones: Annotated[dict[PlaceName, Polygon], Meta(min_length=1, max_length=32)]
    labels: tuple[str, ...] = ()
    loiter_s: Annotated[float, Meta(gt=0, le=86400)] = 30.0
    absent_s: Annotated[float, Meta(ge=0, le=3600)] = 2.0


class Dwell:
    """Watches zones. Its facts: by zone, who is inside (``label``, ``track``) and for how many ``seconds``."""

    takes = frozenset({Gives.FRAME})
    Settings = DwellSettings
    name = "dwell"

    def __init__(self, settings: DwellSettings, tools: Tools | None = None) -> None:  # noqa: ARG002, it needs none
        self._settings = settings
        self._stays: dict[str, dict[int, Stay]] = {name: {} for name in settings.zones}
        self._told: set[tuple[str, tuple[int, int]]] = set()

    def apply(self, observation: Observation) -> Observation:
        """Adds the events of this frame."""
        events = [event for zone in self._settings.zones for event in self._watch(zone, observation)]
        stays = {
            zone: [
                {"label": stay.newest.label, "track": track, "seconds": round(stay.seconds, 1)}
                for track, stay in there.items()
            ]
            for zone, there in self._stays.items()
        }
        facts = {**observation.facts, self.name: stays}
        return msgspec.structs.replace(observation, facts=facts, events=(*observation.events, *events))

    def _watch(self, zone: str, observation: Observation) -> list[Event]:
        frame, wanted = observation.frame, self._settings.labels
        objects = [each for each in observation.objects if each.track and (not wanted or each.label in wanted)]
        polygon = self._settings.zones[zone]
        there = {found.track: found for found in objects if inside(polygon, foot(found.box, frame))}
        change = visit(
            self._stays[zone],
            there,
            outside=[found.track for found in objects if found.track not in there],
            time_ns=frame.time_ns,
            absent_s=self._settings.absent_s,
            still=observation.still,
        )
        self._stays[zone] = dict(change.stays)
        loitering = [
            stay
            for stay in change.stays.values()
            if stay.seconds >= self._settings.loiter_s and (zone, stay.key) not in self._told
        ]
        self._told |= {(zone, stay.key) for stay in loitering}
        self._told -= {(zone, stay.key) for stay in change.left}
        return [
            Event(kind, frame.source, frame.time_ns, _body(zone, stay))
            for kind, stays in (
                ("zone.entered", change.entered),
                ("object.loitering", loitering),
                ("zone.left", change.left),
            )
            for stay in stays
        ]


def _body(zone: str, stay: Stay) -> dict[str, object]:
    return {"zone": zone, "seconds": round(stay.seconds, 1), **about(stay.newest)}
