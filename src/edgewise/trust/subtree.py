"""Who may speak for whom. Pure.

A child sends records and balances for itself and for the nodes below it. The parent knows a node that is further down
by the child that announced it first; that child keeps it until it releases it, or leaves. So a child can neither take
over a node of its sibling, nor its sibling itself, nor its parent. What it can do is to announce a name before
its owner does: the owner is then told so, and a person releases the name. All else that the owner brings is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgewise.errors import ConflictError, NotFoundError, TooLargeError
from edgewise.trust.names import check_name
from edgewise.trust.refusals import Reason, refusal

if TYPE_CHECKING:
    from edgewise.errors import AccessError

MAX_NODES = 100_000
MAX_NODES_PER_CHILD = 10_000


class Tree:
    """Which child brings which node. One thread at a time; the caller stores what changed (``routes``).

    Args:
        root: This node's own name: nobody else's.
        routes: What was stored: the child by the name of each node, children themselves included.
        max_nodes: Nodes known at most.
        max_nodes_per_child: Of one child, so that none takes all the room.
    """

    def __init__(
        self,
        root: str,
        routes: Mapping[str, str] | None = None,
        *,
        max_nodes: int = MAX_NODES,
        max_nodes_per_child: int = MAX_NODES_PER_CHILD,
    ) -> None:
        self.root = root
        self._routes: dict[str, str] = dict(routes or {})
        self._counts: dict[str, int] = {}
        for child in self._routes.values():
            self._counts[child] = self._counts.get(child, 0) + 1
        self._max_nodes = max_nodes
        self._max_nodes_per_child = max_nodes_per_child

    @property
    def routes(self) -> dict[str, str]:
        """The child by the name of each node; a copy."""
        return dict(self._routes)

    def route(self, node: str) -> str | None:
        """The child that brings a node; None when nobody does."""
        return self._routes.get(node)

    def brought(self, child: str) -> set[str]:
        """The nodes that a child brings, itself among them."""
        if self._counts.get(child, 0) == 1:
            return {child}
        return {node for node, route in self._routes.items() if route == child}

    def join(self, child: str) -> None:
        """A node becomes a child of this one; nothing when it is one.

        Raises:
            ConflictError: Its name is this node's, or another child's node has it.
            InputError: No node can be called so.
            TooLargeError: No more nodes.
        """
        if self.route(child) == child:
            return
        if child == self.root or child in self._routes:
            raise ConflictError(
                f"There is a node called {child} already",
                hint="Choose another name, or have the child that brings it release it first.",
                name=child,
            )
        self._add(child, child)

    def announce(self, child: str, node: str) -> None:
        """A child says that a node is below it; nothing when that is known.

        Raises:
            AccessError: ``other_subtree``: the node is this one, a child, or below another child.
            NotFoundError: There is no such child.
            InputError: No node can be called so.
            TooLargeError: No more nodes.
        """
        self._check_child(child)
        if self.route(node) == child:
            return
        if node == self.root or node in self._routes:
            raise _other(child, node)
        self._add(child, node)

    def release(self, child: str, node: str) -> None:
        """A child says that a node is not below it any more; nothing when nobody brings it.

        Raises:
            AccessError: ``other_subtree``: another child brings it, or it is the child itself.
            NotFoundError: There is no such child.
        """
        self._check_child(child)
        if self.route(node) is None and node != self.root:
            return
        if self.route(node) != child or node == child:
            raise _other(child, node)
        self._remove(node)

    def leave(self, child: str) -> tuple[str, ...]:
        """A child is removed or revoked; with it go the nodes that it brought.

        Returns:
            The names that are free now.

        Raises:
            NotFoundError: There is no such child.
        """
        self._check_child(child)
        gone = tuple(self.brought(child))
        for node in gone:
            self._remove(node)
        return gone

    def _check_child(self, child: str) -> None:
        if self.route(child) != child:
            raise NotFoundError(f"There is no child {child!r}", hint="Let it join first.", kind="node", name=child)

    def _add(self, child: str, node: str) -> None:
        check_name(node)
        count = self._counts.get(child, 0)
        if len(self._routes) >= self._max_nodes or count >= self._max_nodes_per_child:
            raise TooLargeError(
                f"No room for {node}: the tree holds {self._max_nodes} nodes, {self._max_nodes_per_child} of a child",
                hint="Release nodes that are gone.",
                limit=min(self._max_nodes, self._max_nodes_per_child),
            )
        self._routes[node] = child
        self._counts[child] = count + 1

    def _remove(self, node: str) -> None:
        child = self._routes.pop(node)
        self._counts[child] -= 1
        if not self._counts[child]:
            del self._counts[child]


def may_speak(caller: str, node: str, tree: Tree) -> bool:
    """Whether a child may send what is a node's."""
    return tree.route(node) == caller


def check_speaks(caller: str, node: str, tree: Tree) -> None:
    """Refuses a child that may not.

    Raises:
        AccessError: ``other_subtree``.
    """
    if not may_speak(caller, node, tree):
        raise _other(caller, node)


def _other(child: str, node: str) -> AccessError:
    return refusal(Reason.OTHER_SUBTREE, f"{child[:64]} does not speak for {node[:64]!r}")
