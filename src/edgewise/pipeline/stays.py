"""Who is in a zone, since when, and who left: what counting and watching zones have in common. Pure.

Trackers lose people behind posts and give them a new number when they come out. A new track that begins inside a zone,
where one of the same label was lost a moment ago, goes on with that one's stay: nobody came in, and nobody left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from edgewise.types import Box, Detection


class Stay(msgspec.Struct, frozen=True):
    """One object in a zone.

    Attributes:
        newest: Its newest sighting inside.
        since_ns: When it came in, nanoseconds since the Unix epoch.
        seen_ns: When it was last seen inside.
        first: The track it came in as.
    """

    newest: Detection
    since_ns: int
    seen_ns: int
    first: int

    @property
    def key(self) -> tuple[int, int]:
        """Names the stay for as long as it lasts, whatever number its object has."""
        return self.first, self.since_ns

    @property
    def seconds(self) -> float:
        """How long it has stayed."""
        return (self.seen_ns - self.since_ns) / 1e9


class Visit(msgspec.Struct, frozen=True):
    """What one picture changed in a zone: who is inside now by track, who came in, and who has left."""

    stays: Mapping[int, Stay]
    entered: tuple[Stay, ...] = ()
    left: tuple[Stay, ...] = ()


def visit(
    stays: Mapping[int, Stay],
    inside: Mapping[int, Detection],
    *,
    outside: Iterable[int] = (),
    time_ns: int,
    absent_s: float,
    still: bool = False,
) -> Visit:
    """Takes in who is in a zone in one picture.

    Args:
        stays: Who was inside before, by track.
        inside: Who is seen inside, by track.
        outside: Tracks that are seen elsewhere.
        time_ns: When the picture was taken.
        absent_s: Who is seen outside, or nowhere, for longer than this has left.
        still: Nothing moved: whoever was inside still is, seen or not.
    """
    now, entered, left = {}, [], []
    waiting = {track: stay for track, stay in stays.items() if track not in inside}
    elsewhere = set(outside)
    for track, found in inside.items():
        stay = stays.get(track)
        if stay is None:
            lost = {other: each for other, each in waiting.items() if other not in elsewhere}
            stay = waiting.pop(_lost_here(found, lost), None)
        if stay is None:
            stay = Stay(found, time_ns, time_ns, track)
            entered.append(stay)
        now[track] = Stay(found, stay.since_ns, max(stay.seen_ns, time_ns), stay.first)
    for track, stay in waiting.items():
        if still:
            now[track] = msgspec.structs.replace(stay, seen_ns=max(stay.seen_ns, time_ns))
        elif time_ns - stay.seen_ns <= absent_s * 1e9:
            now[track] = stay
        else:
            left.append(stay)
    return Visit(now, tuple(entered), tuple(left))


def _lost_here(found: Detection, lost: Mapping[int, Stay]) -> int:
    """The track whose stay a new one goes on with: the nearest of its label that its box touches; 0 when none is."""
    near = [
        (_distance(stay.newest.box, found.box), track)
        for track, stay in lost.items()
        if stay.newest.label == found.label and _touch(stay.newest.box, found.box)
    ]
    return min(near)[1] if near else 0


def _touch(a: Box, b: Box) -> bool:
    return min(a.x2, b.x2) > max(a.x1, b.x1) and min(a.y2, b.y2) > max(a.y1, b.y1)


def _distance(a: Box, b: Box) -> float:
    """Between the middles of their lower edges."""
    return abs(a.x1 + a.x2 - b.x1 - b.x2) / 2 + abs(a.y2 - b.y2)


def about(found: Detection) -> dict[str, Any]:
    """What events say of an object."""
    box = found.box
    body = {
        "label": found.label,
        "track": found.track,
        "score": round(found.score, 4),
        "box": [round(edge, 1) for edge in (box.x1, box.y1, box.x2, box.y2)],
    }
    return {**body, "name": found.name} if found.name else body
