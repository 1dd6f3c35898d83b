"""Asks the parent when a transform is unsure; see ``edgewise.pipeline.joint``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgewise.models.prediction import Prediction, Timing

if TYPE_CHECKING:
    from edgewise.link.consult import Consulting
    from edgewise.pipeline.base import Frame

_QUALITY = 92


class SecondOpinion:
    """Keeps the ``Second`` seam.

    Attributes:
        consulting: The way to the parent; None while there is none.
    """

    def __init__(self) -> None:
        self.consulting: Consulting | None = None

    def __call__(self, model: str, frame: Frame, *, within_s: float) -> Prediction | None:
        """See ``Second``. The picture goes as its source sent it where that was JPEG, else as JPEG of high quality."""
        consulting = self.consulting
        if consulting is None or not consulting.may_answer:
            return None
        from edgewise.media.images import encode_jpeg

        jpeg = getattr(frame.picture, "jpeg", b"") or encode_jpeg(frame.image, quality=_QUALITY)
        opinion = consulting.ask(model, jpeg, within_s=within_s)
        if opinion is None:
            return None
        return Prediction(
            opinion.result,
            opinion.model,
            opinion.version,
            f"{opinion.variant}@{opinion.node}",
            Timing(0.0, opinion.took_ms, 0.0),
            frame.image,
        )
