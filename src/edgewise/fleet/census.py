"""All nodes below this one and how they are, joined from who joined, who brings whom and what was reported. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from edgewise.fleet.health import Health, Status, judge
from edgewise.fleet.reports import Known, Usage
from edgewise.fleet.store import Child
from edgewise.link.reports import Report


class NodeState(msgspec.Struct, frozen=True):
    """A node.

    Attributes:
        name: Its name.
        parent: Whose child it is, as far as is known; else by which child it comes.
        labels: What was said about it, here and by its way up.
        joined_ns: When it joined; 0 for who is further down.
        health: How it is.
        age_s: How long nothing was heard of it; negative when it never was.
        report: Its newest.
        usage: What it used lately.
    """

    name: str
    parent: str
    labels: Mapping[str, str]
    joined_ns: int
    health: Health
    age_s: float
    report: Report | None
    usage: tuple[Usage, ...] = ()


class Members(Protocol):
    """Who joined, who brings whom, and what was said about them."""

    def children(self) -> list[Child]:
        """All children."""
        ...

    def routes(self) -> Mapping[str, str]:
        """The child by the name of each node."""
        ...

    def labels(self, node: str) -> Mapping[str, str]:
        """All labels of a node."""
        ...


def census(
    members: Members, known: Mapping[str, Known], *, root: str, heard_s: Mapping[str, float] | None = None
) -> list[NodeState]:
    """All nodes below ``root``, by name.

    Args:
        members: Who joined, and who brings whom.
        known: What they reported.
        root: This node.
        heard_s: How long ago each child was heard of in another way.
    """
    children = {child.name: child for child in members.children()}
    routes = members.routes()
    parents = _parents(known, routes, root=root)
    gone = {node for node in routes if _alone(node, known, heard_s or {}).status is Status.GONE}
    found = []
    for node in sorted(routes):
        told = known.get(node)
        child = children.get(node)
        above = next((each for each in _path(node, parents, root=root) if each in gone), "")
        age_s = _age(node, told, heard_s or {})
        found.append(
            NodeState(
                name=node,
                parent=parents[node],
                labels=members.labels(node),
                joined_ns=child.joined_ns if child else 0,
                health=judge(told.report if told else None, age_s=age_s, parent_gone=above),
                age_s=age_s if told else -1.0,
                report=told.report if told else None,
                usage=told.usage if told else (),
            )
        )
    return found


def own_state(report: Report) -> NodeState:
    """The node that looks at the others, as one of them: it is here."""
    return NodeState(report.node, "", {}, 0, judge(report, age_s=0.0), 0.0, report)


def parents_of(nodes: Iterable[NodeState]) -> dict[str, str]:
    """Whose child each node is."""
    return {node.name: node.parent for node in nodes}


def ages_of(nodes: Iterable[NodeState]) -> dict[str, float]:
    """How long ago each node that ever reported did."""
    return {node.name: node.age_s for node in nodes if node.age_s >= 0}


def below(nodes: Iterable[NodeState], name: str) -> list[NodeState]:
    """The nodes right below a node."""
    return [node for node in nodes if node.parent == name]


def _age(node: str, told: Known | None, heard_s: Mapping[str, float]) -> float:
    return min(told.age_s if told else float("inf"), heard_s.get(node, float("inf")))


def _alone(node: str, known: Mapping[str, Known], heard_s: Mapping[str, float]) -> Health:
    told = known.get(node)
    return judge(told.report if told else None, age_s=_age(node, told, heard_s))


def _parents(known: Mapping[str, Known], routes: Mapping[str, str], *, root: str) -> dict[str, str]:
    """Whose child each node is; a tree, also where reports contradict each other."""
    parents = {node: _parent(node, known.get(node), routes, root=root) for node in routes}
    for node, way in routes.items():
        above = _path(node, parents, root=root)
        if parents.get(above[-1] if above else node) != root:
            parents[node] = way
    return parents


def _parent(node: str, told: Known | None, routes: Mapping[str, str], *, root: str) -> str:
    """Whose child a node is: as reported, if that one comes by the same way; else whoever brings it."""
    way = routes[node]
    if way == node:
        return root
    stated = told.report.parent if told else ""
    return stated if stated != node and routes.get(stated) == way else way


def _path(node: str, parents: Mapping[str, str], *, root: str) -> Sequence[str]:
    """The nodes above one, the nearest first; ends also where they go in a circle."""
    path: list[str] = []
    seen = {node}
    while (node := parents.get(node, root)) != root and node not in seen:
        path.append(node)
        seen.add(node)
    return path
