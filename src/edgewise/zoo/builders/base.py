"""What every builder is given and has in common.

A builder is a function ``build(workshop) -> Manifest``: it puts the artifacts, labels and licence of a model into the
package's folder and returns the manifest. Golden data, digests and checks are added by the caller, the same for all.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgewise.models.manifest import Lineage, Manifest, Origin
from edgewise.zoo.catalog import Recipe

_DATA = Path(__file__).parent.parent
PICTURES = _DATA / "pictures"


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

    def origin(self) -> Origin:
        """Where the model comes from, for the manifest."""
        model = self.recipe.files[0]
        first = model.origins[0]
        return Origin(first.source, first.member, model.sha256, self.recipe.note)

    def manifest(self, **fields: object) -> Manifest:
        """The manifest with what the recipe knows already."""
        recipe = self.recipe
        known = {"name": recipe.name, "version": recipe.version, "licence": recipe.licence, "summary": recipe.summary}
        return Manifest(**known, origin=self.origin(), **fields)  # type: ignore[arg-type]  struct checked by the seal

    def converted(self, tool: str, **settings: object) -> Lineage:
        """A step of the lineage: conversion from the recipe's files."""
        return Lineage("convert", tool, dict(settings), tuple(file.sha256 for file in self.recipe.files[:1]))
