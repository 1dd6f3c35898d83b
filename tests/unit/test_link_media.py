"""Blobs between a child and its parent, with both sides as they are and a wire between them that can fail."""

from __future__ import annotations

import contextlib
import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.api.link_blobs import BlobRoutes
from edgewise.errors import (
    AccessError,
    BusyError,
    ConflictError,
    CorruptError,
    InputError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from edgewise.journal.base import Pointer, StreamState
from edgewise.journal.blobs import BlobStore
from edgewise.journal.uploads import Uploads, UploadSettings
from edgewise.link.base import FETCHED_BYTES, PREFIX, Offer, Piece, UplinkSettings, decode, encode
from edgewise.link.blobs import BlobIntake
from edgewise.link.budget import Budget, BudgetSettings, Priority
from edgewise.link.client import Client
from edgewise.link.fetching import AT_ONCE, BlobFetch
from edgewise.link.media import MediaUplink
from edgewise.link.spending import Spending

DAY_S = 86_400.0
FILM = random.Random(1).randbytes(700_000)


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Records:
    """A journal that knows of each blob who points to it; a child's parent has all of them up to ``marks``."""

    def __init__(self) -> None:
        self.known: dict[str, list[Pointer]] = {}
        self.marks: dict[str, int] = {}

    def point(self, digest: str, node: str = "device", stream: str = "events", sequence: int = 1) -> None:
        self.known.setdefault(digest, []).append(Pointer(node, stream, sequence))

    def pointers(self, digests: Sequence[str]) -> list[list[Pointer]]:
        return [self.known.get(digest, []) for digest in digests]

    def streams(self) -> list[StreamState]:
        return []

    def follow(self, stream: str, consumer: str) -> int:
        assert consumer == "parent"
        return self.marks.get(stream, 10**9)


class Parent:
    """The parent's side, which can be killed and started again on what is on its disk."""

    def __init__(self, folder: Path, clock: ManualClock, **bounds: Any) -> None:
        self.folder = folder
        self.clock = clock
        self.bounds = bounds
        self.records = Records()
        self.routes = {"device": "device", "lamp": "device", "other": "other"}
        self.start()

    def start(self) -> None:
        if hasattr(self, "api"):
            self.close()
        self.store = BlobStore(self.folder / "blobs", clock=self.clock, memory_bytes=0)
        self.uploads = Uploads(
            self.folder / "receiving", store=self.store, clock=self.clock, settings=UploadSettings(**self.bounds)
        )
        self.intake = BlobIntake(self.uploads, blobs=self.store, journal=self.records, routes=self)
        self.api = BlobRoutes(self.intake)

    def route(self, node: str) -> str | None:
        return self.routes.get(node)

    def close(self) -> None:
        self.api.close()
        self.intake.close()
        self.store.close()


class Wire:
    """Both ends of a connection, as ``Client``; ``fails`` is asked before a request and before its answer."""

    def __init__(self, parent: Parent, caller: str = "device") -> None:
        self.parent = parent
        self.caller = caller
        self.sent = self.received = 0
        self.spent: Callable[[int], None] = lambda _: None
        self.closed = 0
        self.taken: list[tuple[str, int, int]] = []  # digest, offset and length of pieces that the parent took
        self.requests: list[str] = []
        self.fails: Callable[[], bool] = lambda: False
        self.error: Exception | None = None

    def call(self, method: str, path: str, body: bytes = b"", *, wait_s: float = 0, limit: int = 1 << 20) -> bytes:
        self.requests.append(f"{method} {path}")
        self.sent += len(body) + 1000
        self.spent(len(body) + 1000)
        if self.error:
            raise self.error
        self._may_fail()
        answer = self.parent.api._answer(self.caller, method, f"{PREFIX}{path}", body)
        if method == "PUT":
            _, _, digest, offset = path.split("/")
            self.taken.append((digest, int(offset), len(body)))
        self._may_fail()
        assert len(answer) <= limit
        self.received += len(answer)
        self.spent(len(answer))
        return answer

    def close(self) -> None:
        self.closed += 1

    def end(self) -> None:
        """Nobody waits here."""

    def _may_fail(self) -> None:
        if self.fails():
            raise UnavailableError("cut")


class Device:
    """The child's side."""

    def __init__(self, folder: Path, parent: Parent, clock: ManualClock, budget: BudgetSettings) -> None:
        self.parent = parent
        self.clock = clock
        self.records = Records()
        self.wire = Wire(parent)
        self.kept: list[Budget] = []
        self.spending = Spending(budget, budget=Budget(), keep=self.kept.append, clock=clock)
        self.wire.spent = self.spending.spend
        self.fetch = BlobFetch(clock)
        self.fetch.attach(self.connect, self.spending)
        self.store = BlobStore(folder, clock=clock, fetch=self.fetch, memory_bytes=0)

    def connect(self) -> Client:
        return cast(Client, self.wire)

    def see(self, content: bytes, *, told: bool = True, stream: str = "events", sequence: int = 1) -> str:
        """Keeps a picture and a record of it, which the parent has been sent if it was told."""
        digest = self.store.put(content, media_type="image/jpeg")
        self.records.point(digest, stream=stream, sequence=sequence)
        if told:
            self.parent.records.point(digest, stream=stream)
        self.store.hold([digest])
        self.clock.advance(1)
        return digest

    @contextlib.contextmanager
    def sending(self, **wanted: Any) -> Iterator[MediaUplink]:
        uplink = MediaUplink(
            self.store,
            cast(Any, self.records),
            node="device",
            settings=UplinkSettings(**wanted),
            brings=lambda node: node == "lamp",
            connect=self.connect,
            spending=self.spending,
            clock=self.clock,
            random=lambda: 0.0,
        )
        uplink.start()
        try:
            yield uplink
        finally:
            uplink.stop()

    def send_all(self) -> None:
        with self.sending():
            until(lambda: not self.store.owed_count)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make(tmp_path: Path, clock: ManualClock) -> Iterator[Callable[..., Parent]]:
    """Makes a parent with other bounds."""
    made: list[Parent] = []

    def begin(**bounds: Any) -> Parent:
        made.append(Parent(tmp_path / f"parent-{len(made)}", clock, **bounds))
        return made[-1]

    yield begin
    for parent in made:
        parent.close()


@pytest.fixture
def parent(make: Callable[..., Parent]) -> Parent:
    return make()


@pytest.fixture
def made(tmp_path: Path, clock: ManualClock) -> Iterator[Callable[..., Device]]:
    """Makes a child of a parent."""
    opened: list[Device] = []

    def begin(parent: Parent, **budget: Any) -> Device:
        opened.append(Device(tmp_path / "device", parent, clock, BudgetSettings(**budget)))
        return opened[-1]

    yield begin
    for device in opened:
        device.store.close()


@pytest.fixture
def device(made: Callable[..., Device], parent: Parent) -> Device:
    return made(parent)


def test_what_is_pointed_to_goes_to_the_parent_once_and_is_marked(device: Device, parent: Parent) -> None:
    digests = [device.see(content) for content in (b"", b"picture", FILM)]
    loose = device.store.put(b"nobody points to it")
    device.send_all()
    assert [parent.store.get(digest) for digest in digests] == [b"", b"picture", FILM]
    assert all(device.store.stat(digest).upstream for digest in digests)
    with pytest.raises(NotFoundError):
        parent.store.stat(loose)
    assert sum(length for _, _, length in device.wire.taken) == len(FILM) + len(b"picture")
    requests = len(device.wire.requests)
    device.send_all()
    assert len(device.wire.requests) == requests  # where nothing is owed nobody is asked


@pytest.mark.parametrize("seed", range(8))
def test_wherever_it_is_cut_each_byte_is_taken_once(device: Device, parent: Parent, seed: int) -> None:
    chance = random.Random(seed)
    device.wire.fails = lambda: chance.random() < 0.2
    digests = [device.see(chance.randbytes(chance.randrange(200_000))) for _ in range(4)] + [device.see(FILM)]
    device.send_all()
    for digest in digests:
        assert parent.store.get(digest) == device.store.get(digest)
        pieces = sorted(piece[1:] for piece in device.wire.taken if piece[0] == digest and piece[2])
        assert [offset for offset, _ in pieces] == [sum(length for _, length in pieces[:n]) for n in range(len(pieces))]


def test_a_piece_that_arrives_by_an_older_connection_is_not_sent_again(device: Device, parent: Parent) -> None:
    digest = device.see(FILM)

    def late() -> bool:
        if sum("PUT" in each for each in device.wire.requests) == 2:  # the second piece is on its way
            there = device.wire.taken[0][2]
            parent.intake.write("device", digest, there, FILM[there : there + 50_000])
            device.wire.fails = lambda: False
        return False

    device.wire.fails = late
    device.send_all()
    assert parent.store.get(digest) == FILM
    assert sum(length for _, _, length in device.wire.taken) == len(FILM) - 50_000


def test_a_parent_that_was_started_anew_behind_a_connection_that_stays_is_sent_the_rest(
    device: Device, parent: Parent
) -> None:
    device.see(FILM)

    def anew() -> bool:
        if len(device.wire.taken) == 3:
            parent.start()
            device.wire.fails = lambda: False
        return False

    device.wire.fails = anew
    device.send_all()
    assert parent.store.get(digest_of(FILM)) == FILM
    assert sum(length for _, _, length in device.wire.taken) == len(FILM)


def test_a_parent_that_was_killed_is_sent_the_rest(device: Device, parent: Parent) -> None:
    device.see(FILM)

    def kills() -> bool:
        if len(device.wire.taken) == 3:
            parent.start()
            device.wire.fails = lambda: False
            return True
        return False

    device.wire.fails = kills
    device.send_all()
    assert parent.store.get(digest_of(FILM)) == FILM
    assert sum(length for _, _, length in device.wire.taken) == len(FILM)


def test_a_child_that_was_killed_goes_on_and_gives_up_what_it_has_no_more(device: Device, parent: Parent) -> None:
    gone = digest_of(b"evicted since")
    parent.records.point(gone)
    parent.intake.begin("device", Offer(gone, 13, "image/jpeg"))
    parent.records.point(digest_of(FILM))
    parent.intake.begin("device", Offer(digest_of(FILM), len(FILM), "image/jpeg"))
    parent.intake.write("device", digest_of(FILM), 0, FILM[:400_000])
    device.see(FILM)
    device.send_all()
    assert sum(length for _, _, length in device.wire.taken) == len(FILM) - 400_000
    assert parent.intake.begun("device").digests == ()


def test_what_the_parent_has_no_record_of_waits_and_holds_nothing_up(device: Device, parent: Parent) -> None:
    refused, later = device.see(b"refused", told=False), device.see(b"its record is on the way", sequence=7)
    device.records.marks["events"] = 6
    sent = device.see(b"sent")
    with device.sending():
        until(lambda: device.store.stat(sent).upstream)
        assert not device.store.stat(refused).upstream
        assert all(later not in each[0] for each in device.wire.taken)
        device.records.marks["events"] = 7
        until(lambda: device.store.stat(later).upstream)
        parent.records.point(refused)
        device.clock.advance(60)
        until(lambda: device.store.stat(refused).upstream)


def test_streams_that_stay_on_the_node_keep_their_pictures_there(device: Device) -> None:
    private, sent = device.see(b"private", stream="decisions"), device.see(b"sent")
    with device.sending(streams=("events",)):
        until(lambda: device.store.stat(sent).upstream)
    assert not device.store.stat(private).upstream


def test_of_nodes_below_what_their_records_point_to_goes_up_as_far_as_those_do(device: Device, parent: Parent) -> None:
    digests = {}
    for node, stream in (("lamp", "events"), ("lamp", "decisions"), ("gone", "events")):
        digests[node, stream] = device.store.put(f"{node} {stream}".encode())
        device.records.point(digests[node, stream], node=node, stream=stream)
        parent.records.point(digests[node, stream], node="lamp", stream=stream)
    device.store.hold(digests.values())
    with device.sending(below=("events",)):
        until(lambda: device.store.stat(digests["lamp", "events"]).upstream)
    assert device.store.owed_count == 2


def test_what_is_damaged_here_is_not_sent_and_holds_nothing_up(device: Device) -> None:
    bad, good = device.see(b"was damaged"), device.see(b"good")
    device.store.path(bad).write_bytes(b"damaged!!!!")
    with device.sending():
        until(lambda: device.store.stat(good).upstream)
        until(lambda: any("PUT" in each and bad in each for each in device.wire.requests))
    assert not device.store.stat(bad).upstream
    with pytest.raises(NotFoundError):
        device.parent.store.stat(bad)


def test_a_parent_with_room_for_one_at_a_time_gets_one_at_a_time(
    make: Callable[..., Parent], made: Callable[..., Device]
) -> None:
    parent = make(max_partials_each=1)
    device = made(parent)
    film = random.Random(2).randbytes(3 << 20)
    device.see(film)

    def alarmed() -> bool:
        if len(device.wire.taken) == 2:
            device.see(b"a picture that would go first", stream="alarms")
            device.wire.fails = lambda: False
        return False

    device.wire.fails = alarmed
    device.send_all()
    assert parent.store.get(digest_of(film)) == film
    assert parent.store.get(digest_of(b"a picture that would go first"))


def test_a_parent_that_takes_smaller_bodies_gets_smaller_pieces(device: Device, parent: Parent) -> None:
    answer = parent.api._answer

    def small(caller: str, method: str, path: str, body: bytes) -> bytes:
        if len(body) > 10_000:
            raise TooLargeError("http.max_body_bytes", limit=10_000)
        return answer(caller, method, path, body)

    parent.api._answer = small  # type: ignore[method-assign]
    device.see(FILM[:100_000])
    device.send_all()
    assert parent.store.get(digest_of(FILM[:100_000]))


def test_a_metered_link_carries_no_pictures_but_those_that_somebody_asks_for(
    made: Callable[..., Device], parent: Parent
) -> None:
    device = made(parent, metered=True)
    kept = device.see(b"it stays")
    back = parent.store.put(b"it comes back")
    parent.records.point(back)
    device.store.mark_upstream([back])
    with device.sending() as uplink:
        assert device.store.get(back) == b"it comes back"
        assert uplink.state.pending == 1
    assert not any("PUT" in each for each in device.wire.requests)
    assert not device.store.stat(kept).upstream


def test_pictures_use_their_share_of_the_day_and_go_on_the_next_day(
    made: Callable[..., Device], parent: Parent, clock: ManualClock
) -> None:
    device = made(parent, bytes_per_day=500_000)
    device.spending.hear(DAY_S * 100)
    device.see(FILM)
    with device.sending():
        until(lambda: (device.spending.left(Priority.MEDIA) or 0) < 10_000)
    assert 250_000 < device.spending.used_today <= 310_000
    assert device.spending.left(Priority.EVENT)
    for _ in range(3):
        clock.advance(DAY_S)
        with device.sending():
            until(lambda: not device.store.owed_count or (device.spending.left(Priority.MEDIA) or 0) < 10_000)
    assert parent.store.get(digest_of(FILM)) == FILM


def test_what_all_purposes_spend_is_one_account_and_is_kept(clock: ManualClock) -> None:
    kept: list[Budget] = []
    spending = Spending(BudgetSettings(bytes_per_day=1000), budget=Budget(3, 100), keep=kept.append, clock=clock)
    spending.hear(3 * DAY_S)
    spending.spend(300)
    assert (spending.used_today, spending.left(Priority.MEDIA)) == (400, 200)
    assert kept == []
    clock.advance(61)
    spending.spend(1)
    assert kept == [Budget(3, 401)]
    clock.advance(DAY_S)
    assert spending.used_today == 0


# What a parent takes, and gives back.


def test_a_child_sends_only_what_its_own_subtree_points_to(parent: Parent) -> None:
    content = b"a picture of the lamp"
    digest = digest_of(content)
    offer = Offer(digest, len(content), "image/jpeg")
    for node in ("", "center", "other"):
        if node:
            parent.records.point(digest, node=node)
        with pytest.raises(NotFoundError) as refusal:
            parent.intake.begin("device", offer)
        assert refusal.value.facts["kind"] == "record"
        with pytest.raises(NotFoundError):
            parent.intake.write("device", digest, 0, content)
    parent.records.point(digest, node="lamp")
    assert not parent.intake.begin("device", offer).done
    assert parent.intake.write("device", digest, 0, content).done
    assert parent.intake.begin("device", offer).done


def test_a_child_gets_back_only_what_nobody_else_points_to(parent: Parent) -> None:
    own, shared, others = (parent.store.put(content) for content in (b"own", b"shared", b"other's"))
    parent.records.point(own, node="lamp")
    for digest in (shared, others):
        parent.records.point(digest, node="other")
    parent.records.point(shared, node="device")  # which costs a child one record, if it knows the digest
    assert parent.intake.give("device", own, 0) == Piece(3, b"own")
    assert parent.intake.give("device", own, 99) == Piece(3, b"")
    for digest in (shared, others, digest_of(b"nothing"), "../../evictions.json", "A" * 64, ""):
        with pytest.raises(NotFoundError):
            parent.intake.give("device", digest, 0)


def test_content_that_is_not_what_it_was_called_is_thrown_away(parent: Parent) -> None:
    digest = digest_of(b"promised")
    parent.records.point(digest)
    parent.intake.begin("device", Offer(digest, 4, "image/jpeg"))
    with pytest.raises(InputError, match="digest"):
        parent.intake.write("device", digest, 0, b"lies")
    assert list((parent.folder / "receiving").iterdir()) == []
    parent.intake.begin("device", Offer(digest, 4, "image/jpeg"))
    with pytest.raises(TooLargeError):
        parent.intake.write("device", digest, 0, b"more than announced")
    with pytest.raises(NotFoundError):
        parent.store.stat(digest)


def test_one_child_cannot_take_all_the_room_for_what_is_received(make: Callable[..., Parent]) -> None:
    parent = make(max_bytes=1000, max_bytes_each=500)
    digests = [digest_of(bytes([number])) for number in range(3)]
    for digest in digests:
        parent.records.point(digest)
        parent.records.point(digest, node="other")
    parent.intake.begin("device", Offer(digests[0], 400, "image/jpeg"))
    with pytest.raises(BusyError):
        parent.intake.begin("device", Offer(digests[1], 200, "image/jpeg"))
    parent.intake.begin("other", Offer(digests[1], 500, "image/jpeg"))
    assert parent.intake.begun("device").digests == (digests[0],)
    parent.intake.give_up("device", digests[0])
    parent.intake.begin("device", Offer(digests[1], 200, "image/jpeg"))


def test_two_children_that_send_the_same_do_not_meet(parent: Parent) -> None:
    digest = digest_of(FILM)
    parent.records.point(digest)
    parent.records.point(digest, node="other")
    for child in ("device", "other"):
        assert parent.intake.begin(child, Offer(digest, len(FILM), "image/jpeg")).offset == 0
    parent.intake.write("other", digest, 0, b"spoiled")
    parent.intake.write("device", digest, 0, FILM[:100])
    with pytest.raises(ConflictError) as refusal:
        parent.intake.write("device", digest, 0, FILM[:100])
    assert refusal.value.facts["offset"] == 100
    assert parent.intake.write("device", digest, 100, FILM[100:]).done


@pytest.mark.parametrize(
    "path",
    ["/../blobs", "/", "/x/y/z", f"/{'a' * 64}/-1", f"/{'a' * 64}/1e3", f"/{'a' * 64}/²", f"/{'a' * 64}/" + "9" * 13],
)
def test_a_path_that_is_none_leads_nowhere(parent: Parent, path: str) -> None:
    for method in ("GET", "PUT", "POST"):
        with pytest.raises(NotFoundError):
            parent.api._answer("device", method, f"{PREFIX}/blobs{path}", b"")


def test_a_name_that_is_no_digest_reaches_no_file(parent: Parent) -> None:
    for name in ("..", "%2e%2e", "evictions.json", "A" * 64, "a" * 63, "a" * 64 + "\n"):
        for method, path, body in (("PUT", f"/{name}/0", b"x"), ("DELETE", f"/{name}", b"")):
            with pytest.raises(InputError):
                parent.api._answer("device", method, f"{PREFIX}/blobs{path}", body)
        with pytest.raises(InputError):
            parent.api._answer("device", "POST", f"{PREFIX}/blobs", encode(Offer(name, 1, "image/jpeg")))


# Back to the child.


def test_what_was_evicted_comes_back_from_the_parent(device: Device, parent: Parent) -> None:
    digest = device.see(FILM)
    device.send_all()
    device.store.path(digest).unlink()
    assert len(FILM) > 2 * FETCHED_BYTES
    assert device.store.get(digest) == FILM
    assert device.store.stat(digest).upstream
    assert device.wire.closed


def test_a_cut_on_the_way_back_costs_a_piece(device: Device, parent: Parent) -> None:
    digest = device.see(FILM)
    device.send_all()
    device.store.path(digest).unlink()
    cuts = iter([False, False, True, False, True])
    device.wire.fails = lambda: next(cuts, False)
    device.wire.requests.clear()
    assert device.store.get(digest) == FILM
    offsets = [int(request.rpartition("/")[2]) // FETCHED_BYTES for request in device.wire.requests]
    assert offsets == [0, 1, 1, 1, 2]


def test_what_the_parent_does_not_have_is_not_found_and_its_mark_goes(device: Device, parent: Parent) -> None:
    digest = device.see(FILM)
    device.send_all()
    device.store.path(digest).unlink()
    parent.store.path(digest).unlink()
    with pytest.raises(NotFoundError):
        device.store.get(digest)
    assert not device.store.reachable(digest)


def test_a_parent_that_lies_ends_in_an_error_and_leaves_nothing(device: Device, parent: Parent) -> None:
    digest = device.see(FILM)
    device.send_all()
    device.store.path(digest).unlink()
    pieces = [Piece(len(FILM), FILM[:FETCHED_BYTES]), Piece(len(FILM), b"")]
    parent.api._answer = lambda *_: encode(pieces.pop(0))  # type: ignore[method-assign]
    with pytest.raises(CorruptError):
        device.store.get(digest)
    parent.api._answer = lambda *_: encode(Piece(5, b"12345"))  # type: ignore[method-assign]
    with pytest.raises(CorruptError):
        device.store.get(digest)
    assert device.store.reachable(digest)
    device.wire.error = AccessError("gone", reason="revoked")
    with pytest.raises(UnavailableError, match="refuses"):
        device.store.get(digest)


def test_places_are_given_back_whatever_happens(device: Device, parent: Parent) -> None:
    digest = device.see(FILM)
    device.send_all()
    for _ in range(AT_ONCE + 2):
        device.wire.error = UnavailableError("away")
        device.store.path(digest).unlink(missing_ok=True)
        with pytest.raises(UnavailableError):
            device.store.get(digest)
        device.wire.error = None
        assert device.store.get(digest) == FILM


def test_a_node_without_a_parent_says_so(clock: ManualClock) -> None:
    with pytest.raises(UnavailableError, match="no"):
        BlobFetch(clock)(digest_of(b""))


def test_a_fetch_stays_within_the_day_and_its_time(device: Device, parent: Parent, clock: ManualClock) -> None:
    digest = device.see(FILM)
    device.send_all()
    device.store.path(digest).unlink()
    answer = parent.api._answer

    def slow(caller: str, method: str, path: str, body: bytes) -> bytes:
        clock.advance(301)
        return answer(caller, method, path, body)

    parent.api._answer = slow  # type: ignore[method-assign]
    with pytest.raises(UnavailableError, match="longer"):
        device.store.get(digest)
    parent.api._answer = answer  # type: ignore[method-assign]
    device.fetch.attach(
        device.connect,
        Spending(BudgetSettings(bytes_per_day=1000), budget=Budget(), keep=device.kept.append, clock=clock),
    )
    with pytest.raises(UnavailableError, match="today"):
        device.store.get(digest)


def test_a_piece_says_how_large_the_blob_is() -> None:
    assert decode(encode(Piece(7, b"abc")), Piece) == Piece(7, b"abc")
