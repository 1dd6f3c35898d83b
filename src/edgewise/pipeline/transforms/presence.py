"""From faces in single frames to one event per visit: ``face.known`` and ``face.unknown``.

A face is followed from frame to frame by overlap (a *track*), and only a track that says the same for several frames
counts: one bad frame can neither open a door nor raise an alarm. A visit is announced once; after ``absent_s`` out of
sight the next sighting is a new visit. ``step`` is pure: state and faces in, new state and announcements out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from edgewise.pipeline.base import Event, Gives, Observation, Tools
from edgewise.types import Box, Detection

Count = Annotated[int, Meta(ge=1, le=100)]

# Two boxes of one face in successive frames overlap at least this much (intersection over union). Faces move by less
# than half their width between frames at five frames a second; two faces side by side do not overlap at all.
_SAME_FACE_IOU = 0.2
# A track that was not seen for this long, or for ``window`` frames, is over: by then somebody else may stand there.
_TRACK_GAP_S = 1.0
# How much longer than a new face a known one must match nobody before it counts as a stranger's.
_KNOWN_PATIENCE = 3
# Who matched nobody; no name of a person is empty.
_STRANGER = ""


class PresenceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="presence"):
    """How sure is sure. With ``needed: 1`` and ``unknown_needed: 1`` single pictures suffice.

    Attributes:
        needed: A face is somebody once it matched that person in this many of its last ``window`` frames, and nobody
            else in them.
        window: See ``needed``.
        unknown_needed: A face is a stranger's once it matched nobody in this many frames running; a face that was
            decided to be somebody has to match nobody three times as long: people turn their heads.
        absent_s: Seconds out of sight after which the next sighting is a new visit.
    """

    needed: Count = 3
    window: Count = 5
    unknown_needed: Count = 8
    absent_s: Annotated[float, Meta(ge=0, le=86400)] = 5.0


class Track(msgspec.Struct, frozen=True):
    """One face followed through frames.

    Attributes:
        face: The newest sighting.
        seen_ns: Its time.
        missed: Frames since then.
        recent: Name and similarity of the last ``window`` sightings, oldest first.
        unmatched: How many sightings running matched nobody.
        who: Whom it was decided to be: a name, ``""`` for a stranger, None while undecided.
    """

    face: Detection
    seen_ns: int
    missed: int = 0
    recent: tuple[tuple[str, float], ...] = ()
    unmatched: int = 0
    who: str | None = None


class PresenceState(msgspec.Struct, frozen=True):
    """What is remembered between frames: tracks, and when each announced visitor was last seen."""

    tracks: tuple[Track, ...] = ()
    visitors: Mapping[str, int] = {}


class Announcement(msgspec.Struct, frozen=True):
    """Somebody came. ``name`` is empty for a stranger; ``similarity`` is the mean over the ``frames`` that agree."""

    name: str
    similarity: float
    frames: int
    face: Detection


def step(
    settings: PresenceSettings, state: PresenceState, faces: Sequence[Detection], *, time_ns: int
) -> tuple[PresenceState, tuple[Announcement, ...]]:
    """Takes in the faces of one frame.

    Args:
        settings: How sure is sure.
        state: What is remembered.
        faces: The frame's faces; ``name`` is empty where nobody matched.
        time_ns: The frame's time.

    Returns:
        The new state, and whom to announce.
    """
    tracks = tuple(_decide(settings, track) for track in _follow(settings, state.tracks, faces, time_ns=time_ns))
    visitors = {
        who: seen_ns for who, seen_ns in state.visitors.items() if 0 <= time_ns - seen_ns <= settings.absent_s * 1e9
    }
    announcements = []
    for track in tracks:
        if track.who is None or track.seen_ns != time_ns:
            continue
        if track.who not in visitors:
            announcements.append(_announce(track))
        visitors[track.who] = time_ns
    return PresenceState(tracks, visitors), tuple(announcements)


def rest(state: PresenceState, *, time_ns: int) -> PresenceState:
    """Takes in a frame in which nothing moved: who was there still is, and nothing was learnt of who that is.

    Args:
        state: What is remembered.
        time_ns: The frame's time.
    """
    tracks = tuple(track if track.missed else msgspec.structs.replace(track, seen_ns=time_ns) for track in state.tracks)
    there = {track.who for track in tracks if not track.missed}
    visitors = {who: time_ns if who in there else seen_ns for who, seen_ns in state.visitors.items()}
    return PresenceState(tracks, visitors)


def _follow(
    settings: PresenceSettings, tracks: Sequence[Track], faces: Sequence[Detection], *, time_ns: int
) -> list[Track]:
    alive = [track for track in tracks if 0 <= time_ns - track.seen_ns <= _TRACK_GAP_S * 1e9]
    pairs = sorted(
        ((_iou(track.face.box, face.box), i, j) for (i, track), (j, face) in _product(alive, faces)), reverse=True
    )
    partner: dict[int, int] = {}
    for iou, i, j in pairs:
        if iou >= _SAME_FACE_IOU and i not in partner.values() and j not in partner:
            partner[j] = i
    followed = [
        _sight(alive[partner[j]] if j in partner else Track(face, time_ns), face, settings.window, time_ns=time_ns)
        for j, face in enumerate(faces)
    ]
    missing = [track for i, track in enumerate(alive) if i not in partner.values() and track.missed < settings.window]
    return followed + [msgspec.structs.replace(track, missed=track.missed + 1) for track in missing]


def _product(
    tracks: Sequence[Track], faces: Sequence[Detection]
) -> itertools.product[tuple[tuple[int, Track], tuple[int, Detection]]]:
    return itertools.product(enumerate(tracks), enumerate(faces))


def _sight(track: Track, face: Detection, window: int, *, time_ns: int) -> Track:
    return Track(
        face=face,
        seen_ns=time_ns,
        recent=(*track.recent, (face.name, face.similarity))[-window:],
        unmatched=0 if face.name else track.unmatched + 1,
        who=track.who,
    )


def _decide(settings: PresenceSettings, track: Track) -> Track:
    names = [name for name, _ in track.recent if name]
    if len(set(names)) == 1 and len(names) >= settings.needed:
        return msgspec.structs.replace(track, who=names[0])
    if track.unmatched >= settings.unknown_needed * (_KNOWN_PATIENCE if track.who else 1):
        return msgspec.structs.replace(track, who=_STRANGER)
    return track


def _announce(track: Track) -> Announcement:
    similarities = [similarity for name, similarity in track.recent if name == track.who]
    return Announcement(
        name=track.who or _STRANGER,
        similarity=sum(similarities) / len(similarities),
        frames=len(similarities),
        face=track.face,
    )


def _iou(a: Box, b: Box) -> float:
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (a.width * a.height + b.width * b.height - both)


class Presence:
    """The transform: keeps the state and turns announcements into events."""

    takes = frozenset({Gives.FRAME})
    Settings = PresenceSettings
    name = "presence"

    def __init__(self, settings: PresenceSettings, tools: Tools | None = None) -> None:  # noqa: ARG002, it needs none
        self._settings = settings
        self._state = PresenceState()

    def apply(self, observation: Observation) -> Observation:
        """Adds the events of this frame."""
        time_ns = observation.frame.time_ns
        if observation.still:
            self._state = rest(self._state, time_ns=time_ns)
            return observation
        faces = [face for face in observation.objects if face.label == "face"]
        self._state, announcements = step(self._settings, self._state, faces, time_ns=time_ns)
        events = tuple(_event(observation, announcement) for announcement in announcements)
        return msgspec.structs.replace(observation, events=observation.events + events)


def _event(observation: Observation, announcement: Announcement) -> Event:
    box = announcement.face.box
    body = {
        "similarity": round(announcement.similarity, 4),
        "frames": announcement.frames,
        "box": [round(edge, 1) for edge in (box.x1, box.y1, box.x2, box.y2)],
        "score": round(announcement.face.score, 4),
    }
    return Event(
        kind="face.known" if announcement.name else "face.unknown",
        source=observation.frame.source,
        time_ns=observation.frame.time_ns,
        body={"name": announcement.name, **body} if announcement.name else body,
    )
