"""A source distribution runs code when it is fetched, so it is fetched by its digest or not at all."""

from pathlib import Path

import pytest

from edgewise.errors import InputError, UnavailableError
from edgewise.zoo.origins import sdist
from edgewise.zoo.origins.base import Origin


def test_without_a_digest_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdist, "download", lambda *_, **__: pytest.fail("it asked the index"))
    with pytest.raises(InputError, match="needs a digest"):
        sdist.SdistFetcher().fetch(Origin("sdist", "anything==1.0"), tmp_path, lambda *_: None)


def test_pip_is_made_to_check_the_digest_before_it_runs_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def download(origin: Origin, arguments: list[str], **_: object) -> Path:
        asked.append([*arguments, (tmp_path / f"{origin.key}.txt").read_text()])
        raise UnavailableError("no network")

    monkeypatch.setattr(sdist, "download", download)
    origin = Origin("sdist", "anything==1.0", sha256="ab" * 32)
    with pytest.raises(UnavailableError):
        sdist.SdistFetcher().fetch(origin, tmp_path, lambda *_: None)
    assert "--require-hashes" in asked[0]
    assert asked[0][-1] == f"anything==1.0 --hash=sha256:{'ab' * 32}\n"
    assert list(tmp_path.iterdir()) == []
