"""What docs/series.md shows are settings that a node takes."""

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from edgewise.pipeline.settings import TransformSettings

PAGE = Path(__file__).parents[2] / "docs" / "series.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_the_page_is_a_transform(block):
    [transform] = msgspec.convert(yaml.safe_load(block), list[TransformSettings])
    assert transform.__struct_config__.tag in block


def test_every_transform_of_readings_is_shown():
    shown = {re.search(r"kind: (\w+)", block)[1] for block in BLOCKS}
    assert shown == {"clean", "resample", "window", "features", "thin", "classify", "anomaly"}
