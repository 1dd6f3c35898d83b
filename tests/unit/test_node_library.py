"""Models by name or path: which of them need no trial run."""

from pathlib import Path

from edgewise import zoo
from edgewise.node.library import session_options


def test_only_what_really_lies_among_the_pulled_and_shipped_models_is_trusted(tmp_path: Path) -> None:
    cache, stranger = tmp_path / "cache", tmp_path / "stranger"
    (cache / "packages" / "yunet").mkdir(parents=True)
    stranger.mkdir()
    (cache / "link").symlink_to(stranger)

    def trusted(folder: Path) -> bool:
        return session_options(folder, cache=cache).trusted

    assert trusted(cache / "packages" / "yunet")
    assert trusted(zoo.SHIPPED / "watch-activity")
    assert not trusted(stranger)
    assert not trusted(cache / ".." / "stranger")
    assert not trusted(cache / "link")
