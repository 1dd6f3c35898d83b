"""What every builder is given and has in common.

A builder is a function ``build(workshop) -> Manifest``: it puts the artifacts, labels and licence of a model into the
package's folder and returns the manifest. Golden data, digests and checks are added by the caller, the same for all.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.convert.check import Artifact, Difference, compare
from edgewise.media import images
from edgewise.models.arrays import read_npz
from edgewise.models.manifest import Lineage, Origin
from edgewise.zoo.catalog import Recipe

if TYPE_CHECKING:
    from edgewise.types import Array, Image

_DATA = Path(__file__).parent.parent
PICTURES = _DATA / "pictures"
SOUNDS = _DATA / "sounds"


class Workshop(msgspec.Struct, frozen=True):
    """One build.

    Attributes:
        recipe: What is built.
        files: Where each file of the recipe lies, by its name there.
        folder: The package under way.
        variants: Names of the variants to make, in the recipe's order.
    """

    recipe: Recipe
    files: Mapping[str, Path]
    folder: Path
    variants: tuple[str, ...]

    def place(self, name: str, path: str = "") -> str:
        """Copies a file of the recipe into the package; returns its path there."""
        shutil.copyfile(self.files[name], self.folder / (path or name))
        return path or name

    def place_labels(self, labels: str) -> str:
        """Copies a list of class names into the package; returns its path there."""
        shutil.copyfile(_DATA / "labels" / f"{labels}.txt", self.folder / "labels.txt")
        return "labels.txt"

    def known(self) -> dict[str, Any]:
        """Fields of the manifest that the recipe knows."""
        recipe, model = self.recipe, self.recipe.files[0]
        origin = Origin(model.origins[0].source, model.origins[0].member, model.sha256, recipe.note)
        return {
            "name": recipe.name,
            "version": recipe.version,
            "licence": recipe.licence,
            "summary": recipe.summary,
            "origin": origin,
        }

    def converted(self, tool: str, *, differences: tuple[Difference, ...], against: str) -> Lineage:
        """The step of the lineage that a conversion is, with how far it is from the original."""
        settings = {
            "compared_with": against,
            "largest_relative_difference": float(f"{max(each.relative for each in differences):.2g}"),
        }
        return Lineage("convert", tool, settings, (self.recipe.files[0].sha256,))


def check_reference(
    name: str, converted: Artifact, inputs: Mapping[str, Array], *, tolerance: float
) -> tuple[Difference, ...]:
    """Compares a converted model with what its original gave for the same input when this file was written.

    Args:
        name: Of the recorded outputs; only every so many rows (``step``) of an output may be recorded.
        converted: The converted model.
        inputs: Made from the pictures here by whole-number steps, so they are the same on every machine.
        tolerance: As for ``compare``.

    Raises:
        PackageError: It differs by more.
    """
    recorded = read_npz(_DATA / "references" / f"{name}.npz")
    step = int(recorded.pop("step"))
    expected = {key.removeprefix("output."): array for key, array in recorded.items()}
    actual = {key: array[:, ::step] if array.ndim > 2 else array for key, array in converted.run(inputs).items()}
    return compare(expected, actual, tolerance=tolerance)


def picture(name: str) -> Image:
    """One of the real pictures that come with Edgewise."""
    return images.read(PICTURES / f"{name}.png")
