"""The settings that the pages about devices and Home Assistant show are settings that a node takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgewise.node.settings import load

DOCS = Path(__file__).parents[2] / "docs"


def shown(page: str) -> list[str]:
    """The settings in a page."""
    return re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["devices.md", "home-assistant.md"])
def test_the_settings_on_the_page_are_taken(page: str, tmp_path: Path) -> None:
    blocks = shown(page)
    assert blocks
    for block in blocks:
        file = tmp_path / "edgewise.yaml"
        file.write_text(block, encoding="utf-8")
        assert load(file, environment={}).mqtt is not None
