"""Files of a recipe from the first origin that delivers them intact. The origins are scripted."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from edgewise.errors import EdgewiseError, NotFoundError, UnavailableError
from edgewise.zoo.catalog import File
from edgewise.zoo.origins.base import Origin, Report
from edgewise.zoo.sources import Sources

CONTENT = b"weights"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class Scripted:
    """An origin that serves, or fails with, what it is told, and remembers what it was asked for."""

    def __init__(self, **answers: bytes | EdgewiseError) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def fetch(self, origin: Origin, folder: Path, report: Report) -> Path:
        self.asked.append(origin.package)
        answer = self.answers[origin.package]
        if isinstance(answer, EdgewiseError):
            raise answer
        report(len(answer), len(answer))
        (folder / origin.key).write_bytes(answer)
        return folder / origin.key


def file(*origins: Origin, content: bytes = CONTENT, name: str = "model") -> File:
    return File(name, digest(content), origins)


def test_the_first_origin_that_has_it_is_the_only_one_asked(tmp_path: Path) -> None:
    npm = Scripted(one=CONTENT, two=CONTENT)
    path = Sources(tmp_path, fetchers={"npm": npm}).obtain(file(Origin("npm", "one"), Origin("npm", "two")))
    assert path.read_bytes() == CONTENT
    assert npm.asked == ["one"]


@pytest.mark.parametrize(
    "failure",
    [
        UnavailableError("silent"),
        NotFoundError("gone"),
        b"something else",
        archive(model=b"something else"),
        archive(other=CONTENT),
    ],
    ids=["silent", "gone", "no archive", "other content", "no such member"],
)
def test_after_a_failure_the_next_origin_is_tried(tmp_path: Path, failure: bytes | EdgewiseError) -> None:
    npm = Scripted(bad=failure, good=archive(model=CONTENT))
    wanted = file(Origin("npm", "bad", "model"), Origin("npm", "good", "model"))
    assert Sources(tmp_path, fetchers={"npm": npm}).obtain(wanted).read_bytes() == CONTENT
    assert npm.asked == ["bad", "good"]


def test_an_archive_with_another_digest_is_not_even_opened(tmp_path: Path) -> None:
    swapped = archive(model=CONTENT, extra=b"x")
    npm = Scripted(one=swapped)
    origin = Origin("npm", "one", "model", sha256=digest(archive(model=CONTENT)))
    with pytest.raises(UnavailableError, match="sha256 is"):
        Sources(tmp_path, fetchers={"npm": npm}).obtain(file(origin))
    assert list(tmp_path.iterdir()) == []


def test_when_all_fail_each_reason_is_told_with_the_hint_of_one(tmp_path: Path) -> None:
    npm = Scripted(one=UnavailableError("npm is not installed", hint="Install npm"), two=NotFoundError("two: HTTP 404"))
    with pytest.raises(UnavailableError) as caught:
        Sources(tmp_path, fetchers={"npm": npm}).obtain(file(Origin("npm", "one"), Origin("npm", "two")))
    assert "npm is not installed; two: HTTP 404" in caught.value.message
    assert caught.value.hint == "Install npm"
    assert [origin["code"] for origin in caught.value.facts["origins"]] == ["unavailable", "not_found"]  # type: ignore[attr-defined]


def test_two_files_of_one_archive_fetch_it_once(tmp_path: Path) -> None:
    npm = Scripted(one=archive(a=b"first", b=b"second"))
    sources = Sources(tmp_path, fetchers={"npm": npm})
    first = sources.obtain(file(Origin("npm", "one", "a"), content=b"first"))
    second = sources.obtain(file(Origin("npm", "one", "b"), content=b"second"))
    assert (first.read_bytes(), second.read_bytes()) == (b"first", b"second")
    assert npm.asked == ["one"]


def test_what_lies_there_intact_is_not_fetched(tmp_path: Path) -> None:
    npm = Scripted(one=CONTENT)
    wanted = file(Origin("npm", "one"))
    Sources(tmp_path, fetchers={"npm": npm}).obtain(wanted)
    Sources(tmp_path, fetchers={"npm": npm}).obtain(wanted)
    assert npm.asked == ["one"]


def test_what_lies_there_damaged_is_fetched_again(tmp_path: Path) -> None:
    npm = Scripted(one=CONTENT)
    wanted = file(Origin("npm", "one"))
    Sources(tmp_path, fetchers={"npm": npm}).obtain(wanted).write_bytes(b"half")
    assert Sources(tmp_path, fetchers={"npm": npm}).obtain(wanted).read_bytes() == CONTENT


def test_a_damaged_archive_that_a_crash_left_is_fetched_again(tmp_path: Path) -> None:
    whole = archive(model=CONTENT)
    npm = Scripted(one=whole)
    origin = Origin("npm", "one", "model", sha256=digest(whole))
    (tmp_path / origin.key).write_bytes(whole[:20])
    assert Sources(tmp_path, fetchers={"npm": npm}).obtain(file(origin)).read_bytes() == CONTENT
