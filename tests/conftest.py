"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

pytest.register_assert_rewrite("edgewise.testing")  # contract suites then say what differed

# Machines differ in speed, so no example has a time limit; in CI the examples are the same in every run.
hypothesis.settings.register_profile("edgewise", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("edgewise")

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def zoo_cache() -> Path:
    """The folder that models are pulled to once and kept in between runs; for tests marked ``zoo``."""
    return REPOSITORY / ".cache" / "zoo"
