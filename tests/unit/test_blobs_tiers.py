"""Memory, disk, parent: what is elsewhere goes first and comes back, what is only here goes last."""

import io
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgewise._lib.clock import ManualClock
from edgewise.errors import CorruptError, InputError, NotFoundError, TooLargeError, UnavailableError
from edgewise.journal import blobs as blobs_module
from edgewise.journal.blobs import BlobStore, Evictions, Fetched
from edgewise.journal.cipher import KeyCipher
from edgewise.journal.upstream import UpstreamMarks

CIPHER = KeyCipher(bytes(32))


class Parent:
    """Has what it was given, and counts how often it is asked."""

    def __init__(self) -> None:
        self.has: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.answers = True

    def __call__(self, digest: str) -> bytes | None:
        self.asked.append(digest)
        if not self.answers:
            raise UnavailableError("The parent does not answer.")
        return self.has.get(digest)


@pytest.fixture
def parent() -> Parent:
    return Parent()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def start(tmp_path: Path, parent: Parent, clock: ManualClock) -> Callable[..., BlobStore]:
    """Opens the store, again and again on the same folder."""
    opened: list[BlobStore] = []

    def begin(**wanted: Any) -> BlobStore:
        for store in opened:
            store.close()
        opened.append(
            BlobStore(tmp_path, **{"max_bytes": 1000, "clock": clock, "fetch": parent, "memory_bytes": 0} | wanted)
        )
        return opened[-1]

    return begin


def fill(store: BlobStore, clock: ManualClock, count: int = 10, *, size: int = 100) -> list[str]:
    """Held blobs, each a second newer."""
    digests = []
    for number in range(count):
        digests.append(store.put(bytes([number]) * size, media_type="image/jpeg"))
        clock.advance(1)
    store.hold(digests)
    return digests


def kept(store: BlobStore, digest: str) -> bool:
    try:
        store.stat(digest)
    except NotFoundError:
        return False
    return True


def test_loose_ones_go_first_then_what_the_parent_has_then_what_is_only_here(
    start: Callable[..., BlobStore], clock: ManualClock
) -> None:
    store = start()
    digests = fill(store, clock)
    store.mark_upstream([digests[6], digests[4], digests[9]])
    store.let_go([digests[8], digests[9]])
    gone: list[str] = []
    for number in range(5):
        store.hold([store.put(bytes([100 + number]) * 100)])
        gone += [digest for digest in digests if digest not in gone and not kept(store, digest)]
        clock.advance(1)
    assert set(gone[:2]) == {digests[8], digests[9]}
    assert set(gone[2:4]) == {digests[4], digests[6]}
    assert gone[4:] == digests[:2]
    assert store.evictions == Evictions(
        count=6, bytes=600, held_count=2, held_bytes=200, upstream_count=3, upstream_bytes=300
    )


def test_what_the_parent_is_still_to_have_is_told_from_where_one_has_got(
    start: Callable[..., BlobStore], clock: ManualClock
) -> None:
    store = start()
    first = fill(store, clock, 3)
    loose = store.put(b"loose", media_type="image/jpeg")
    told = store.owed()
    assert [each.digest for each in told] == first
    store.mark_upstream(first[:1])
    store.hold([loose])
    assert [each.digest for each in store.owed(after=told[-1].number)] == [loose]
    assert [each.digest for each in store.owed()] == [*first[1:], loose]
    store.let_go(first[1:2])
    store = start()
    store.adopt([*first, loose])
    assert {each.digest for each in store.owed()} == {*first[1:], loose}
    assert not store.owes(first[0])
    everything = []
    for number in range(14):
        everything.append(store.put(bytes([100 + number]) * 100))
        store.hold(everything[-1:])
        clock.advance(1)
    lost = [digest for digest in everything if not kept(store, digest)]
    assert lost
    assert not {each.digest for each in store.owed()} & set(lost)


def test_marks_outlive_a_restart_and_an_eviction(start: Callable[..., BlobStore], clock: ManualClock) -> None:
    store = start()
    digests = fill(store, clock)
    store.mark_upstream(digests[5:7])
    store = start()
    store.adopt(digests)
    assert [store.stat(digest).upstream for digest in digests] == [False] * 5 + [True] * 2 + [False] * 3
    store.put(b"x" * 200)
    assert not kept(store, digests[5])
    store.put(bytes([5]) * 100)  # it is seen again: the parent has it still
    assert store.stat(digests[5]).upstream


def test_what_was_evicted_is_brought_back_from_the_parent_and_kept(
    start: Callable[..., BlobStore], clock: ManualClock, parent: Parent
) -> None:
    store = start()
    digests = fill(store, clock)
    parent.has = {digests[0]: bytes(100)}
    store.mark_upstream(digests[:1])
    store.put(b"n" * 100)
    assert not kept(store, digests[0])
    assert [store.reachable(digest) for digest in (digests[0], digests[1], digests[9], "x")] == [
        True,
        False,
        True,
        False,
    ]
    with store.open_blob(digests[0]) as file:
        assert file.read() == bytes(100)
    assert store.get(digests[0]) == bytes(100)
    assert parent.asked == [digests[0]]
    assert store.fetched == Fetched(count=1, bytes=100)
    stat = store.stat(digests[0])
    assert (stat.media_type, stat.upstream, stat.held) == ("image/jpeg", True, True)
    assert store.kept_bytes <= 1000


def test_the_parent_is_asked_for_nothing_that_it_never_confirmed(
    start: Callable[..., BlobStore], parent: Parent
) -> None:
    store = start()
    for name in ("0" * 64, "../../etc/passwd", "A" * 64):
        with pytest.raises(NotFoundError):
            store.get(name)
    assert parent.asked == []
    with pytest.raises(InputError):
        store.mark_upstream(["../../etc/passwd"])


def test_a_parent_that_has_it_no_more_is_asked_once(
    start: Callable[..., BlobStore], clock: ManualClock, parent: Parent
) -> None:
    store = start()
    digests = fill(store, clock)
    store.mark_upstream(digests[:1])
    store.put(b"n" * 100)
    for _ in range(2):
        with pytest.raises(NotFoundError):
            store.get(digests[0])
    assert parent.asked == [digests[0]]


def test_a_parent_that_does_not_answer_is_asked_again(
    start: Callable[..., BlobStore], clock: ManualClock, parent: Parent
) -> None:
    store = start()
    digests = fill(store, clock)
    store.mark_upstream(digests[:1])
    store.put(b"n" * 100)
    parent.answers = False
    with pytest.raises(UnavailableError):
        store.get(digests[0])
    parent.answers, parent.has = True, {digests[0]: bytes(100)}
    assert store.get(digests[0]) == bytes(100)


@pytest.mark.parametrize("cipher", [None, CIPHER])
def test_a_parent_that_sends_something_else_or_without_end_is_not_believed(
    start: Callable[..., BlobStore], clock: ManualClock, parent: Parent, tmp_path: Path, cipher: KeyCipher | None
) -> None:
    store = start(max_bytes=2000, cipher=cipher)
    digest = store.put(b"x" * 100)
    store.mark_upstream([digest])
    fill(store, clock, 25)
    assert not kept(store, digest)
    parent.has = {digest: b"y" * 100}
    with pytest.raises(CorruptError, match="The parent's blob"):
        store.get(digest)

    class Endless(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            return bytes(size)

    parent.has = {digest: Endless()}  # type: ignore[dict-item]
    with pytest.raises(TooLargeError):
        store.open_blob(digest)
    assert not kept(store, digest)
    assert list(tmp_path.glob(".tmp-*")) == []


@pytest.mark.parametrize("cipher", [None, CIPHER])
def test_what_is_damaged_here_is_healed_from_the_parent(
    start: Callable[..., BlobStore], parent: Parent, cipher: KeyCipher | None
) -> None:
    store = start(max_bytes=1_000_000, cipher=cipher)
    content = bytes(range(256)) * 1000
    digest = store.put(content)

    def damage() -> None:
        stored = bytearray(store.path(digest).read_bytes())
        stored[150_000] ^= 1
        store.path(digest).write_bytes(stored)

    damage()
    with pytest.raises(CorruptError):
        store.get(digest)
    parent.has = {digest: content}
    store.mark_upstream([digest])
    assert store.get(digest) == content
    assert store.fetched == Fetched(count=1, bytes=len(content), healed=1)
    assert store.get(digest) == content
    assert len(parent.asked) == 1
    if cipher is None:
        return  # of a plain file nothing is checked while it is sent
    damage()
    with store.open_blob(digest) as file:  # while it is sent, when it is too late to ask
        file.seek(140_000)
        with pytest.raises(CorruptError):
            file.read(20_000)
    with store.open_blob(digest) as file:
        assert file.read() == content
    assert store.fetched.healed == 2


def test_a_file_that_vanished_is_fetched_or_written_again(start: Callable[..., BlobStore], parent: Parent) -> None:
    store = start()
    one, two = store.put(b"one"), store.put(b"two")
    store.path(one).unlink()
    store.path(two).unlink()
    parent.has = {one: b"one"}
    store.mark_upstream([one])
    assert store.get(one) == b"one"
    with pytest.raises(NotFoundError):
        store.get(two)
    store.put(b"two")
    assert store.get(two) == b"two"
    assert store.kept_bytes == 6


def test_small_blobs_just_written_are_read_from_memory_within_its_bound(start: Callable[..., BlobStore]) -> None:
    store = start(max_bytes=100_000, memory_bytes=8000)
    small = [store.put(bytes([number]) * 1000) for number in range(12)]
    large = store.put(b"x" * 1001)
    for digest in (*small, large):
        store.path(digest).unlink()
    assert [digest for digest in small if _readable(store, digest)] == small[-8:]
    assert not _readable(store, large)
    assert store._hot._bytes == 8000
    one = start(max_bytes=100_000, memory_bytes=8000)  # what was read once is in memory as well
    digest = one.put(b"again")
    one._hot.drop(digest)
    one.get(digest)
    one.path(digest).unlink()
    assert one.get(digest) == b"again"


def test_what_was_evicted_is_not_in_memory_either(start: Callable[..., BlobStore], clock: ManualClock) -> None:
    store = start(memory_bytes=8000)
    digests = fill(store, clock)
    store.put(b"n" * 100)
    with pytest.raises(NotFoundError):
        store.get(digests[0])


def _readable(store: BlobStore, digest: str) -> bool:
    try:
        store.get(digest)
    except NotFoundError:
        return False
    return True


def test_a_hundred_thousand_marks_are_known_again(tmp_path: Path) -> None:
    names = [f"{number:064x}" for number in range(100_000)]
    marks = UpstreamMarks(tmp_path / "upstream.db")
    for start in range(0, len(names), 10_000):
        marks.add(dict.fromkeys(names[start : start + 10_000], "image/jpeg"))
    marks.close()
    marks = UpstreamMarks(tmp_path / "upstream.db")
    assert marks.among([*names[:10], "f" * 64]) == set(names[:10])
    assert marks.find(names[-1]) == "image/jpeg"
    assert (tmp_path / "upstream.db").stat().st_size < 20_000_000
    marks.close()


def test_marks_are_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    marks = UpstreamMarks(tmp_path / "upstream.db", max_marks=3)
    for number in range(5):
        marks.add({f"{number:064x}": ""})
    assert marks.among([f"{number:064x}" for number in range(5)]) == {f"{number:064x}" for number in (2, 3, 4)}
    marks.close()


def test_a_damaged_file_of_marks_is_told(start: Callable[..., BlobStore], tmp_path: Path) -> None:
    (tmp_path / "upstream.db").write_bytes(b"no database" * 100)
    with pytest.raises(CorruptError, match=r"upstream\.db") as caught:
        start()
    assert "Remove it" in caught.value.hint


def test_a_mark_that_could_not_be_written_is_not_claimed(
    start: Callable[..., BlobStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = start()
    digest = store.put(b"x")

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(store._marks, "add", fail)
    with pytest.raises(sqlite3.OperationalError):
        store.mark_upstream([digest])
    assert not store.stat(digest).upstream


def test_many_threads_keep_the_bound_and_lose_nothing_they_were_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = BlobStore(tmp_path, max_bytes=5000, memory_bytes=0)
    over: list[int] = []
    wrong: list[str] = []
    original = blobs_module.BlobStore._end_writing

    def watched(self: BlobStore, *args: Any) -> None:
        over.extend([self.kept_bytes] if self.kept_bytes > 5000 else [])
        original(self, *args)

    monkeypatch.setattr(blobs_module.BlobStore, "_end_writing", watched)

    def work(thread: int) -> None:
        for step in range(40):
            content = bytes([step % 7, thread % 2]) * 400  # threads put the same content as well
            digest = store.put(content)
            try:
                if store.get(digest) != content:
                    wrong.append(digest)
            except NotFoundError:
                pass  # others pushed it out

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (over, wrong) == ([], [])
    on_disk = {path.name for path in tmp_path.glob("??/*")}
    assert on_disk == set(store._blobs)
    assert sum(path.stat().st_size for path in tmp_path.glob("??/*")) == store.kept_bytes


@pytest.mark.parametrize("second", [b"x" * 400, b"y" * 700], ids=["the same", "another"])
def test_who_puts_while_another_writes_waits_for_what_is_in_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: bytes
) -> None:
    store = BlobStore(tmp_path, max_bytes=1000)
    written: list[str] = []
    other = threading.Thread(target=store.put, args=(second,))
    write_into = BlobStore._write_into

    def writing(self: BlobStore, file: Any, digest: str, pieces: Any) -> None:
        written.append(digest)
        if len(written) == 1:
            other.start()
            while other.is_alive() and not self._changed._waiters:  # type: ignore[attr-defined]
                pass
            assert self.kept_bytes == 400  # what is being written now, and nothing beside it
        write_into(self, file, digest, pieces)

    monkeypatch.setattr(BlobStore, "_write_into", writing)
    first = store.put(b"x" * 400)
    other.join()
    assert kept(store, first) == (second == b"x" * 400)
    assert written.count(first) == 1
    assert store.kept_bytes == len(second)


class TiersMachine(RuleBasedStateMachine):
    """The store beside a model: what was put, what is held, what the parent confirmed and has."""

    digests = Bundle("digests")

    @initialize(sealed=st.booleans(), memory=st.sampled_from([0, 2000]))
    def begin(self, sealed: bool, memory: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        self.parent = Parent()
        self.settings: dict[str, Any] = {"memory_bytes": memory, "cipher": CIPHER if sealed else None}
        self.contents: dict[str, bytes] = {}
        self.kept: dict[str, int] = {}
        self.held: set[str] = set()
        self.upstream: set[str] = set()
        self.open()

    def open(self) -> None:
        self.store = BlobStore(self.folder, max_bytes=3000, clock=self.clock, fetch=self.parent, **self.settings)

    def follow(self, *, arrived: str = "") -> None:
        """What the store evicted was what should go first."""
        gone = [digest for digest in self.kept if not kept(self.store, digest)]
        left = [digest for digest in self.kept if digest not in gone and digest != arrived]
        for digest in gone:
            assert all(self.worth(digest) <= self.worth(other) for other in left), "the wrong one was evicted"
            del self.kept[digest]
        if arrived:
            self.kept.setdefault(arrived, self.clock.time_ns())

    def worth(self, digest: str) -> tuple[bool, bool, int]:
        return (digest in self.held, digest not in self.upstream, self.kept[digest])

    @rule(target=digests, number=st.integers(0, 40), size=st.integers(0, 900))
    def put(self, number: int, size: int) -> str:
        content = bytes([number]) * (size // 100 * 100)
        self.clock.advance(1)
        digest = self.store.put(content)
        self.contents[digest] = content
        self.follow(arrived=digest)
        return digest

    @rule(digest=digests)
    def hold(self, digest: str) -> None:
        self.store.hold([digest])
        self.held.add(digest)

    @rule(digest=digests)
    def let_go(self, digest: str) -> None:
        self.store.let_go([digest])
        self.held.discard(digest)

    @rule(digest=digests)
    def confirm(self, digest: str) -> None:
        self.parent.has[digest] = self.contents[digest]
        self.store.mark_upstream([digest])
        self.upstream.add(digest)

    @rule(digest=digests)
    def forget_upstream(self, digest: str) -> None:
        self.parent.has.pop(digest, None)

    @rule(digest=digests)
    def get(self, digest: str) -> None:
        here = digest in self.kept
        self.clock.advance(1)
        asked = len(self.parent.asked)
        try:
            content = self.store.get(digest)
        except NotFoundError:
            assert not here
            assert not (digest in self.upstream and digest in self.parent.has)
            self.upstream.discard(digest)  # it told that it has it no more
            return
        assert content == self.contents[digest]
        assert len(self.parent.asked) == asked + (not here)
        if not here:
            self.follow(arrived=digest)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.open()
        self.store.adopt(self.held)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        digest = data.draw(st.sampled_from(sorted(self.kept)))
        if not self.contents[digest] or self.settings["memory_bytes"]:
            return
        path = self.store.path(digest)
        stored = bytearray(path.read_bytes())
        stored[-1] ^= 1
        path.write_bytes(stored)
        if digest in self.upstream and digest in self.parent.has:
            before = self.store.fetched.healed
            self.clock.advance(1)
            assert self.store.get(digest) == self.contents[digest]
            assert self.store.fetched.healed == before + 1
            del self.kept[digest]
            self.follow(arrived=digest)
            return
        with pytest.raises(CorruptError):
            self.store.get(digest)
        self.upstream.discard(digest)
        self.clock.advance(1)
        self.store.put(self.contents[digest])
        del self.kept[digest]
        self.follow(arrived=digest)

    @invariant()
    def bounded_and_true(self) -> None:
        if not hasattr(self, "store"):
            return
        on_disk = list(self.folder.glob("??/*"))
        assert sum(path.stat().st_size for path in on_disk) == self.store.kept_bytes <= 3000
        assert len(on_disk) == len(self.kept)
        for digest in self.kept:
            stat = self.store.stat(digest)
            assert (stat.held, stat.upstream) == (digest in self.held, digest in self.upstream)
        owed = {digest for digest in self.kept if digest in self.held and digest not in self.upstream}
        told = self.store.owed()
        assert {each.digest for each in told} == owed == {digest for digest in self.contents if self.store.owes(digest)}
        assert [each.number for each in told] == sorted({each.number for each in told})
        assert self.store.owed_count == len(owed)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)


TestTiersMachine = TiersMachine.TestCase
TestTiersMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
