"""Sealing at rest: nobody reads or changes it without the key, and a wrong key is told as such."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.cli import run
from edgewise.errors import ConflictError, CorruptError, SettingsError, WrongKeyError
from edgewise.journal.cipher import OVERHEAD, KeyCipher, _Key, make_key, open_cipher
from edgewise.node import settings as node_settings
from edgewise.node.check import faults

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
CONTEXT = b"events 7"


@pytest.mark.parametrize(
    ("key", "data", "sealed"),
    [
        (b"\x01" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (
            b"\x03" * 32,
            b"c2sp.org/XAES-256-GCM",
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        ),
    ],
)
def test_it_is_the_published_construction(key: bytes, data: bytes, sealed: str) -> None:
    # Both keys of the specification: doubling in CMAC has a carry for one of them and none for the other.
    nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX"
    text = _Key(key).encrypt(nonce, b"XAES-256-GCM", data)
    assert text.hex() == sealed
    assert _Key(key).decrypt(nonce, memoryview(text), data) == b"XAES-256-GCM"


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_what_was_sealed_opens_and_is_a_fixed_number_of_bytes_longer(plain: bytes, context: bytes) -> None:
    cipher = KeyCipher(KEY)
    sealed = cipher.seal(plain, context=context)
    assert len(sealed) == len(plain) + cipher.overhead == len(plain) + OVERHEAD
    assert KeyCipher(KEY).open(sealed, context=context) == plain
    assert OVERHEAD <= 48


def test_the_same_content_never_looks_the_same() -> None:
    seen = {KeyCipher(KEY).seal(b"", context=CONTEXT) for _ in range(500)}
    cipher = KeyCipher(KEY)
    seen |= {cipher.seal(b"", context=CONTEXT) for _ in range(500)}
    assert len(seen) == 1000


def test_processes_that_forked_share_no_nonce() -> None:
    # Whatever was in memory is in both.
    code = """
import os
from edgewise.journal.cipher import KeyCipher
cipher = KeyCipher(bytes(32))
cipher.seal(b"", context=b"")
os.fork()
os.write(1, cipher.seal(b"", context=b"").hex().encode() + b"\\n")
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    nonces = [line[10:58] for line in done.stdout.split()]
    assert len(nonces) == len(set(nonces)) == 2


def test_a_changed_bit_anywhere_is_found() -> None:
    cipher = KeyCipher(KEY)
    sealed = cipher.seal(b"content", context=CONTEXT)
    for place in range(len(sealed)):
        for bit in (1, 128):
            changed = bytearray(sealed)
            changed[place] ^= bit
            with pytest.raises(CorruptError):
                cipher.open(bytes(changed), context=CONTEXT)
    for length in range(len(sealed)):
        with pytest.raises(CorruptError):
            cipher.open(sealed[:length], context=CONTEXT)


def test_what_was_moved_elsewhere_does_not_open() -> None:
    cipher = KeyCipher(KEY)
    with pytest.raises(CorruptError, match="belongs elsewhere"):
        cipher.open(cipher.seal(b"content", context=b"events 7"), context=b"events 8")


def test_a_wrong_key_is_told_as_such_and_not_as_damage() -> None:
    sealed = KeyCipher(KEY).seal(b"content", context=CONTEXT)
    was, now = KeyCipher(KEY).key_id, KeyCipher(OTHER).key_id
    with pytest.raises(WrongKeyError, match=f"Sealed with key {was}, this is key {now}") as caught:
        KeyCipher(OTHER).open(sealed, context=CONTEXT)
    assert caught.value.facts == {"sealed_with": was, "keys": [now]}
    assert "old_key_files" in caught.value.hint


def test_after_a_change_of_keys_the_old_ones_open_and_the_first_seals() -> None:
    before = KeyCipher(KEY).seal(b"before", context=CONTEXT)
    cipher = KeyCipher(OTHER, KEY)
    assert cipher.open(before, context=CONTEXT) == b"before"
    after = cipher.seal(b"after", context=CONTEXT)
    assert KeyCipher(OTHER).open(after, context=CONTEXT) == b"after"
    with pytest.raises(WrongKeyError):
        KeyCipher(KEY).open(after, context=CONTEXT)


def test_a_key_file_is_made_once_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "node.key"
    assert run(["journal", "key", str(file)]) == 0
    cipher = open_cipher(str(file))
    assert cipher.key_id in capsys.readouterr().out
    assert file.stat().st_mode & 0o777 == 0o600
    assert make_key(tmp_path / "next.key") != cipher.key_id
    with pytest.raises(ConflictError, match="never overwritten"):
        make_key(file)
    assert open_cipher(str(file)).key_id == cipher.key_id
    with pytest.raises(SettingsError, match="cannot write"):
        make_key(tmp_path / "nowhere" / "node.key")


def test_a_key_that_others_can_read_is_refused_and_one_that_is_missing_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "node.key"
    with pytest.raises(SettingsError, match="no key in") as caught:
        open_cipher(str(file))
    assert f"edgewise journal key {file}" in caught.value.hint
    assert not file.exists()
    make_key(file)
    file.chmod(0o640)
    with pytest.raises(SettingsError, match="others can read"):
        open_cipher(str(file))
    file.chmod(0o600)
    for content in ("", "12ab\n", "no hex\n", "0" * 66):
        file.write_text(content)
        with pytest.raises(SettingsError):
            open_cipher(str(file))


def test_the_settings_name_the_keys_and_the_check_tries_them(tmp_path: Path) -> None:
    file = tmp_path / "edgewise.yaml"
    make_key(tmp_path / "now.key")
    file.write_text("journal: {key_file: now.key, old_key_files: [before.key], events: {max_bytes: 1000}}\n")
    loaded = node_settings.load(file, environment={})
    assert loaded.journal.key_file == str(tmp_path / "now.key")
    assert loaded.journal.events.max_bytes == 1000
    (fault,) = faults(loaded)
    assert fault.field == "journal.old_key_files"
    assert "before.key" in fault.problem
    make_key(tmp_path / "before.key")
    assert list(faults(loaded)) == []
    file.write_text("journal: {old_key_files: [before.key]}\n")
    with pytest.raises(SettingsError, match="no key to seal with"):
        node_settings.load(file, environment={})
