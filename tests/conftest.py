"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.register_assert_rewrite("edgewise.testing")  # contract suites then say what differed

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def zoo_cache() -> Path:
    """The folder that models are pulled to once and kept in between runs; for tests marked ``zoo``."""
    return REPOSITORY / ".cache" / "zoo"
