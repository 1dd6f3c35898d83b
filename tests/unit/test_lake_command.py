"""``edgewise query``: what it prints, writes and refuses."""

import json

import pyarrow.parquet as parquet
import pytest

from edgewise._lib.clock import ManualClock
from edgewise.cli import run
from edgewise.errors import MissingExtraError, SettingsError
from edgewise.lake import open_lake
from edgewise.lake.base import LakeSettings, S3Settings
from edgewise.node.settings import load
from edgewise.testing.lake import NOON_NS, reading, record


@pytest.fixture
def center(tmp_path, monkeypatch):
    """A center's folder with a lake where its settings put it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edgewise.yaml").write_text("node: {name: center, data: here}\n")
    lake = open_lake(LakeSettings(folder=str(tmp_path / "here" / "lake")), clock=ManualClock(NOON_NS))
    lake.take([*(reading(n) for n in range(1, 51)), record(1, stream="events", note="[red]not markup[/]")])
    return tmp_path


def test_a_table_of_the_lake_of_the_settings(center, capfd):
    assert run(["query", "SELECT channel, max(value) AS most FROM readings GROUP BY channel"]) == 0
    assert [line.split() for line in capfd.readouterr().out.splitlines()] == [
        ["channel", "most"],
        ["temperature", "25"],
    ]
    assert run(["query", "SELECT body AS b FROM events"]) == 0
    assert "[red]not markup[/]" in capfd.readouterr().out


def test_more_rows_than_shown_are_told(center, capfd):
    assert run(["query", "SELECT sequence FROM readings ORDER BY 1", "--rows", "2", "--format", "json"]) == 0
    said = capfd.readouterr()
    answer = json.loads(said.out)
    assert (answer["rows"], answer["truncated"]) == ([[1], [2]], True)
    assert "There is more" in said.err


def test_files_and_text(center, capfd):
    assert run(["query", "SELECT sequence FROM readings WHERE sequence < 3", "--format", "csv"]) == 0
    assert capfd.readouterr().out == '"sequence"\n1\n2\n'
    assert run(["query", "SELECT * FROM readings", "--output", "all.parquet", "--rows", "1"]) == 0
    assert parquet.read_table("all.parquet").num_rows == 50
    assert "50 rows in all.parquet" in capfd.readouterr().err


def test_tables(center, capfd):
    assert run(["query", "--tables", "--lake", "here/lake"]) == 0
    said = capfd.readouterr().out
    assert "readings    50      1" in said
    assert "TIMESTAMP WITH TIME ZONE" in said
    assert run(["query", "--tables", "--format", "json"]) == 0
    assert [table["rows"] for table in json.loads(capfd.readouterr().out)["tables"]] == [0, 1, 50]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["SELECT * FROM read_csv('/etc/passwd')"], 5, "Queries read the lake's tables and nothing else"),
        (["SELECT 1", "--lake", "nowhere"], 6, "There is no lake in"),
        (["SELECT 1", "--format", "parquet"], 5, "--output rows.parquet"),
        (["SELECT 1", "--output", "x.xlsx"], 5, "--format csv or --format parquet"),
        (["SELECT 1", "--output", "no/such/folder.csv"], 5, "No such file"),
        (["SELECT 1", "--rows", "0"], 5, "See --rows"),
        ([], 5, "Give a query, or --tables"),
        (["SELECT 1", "--tables"], 5, "Give a query, or --tables"),
    ],
)
def test_what_cannot_be_is_told_with_a_hint(center, capfd, arguments, code, said):
    assert run(["query", *arguments]) == code
    assert said in " ".join(capfd.readouterr().err.split())


def test_settings_of_the_lake(tmp_path):
    file = tmp_path / "edgewise.yaml"
    file.write_text("lake: {s3: {url: 's3://plant/lake', access_key: me, secret_key_file: secret}}\n")
    lake = load(file).lake
    assert lake is not None
    assert lake.s3.secret_key_file == str(tmp_path / "secret")
    file.write_text("lake: {folder: tables}\n")
    assert load(file).lake.folder == str(tmp_path / "tables")
    file.write_text("lake: {folder: tables, s3: {url: 's3://plant/lake'}}\n")
    with pytest.raises(SettingsError, match="lake: it has a folder and a place on S3 storage"):
        load(file)
    file.write_text("lake: {s3: {url: 'file:///etc'}}\n")
    with pytest.raises(SettingsError, match=r"lake\.s3\.url"):
        load(file)


def test_a_secret_that_others_can_read_is_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o644)
    s3 = S3Settings("s3://plant/lake", access_key="me", secret_key_file=str(secret))
    with pytest.raises(SettingsError, match="others can read"):
        open_lake(LakeSettings(s3=s3))
    with pytest.raises(SettingsError, match="belong together"):
        open_lake(LakeSettings(s3=S3Settings("s3://plant/lake", access_key="me")))


def test_without_the_extra_the_command_that_installs_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "deltalake", None)
    with pytest.raises(MissingExtraError) as caught:
        open_lake(LakeSettings(folder=str(tmp_path)))
    assert caught.value.hint == "pip install 'edgewise[lake]'"
