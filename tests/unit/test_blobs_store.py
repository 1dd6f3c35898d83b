"""Content-addressed blobs: kept once, bounded, evictions counted."""

import hashlib
from pathlib import Path

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import CorruptError, NotFoundError, TooLargeError
from edgewise.journal.blobs import BlobStore, Evictions


def open_store(folder: Path, *, max_bytes: int = 1000, clock: ManualClock | None = None) -> BlobStore:
    return BlobStore(folder, max_bytes=max_bytes, clock=clock or ManualClock(), memory_bytes=0)


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


def test_a_file_is_moved_in_and_found_by_its_digest(tmp_path: Path) -> None:
    store = open_store(tmp_path / "blobs")
    source = tmp_path / "clip.part"
    source.write_bytes(b"video")
    digest = store.put_file(source, media_type="video/mp4")
    assert digest == hashlib.sha256(b"video").hexdigest()
    assert not source.exists()
    assert (store.get(digest), store.stat(digest).media_type) == (b"video", "video/mp4")
    source.write_bytes(b"video")
    assert store.put_file(source, media_type="video/mp4") == digest
    assert not source.exists()
    assert store.kept_bytes == 5


def test_a_file_that_is_too_large_stays_where_it_is(tmp_path: Path) -> None:
    store = open_store(tmp_path / "blobs", max_bytes=10)
    source = tmp_path / "clip.part"
    source.write_bytes(b"x" * 11)
    with pytest.raises(TooLargeError):
        store.put_file(source)
    assert source.exists()


def test_a_media_type_with_room_of_its_own_pushes_out_only_its_own(tmp_path: Path) -> None:
    clock = ManualClock()
    store = BlobStore(tmp_path, max_bytes=100, bounds={"video/mp4": 1000}, clock=clock)
    picture = store.put(b"p" * 90, media_type="image/jpeg")
    videos = []
    for number in range(12):
        clock.advance(1)
        videos.append(store.put(bytes([number]) * 100, media_type="video/mp4"))
    assert store.stat(picture).size == 90
    with pytest.raises(NotFoundError):
        store.stat(videos[0])
    assert store.stat(videos[-1]).size == 100
    assert store.kept_bytes <= 1090
    again = BlobStore(tmp_path, max_bytes=100, bounds={"video/mp4": 1000}, clock=clock)
    again.put(b"q" * 90, media_type="image/jpeg")
    with pytest.raises(NotFoundError):
        again.stat(picture)
    assert again.stat(videos[-1]).size == 100


def test_what_is_too_old_is_removed_and_counted(tmp_path: Path) -> None:
    clock = ManualClock()
    store = BlobStore(tmp_path, clock=clock, max_age_s=60)
    old = store.put(b"old")
    clock.advance(50)
    new = store.put(b"new")
    clock.advance(20)
    store.retain()
    with pytest.raises(NotFoundError):
        store.get(old)
    assert store.get(new) == b"new"
    assert store.evictions == Evictions(count=1, bytes=3)
