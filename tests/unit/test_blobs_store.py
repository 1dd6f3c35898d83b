"""Content-addressed blobs: kept once, bounded, evictions counted."""

import hashlib
from pathlib import Path

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import CorruptError, NotFoundError, TooLargeError
from edgewise.journal.blobs import BlobStore, Evictions


def open_store(folder: Path, *, max_bytes: int = 1000, clock: ManualClock | None = None) -> BlobStore:
    return BlobStore(folder, max_bytes=max_bytes, clock=clock or ManualClock())


def test_content_is_found_by_its_digest_also_after_a_restart(tmp_path: Path) -> None:
    digest = open_store(tmp_path).put(b"picture", media_type="image/jpeg")
    assert digest == hashlib.sha256(b"picture").hexdigest()
    store = open_store(tmp_path)
    assert store.get(digest) == b"picture"
    assert store.path(digest).name == f"{digest}.jpg"
    stat = store.stat(digest)
    assert (stat.size, stat.media_type, stat.time_ns) == (7, "image/jpeg", ManualClock().time_ns())


def test_the_same_content_is_kept_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.put(b"x" * 100) == store.put(b"x" * 100)
    assert store.kept_bytes == 100


def test_a_media_type_it_does_not_know_becomes_plain_bytes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.stat(store.put(b"x", media_type="text/html")).media_type == "application/octet-stream"


@pytest.mark.parametrize("name", ["0" * 64, "", "../../etc/passwd", "A" * 64, "ab/" + "0" * 61])
def test_what_is_not_there_is_not_found(tmp_path: Path, name: str) -> None:
    store = open_store(tmp_path)
    for ask in (store.get, store.path, store.stat):
        with pytest.raises(NotFoundError):
            ask(name)


def test_damaged_content_is_never_handed_out(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    digest = store.put(b"picture")
    store.path(digest).write_bytes(b"pictvre")
    with pytest.raises(CorruptError):
        store.get(digest)


def test_a_file_that_vanished_is_not_found(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    digest = store.put(b"picture")
    store.path(digest).unlink()
    with pytest.raises(NotFoundError):
        store.get(digest)


def test_a_full_store_evicts_what_no_record_points_to_then_the_oldest_and_counts_both(tmp_path: Path) -> None:
    clock = ManualClock()
    store = open_store(tmp_path, clock=clock)
    digests = []
    for number in range(9):
        digests.append(store.put(bytes([number]) * 100))
        clock.advance(1)
    store.hold(digests[:-1])  # the newest is loose
    store.put(b"a" * 200)
    assert [digest for digest in digests if not _kept(store, digest)] == [digests[0], digests[-1]]
    assert store.evictions == Evictions(count=2, bytes=200, held_count=1, held_bytes=100)
    store = open_store(tmp_path)
    assert store.evictions.count == 2
    assert store.kept_bytes == 900 <= 1000


def test_the_bound_holds_whatever_comes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for number in range(50):
        store.put(bytes([number]) * (number * 7 % 400 + 1))
        assert store.kept_bytes <= 1000
    on_disk = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "evictions.json"]
    assert sum(path.stat().st_size for path in on_disk) == store.kept_bytes


def test_a_blob_larger_than_the_store_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    kept = store.put(b"kept")
    with pytest.raises(TooLargeError):
        store.put(b"x" * 1001)
    assert store.get(kept) == b"kept"


def test_half_written_blobs_are_removed_and_strange_files_left_alone(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    folder = store.path(store.put(b"kept")).parent
    (folder / ".tmp-half").write_bytes(b"ha")
    (folder / "notes.txt").write_bytes(b"mine")
    assert open_store(tmp_path).kept_bytes == 4
    assert not (folder / ".tmp-half").exists()
    assert (folder / "notes.txt").exists()


def test_a_damaged_ledger_is_told(tmp_path: Path) -> None:
    open_store(tmp_path)
    (tmp_path / "evictions.json").write_text("{")
    with pytest.raises(CorruptError):
        open_store(tmp_path)


def _kept(store: BlobStore, digest: str) -> bool:
    try:
        store.stat(digest)
    except NotFoundError:
        return False
    return True
