"""Pulling a model into a cache: once, whole, offline afterwards, and whatever happens meanwhile."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edgewise import zoo
from edgewise.errors import MissingExtraError, NotFoundError, PackageError, StorageFullError, UnavailableError
from edgewise.models import package
from edgewise.models.check import check
from edgewise.testing.zoo import ARTIFACT, TINY, ScriptedOrigin
from edgewise.zoo.catalog import Plan, Recipe


def pull(cache: Path, origin: ScriptedOrigin | None = None, recipe: Recipe = TINY) -> tuple[Path, list[zoo.Progress]]:
    told: list[zoo.Progress] = []
    fetchers = {"url": origin or ScriptedOrigin()}
    return zoo.pull(recipe.name, cache, told.append, fetchers=fetchers, recipes=(recipe,)), told  # type: ignore[arg-type]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sockets and no other programs."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network or another program was used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)


def test_a_pulled_model_is_a_whole_package_that_says_where_it_is_from(tmp_path: Path) -> None:
    folder, told = pull(tmp_path)
    report = check(folder)
    assert report.passed
    assert report.verdicts["fake"].passed
    manifest = package.load_manifest(folder)
    assert manifest.licence == "Apache-2.0"
    assert manifest.origin is not None
    assert manifest.origin.source == "https://example.org/tiny"
    assert manifest.origin.sha256 == TINY.files[0].sha256
    assert told[0].step == "licence"
    assert "Apache-2.0" in told[0].message
    assert "Made for tests" in told[0].message
    assert told[-1].step == "done"


def test_nothing_but_the_package_stays_in_the_cache(tmp_path: Path) -> None:
    folder, _ = pull(tmp_path)
    assert folder == zoo.find("tiny", tmp_path)
    assert list((tmp_path / "work").iterdir()) == []
    assert list((tmp_path / "packages").iterdir()) == [folder]


def test_a_pulled_model_is_used_without_any_network(tmp_path: Path, offline: None) -> None:
    folder, _ = pull(tmp_path)
    origin = ScriptedOrigin()
    again, told = pull(tmp_path, origin)
    assert (again, origin.asked) == (folder, 0)
    assert [progress.step for progress in told] == ["licence", "done"]


def test_a_damaged_package_is_made_anew(tmp_path: Path) -> None:
    folder, _ = pull(tmp_path)
    (folder / "tiny.json").write_bytes(ARTIFACT[:10])
    origin = ScriptedOrigin()
    _, told = pull(tmp_path, origin)
    assert origin.asked == 1
    assert "damaged" in next(progress.message for progress in told if progress.step == "note")
    assert check(folder).passed


def test_a_newer_recipe_replaces_the_package(tmp_path: Path) -> None:
    pull(tmp_path)
    folder, _ = pull(tmp_path, recipe=msgspec.structs.replace(TINY, version="2"))
    assert package.load_manifest(folder).version == "2"


def test_a_pull_that_fails_leaves_the_old_package(tmp_path: Path) -> None:
    pull(tmp_path)
    silent = ScriptedOrigin(content=b"something else")
    with pytest.raises(UnavailableError):
        pull(tmp_path, silent, msgspec.structs.replace(TINY, version="2"))
    folder = zoo.find("tiny", tmp_path)
    assert folder is not None
    assert package.load_manifest(folder).version == "1"


def test_what_arrived_before_a_failure_is_not_fetched_again(tmp_path: Path) -> None:
    broken = msgspec.structs.replace(TINY, builder="edgewise.testing.zoo:SIDE")
    with pytest.raises(TypeError):
        pull(tmp_path, recipe=broken)
    assert zoo.find("tiny", tmp_path) is None
    origin = ScriptedOrigin()
    pull(tmp_path, origin)
    assert origin.asked == 0


@pytest.mark.parametrize(
    ("builder", "reason"), [("build_without_labels", "labels"), ("build_with_a_deviant", "is off by")]
)
def test_a_package_that_fails_its_checks_is_not_published(tmp_path: Path, builder: str, reason: str) -> None:
    careless = msgspec.structs.replace(TINY, builder=f"edgewise.testing.zoo:{builder}")
    with pytest.raises(PackageError, match=reason):
        pull(tmp_path, recipe=careless)
    assert zoo.find("tiny", tmp_path) is None


def test_variants_that_cannot_be_made_are_left_out_and_named(tmp_path: Path) -> None:
    plans = (Plan("converted", "fake", ("no_such_module",), "convert"), *TINY.plans)
    folder, told = pull(tmp_path, recipe=msgspec.structs.replace(TINY, plans=plans))
    assert [variant.name for variant in package.load_manifest(folder).variants] == ["fake"]
    notes = [progress.message for progress in told if progress.step == "note"]
    assert notes == ["The variant converted was left out; to have it, pip install 'edgewise[convert]' and pull again"]


def test_once_the_extra_is_installed_the_next_pull_adds_the_variant(tmp_path: Path) -> None:
    absent, present = Plan("converted", "fake", ("no_such_module",), "convert"), Plan("converted", "fake", ("json",))
    pull(tmp_path, recipe=msgspec.structs.replace(TINY, plans=(absent, *TINY.plans)))
    folder, _ = pull(tmp_path, recipe=msgspec.structs.replace(TINY, plans=(present, *TINY.plans)))
    assert [variant.name for variant in package.load_manifest(folder).variants] == ["converted", "fake"]


def test_a_model_that_cannot_run_here_is_not_even_fetched(tmp_path: Path) -> None:
    recipe = msgspec.structs.replace(TINY, plans=(Plan("converted", "fake", ("no_such_module",), "convert"),))
    origin = ScriptedOrigin()
    with pytest.raises(MissingExtraError) as caught:
        pull(tmp_path, origin, recipe)
    assert caught.value.hint == "pip install 'edgewise[convert]'"
    assert origin.asked == 0


def test_an_unknown_name_gets_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        zoo.pull("mobilefacenet2", tmp_path)
    assert "mobilefacenet" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_called_a_full_disk(tmp_path: Path) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageFullError, match="No space left to pull tiny"):
        pull(tmp_path, ScriptedOrigin(before=full))


class Puller:
    """Another process that pulls the same model."""

    def __init__(self, cache: Path) -> None:
        command = [sys.executable, "-m", "edgewise.testing.zoo", str(cache)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def reaches(self, step: str) -> list[str]:
        """Reads until a step is told."""
        assert self.process.stdout is not None
        seen: list[str] = []
        while not seen or seen[-1] != step:
            line = self.process.stdout.readline()
            assert line, f"ended after {seen}"
            seen.append(line.strip())
        return seen

    def let_it_fetch(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_of_two_processes_that_pull_at_once_the_second_waits_and_fetches_nothing(tmp_path: Path) -> None:
    first = Puller(tmp_path)
    first.reaches("download")
    second = Puller(tmp_path)
    second.reaches("wait")
    first.let_it_fetch()
    assert "build" in first.reaches("done")
    assert second.reaches("done") == ["done"]
    first.end()
    second.end()


def test_a_killed_pull_leaves_nothing_in_the_way_of_the_next(tmp_path: Path) -> None:
    killed = Puller(tmp_path)
    killed.reaches("download")
    killed.end()
    assert zoo.find("tiny", tmp_path) is None
    folder, _ = pull(tmp_path)
    assert check(folder).passed


def test_shipped_models_need_no_pull(tmp_path: Path, offline: None) -> None:
    for entry in zoo.names():
        if entry.shipped:
            assert zoo.pull(entry.name, tmp_path) == zoo.find(entry.name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_entry_says_what_a_user_must_know() -> None:
    entries = zoo.names()
    assert {"yunet", "mobilefacenet", "efficientnet-lite0", "nanodet"} <= {entry.name for entry in entries}
    assert all(entry.licence and entry.summary and entry.task and entry.size_bytes > 0 for entry in entries)
    needs = {entry.name: entry.extras for entry in entries}
    assert needs["yunet"] == ()
    assert needs["mobilefacenet"] == ("convert", "litert")
