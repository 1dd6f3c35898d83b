"""When a small model is unsure, a larger one is asked: at this node's parent, within a deadline.

The small model's answer stands unless the larger one's comes in time, so a node on its own loses nothing but what it
would have learnt. Who answered is told with the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Protocol, runtime_checkable

import msgspec
from msgspec import Meta

from edgewise.types import Classification, Detections

if TYPE_CHECKING:
    from edgewise.models.prediction import Prediction
    from edgewise.pipeline.base import Frame
    from edgewise.types import Result


class UnsureSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When and whom to ask.

    Attributes:
        below: A result is unsure when its best score is below this. A picture in which nothing was found is no doubt.
        ask: A model of the parent, or of a node above it.
        within_s: An answer that comes later does not count. The picture waits for so long at most.
    """

    below: Annotated[float, Meta(gt=0, le=1)]
    ask: Annotated[str, Meta(min_length=1, max_length=128)]
    within_s: Annotated[float, Meta(gt=0, le=5)] = 0.3


class Second(Protocol):
    """Whom to ask. Safe for threads."""

    def __call__(self, model: str, frame: Frame, *, within_s: float) -> Prediction | None:
        """What a model above says of a picture; None when nobody says anything in time. Costs nothing while the way
        up is known to be broken. Does not raise.
        """
        ...


@runtime_checkable
class Doubting(Protocol):
    """Optional ability of a ``Batched`` transform: its result may be asked for again."""

    @property
    def unsure(self) -> UnsureSettings | None:
        """When; None for never."""
        ...


def is_unsure(result: Result, settings: UnsureSettings) -> bool:
    """Whether the best score is below the bound; of what has no scores, never."""
    if isinstance(result, Classification):
        return bool(result.labels) and result.labels[0].score < settings.below
    if isinstance(result, Detections):
        return bool(result.objects) and max(found.score for found in result.objects) < settings.below
    return False


def settled(prediction: Prediction, settings: UnsureSettings, frame: Frame, second: Second) -> Prediction:
    """The answer that counts: one's own, or that of the larger model when it was asked and answered in kind."""
    if not is_unsure(prediction.result, settings):
        return prediction
    told = second(settings.ask, frame, within_s=settings.within_s)
    return told if told is not None and type(told.result) is type(prediction.result) else prediction


def answered_by(prediction: Prediction) -> str:
    """Who a result is from: ``MODEL``, or ``MODEL@NODE`` for a model of another node."""
    node = prediction.variant.partition("@")[2]
    return f"{prediction.model}@{node}" if node else prediction.model
