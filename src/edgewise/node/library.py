"""Models by name for Python programs: ``edgewise.load``."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from edgewise import zoo
from edgewise.models.model import Model
from edgewise.runtimes.base import SessionOptions


def default_cache() -> Path:
    """Where pulled models are kept: ``$EDGEWISE_CACHE``, else ``edgewise`` in the user's cache folder."""
    if chosen := os.environ.get("EDGEWISE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgewise"


def resolve(name_or_path: str | Path, *, cache: Path | None = None) -> Path:
    """The package behind a name or path; a zoo model that is not in the cache is pulled.

    Raises:
        NotFoundError: Neither a path nor a model of the zoo.
        UnavailableError: It has to be fetched and no origin answers.
    """
    path = Path(name_or_path)
    if path.exists():
        return path
    return zoo.pull(str(name_or_path), cache or default_cache())


def load(
    name_or_path: str | Path,
    *,
    cache: Path | None = None,
    variant: str = "auto",
    options: SessionOptions | None = None,
) -> Model:
    """Opens a model by name (shipped, cached, else pulled from its pinned origin) or by the path of its package.

    Args:
        name_or_path: Such as ``"efficientnet-lite0"`` or ``"models/mine"``.
        cache: Folder of pulled models; see ``default_cache``.
        variant: A variant's name, or ``auto`` for the first whose runtime is installed.
        options: How the session runs.

    Raises:
        NotFoundError: Nothing has that name.
        MissingExtraError: Its runtime is not installed; the hint is the ``pip install`` line.
        UnavailableError: It has to be fetched and no origin answers.
    """
    folder = resolve(name_or_path, cache=cache)
    return Model.open(folder, variant=variant, options=session_options(folder, cache=cache, base=options))


def session_options(folder: Path, *, cache: Path | None = None, base: SessionOptions | None = None) -> SessionOptions:
    """Options for a package: those that came with Edgewise or were pulled from a pinned origin need no trial run."""
    roots = (zoo.SHIPPED, cache or default_cache())
    known = any(folder.resolve().is_relative_to(root.resolve()) for root in roots)  # whatever ".." and links say
    return msgspec.structs.replace(base or SessionOptions(), trusted=known)
