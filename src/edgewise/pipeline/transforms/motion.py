"""The motion gate: pictures in which nothing moves are marked ``still``, and what is expensive behind it is spared.

It looks at the luma alone, scaled down, so a still picture is not even turned into RGB. In doubt it lets through: the
first picture, another scene, for ``hold_s`` after the last movement, and every ``look_every_s`` in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from edgewise.media.motion import Background
from edgewise.pipeline.base import Event, Frame, Gives, Observation, Tools
from edgewise.pipeline.places import Polygon

if TYPE_CHECKING:
    from edgewise.types import Array


class MotionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="motion"):
    """What counts as movement.

    Attributes:
        zones: Only what moves in one of these polygons counts; everywhere when empty. Corners are ``[x, y]`` in shares
            of width and height, 0..1 from the top left corner.
        threshold: A pixel has changed when its brightness differs by more than this from the background's, of 256
            levels. Noise raises it by itself.
        min_share: Something moves when more than this share of the picture has changed.
        hold_s: For so long after the last movement pictures are still let through.
        look_every_s: So often one is let through although nothing moves, for what the gate may have missed.
        learn_s: How long what was seen is remembered, about: what stopped is still after three times as long.
        width: Pictures are scaled down to about this width, in pixels.
        events: Give ``motion.began``, and ``motion.ended`` once nothing has moved for ``hold_s``.
    """

    zones: Annotated[tuple[Polygon, ...], Meta(max_length=64)] = ()
    threshold: Annotated[float, Meta(ge=1, le=128)] = 8.0
    min_share: Annotated[float, Meta(gt=0, le=1)] = 0.0005
    hold_s: Annotated[float, Meta(ge=0, le=600)] = 2.0
    look_every_s: Annotated[float, Meta(ge=0.1, le=3600)] = 10.0
    learn_s: Annotated[float, Meta(ge=0.1, le=600)] = 1.0
    width: Annotated[int, Meta(ge=32, le=640)] = 192
    events: bool = False


class Motion:
    """Marks still pictures. Its facts: whether something is ``moving``, and the ``share`` of the picture that changed.
    It counts what it ``passed`` and ``spared``.
    """

    takes = frozenset({Gives.FRAME})
    Settings = MotionSettings
    name = "motion"

    def __init__(self, settings: MotionSettings, tools: Tools | None = None) -> None:  # noqa: ARG002, it needs none
        self._settings = settings
        self._background = Background(
            threshold=settings.threshold,
            width=settings.width,
            learn_s=settings.learn_s,
        )
        self._zones: Array | None = None
        self._moved_ns = 0
        self._passed_ns = 0
        self._began_ns = 0
        self._passed = 0
        self._spared = 0

    def apply(self, observation: Observation) -> Observation:
        """Looks at the frame's luma."""
        frame, luma = observation.frame, observation.frame.luma
        movement = self._background.compare(luma, time_ns=frame.time_ns, where=self._where(luma))
        moving = movement.cut or movement.share > self._settings.min_share
        still = not self._passes(moving, frame.time_ns)
        self._passed += not still
        self._spared += still
        facts = {**observation.facts, self.name: {"moving": moving, "share": round(movement.share, 5)}}
        events = observation.events + self._told(frame, moving=moving)
        return msgspec.structs.replace(observation, still=still, facts=facts, events=events)

    def counts(self) -> Mapping[str, int]:
        """Pictures that were ``passed`` on to be worked on, and those ``spared``."""
        return {"passed": self._passed, "spared": self._spared}

    def _passes(self, moving: bool, time_ns: int) -> bool:
        if moving:
            self._moved_ns = time_ns
        spared = 0 <= time_ns - self._passed_ns < self._settings.look_every_s * 1e9
        if self._held(time_ns) or not spared:  # a clock that was set back lets pictures through
            self._passed_ns = time_ns
            return True
        return False

    def _held(self, time_ns: int) -> bool:
        """Whether something moved lately."""
        return 0 <= time_ns - self._moved_ns <= self._settings.hold_s * 1e9

    def _told(self, frame: Frame, *, moving: bool) -> tuple[Event, ...]:
        """What began or ended with this frame. Of the first one nobody knows whether it moves."""
        if not self._settings.events or self._passed + self._spared == 1:
            return ()
        if moving and not self._began_ns:
            self._began_ns = frame.time_ns
            return (Event("motion.began", frame.source, frame.time_ns, {}),)
        if self._began_ns and not self._held(frame.time_ns):
            seconds = max(0.0, (self._moved_ns - self._began_ns) / 1e9)
            self._began_ns = 0
            return (Event("motion.ended", frame.source, frame.time_ns, {"seconds": round(seconds, 1)}),)
        return ()

    def _where(self, luma: Array) -> Array | None:
        if not self._settings.zones:
            return None
        width, height = self._background.small_size(luma)
        if self._zones is None or self._zones.shape != (height, width):
            self._zones = _painted(self._settings.zones, width, height)
        return self._zones


def _painted(zones: tuple[Polygon, ...], width: int, height: int) -> Array:
    import cv2
    import numpy as np

    canvas = np.zeros((height, width), np.uint8)
    for zone in zones:
        cv2.fillPoly(canvas, [np.round(np.array(zone) * (width, height) - 0.5).astype(np.int32)], [255])
    return canvas
