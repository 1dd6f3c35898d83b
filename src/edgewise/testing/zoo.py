"""A zoo of one tiny model, and an origin that does what a test tells it: pulls without any network."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgewise.models.manifest import Input, Layout, Manifest, Output, Resize, Variant
from edgewise.types import TensorSpec
from edgewise.zoo import Progress, pull
from edgewise.zoo.builders.base import Workshop
from edgewise.zoo.catalog import File, Plan, Recipe
from edgewise.zoo.origins.base import Origin, Report

SIDE = 8
SHAPE = (-1, 3, SIDE, SIDE)
ARTIFACT = msgspec.json.encode(
    {"inputs": [TensorSpec("x", "FP32", SHAPE)], "outputs": [TensorSpec("y", "FP32", SHAPE)], "behaviour": "echo"}
)
TINY = Recipe(
    name="tiny",
    version="1",
    task="embedding",
    summary="Gives back the picture",
    licence="Apache-2.0",
    files=(File("tiny.json", hashlib.sha256(ARTIFACT).hexdigest(), (Origin("url", "https://example.org/tiny"),)),),
    plans=(Plan("fake", "fake"),),
    builder="edgewise.testing.zoo:build",
    size_bytes=len(ARTIFACT),
    picture="astronaut",
    note="Made for tests.",
)


def build(workshop: Workshop) -> Manifest:
    """The builder of ``TINY``: one variant per plan, all of the same file."""
    artifact = workshop.place("tiny.json")
    return Manifest(
        **workshop.known(),
        task={"kind": "embedding"},
        inputs=(Input("x", "FP32", SHAPE, "image", (Resize(SIDE, SIDE), Layout("NCHW"))),),
        outputs=(Output("y", "FP32", SHAPE),),
        variants=tuple(Variant(name, "fake", artifact) for name in workshop.variants),
    )


def build_without_labels(workshop: Workshop) -> Manifest:
    """A builder with a fault: its manifest names a file that it did not place."""
    task = {"kind": "classification", "labels": "labels.txt"}
    return msgspec.structs.replace(build(workshop), task=task)


def build_with_a_deviant(workshop: Workshop) -> Manifest:
    """A builder with a fault: a second variant that computes something else."""
    manifest = build(workshop)
    (workshop.folder / "deviant.json").write_bytes(ARTIFACT.replace(b'"echo"', b'"constant"'))
    return msgspec.structs.replace(manifest, variants=(*manifest.variants, Variant("deviant", "fake", "deviant.json")))


class ScriptedOrigin:
    """An origin of any kind.

    Args:
        content: What it serves.
        before: Called with the folder before it serves; may raise.

    Attributes:
        asked: How often it was asked.
    """

    def __init__(self, content: bytes = ARTIFACT, *, before: Callable[[Path], None] = lambda _: None) -> None:
        self.content = content
        self.before = before
        self.asked = 0

    def fetch(self, origin: Origin, folder: Path, report: Report) -> Path:
        """See ``Fetcher.fetch``."""
        self.asked += 1
        self.before(folder)
        report(len(self.content), len(self.content))
        path = folder / origin.key
        path.write_bytes(self.content)
        return path


def main() -> None:
    """Pulls ``TINY`` into the folder given, and waits for a line on stdin while it fetches; for tests that use several
    processes. Each step is printed.
    """

    def tell(progress: Progress) -> None:
        sys.stdout.write(f"{progress.step}\n")
        sys.stdout.flush()

    def wait(_: Path) -> None:
        sys.stdin.readline()

    pull("tiny", Path(sys.argv[1]), tell, fetchers={"url": ScriptedOrigin(before=wait)}, recipes=(TINY,))


if __name__ == "__main__":
    main()
