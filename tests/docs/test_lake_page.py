"""docs/lake.md: its settings are taken, its queries run, and give what it says."""

import math
import re
import shlex
from pathlib import Path

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.cli import run
from edgewise.lake import open_lake
from edgewise.lake.base import LakeSettings
from edgewise.lake.rows import PARTITION, TABLES
from edgewise.node.settings import load
from edgewise.testing.lake import NOON_NS
from edgewise.types import Record

TEXT = (Path(__file__).parents[2] / "docs" / "lake.md").read_text()
QUERIES = re.findall(r'^\$ (edgewise query ".*?"[^\n]*)\n(.*?)^```', TEXT, re.MULTILINE | re.DOTALL)
SETTINGS = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def center(tmp_path_factory):
    """A lake with two hours of a mill and a pump, and who came to the gate."""
    folder = tmp_path_factory.mktemp("center")
    records = []
    for node, base in (("mill", 61.0), ("pump", 48.0)):
        for n in range(1, 721):
            values = {"temperature": round(base + math.sin(n / 60) * 3 + n / 400, 1), "running": n % 50 > 3}
            body = {"source": "bearing", "values": values}
            records.append(Record(node, "readings", n, NOON_NS + (n - 720) * 10 * 10**9, "reading", body))
    for n, (who, minutes) in enumerate((("ann", 40), ("", 20), ("ann", 10)), start=1):
        kind, body = "face.known" if who else "face.unknown", {"source": "door", "name": who}
        records.append(Record("gate", "events", n, NOON_NS - minutes * 60 * 10**9, kind, body))
    open_lake(LakeSettings(folder=str(folder / "edgewise-data" / "lake")), clock=ManualClock(NOON_NS)).take(records)
    return folder


@pytest.mark.parametrize(("command", "shown"), QUERIES)
def test_a_query_of_the_page_gives_what_the_page_says(center, monkeypatch, capfd, command, shown):
    monkeypatch.chdir(center)
    assert run(shlex.split(command)[1:]) == 0
    said = capfd.readouterr()
    assert re.sub(r" +$", "", said.out + re.sub(r", [\d.]+ kB", "", said.err), flags=re.MULTILINE) == re.sub(
        r", [\d.]+ kB", "", shown
    )


@pytest.mark.parametrize("section", SETTINGS)
def test_settings_of_the_page_are_taken(tmp_path, section):
    file = tmp_path / "edgewise.yaml"
    file.write_text(section)
    assert load(file, environment={}).lake is not None


def test_all_columns_stand_on_the_page():
    for table, columns in TABLES.items():
        [row] = re.findall(rf"^\| `{table}` .*", TEXT, re.MULTILINE)
        assert {name for name in (*columns, PARTITION) if f"`{name}`" not in row} == set()
