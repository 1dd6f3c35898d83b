"""The console's files: languages agree, third-party files are what their index says, and the page needs no exceptions
from its own Content-Security-Policy.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from edgewise.console import static_folder

STATIC = static_folder()
LANGUAGES = {file.stem: json.loads(file.read_text()) for file in sorted((STATIC / "i18n").glob("*.json"))}
SCRIPTS = {
    str(file.relative_to(STATIC)): file.read_text()
    for file in sorted(STATIC.rglob("*.js"))
    if "vendor" not in file.parts
}
VENDORED = [STATIC / "vendor", Path(__file__).parents[1] / "browser" / "vendor"]
PLACE = re.compile(r"\{(\w+)\}")


def test_languages_have_the_same_keys() -> None:
    assert set(LANGUAGES) == {"en", "zh"}
    assert list(LANGUAGES["zh"]) == list(LANGUAGES["en"])


def test_texts_have_the_same_places_for_values_and_none_is_empty() -> None:
    for key, english in LANGUAGES["en"].items():
        chinese = LANGUAGES["zh"][key]
        assert english.strip(), key
        assert chinese.strip(), key
        assert set(PLACE.findall(chinese)) == set(PLACE.findall(english)), key


def base_keys() -> set[str]:
    """Keys as code writes them: without the ending that a number chooses."""
    return {re.sub(r"\.(one|other)$", "", key) for key in LANGUAGES["en"]}


def test_every_text_that_code_names_exists() -> None:
    named = {key for text in SCRIPTS.values() for key in re.findall(r"""\bt\(\s*"([^"]+)\"""", text)}
    assert len(named) > 100
    assert named - base_keys() == set()


def test_every_text_is_used() -> None:
    code = "\n".join(SCRIPTS.values())
    prefixes = set(re.findall(r"`([a-z]+\.(?:[a-z]+\.)*)\$\{", code))
    unused = {key for key in base_keys() if f'"{key}"' not in code and not any(key.startswith(p) for p in prefixes)}
    assert unused == set()


@pytest.mark.parametrize("folder", VENDORED, ids=["console", "tests"])
def test_third_party_files_are_what_their_index_says(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    assert {line["file"] for line in index} | {"index.json"} == {file.name for file in folder.iterdir()}
    for line in index:
        assert hashlib.sha256((folder / line["file"]).read_bytes()).hexdigest() == line["sha256"], line["file"]
        assert line["version"]
        assert line["licence"]
    packages = {line["package"] for line in index}
    assert {line["package"] for line in index if line["file"].endswith(".LICENSE")} == packages


def test_sample_pictures_are_what_their_index_says() -> None:
    folder = STATIC / "samples"
    index = {line["file"]: line for line in json.loads((folder / "index.json").read_text())}
    assert set(index) | {"index.json"} == {file.name for file in folder.iterdir()}
    for name, line in index.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == line["sha256"], name
        assert line["source"]
        assert line["licence"]


def test_modules_import_only_files_that_are_there() -> None:
    for name, text in SCRIPTS.items():
        for target in re.findall(r"""^(?:import|export) [^;]*?from "([^"]+)";$""", text, re.MULTILINE):
            assert ((STATIC / name).parent / target).resolve().is_file(), f"{name}: {target}"


def test_the_page_needs_no_exception_from_its_policy() -> None:
    page = (STATIC / "index.html").read_text()
    policy = re.search(r'content="(default-src[^"]+)"', page)
    assert policy
    assert "unsafe" not in policy[1]
    assert "http" not in policy[1]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)
    for name, text in SCRIPTS.items():
        assert not re.search(r"innerHTML|dangerouslySetInnerHTML|\beval\(|new Function|document\.write", text), name


def test_the_console_asks_nobody_but_the_node() -> None:
    for file in STATIC.rglob("*"):
        if file.suffix in {".js", ".css", ".html"} and "vendor" not in file.parts:
            addresses = re.findall(r"https?://[^\s\"')]+", file.read_text())
            assert [address for address in addresses if "w3.org" not in address] == [], file
