"""Packed series: exact or within bounds, measured, and readable as the text they came from."""

import io
import json
import math

import pytest

from edgewise._lib.columns import Block
from edgewise.cli import run
from edgewise.errors import CorruptError, DecodeError, InputError, NotFoundError
from edgewise.series.packed import MAGIC, pack, unpack
from edgewise.series.table import parse, read_csv, write_csv

S = 1_000_000_000
TIMES = [1_700_000_000 * S + i * 10 * S for i in range(1000)]
COLUMNS = {
    "t": [round(20 + 5 * math.sin(i / 100), 2) if i % 100 else None for i in range(1000)],
    "door": ["shut" if i % 50 else "open" for i in range(1000)],
    "on": [i % 7 == 0 for i in range(1000)],
}


def test_what_is_not_thinned_comes_back_as_it_was():
    packed = pack(TIMES, COLUMNS)
    assert unpack(packed.content) == Block(TIMES, COLUMNS)
    assert packed.plain_bytes == 8 * 1000 * 4
    assert packed.ratio > 8
    assert [(channel.name, channel.kept, channel.error) for channel in packed.channels] == [
        ("t", 990, 0.0),
        ("door", 1000, 0.0),
        ("on", 1000, 0.0),
    ]


@pytest.mark.parametrize("method", ["swinging_door", "dead_band"])
def test_what_is_thinned_stays_within_its_bound_as_measured(method):
    packed = pack(TIMES, COLUMNS, bounds={"t": 0.25}, method=method)
    found = unpack(packed.content)
    assert found.times_ns == TIMES
    assert {name: found.columns[name] for name in ("door", "on")} == {name: COLUMNS[name] for name in ("door", "on")}
    assert [value is None for value in found.columns["t"]] == [value is None for value in COLUMNS["t"]]
    errors = [abs(a - b) for a, b in zip(found.columns["t"], COLUMNS["t"], strict=True) if a is not None]
    [t, *_] = packed.channels
    assert t.error == max(errors)
    assert 0.1 < t.error <= 0.25
    assert t.kept < 150


def test_what_cannot_be_thinned_is_told():
    with pytest.raises(NotFoundError, match="no channel 'x'"):
        pack(TIMES, COLUMNS, bounds={"x": 1})
    with pytest.raises(InputError, match="no number"):
        pack(TIMES, COLUMNS, bounds={"door": 1})
    with pytest.raises(InputError, match="do not grow"):
        pack([2, 1], {"t": [1.0, 2.0]}, bounds={"t": 1})


def test_damage_is_noticed():
    content = pack(TIMES, COLUMNS, bounds={"t": 0.25}).content
    for broken in (b"", MAGIC, content[:100], b"x" + content[1:], content[:-1] + b"x"):
        with pytest.raises(CorruptError):
            unpack(broken)


def test_text_holds_numbers_truths_words_and_gaps():
    assert [parse(text) for text in ("1", "1.5", "-2e3", "true", "False", "", "NaN", "open", "1 2")] == [
        1,
        1.5,
        -2000.0,
        True,
        False,
        None,
        None,
        "open",
        "1 2",
    ]


def test_a_table_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "house.csv"
    with file.open("w") as text:
        write_csv(text, Block(TIMES, COLUMNS))
    assert file.read_text().splitlines()[1] == "2023-11-14T22:13:20Z,,open,true"
    assert read_csv(file) == Block(TIMES, COLUMNS)


def test_times_may_be_seconds_or_have_zones(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("a,when\n1,0.5\n2,1970-01-01T01:00:01+01:00\n3,1970-01-01 00:00:02\n")
    assert read_csv(file, time="when") == Block([S // 2, S, 2 * S], {"a": [1, 2, 3]})


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("a,b\n1,2\n", NotFoundError, "no column 'time'"),
        ("time,a\n1\n", DecodeError, "line 2: 1 values for 2 columns"),
        ("time,a\nsoon,1\n", DecodeError, "line 2: 'soon' is no time"),
    ],
)
def test_a_table_that_is_none_is_told_with_its_line(tmp_path, text, error, said):
    file = tmp_path / "x.csv"
    file.write_text(text)
    with pytest.raises(error, match=said):
        read_csv(file)


def test_a_person_packs_measures_and_unpacks(tmp_path, capsys):
    file, packed, again = tmp_path / "house.csv", tmp_path / "house.ews", tmp_path / "again.csv"
    text = io.StringIO()
    write_csv(text, Block(TIMES, COLUMNS))
    file.write_text(text.getvalue())
    assert run(["series", "compress", str(file), str(packed), "--bound", "t=0.25", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bytes"] == packed.stat().st_size
    assert told["text_bytes"] == file.stat().st_size
    assert told["channels"][0]["error"] <= 0.25
    assert run(["series", "expand", str(packed), str(again)]) == 0
    assert read_csv(again).columns["door"] == COLUMNS["door"]
    assert run(["series", "compress", str(file)]) == 0
    assert "times smaller than the text" in capsys.readouterr().err
    assert run(["series", "expand", str(file)]) == 8
    assert run(["series", "compress", str(file), "--bound", "t"]) == 5
    assert "Write CHANNEL=NUMBER" in capsys.readouterr().err
    assert run(["series", "compress", str(tmp_path / "none.csv")]) == 6
