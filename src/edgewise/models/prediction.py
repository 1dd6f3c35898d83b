"""What ``Model.predict`` and ``Model.benchmark`` give back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.errors import InputError
from edgewise.types import Classification, Detection, Detections, Embedding, Regression

if TYPE_CHECKING:
    from edgewise.types import Image, Result


class Timing(msgspec.Struct, frozen=True):
    """Milliseconds spent on one item; of a batch, its equal share."""

    preprocess_ms: float
    infer_ms: float
    decode_ms: float

    @property
    def total_ms(self) -> float:
        """All three together."""
        return self.preprocess_ms + self.infer_ms + self.decode_ms


@dataclass(frozen=True, repr=False)
class Prediction:
    """A typed result with where it came from.

    Attributes:
        result: The result.
        model: Name of the model.
        version: Its version.
        variant: The variant that ran.
        timing: How long it took.
        image: The picture it is about, for drawing; None for what is no picture.
    """

    result: Result
    model: str
    version: str
    variant: str
    timing: Timing
    image: Image | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        head = f"{self.model} {self.version} ({self.variant}, {self.timing.total_ms:.1f} ms)"
        return "\n".join((head, *(f"  {line}" for line in self.lines())))

    def lines(self, *, top: int = 20) -> list[str]:
        """The result in lines for a person, ``top`` of them and a last one that counts the rest."""
        lines = _lines(self.result)
        more = len(lines) - top
        return lines if more <= 0 else [*lines[:top], f"and {more} more"]

    def to_dict(self) -> dict[str, Any]:
        """All but the picture, JSON-compatible."""
        fields = ("model", "version", "variant", "result", "timing")
        return {name: msgspec.to_builtins(getattr(self, name)) for name in fields}

    def drawn(self) -> Image | None:
        """The picture with the result drawn on it; None for what is no picture or cannot be drawn."""
        from edgewise.media import draw

        if self.image is None:
            return None
        if isinstance(self.result, Detections):
            return draw.draw_detections(self.image, self.result.objects)
        if isinstance(self.result, Classification):
            return draw.draw_labels(self.image, self.result.labels)
        return None

    def draw_png(self) -> bytes:
        """The picture with the result drawn on it, as PNG.

        Raises:
            InputError: There is no picture, or the result is nothing that can be drawn.
        """
        png = self._repr_png_()
        if png is None:
            raise InputError(f"What {self.model} gives cannot be drawn", hint="Ask for JSON instead.")
        return png

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows; None makes it show the text."""
        from edgewise.media import images

        picture = self.drawn()
        return None if picture is None else images.encode_png(picture)


class Benchmark(msgspec.Struct, frozen=True):
    """How fast a variant is on this machine, one call after the other.

    Attributes:
        model: Name of the model.
        variant: What was measured.
        provider: What it ran on.
        calls: How many calls were measured, after the warm-up.
        seconds: How long they took in all.
        mean_ms: Of one call.
        p50_ms: Half of the calls took at most this long.
        p99_ms: 99 of 100 calls took at most this long.
        per_second: Calls per second.
    """

    model: str
    variant: str
    provider: str
    calls: int
    seconds: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    per_second: float

    def __repr__(self) -> str:
        return (
            f"{self.model} ({self.variant} on {self.provider}): {self.per_second:.1f}/s, "
            f"mean {self.mean_ms:.2f} ms, p50 {self.p50_ms:.2f} ms, p99 {self.p99_ms:.2f} ms, {self.calls} calls"
        )


def _lines(result: Result) -> list[str]:
    match result:
        case Classification(labels):
            return [f"{label.score:6.1%}  {label.name}" for label in labels]
        case Detections(objects):
            return [_object_line(thing) for thing in objects] or ["nothing found"]
        case Embedding(vector):
            head = ", ".join(f"{value:+.3f}" for value in vector[:4])
            return [f"vector of {len(vector)}: [{head}{', ...' if len(vector) > 4 else ''}]"]
        case Regression(values, units):
            return [f"{name}: {value:.6g} {units.get(name, '')}".rstrip() for name, value in values.items()]


def _object_line(thing: Detection) -> str:
    box = thing.box
    name = f" {thing.name} ({thing.similarity:.2f})" if thing.name else ""
    return f"{thing.score:6.1%}  {thing.label}{name} at ({box.x1:.0f}, {box.y1:.0f}) to ({box.x2:.0f}, {box.y2:.0f})"
