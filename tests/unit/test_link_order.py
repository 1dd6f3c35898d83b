"""Which blob goes next: what is urgent before the rest, pictures before films, the newest first, one at a time."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgewise.link.budget import Priority
from edgewise.link.order import LEAST_BYTES, MOST_BYTES, SMALL_BYTES, Item, Order, piece_after, smaller


def item(
    digest: str,
    *,
    size: int = 1000,
    time_ns: int = 0,
    priority: Priority = Priority.EVENT,
    stream: str = "events",
    sequence: int = 1,
) -> Item:
    return Item(digest, size, "image/jpeg", time_ns, priority, stream, sequence)


class Sender:
    """Sends each blob in one go, and notes in which order."""

    def __init__(self, *items: Item, reached: int = 100) -> None:
        self.wanted = {each.digest for each in items}
        self.order = Order(self.wanted.__contains__)
        for each in items:
            self.order.add(each)
        for stream in self.order.streams:
            self.order.reach(stream, reached)

    def send(self) -> str:
        found = self.order.next(0.0)
        if found is None:
            return ""
        self.wanted.discard(found.digest)
        self.order.end(found.digest)
        return found.digest

    def send_all(self) -> str:
        sent = ""
        while digest := self.send():
            sent += digest
        return sent


def test_alarms_go_before_events_pictures_before_films_and_the_newest_before_the_oldest() -> None:
    film = SMALL_BYTES + 1
    sender = Sender(
        item("a", time_ns=1),
        item("b", time_ns=2),
        item("c", time_ns=3, size=film),
        item("d", time_ns=0, priority=Priority.ALARM, size=film),
        item("e", time_ns=9, priority=Priority.READING),
        item("f", time_ns=0, priority=Priority.ALARM),
    )
    assert sender.send_all() == "fdbace"


def test_nothing_goes_before_the_parent_has_a_record_that_points_to_it() -> None:
    sender = Sender(item("a", sequence=5), item("b", sequence=7), reached=4)
    assert sender.send_all() == ""
    sender.order.reach("events", 6)
    assert sender.send_all() == "a"
    sender.order.reach("events", 7)
    assert sender.send_all() == "b"
    assert sender.order.streams == []


def test_what_two_streams_point_to_goes_once_as_soon_as_one_of_them_is_there() -> None:
    sender = Sender(item("a", sequence=5), item("a", stream="alarms", priority=Priority.ALARM, sequence=9), reached=6)
    assert sender.send_all() == "a"
    sender.order.reach("alarms", 9)
    assert sender.send_all() == ""


def test_a_film_waits_for_a_picture_and_is_then_finished_before_a_newer_film_is_begun() -> None:
    sender = Sender(item("f", size=SMALL_BYTES + 1, time_ns=1))
    begun = sender.order.next(0.0)
    assert begun
    assert begun.digest == "f"
    for newer in (item("p", time_ns=2), item("g", size=SMALL_BYTES + 1, time_ns=3)):
        sender.wanted.add(newer.digest)
        sender.order.add(newer)
    sender.order.reach("events", 1)
    assert sender.send_all() == "pfg"


def test_what_the_parent_has_begun_with_comes_first_in_its_class_after_a_restart() -> None:
    sender = Sender(item("a", time_ns=1), item("b", time_ns=2))
    sender.order.resume(["a"])
    assert sender.send_all() == "ab"
    late = Sender()
    late.order.resume(["a"])  # it is told before what is owed is read
    for each in (item("a", time_ns=1), item("b", time_ns=2)):
        late.wanted.add(each.digest)
        late.order.add(each)
    late.order.reach("events", 1)
    assert late.send_all() == "ab"


def test_a_parent_that_takes_no_more_is_sent_what_was_begun() -> None:
    sender = Sender(item("f", size=SMALL_BYTES + 1))
    assert sender.order.next(0.0)
    sender.wanted.add("p")
    sender.order.add(item("p"))
    sender.order.reach("events", 1)
    found = sender.order.next(0.0, begun_only=True)
    assert found
    assert found.digest == "f"
    assert sender.order.begun_besides("p")


def test_what_was_set_aside_comes_again_in_its_time() -> None:
    refused = item("a")
    sender = Sender(refused)
    sender.order.set_aside(refused, 60.0)
    assert sender.order.next(59.0) is None
    assert sender.order.next(60.0) == refused


def test_what_was_evicted_meanwhile_is_passed_over() -> None:
    sender = Sender(item("a", time_ns=1), item("b", time_ns=2), item("c", time_ns=3))
    assert sender.order.next(0.0)
    sender.wanted -= {"c", "b"}
    assert sender.send_all() == "a"


@given(st.lists(st.floats(0, 20), max_size=60))
def test_a_piece_is_never_empty_and_never_past_its_bound(times: list[float]) -> None:
    size = LEAST_BYTES
    for took_s in times:
        size = piece_after(size, took_s)
        assert LEAST_BYTES <= smaller(size) <= size <= MOST_BYTES


def test_pieces_grow_on_a_fast_link_and_shrink_on_a_slow_one() -> None:
    size = 64 << 10
    for _ in range(10):
        size = piece_after(size, 0.1)
    assert size == MOST_BYTES
    for _ in range(20):
        size = piece_after(size, 30.0)
    assert size == LEAST_BYTES


class OrderMachine(RuleBasedStateMachine):
    """Blobs come, are sent piece by piece, evicted, and refused, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, Item] = {}
        self.wanted: set[str] = set()
        self.begun: set[str] = set()
        self.reached = 0
        self.order = Order(self.wanted.__contains__)

    @rule(
        size=st.sampled_from([10, SMALL_BYTES + 1]),
        priority=st.sampled_from([Priority.ALARM, Priority.EVENT, Priority.READING]),
        time_ns=st.integers(0, 5),
        sequence=st.integers(1, 30),
    )
    def add(self, size: int, priority: Priority, time_ns: int, sequence: int) -> None:
        digest = f"{len(self.items):03}"
        fresh = item(digest, size=size, priority=priority, time_ns=time_ns, sequence=sequence)
        self.items[digest] = fresh
        self.wanted.add(digest)
        self.order.add(fresh)
        self.order.reach("events", self.reached)

    @rule(steps=st.integers(1, 5))
    def reach(self, steps: int) -> None:
        self.reached += steps
        self.order.reach("events", self.reached)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def evict(self, data: st.DataObject) -> None:
        self.wanted.discard(data.draw(st.sampled_from(sorted(self.wanted))))

    @rule(finish=st.booleans())
    def send(self, finish: bool) -> None:
        self.begun &= self.wanted
        ready = [self.items[digest] for digest in self.wanted if self.items[digest].sequence <= self.reached]
        found = self.order.next(0.0)
        assert (found is None) == (not ready)
        if found is None:
            return
        assert found in ready
        assert found.kind == min(each.kind for each in ready)
        same = [each for each in ready if each.kind == found.kind]
        if half := [each for each in same if each.digest in self.begun]:
            assert found in half
        else:
            assert found.time_ns == max(each.time_ns for each in same)
        self.begun.add(found.digest)
        if finish:
            self.wanted.discard(found.digest)
            self.order.end(found.digest)

    @rule(data=st.data())
    def reconnect(self, data: st.DataObject) -> None:
        """The parent was started anew, and may have lost some of what was begun."""
        self.begun &= self.wanted
        self.begun = set(data.draw(st.lists(st.sampled_from(sorted(self.begun)), unique=True))) if self.begun else set()
        self.order.resume(sorted(self.begun))

    @invariant()
    def one_of_each_class_is_begun(self) -> None:
        kinds = [self.items[digest].kind for digest in self.begun & self.wanted]
        assert len(kinds) == len(set(kinds))


TestOrderMachine = OrderMachine.TestCase
TestOrderMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
