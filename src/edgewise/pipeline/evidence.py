"""What an event was seen with, so that it can be seen again: the very input, the models, their settings, the result.

An event's evidence goes into its record. Its input is stored without loss, since a model answers a JPEG copy
differently. What a model finds in one sample can be found again from it (``REPEATABLE``); what a transform concludes
from many samples cannot, and is only told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.errors import EdgewiseError
from edgewise.pipeline.base import Frame, Observation, Reading, Tools
from edgewise.pipeline.scheduler import Lane
from edgewise.trust.chain import canonical_digest

if TYPE_CHECKING:
    from edgewise.models.model import Model
    from edgewise.pipeline.base import People
    from edgewise.pipeline.settings import TransformSettings

# Kinds of transform whose findings follow from one picture, their settings, their models and the people known alone.
REPEATABLE = frozenset({"classify", "detect", "recognise"})
MAX_OBJECTS = 100
"""Objects told in one event's evidence."""


class Step(msgspec.Struct, frozen=True):
    """One transform of the pipeline.

    Attributes:
        kind: As in the settings.
        settings: All of them, defaults included.
        models: Those it uses; see ``describe``.
        repeatable: Whether what it found can be found again.
    """

    kind: str
    settings: Mapping[str, Any]
    models: tuple[Mapping[str, Any], ...] = ()
    repeatable: bool = False


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Stands in the body of an event, under ``evidence``.

    Attributes:
        steps: The pipeline's transforms, in order.
        objects: What was found in the picture, at most ``MAX_OBJECTS``.
        facts: What else was found, by the transform's name.
        input: Digest of the blob with the picture (PNG); empty when there is none.
        reading: The reading, where the sample was one.
        still: Nothing moved in this picture: its objects were found in an earlier one.
        missing: Why the input is not there.
    """

    steps: tuple[Step, ...]
    objects: tuple[Any, ...] = ()
    facts: Mapping[str, Any] = {}
    input: str = ""
    reading: Mapping[str, Any] | None = None
    still: bool = False
    missing: str = ""


class NotedTools:
    """What the node lends to one transform, noting which models it takes."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.models: list[Model] = []

    @property
    def people(self) -> People:
        """Whom the node knows."""
        return self._tools.people

    def model(self, name: str) -> Model:
        """An open model of this node."""
        model = self._tools.model(name)
        self.models.append(model)
        return model

    def folder(self, name: str) -> Path:
        """See ``Tools.folder``."""
        return self._tools.folder(name)


class Witness:
    """Makes the evidence of one pipeline's events.

    Args:
        steps: Its transforms, each with what it was lent.
        store: Stores a picture (PNG) and returns its digest.
        lane: Whose turn encoding takes.
    """

    def __init__(
        self, steps: Sequence[tuple[TransformSettings, NotedTools]], store: Callable[[bytes], str], lane: Lane
    ) -> None:
        self._steps = tuple(_step(settings, tools.models) for settings, tools in steps)
        self._store = store
        self._lane = lane

    def testify(self, observation: Observation) -> Evidence:
        """The evidence of what was observed; encodes and stores the picture."""
        sample = observation.sample
        stored, missing = self._stored(sample) if isinstance(sample, Frame) else ("", "")
        return Evidence(
            steps=self._steps,
            objects=tuple(msgspec.to_builtins(found) for found in observation.objects[:MAX_OBJECTS]),
            facts=dict(observation.facts),
            input=stored,
            missing=missing,
            reading=msgspec.to_builtins(sample.values) if isinstance(sample, Reading) else None,
            still=observation.still,
        )

    def _stored(self, frame: Frame) -> tuple[str, str]:
        """The picture's digest, or why it is not kept: evidence without it is better than none."""
        from edgewise.media.images import encode_png

        with self._lane.turn():
            png = encode_png(frame.image)
        try:
            return self._store(png), ""
        except EdgewiseError as error:
            return "", f"its picture could not be kept: {error.message}"


def describe(model: Model) -> dict[str, Any]:
    """Which model it was: name, version, variant, the digest of its artifact, and how its input and output are treated
    (with the digest of the whole manifest).
    """
    manifest, variant = model.manifest, model.variant
    return {
        "name": manifest.name,
        "version": manifest.version,
        "variant": variant.name,
        "runtime": variant.runtime,
        "artifact": manifest.files.get(variant.artifact, ""),
        "manifest": canonical_digest(msgspec.to_builtins(manifest)),
        "preprocessing": {spec.name: msgspec.to_builtins(spec.preprocess) for spec in manifest.inputs},
        "task": dict(manifest.task),
    }


def _step(settings: TransformSettings, models: Sequence[Model]) -> Step:
    kind = str(settings.__struct_config__.tag)
    return Step(kind, msgspec.to_builtins(settings), tuple(map(describe, models)), kind in REPEATABLE)
