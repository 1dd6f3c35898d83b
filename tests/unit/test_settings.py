"""One file holds a whole smart home; whoever mistypes it is told where and how to mend it."""

from pathlib import Path

import pytest

from edgewise._lib.secrets import read_secret
from edgewise.errors import SettingsError
from edgewise.node import settings

HOME = """
node: {name: home, data: here}
models: [yunet, ./mine]
pipelines:
  door:
    source: {kind: video, path: door.mp4}
    transforms:
      - {kind: recognise}
devices:
  front-door: {kind: lock}
rules:
  - name: let-in
    on: face.known
    do: [{device: front-door, command: unlock}]
"""


def load(tmp_path: Path, text: str, **environment: str) -> settings.Settings:
    file = tmp_path / "edgewise.yaml"
    file.write_text(text)
    return settings.load(file, environment=environment)


def test_paths_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    loaded = load(tmp_path, HOME)
    assert loaded.node.data == str(tmp_path / "here")
    assert loaded.pipelines["door"].source.path == str(tmp_path / "door.mp4")
    assert loaded.models == ("yunet", str(tmp_path / "mine"))


def test_flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "edgewise.yaml"
    file.write_text("http: {port: 1}")
    assert settings.load(file, environment={}).http.host == "127.0.0.1"
    environment = {"EDGEWISE_HTTP__PORT": "2"}
    assert settings.load(file, environment={}).http.port == 1
    assert settings.load(file, environment=environment).http.port == 2
    assert settings.load(file, environment=environment, flags={"http.port": 3}).http.port == 3


@pytest.mark.parametrize(
    ("before", "after", "said", "hint"),
    [
        ("kind: lock", "kind: lok", "line 10", "'lock'"),
        ("device: front-door", "device: front-dor", "'front-dor', which is no device", "'front-door'"),
        ("path: door.mp4", "path: 5", "pipelines.door.source.path", ""),
        ("rules:", "rule:", "unknown field 'rule'", "'rules'"),
        ("{kind: lock}", "{kind: lock, topic: a}", "no broker", "mqtt:"),
        (
            "{kind: lock}",
            "{kind: lock, topic: a}\n  back-door: {kind: lock, topic: a}\nmqtt: {host: x}",
            "line 11, devices.back-door.topic: device 'front-door' has this topic too",
            "its own",
        ),
        ("unlock}", "unlock, arguments: {for_s: 3}}", "rules[0].do[0].arguments: Command 'unlock'", ""),
        ("node: {", "journal: {event: {max_bytes: 1}}\nnode: {", "journal.event: unknown field 'event'", "'events'"),
    ],
)
def test_a_wrong_line_is_refused_with_where_and_how_to_mend_it(
    tmp_path: Path, before: str, after: str, said: str, hint: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, HOME.replace(before, after))
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="EDGEWISE_HTTP__PORT"):
        load(tmp_path, HOME, EDGEWISE_HTTP__PORT="many")
    with pytest.raises(SettingsError, match=r"EDGEWISE_HTTP__POTR.*unknown field") as caught:
        load(tmp_path, HOME, EDGEWISE_HTTP__POTR="1")
    assert "'port'" in caught.value.hint


def test_a_secret_must_be_a_private_file_and_is_never_in_the_settings(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o644)
    with pytest.raises(SettingsError, match="others can read"):
        read_secret(str(token), what="http.token_file")
    token.chmod(0o600)
    assert read_secret(str(token), what="http.token_file") == "s3cret"
    token.write_text("\n")
    with pytest.raises(SettingsError, match="is empty"):
        read_secret(str(token), what="http.token_file")


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("home", False)]
)
def test_only_addresses_of_this_machine_alone_count_as_loopback(host: str, loopback: bool) -> None:
    assert settings.is_loopback(host) is loopback
