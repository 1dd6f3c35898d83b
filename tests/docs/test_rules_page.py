"""Every example of docs/rules.md is loaded, happens, and fires what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from edgewise.node.trials import load_rules, read_records
from edgewise.pipeline.rules.expression import HISTORY, VARIABLES
from edgewise.pipeline.rules.settings import RuleSettings
from edgewise.pipeline.rules.trial import try_rules

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
EXAMPLE = re.compile(
    r"^```yaml\n(?P<rules>.*?)^```\n```json\n(?P<records>.*?)^```\nFires: (?P<fires>[^\n]*)$", re.MULTILINE | re.DOTALL
)
EXAMPLES = [match.groupdict() for match in EXAMPLE.finditer(PAGE)]


def test_every_block_of_rules_is_an_example() -> None:
    assert len(EXAMPLES) == PAGE.count("```yaml") >= 6


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["fires"])
def test_an_example_fires_what_the_page_says(example: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(example["rules"])
    (tmp_path / "records.jsonl").write_text(example["records"])
    file, _ = load_rules(tmp_path / "rules.yaml")
    report = try_rules(file.rules, read_records(tmp_path / "records.jsonl"), location=file.location, people=file.people)
    assert report.failed == ()
    assert ", ".join(f"{fired.rule} {fired.time:%H:%M:%S}" for fired in report.fired) == example["fires"]


def test_the_page_names_every_field_function_and_variable() -> None:
    for name in (*msgspec.structs.asdict(RuleSettings("a", "b", ())), *HISTORY, *VARIABLES):
        assert re.search(rf"\b{name}\b", PAGE), name
