"""Who is in a zone, since when, and who left: what counting and watching zones have in common. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edgewise.types import Detection


class Stay(msgspec.Struct, frozen=True):
    """One object in a zone.

    Attributes:
        newest: Its newest sighting inside.
        since_ns: When it came in, nanoseconds since the Unix epoch.
        seen_ns: When it was last seen inside.
    """

    newest: Detection
    since_ns: int
    seen_ns: int

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
    stays: Mapping[int, Stay], inside: Mapping[int, Detection], *, time_ns: int, absent_s: float, still: bool = False
) -> Visit:
    """Takes in who is in a zone in one picture.

    Args:
        stays: Who was inside before, by track.
        inside: Who is seen inside, by track.
        time_ns: When the picture was taken.
        absent_s: Who is seen outside, or nowhere, for longer than this has left.
        still: Nothing moved: whoever was inside still is, seen or not.
    """
    now, entered, left = {}, [], []
    for track, stay in stays.items():
        newest = inside.get(track, stay.newest)
        if track in inside or still:
            now[track] = Stay(newest, stay.since_ns, max(stay.seen_ns, time_ns))
        elif time_ns - stay.seen_ns <= absent_s * 1e9:
            now[track] = stay
        else:
            left.append(stay)
    for track, found in inside.items():
        if track not in stays:
            now[track] = Stay(found, time_ns, time_ns)
            entered.append(now[track])
    return Visit(now, tuple(entered), tuple(left))


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
