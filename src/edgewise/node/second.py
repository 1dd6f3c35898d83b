"""Asks the parent when a transform is unsure; see ``edgewise.pipeline.joint``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgewise.models.prediction import Prediction, Timing

if TYPE_CHECKING:
    from edgewise.link.consult import Consulting
    from edgewise.pipeline.base import Frame

# Up to so many pixels a picture goes without loss: it is small against what goes with it, and every pixel counts.
_SMALL_PIXELS = 128 * 128
_QUALITY = 92


class SecondOpinion:
    """Keeps the ``Second`` seam.

    Attributes:
        consulting: The way to the parent; None while there is none.
    """

    def __init__(self) -> None:
        self.consulting: Consulting | None = None

    def __call__(self, model: str, frame: Frame, *, within_s: float) -> Prediction | None:
        """See ``Second``."""
        consulting = self.consulting
        if consulting is None or not consulting.may_answer:
            return None
        opinion = consulting.ask(model, as_sent(frame), within_s=within_s)
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


def as_sent(frame: Frame) -> bytes:
    """A picture as it goes up: the source's own JPEG where there is one, PNG when it is small, else JPEG of high
    quality.
    """
    from edgewise.media.images import encode_jpeg, encode_png

    if jpeg := getattr(frame.picture, "jpeg", b""):
        return bytes(jpeg)
    if frame.width * frame.height <= _SMALL_PIXELS:
        return encode_png(frame.image)
    return encode_jpeg(frame.image, quality=_QUALITY)
