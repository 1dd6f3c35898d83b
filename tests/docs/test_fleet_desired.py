"""docs/fleet.md on desired state: its settings allow what it says, its document is one, its table is whole."""

import re
from pathlib import Path

from edgewise.fleet.desired import write
from edgewise.link.base import SECTIONS
from edgewise.node.desired import combine, parse
from edgewise.node.settings import load

TEXT = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text()
ALLOWED, DOCUMENT = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_the_document_of_the_page_counts_on_a_node_that_allows_it(tmp_path):
    file = tmp_path / "edgewise.yaml"
    file.write_text(f"{ALLOWED}devices: {{lamp: {{kind: light}}}}\n")
    own = load(file, environment={})
    combined = combine(own, write(parse(DOCUMENT, file="press.yaml")), by="center")
    assert combined.refused == ()
    assert set(combined.settings.pipelines) == {"gate", "boiler"}
    assert [rule.name for rule in combined.settings.rules] == ["light"]


def test_the_table_names_all_that_a_parent_may_set():
    table = TEXT.partition("### Allow it")[2].partition("### Say it")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(SECTIONS)
