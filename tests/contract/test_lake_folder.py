"""A lake in a folder keeps what every lake keeps."""

import pytest

from edgewise.lake import open_lake as open_at
from edgewise.lake.base import LakeSettings
from edgewise.testing.lake import LakeContract


class TestLakeInAFolder(LakeContract):
    @pytest.fixture
    def open_lake(self, tmp_path, clock):
        return lambda **facts: open_at(LakeSettings(folder=str(tmp_path / "lake"), **facts), clock=clock)
