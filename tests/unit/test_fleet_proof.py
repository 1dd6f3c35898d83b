"""The audit of a tree: whatever happened on the way, every record is here, on its way or in a ledger; and when one is
not, it shows.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewise.fleet.proof import Hop, Line, Proof, prove
from edgewise.journal.base import Balance, Standing, StreamSettings
from edgewise.journal.memory import MemoryJournal
from edgewise.link.reports import Counted
from edgewise.types import Entry

CHAIN = ("device", "gateway", "center")
PARENTS = {"device": "gateway", "gateway": "center"}


class Tree:
    """Journals in a row, with little room, that hand records on when they are told to, and count when they report."""

    def __init__(self) -> None:
        settings = StreamSettings(max_bytes=2000)
        self.journals = {
            name: MemoryJournal(node=name, streams={"events": settings}, held=lambda _: settings) for name in CHAIN
        }
        self.counted: dict[str, list[Counted]] = {}

    def append(self, count: int) -> None:
        for _ in range(count):
            self.journals["device"].append("events", [Entry("k", {"x": "x" * 200})])

    def hand_over(self, lower: str, upper: str, *, heard: bool) -> None:
        """One batch; the answer may be lost."""
        child, parent = self.journals[lower], self.journals[upper]
        key = "events" if lower == "device" else "device/events"
        if lower == "gateway" and not child.mark("device", "events"):
            return
        child.follow(key, "parent")
        if batch := child.give(key, "parent", after=parent.mark("device", "events"), max_bytes=500):
            parent.take([batch])
        if heard:
            child.advance(key, "parent", parent.mark("device", "events"))

    def report(self, name: str) -> None:
        """A node counts; what it counts reaches the center at once, and never before its parent's newest count."""
        for each in CHAIN[CHAIN.index(name) :: 1]:
            if each != "center":
                key = "events" if each == "device" else "device/events"
                journal = self.journals[each]
                if journal.mark("device", "events"):
                    self.counted[each] = [Counted(each, standing) for standing in journal.standings([key], "parent")]

    def prove(self) -> Proof:
        counted = [each for part in self.counted.values() for each in part]
        return prove(self.journals["center"].audit(), counted, root="center", parents=PARENTS, ages={})

    def line(self) -> Line:
        [line] = [line for line in self.prove().lines if line.node == "device"]
        return line


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 6)),
        st.tuples(st.just("lower"), st.booleans()),
        st.tuples(st.just("upper"), st.booleans()),
        st.tuples(st.just("report"), st.sampled_from(["device", "gateway"])),
    ),
    max_size=40,
)


@given(steps)
def test_whatever_happens_on_the_way_all_of_it_is_accounted_for(script: list[tuple[str, object]]) -> None:
    tree = Tree()
    for step, value in script:
        if step == "append":
            tree.append(int(value))  # type: ignore[call-overload]
        elif step == "report":
            tree.report(str(value))
        elif step == "lower":
            tree.hand_over("device", "gateway", heard=bool(value))
        else:
            tree.hand_over("gateway", "center", heard=bool(value))
        assert tree.prove().balanced, tree.prove()
    tree.report("device")
    lines = [line for line in tree.prove().lines if line.node == "device"]
    produced = tree.journals["device"].mark("device", "events")
    assert sum(line.produced for line in lines) == produced
    assert all(line.here + line.pending + line.dropped == produced for line in lines)


def test_where_records_are_is_told() -> None:
    tree = Tree()
    tree.append(3)
    tree.hand_over("device", "gateway", heard=True)
    tree.append(2)
    tree.report("device")
    line = tree.line()
    assert (line.produced, line.here, line.pending, line.dropped) == (5, 0, 5, 0)
    assert {hop.node for hop in line.at} == {"device", "gateway"}
    tree.hand_over("gateway", "center", heard=False)
    tree.hand_over("device", "gateway", heard=True)
    line = tree.line()
    assert line.here > 0
    assert line.here + line.pending == 5
    assert line.balanced


def test_a_node_that_handed_over_what_the_next_one_does_not_have_is_found_out() -> None:
    """The gateway was put back from an old copy: it answered for records that it has no more."""
    counted = [
        Counted("device", Standing("device", "events", 10, 8, 2, 0)),
        Counted("gateway", Standing("device", "events", 5, 5, 0, 0)),
    ]
    center = [Balance("device", "events", "", 5, 0, 5, 0)]
    proof = prove(center, counted, root="center", parents=PARENTS, ages={})
    [line] = proof.lines
    assert not proof.balanced
    assert (line.produced, line.here, line.pending, line.missing) == (10, 5, 2, 3)
    assert line.at == (Hop("device", 2),)
    assert "handed over up to 8" in line.problems[0]


def test_a_stream_that_ends_at_a_gateway_is_looked_for_there() -> None:
    """The gateway sends on what it made of readings instead of them."""
    tree = Tree()
    tree.append(4)
    tree.hand_over("device", "gateway", heard=True)
    tree.append(1)
    came = tree.journals["gateway"].mark("device", "events")
    device, gateway = (tree.journals[name] for name in ("device", "gateway"))
    counted = [
        *(Counted("device", each) for each in device.standings(["events"], "parent")),
        *(Counted("gateway", each) for each in gateway.standings(["device/events"], "")),
    ]
    proof = prove(tree.journals["center"].audit(), counted, root="center", parents=PARENTS, ages={})
    [line] = [line for line in proof.lines if line.node == "device"]
    assert proof.balanced
    assert (line.produced, line.here) == (5, 0)
    assert line.at == (Hop("gateway", came), Hop("device", 5 - came))


@given(
    acked=st.integers(0, 50),
    pending=st.integers(0, 50),
    dropped=st.integers(0, 50),
    error=st.integers(-5, 5).filter(bool),
)
def test_a_count_that_does_not_add_up_is_never_called_balanced(
    acked: int, pending: int, dropped: int, error: int
) -> None:
    last = acked + pending + dropped
    center = [Balance("device", "events", "", acked, acked, 0, 0)]
    right = Counted("device", Standing("device", "events", last, acked, pending, dropped))
    wrong = Counted("device", Standing("device", "events", max(0, last + error), acked, pending, dropped))
    parents = {"device": "center"}
    assert prove(center, [right], root="center", parents=parents, ages={}).balanced
    if last + error >= 0:
        proof = prove(center, [wrong], root="center", parents=parents, ages={})
        assert not proof.balanced
        assert proof.lines[0].problems
    lost = [Balance("device", "events", "", acked + 1, acked, 0, 0)]
    assert not prove(lost, [right], root="center", parents=parents, ages={}).balanced


def test_what_a_node_never_told_is_said_to_be_unknown() -> None:
    center = [Balance("device", "events", "", 5, 0, 5, 0), Balance("center", "events", "", 2, 1, 1, 0)]
    proof = prove(center, [], root="center", parents=PARENTS, ages={"device": 90.0})
    assert proof.balanced
    assert proof.unheard == ("device", "gateway")
    assert [(line.node, line.counted, line.produced) for line in proof.lines] == [
        ("center", True, 2),
        ("device", False, 5),
    ]
