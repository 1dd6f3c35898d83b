"""Who may speak for whom: a child for itself and what it brings, whatever the others try."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edgewise.errors import AccessError, ConflictError, InputError, NotFoundError, TooLargeError
from edgewise.trust.subtree import Tree, check_speaks, may_speak

NODES = ["hub", "gate", "porch", "cam", "lock", "lamp"]
nodes = st.sampled_from(NODES)


def test_a_child_speaks_for_itself_and_for_what_it_announced() -> None:
    tree = Tree("hub")
    tree.join("gate")
    tree.announce("gate", "cam")
    assert may_speak("gate", "gate", tree)
    assert may_speak("gate", "cam", tree)
    check_speaks("gate", "cam", tree)
    assert not may_speak("gate", "lamp", tree)
    assert not may_speak("cam", "cam", tree)  # it calls its gateway, not this node


def test_the_first_to_announce_a_node_keeps_it_until_it_is_released() -> None:
    tree = Tree("hub")
    tree.join("gate")
    tree.join("porch")
    tree.announce("gate", "cam")
    with pytest.raises(AccessError) as caught:
        tree.announce("porch", "cam")
    assert caught.value.facts["reason"] == "other_subtree"
    with pytest.raises(AccessError):
        tree.release("porch", "cam")
    tree.release("gate", "cam")
    tree.announce("porch", "cam")
    assert may_speak("porch", "cam", tree)
    assert not may_speak("gate", "cam", tree)


def test_nobody_announces_its_parent_a_sibling_or_a_name_that_none_can_have() -> None:
    tree = Tree("hub")
    tree.join("gate")
    tree.join("porch")
    for node in ("hub", "porch"):
        with pytest.raises(AccessError, match="does not speak"):
            tree.announce("gate", node)
    with pytest.raises(InputError):
        tree.announce("gate", "../hub")
    with pytest.raises(NotFoundError):
        tree.announce("stranger", "cam")


def test_with_a_child_that_is_removed_go_the_nodes_it_brought() -> None:
    tree = Tree("hub")
    tree.join("gate")
    tree.announce("gate", "cam")
    assert sorted(tree.leave("gate")) == ["cam", "gate"]
    assert not may_speak("gate", "cam", tree)
    assert not may_speak("gate", "gate", tree)
    tree.join("cam")
    assert may_speak("cam", "cam", tree)


def test_a_tree_is_bounded_in_all_and_for_each_child() -> None:
    tree = Tree("hub", max_nodes=4, max_nodes_per_child=2)
    tree.join("gate")
    tree.announce("gate", "cam")
    with pytest.raises(TooLargeError):
        tree.announce("gate", "lock")
    tree.join("porch")
    tree.announce("porch", "lock")
    with pytest.raises(TooLargeError):
        tree.join("lamp")
    again = Tree("hub", tree.routes, max_nodes=5, max_nodes_per_child=2)
    with pytest.raises(TooLargeError):
        again.announce("gate", "lamp")
    again.release("gate", "cam")
    again.announce("gate", "lamp")


class Family(RuleBasedStateMachine):
    """Children that join, leave, announce, release and move nodes, and try what they may not.

    The model is written the other way around: each child's set of nodes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tree = Tree("hub")
        self.below: dict[str, set[str]] = {}

    def owner(self, node: str) -> str | None:
        return next((child for child, brought in self.below.items() if node in brought), None)

    @rule(child=nodes)
    def join(self, child: str) -> None:
        if child in self.below:
            self.tree.join(child)
        elif child == "hub" or self.owner(child):
            with pytest.raises(ConflictError):
                self.tree.join(child)
        else:
            self.tree.join(child)
            self.below[child] = {child}

    @rule(child=nodes)
    def is_revoked(self, child: str) -> None:
        if child in self.below:
            assert set(self.tree.leave(child)) == self.below.pop(child)
        else:
            with pytest.raises(NotFoundError):
                self.tree.leave(child)

    @rule(child=nodes, node=nodes)
    def announce(self, child: str, node: str) -> None:
        if child not in self.below:
            with pytest.raises(NotFoundError):
                self.tree.announce(child, node)
        elif node == "hub" or self.owner(node) not in {None, child}:
            with pytest.raises(AccessError):
                self.tree.announce(child, node)
        else:
            self.tree.announce(child, node)
            self.below[child].add(node)

    @rule(child=nodes, node=nodes)
    def release(self, child: str, node: str) -> None:
        if child not in self.below:
            with pytest.raises(NotFoundError):
                self.tree.release(child, node)
        elif node in {child, "hub"} or self.owner(node) not in {None, child}:
            with pytest.raises(AccessError):
                self.tree.release(child, node)
        else:
            self.tree.release(child, node)
            self.below[child].discard(node)

    @rule(node=nodes, to=nodes)
    def move(self, node: str, to: str) -> None:
        """A device is plugged into another gateway: the old one lets go, the new one announces it."""
        owner = self.owner(node)
        if owner is None or to not in self.below or owner == node:
            return
        self.release(owner, node)
        self.announce(to, node)
        assert may_speak(to, node, self.tree)

    @rule()
    def the_parent_restarts(self) -> None:
        self.tree = Tree("hub", self.tree.routes)

    @invariant()
    def each_child_speaks_for_what_it_brings_and_for_nothing_else(self) -> None:
        for caller in NODES:
            for node in NODES:
                assert may_speak(caller, node, self.tree) == (node in self.below.get(caller, set()))

    @invariant()
    def a_node_is_brought_by_one_child_and_the_parent_by_none(self) -> None:
        assert self.tree.route("hub") is None
        assert sum(len(brought) for brought in self.below.values()) == len(self.tree.routes)


TestFamily = Family.TestCase
