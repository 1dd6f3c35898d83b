"""Blobs at rest: sealed with a key, whole on a full disk or not at all, and damage costs the one it hit."""

import errno
import hashlib
import io
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import CorruptError, NotFoundError, StorageFullError, TooLargeError, WrongKeyError
from edgewise.journal.blobs import BlobStore, read_blob
from edgewise.journal.cipher import KeyCipher
from edgewise.journal.sealed import sealed_size

CIPHER = KeyCipher(bytes(32))
PICTURE = b"a picture of somebody " * 50
FILM = random.Random(1).randbytes(400_000)


def open_store(folder: Path, **settings: Any) -> BlobStore:
    return BlobStore(folder, **{"clock": ManualClock(), "cipher": CIPHER, "memory_bytes": 0} | settings)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "evictions.json"]


def test_nothing_that_was_put_stands_on_the_disk_in_the_open(tmp_path: Path) -> None:
    store = open_store(tmp_path / "blobs")
    source = tmp_path / "clip.part"
    source.write_bytes(FILM)
    picture, film = store.put(PICTURE, media_type="image/jpeg"), store.put_file(source, media_type="video/mp4")
    assert not source.exists()
    for path in files(tmp_path):
        stored = path.read_bytes()
        assert PICTURE[:22] not in stored
        assert FILM[100_000:100_016] not in stored
    for again in (store, open_store(tmp_path / "blobs")):
        assert (again.get(picture), again.get(film)) == (PICTURE, FILM)
        assert (again.stat(picture).size, again.stat(film).media_type) == (len(PICTURE), "video/mp4")
    assert picture == hashlib.sha256(PICTURE).hexdigest()  # the name stays that of the content


@pytest.mark.parametrize("cipher", [None, CIPHER])
def test_a_blob_is_read_from_any_byte_also_when_it_is_evicted_meanwhile(
    tmp_path: Path, cipher: KeyCipher | None
) -> None:
    store = open_store(tmp_path, max_bytes=500_000, cipher=cipher)
    digest = store.put(FILM, media_type="video/mp4")
    with store.open_blob(digest) as file:
        assert file.seek(0, io.SEEK_END) == len(FILM)
        file.seek(123_456)
        assert file.read(70_000) == FILM[123_456 : 123_456 + 70_000]
        store.put(FILM[::-1])
        with pytest.raises(NotFoundError):
            store.stat(digest)
        file.seek(len(FILM) - 5)
        assert file.read() == FILM[-5:]


def test_beside_a_running_process_it_is_read_with_the_key(tmp_path: Path) -> None:
    digest = open_store(tmp_path).put(PICTURE, media_type="image/jpeg")
    assert read_blob(tmp_path, digest, CIPHER) == PICTURE
    with pytest.raises(WrongKeyError, match="no key is given"):
        read_blob(tmp_path, digest)
    with pytest.raises(WrongKeyError, match=f"Sealed with key {CIPHER.key_id}"):
        read_blob(tmp_path, digest, KeyCipher(b"\x01" * 32))


def test_what_was_kept_before_there_was_a_key_stays_and_after_a_change_of_keys_both_are_read(tmp_path: Path) -> None:
    before = open_store(tmp_path, cipher=None).put(b"before")
    sealed = open_store(tmp_path).put(b"sealed")
    changed = open_store(tmp_path, cipher=KeyCipher(b"\x01" * 32, bytes(32)))
    after = changed.put(b"after")
    assert [changed.get(digest) for digest in (before, sealed, after)] == [b"before", b"sealed", b"after"]
    with pytest.raises(WrongKeyError):
        open_store(tmp_path).get(after)


def test_what_a_crash_left_twice_is_kept_once(tmp_path: Path) -> None:
    digest = open_store(tmp_path, cipher=None).put(PICTURE)
    plain = open_store(tmp_path, cipher=None).path(digest)
    open_store(tmp_path / "other").put(PICTURE)
    sealed = plain.with_name(f"{digest}.sealed")
    sealed.write_bytes(open_store(tmp_path / "other").path(digest).read_bytes())
    store = open_store(tmp_path)
    assert (plain.exists(), store.path(digest)) == (False, sealed)
    assert store.get(digest) == PICTURE


def test_a_blob_under_the_name_of_another_does_not_open(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    yes, no = store.put(b"yes, 1"), store.put(b"no, 22")
    store.path(yes).write_bytes(store.path(no).read_bytes())
    with pytest.raises(CorruptError):
        store.open_blob(yes)
    assert store.get(no) == b"no, 22"


def test_a_flipped_byte_costs_that_blob_only_and_it_can_be_put_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    film, picture = store.put(FILM), store.put(PICTURE)
    stored = bytearray(store.path(film).read_bytes())
    stored[200_000] ^= 1
    store.path(film).write_bytes(stored)
    with pytest.raises(CorruptError) as caught:
        store.get(film)
    assert caught.value.facts == {"name": film}
    assert store.get(picture) == PICTURE
    kept = store.kept_bytes
    assert store.put(FILM) == film
    assert store.get(film) == FILM
    assert store.kept_bytes == kept


def test_the_bound_is_that_of_the_files(tmp_path: Path) -> None:
    store = open_store(tmp_path, max_bytes=20_000)
    for number in range(60):
        store.put(bytes([number]) * (number * 137 % 900))
        assert store.kept_bytes == sum(path.stat().st_size for path in files(tmp_path)) <= 20_000
    assert open_store(tmp_path, max_bytes=20_000).kept_bytes == store.kept_bytes
    with pytest.raises(TooLargeError):
        store.put(b"x" * (20_000 - sealed_size(0) + 1))


class FullDisk:
    """The n-th change of the disk fails: nothing more fits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        for owner, name in ((os, "fsync"), (os, "utime"), (Path, "mkdir"), (Path, "replace")):
            monkeypatch.setattr(owner, name, self._failing(getattr(owner, name)))

    def _failing(self, call: Any) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            if self.left is not None:
                self.left -= 1
                if self.left == -1:
                    raise OSError(errno.ENOSPC, "No space left on device")
            return call(*args, **kwargs)

        return called


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FullDisk]:
    full = FullDisk(monkeypatch)
    yield full
    full.left = None


@pytest.mark.parametrize("cipher", [None, CIPHER])
@pytest.mark.parametrize("how", ["put", "put_file"])
def test_a_disk_that_is_full_at_any_write_leaves_nothing_half_written(
    tmp_path: Path, disk: FullDisk, cipher: KeyCipher | None, how: str
) -> None:
    store = open_store(tmp_path / "blobs", max_bytes=400_000, cipher=cipher)
    kept = store.put(PICTURE)
    store.hold([kept])
    source = tmp_path / "clip.part"
    for number in range(20):
        content = FILM[number : 300_000 + number]
        source.write_bytes(content)
        before = store.kept_bytes
        disk.left = number
        try:
            digest = store.put(content) if how == "put" else store.put_file(source)
        except StorageFullError as error:
            assert error.hint
            assert source.exists()
            disk.left = None
            assert store.kept_bytes in (before, before - sealed_size(300_000), before - 300_000)  # the last was evicted
            assert sum(path.stat().st_size for path in files(tmp_path / "blobs")) == store.kept_bytes
            with pytest.raises(NotFoundError):
                store.get(hashlib.sha256(content).hexdigest())
        else:
            disk.left = None
            assert number > 3
            assert store.get(digest) == content
            break
    else:
        pytest.fail("it was never kept")
    assert store.get(kept) == PICTURE
    assert store.put(b"goes on") in open_store(tmp_path / "blobs")._blobs


def test_a_ledger_that_cannot_be_written_evicts_and_counts_nothing(tmp_path: Path, disk: FullDisk) -> None:
    store = open_store(tmp_path, max_bytes=1000, cipher=None)
    old = store.put(b"o" * 900)
    disk.left = 0
    with pytest.raises(StorageFullError):
        store.put(b"n" * 900)
    disk.left = None
    assert store.get(old) == b"o" * 900
    assert store.evictions.count == 0
