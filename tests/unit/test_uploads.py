"""Receiving blobs: on at the byte after any cut, bounded, and nothing that is not what it claims to be."""

import errno
import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise._lib.clock import ManualClock
from edgewise.errors import BusyError, ConflictError, InputError, NotFoundError, StorageFullError, TooLargeError
from edgewise.journal import sealed, uploads
from edgewise.journal.blobs import BlobStore
from edgewise.journal.cipher import KeyCipher
from edgewise.journal.uploads import Uploads, UploadSettings

CIPHER = KeyCipher(bytes(32))
FILM = random.Random(7).randbytes(300_000)
DIGEST = hashlib.sha256(FILM).hexdigest()


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Home:
    """A node that receives, and can be started again on what is on its disk."""

    def __init__(self, folder: Path, cipher: KeyCipher | None, **bounds: Any) -> None:
        self.folder = folder
        self.cipher = cipher
        self.clock = ManualClock()
        self.bounds = bounds
        self.start()

    def kill(self) -> None:
        """The files are closed by the system, and nothing more is written."""
        for partial in self.uploads._partials.values():
            partial.close()

    def start(self) -> None:
        """As after a kill."""
        if hasattr(self, "uploads"):
            self.kill()
        self.store = BlobStore(self.folder / "blobs", clock=self.clock, cipher=self.cipher, memory_bytes=0)
        self.uploads = Uploads(
            self.folder / "uploads", store=self.store, clock=self.clock, settings=UploadSettings(**self.bounds)
        )

    @property
    def partials(self) -> list[Path]:
        return sorted((self.folder / "uploads").iterdir())


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Home]]:
    homes: list[Home] = []

    def built(cipher: KeyCipher | None, **bounds: Any) -> Home:
        homes.append(Home(tmp_path, cipher, **bounds))
        return homes[-1]

    yield built
    for home in homes:
        home.kill()


@pytest.fixture(params=[None, CIPHER], ids=["plain", "sealed"])
def home(build: Callable[..., Home], request: pytest.FixtureRequest) -> Home:
    return build(request.param)


def send(home: Home, content: bytes, *, piece: int = 50_000, until: int | None = None) -> None:
    """As a child does, from where it is told to go on."""
    digest = digest_of(content)
    offset = home.uploads.begin(digest, len(content), "video/mp4")
    while offset < (len(content) if until is None else until):
        offset = home.uploads.write(digest, offset, content[offset : offset + piece])


@pytest.mark.parametrize("content", [b"", b"x", FILM], ids=["nothing", "a byte", "a film"])
def test_a_blob_arrives_in_pieces_and_is_kept(home: Home, content: bytes) -> None:
    send(home, content)
    home.uploads.finish(digest_of(content))
    assert home.store.get(digest_of(content)) == content
    assert home.store.stat(digest_of(content)).media_type == "video/mp4"
    assert home.partials == []


def test_nothing_that_arrives_stands_on_the_disk_in_the_open(build: Callable[..., Home], tmp_path: Path) -> None:
    home = build(CIPHER)
    send(home, FILM, until=200_000)
    for path in tmp_path.rglob("*"):
        stored = path.read_bytes() if path.is_file() else b""
        assert not any(FILM[at : at + 8] in stored for at in range(0, 200_000, 997))
    (partial,) = home.partials
    assert partial.name.endswith(".part.sealed")


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.tuples(st.integers(0, 70_000), st.booleans()), max_size=12), is_sealed=st.booleans())
def test_it_goes_on_where_it_was_whatever_was_cut_off(
    cuts: list[tuple[int, bool]], is_sealed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = Home(tmp_path_factory.mktemp("home"), CIPHER if is_sealed else None)
    there = 0
    for count, killed in cuts:
        assert home.uploads.begin(DIGEST, len(FILM), "video/mp4") == there
        there = home.uploads.write(DIGEST, there, FILM[there : there + count])
        if killed:
            home.start()
    send(home, FILM)
    home.uploads.finish(DIGEST)
    assert home.store.get(DIGEST) == FILM
    home.kill()


@pytest.mark.parametrize("place", [1, 100, 65_600, 65_700, 131_250, 200_000, -1])
def test_a_file_that_ends_anywhere_after_a_power_cut_is_gone_on_with(home: Home, place: int) -> None:
    send(home, FILM, until=250_000)
    (partial,) = home.partials
    partial.write_bytes(partial.read_bytes()[:place])
    home.start()
    assert home.uploads.begin(DIGEST, len(FILM), "video/mp4") <= 250_000
    send(home, FILM)
    home.uploads.finish(DIGEST)
    assert home.store.get(DIGEST) == FILM


def test_one_that_was_whole_when_the_node_ended_is_finished_after_it(home: Home) -> None:
    send(home, FILM)
    home.uploads.close()
    home.start()
    assert home.uploads.begin(DIGEST, len(FILM), "video/mp4") == len(FILM)
    home.uploads._partials[home.partials[0].name.partition(".")[0]].finish()  # killed before it is moved in
    home.start()
    assert home.uploads.begin(DIGEST, len(FILM), "video/mp4") == len(FILM)
    home.uploads.finish(DIGEST)
    assert home.store.get(DIGEST) == FILM


def test_a_key_that_sealed_before_a_restart_seals_no_more(
    build: Callable[..., Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The process before may have sealed other bytes under the next number.
    home = build(CIPHER)
    send(home, FILM, until=100_000)
    (partial,) = home.partials
    before = partial.read_bytes()[: sealed.HEAD_BYTES]
    home.start()
    home.uploads.begin(DIGEST, len(FILM), "video/mp4")
    assert partial.read_bytes()[: sealed.HEAD_BYTES] != before


def test_what_does_not_follow_is_refused_with_where_to_go_on(home: Home) -> None:
    send(home, FILM, until=100_000)
    for wrong in (0, 99_999, 100_001, len(FILM)):
        with pytest.raises(ConflictError) as caught:
            home.uploads.write(DIGEST, wrong, b"x")
        assert caught.value.facts["offset"] == 100_000
    with pytest.raises(ConflictError) as caught:
        home.uploads.finish(DIGEST)
    assert caught.value.facts["offset"] == 100_000
    send(home, FILM)
    home.uploads.finish(DIGEST)


def test_what_is_there_already_is_not_sent(home: Home) -> None:
    home.store.put(FILM)
    assert home.uploads.begin(DIGEST, len(FILM), "video/mp4") == len(FILM)
    home.uploads.finish(DIGEST)
    home.uploads.finish(DIGEST)  # as after an answer that was lost
    assert home.partials == []


def test_a_child_that_sends_other_content_is_refused_and_it_is_removed(home: Home) -> None:
    home.uploads.begin(DIGEST, 5, "image/jpeg")
    home.uploads.write(DIGEST, 0, b"other")
    with pytest.raises(InputError, match="has the digest") as caught:
        home.uploads.finish(DIGEST)
    assert caught.value.facts == {"expected": DIGEST, "actual": digest_of(b"other")}
    assert home.partials == []
    with pytest.raises(NotFoundError):
        home.store.get(DIGEST)
    send(home, FILM)
    home.uploads.finish(DIGEST)


def test_a_child_that_sends_more_than_it_announced_is_refused_and_it_is_removed(home: Home) -> None:
    home.uploads.begin(DIGEST, 100, "image/jpeg")
    home.uploads.write(DIGEST, 0, bytes(60))
    with pytest.raises(TooLargeError):
        home.uploads.write(DIGEST, 60, bytes(41))
    assert home.partials == []
    with pytest.raises(NotFoundError):
        home.uploads.write(DIGEST, 60, bytes(40))
    send(home, FILM, until=100_000)  # announcing less later does not help either
    assert home.uploads.begin(DIGEST, 90_000, "image/jpeg") == 0


def test_one_child_cannot_spoil_what_another_sends(home: Home) -> None:
    home.uploads.begin(DIGEST, len(FILM), "video/mp4", sender="liar")
    home.uploads.write(DIGEST, 0, b"lie", sender="liar")
    send(home, FILM)
    home.uploads.finish(DIGEST)
    assert home.store.get(DIGEST) == FILM
    assert home.uploads.begin(DIGEST, len(FILM), "video/mp4", sender="liar") == len(FILM)
    assert home.partials == []


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "../" + "a" * 61, "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "/..", "ａ" * 64]
)
def test_a_name_that_is_no_digest_is_refused(home: Home, name: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: home.uploads.begin(name, 1, "image/jpeg"),
        lambda: home.uploads.write(name, 0, b"x"),
        lambda: home.uploads.finish(name),
    ]
    for call in calls:
        with pytest.raises(InputError, match="no SHA-256"):
            call()
    home.uploads.begin("a" * 64, 1, "image/jpeg", sender="../../../etc/passwd")
    assert [path.parent for path in home.partials] == [home.folder / "uploads"]


def test_sizes_and_numbers_are_bounded(build: Callable[..., Home], tmp_path: Path) -> None:
    home = build(None, max_blob_bytes=1000, max_bytes=2500, max_partials=4, max_partials_each=3)
    begin = home.uploads.begin
    names = [f"{number:064x}" for number in range(9)]
    for size in (-1, 1001):
        with pytest.raises(InputError):
            begin(names[0], size, "image/jpeg")
    begin(names[0], 1000, "image/jpeg")
    begin(names[1], 1000, "image/jpeg")
    with pytest.raises(BusyError, match="all the room"):
        begin(names[2], 501, "image/jpeg")
    begin(names[2], 10, "image/jpeg")
    with pytest.raises(BusyError, match="Too many"):
        begin(names[3], 10, "image/jpeg")
    begin(names[3], 10, "image/jpeg", sender="another")
    with pytest.raises(BusyError, match="Too many"):
        begin(names[4], 10, "image/jpeg", sender="third")
    assert begin(names[0], 1000, "image/jpeg") == 0  # what was begun goes on
    home.start()  # what is on the disk counts from the start
    with pytest.raises(BusyError):
        home.uploads.begin(names[4], 10, "image/jpeg", sender="third")


def test_a_blob_that_the_store_could_never_keep_is_refused_before_it_is_sent(
    build: Callable[..., Home], tmp_path: Path
) -> None:
    home = build(None)
    small = BlobStore(tmp_path / "small", max_bytes=100)
    with pytest.raises(TooLargeError):
        Uploads(tmp_path / "uploads", store=small, clock=home.clock).begin(DIGEST, 101, "image/jpeg")


def test_what_gets_nothing_for_too_long_is_forgotten(home: Home) -> None:
    send(home, FILM, until=100_000)
    home.clock.advance(23 * 3600)
    home.uploads.write(DIGEST, 100_000, b"")
    home.clock.advance(23 * 3600)
    assert home.uploads.expire() == 0
    home.start()  # the wall clock may be anything after a restart: idle counts from here
    home.clock.jump(1e9)
    assert home.uploads.expire() == 0
    home.clock.advance(25 * 3600)
    assert home.uploads.expire() == 1
    assert home.partials == []
    with pytest.raises(NotFoundError):
        home.uploads.write(DIGEST, 100_000, b"x")


def test_a_partial_in_the_open_is_removed_once_there_is_a_key_and_strange_files_are_left_alone(
    build: Callable[..., Home], tmp_path: Path
) -> None:
    home = build(None)
    send(home, FILM, until=100_000)
    (tmp_path / "uploads" / "notes.part").write_text("mine")
    (tmp_path / "uploads" / ".tmp-half").write_text("ha")
    home.cipher = CIPHER
    home.start()
    assert [path.name for path in home.partials] == ["notes.part"]
    send(home, FILM, until=100_000)
    home.cipher = KeyCipher(b"\x01" * 32)  # another key: it is sent again
    home.start()
    assert home.uploads.begin(DIGEST, len(FILM), "video/mp4") == 0


def test_after_a_full_disk_it_goes_on_where_it_was(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    send(home, FILM, until=100_000)
    write_all = sealed.write_all

    def half(file: Any, data: bytes) -> None:
        write_all(file, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    for module in (sealed, uploads):
        monkeypatch.setattr(module, "write_all", half)
    with pytest.raises(StorageFullError):
        home.uploads.write(DIGEST, 100_000, FILM[100_000:200_000])
    with pytest.raises(NotFoundError, match="not being received"):
        home.uploads.write(DIGEST, 100_000, b"x")
    if home.cipher:
        with pytest.raises(StorageFullError):
            home.uploads.begin(DIGEST, len(FILM), "video/mp4")
    monkeypatch.undo()
    offset = home.uploads.begin(DIGEST, len(FILM), "video/mp4")
    assert offset == 100_000 if home.cipher is None else 0 < offset <= 100_000
    send(home, FILM)
    home.uploads.finish(DIGEST)
    assert home.store.get(DIGEST) == FILM


def test_many_threads_send_at_once(home: Home) -> None:
    contents = [random.Random(number).randbytes(120_000) for number in range(6)]

    def work(content: bytes) -> None:
        send(home, content, piece=7000)
        home.uploads.finish(digest_of(content))

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(home.store.get(digest_of(content)) == content for content in contents)
