"""The doctor looks at everything, raises for nothing, and names the command that mends each lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewise import runtimes
from edgewise.node.doctor import Finding, examine


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was pulled, and the working folder has no settings."""
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def section(name: str, config: Path | None = None) -> list[Finding]:
    return [finding for finding in examine(config) if finding.section == name]


def test_every_section_has_something_to_say() -> None:
    sections = list(dict.fromkeys(finding.section for finding in examine()))
    assert sections == ["Machine", "Runtimes", "Cameras", "Microphones", "Models", "Settings"]


def test_models_that_are_not_here_come_with_the_command_that_pulls_them() -> None:
    found = {finding.what: finding for finding in section("Models")}
    assert (found["yunet"].state, found["yunet"].mend) == ("missing", "edgewise pull yunet")
    assert (found["cifar10-resnet"].state, found["cifar10-resnet"].mend) == ("ok", "")


def test_an_engine_that_is_there_but_broken_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError(f"{name}.so: undefined symbol")

    monkeypatch.setattr(runtimes, "open_runtime", broken)
    found = next(finding for finding in section("Runtimes") if finding.what.startswith("onnxruntime"))
    assert found.state == "wrong"
    assert "undefined symbol" in found.detail


def test_a_node_on_the_loopback_is_told_how_to_listen_wider() -> None:
    (found,) = section("Settings")
    assert (found.state, found.what) == ("ok", "listens on 127.0.0.1:8470")
    assert "edgewise user add" in found.detail


@pytest.mark.parametrize(
    ("http", "mode", "says", "mend"),
    [
        ("{host: 0.0.0.0}", 0o600, "a token is needed", "openssl rand"),
        ("{host: 0.0.0.0, token_file: none}", 0o600, "cannot read", "Check the path"),
        ("{host: 0.0.0.0, token_file: token}", 0o644, "others can read", "chmod 600"),
    ],
)
def test_a_node_that_listens_wider_without_a_private_token_is_wrong(
    tmp_path: Path, http: str, mode: int, says: str, mend: str
) -> None:
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "token").chmod(mode)
    config = tmp_path / "edgewise.yaml"
    config.write_text(f"http: {http}")
    (found,) = section("Settings", config)
    assert found.state == "wrong"
    assert says in found.what
    assert mend in found.mend


def test_a_node_that_listens_wider_with_a_token_is_fine(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "token").chmod(0o600)
    config = tmp_path / "edgewise.yaml"
    config.write_text("http: {host: 0.0.0.0, token_file: token}")
    (found,) = section("Settings", config)
    assert (found.state, found.detail) == ("ok", "every client has to sign in")
