"""Taking records over more than one table: whatever comes in between, each lands once."""

import hypothesis
import pytest
from hypothesis import strategies as st

from edgewise._lib.clock import ManualClock
from edgewise.lake import open_lake
from edgewise.lake.base import LakeSettings
from edgewise.lake.rows import columns, route
from edgewise.lake.writer import TableWriter
from edgewise.testing.lake import NOON_NS, reading, rows, sequences
from edgewise.types import Record

STREAM = ("shed", "readings")
RECORDS = [reading(n, nested=[]) if n == 2 else reading(n) for n in (1, 2, 3)]  # the second lands in another table


@pytest.mark.parametrize("commits", [0, 1, 2])
def test_a_take_that_dies_between_two_tables_is_led_on(tmp_path, monkeypatch, commits):
    append, done = TableWriter.append, []

    def dying(self, *arguments, **facts):
        if len(done) == commits:
            raise KeyboardInterrupt
        done.append(self)
        append(self, *arguments, **facts)

    lake = open_lake(LakeSettings(folder=str(tmp_path)), clock=ManualClock(NOON_NS))
    monkeypatch.setattr(TableWriter, "append", dying)
    if commits < 2:
        with pytest.raises(KeyboardInterrupt):
            lake.take(RECORDS)
    else:
        lake.take(RECORDS)
    monkeypatch.undo()
    lake = open_lake(LakeSettings(folder=str(tmp_path)), clock=ManualClock(NOON_NS))
    mark = lake.marks([STREAM])[STREAM]
    lake.take([record for record in RECORDS if record.sequence > mark])  # as one who trusts the mark would
    assert sequences(lake, "readings") == [1, 3]
    assert sequences(lake, "records") == [2]


def test_names_that_look_alike_are_different_streams(tmp_path):
    lake = open_lake(LakeSettings(folder=str(tmp_path)), clock=ManualClock(NOON_NS))
    lake.take([Record("a/b", "c", 1, NOON_NS, "x", {}), Record("a", "b/c", 2, NOON_NS, "x", {})])
    assert lake.marks([("a/b", "c"), ("a", "b/c")]) == {("a/b", "c"): 1, ("a", "b/c"): 2}


def test_strange_times_numbers_and_texts_land(tmp_path):
    lake = open_lake(LakeSettings(folder=str(tmp_path)), clock=ManualClock(NOON_NS))
    strange = [
        reading(1, time_ns=-(2**70), value=10**400),
        reading(2, time_ns=2**70, value=float("inf")),
        reading(3, value="\x00\U0001f600'\"\n"),
    ]
    lake.take(strange)
    found = rows(lake, "SELECT year(time), value, text FROM readings ORDER BY sequence")
    assert found == [
        [1677, None, str(10**400)],
        [2262, None, None],
        [2026, None, "\x00\U0001f600'\"\n"],
    ]


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


@hypothesis.given(st.dictionaries(st.text(), VALUES, max_size=4), st.sampled_from(["reading", "other"]))
def test_no_record_is_left_out(values, kind):
    record = Record("shed", "readings", 1, NOON_NS, kind, {"source": "boiler", "values": values})
    table = route(record)
    found = columns(table, [record], landed=None)
    assert len(found["node"]) == (len(values) if table == "readings" else 1) > 0
    assert {len(cells) for cells in found.values()} == {len(found["node"])}
