"""docs/sources.md: every kind stands there, with an example that a node takes as settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgewise.node.settings import load
from edgewise.pipeline.catalog import SOURCES, source_class

PAGE = Path(__file__).parents[2] / "docs" / "sources.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
EXAMPLES = [
    (kind, example)
    for kind, section in SECTIONS.items()
    for example in re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
]


def test_every_kind_of_source_is_in_the_table_and_has_an_example() -> None:
    assert {kind for kind, _ in EXAMPLES} == set(SOURCES)
    for kind in SOURCES:
        assert f"| [{kind}](#{kind}) | {source_class_of(kind).gives.value}s |" in TEXT


@pytest.mark.parametrize(("kind", "example"), EXAMPLES, ids=[kind for kind, _ in EXAMPLES])
def test_every_example_is_taken_as_settings(kind: str, example: str, tmp_path: Path) -> None:
    file = tmp_path / "edgewise.yaml"
    file.write_text(example)
    settings = load(file, environment={})
    assert {source_class(pipeline.source) for pipeline in settings.pipelines.values()} == {source_class_of(kind)}


def source_class_of(kind: str) -> type:
    """The class behind a row of the catalogue."""
    import importlib

    module, _, name = SOURCES[kind].partition(":")
    return getattr(importlib.import_module(module), name)
