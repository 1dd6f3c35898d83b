"""``/v1/nodes/NAME/desired`` and ``/state``, ``/v1/labels/KEY=VALUE/desired``: what nodes below are to have, and what
they say of it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get, put
from litestar.params import FromPath, JSONBody

from edgewise.api.rest.context import Context, Injected, blocking, note
from edgewise.errors import NotFoundError
from edgewise.fleet.desired import Desired, digest_of, read, write
from edgewise.fleet.wishes import WishStore
from edgewise.link.desired import Report
from edgewise.node.desired import check, differences

_TAGS = ["nodes"]


class DesiredDocument(msgspec.Struct, frozen=True):
    """What a node is to have.

    Attributes:
        node: Its name.
        by: The node whose document it is; empty where there is none.
        revision: Counts the documents of ``by``.
        digest: SHA-256 of the document.
        document: Sections as in a settings file; of labels and the node's own together.
        own: The part that was set here for this node itself.
    """

    node: str
    by: str
    revision: int
    digest: str
    document: dict[str, Any]
    own: dict[str, Any]


class LabelDocument(msgspec.Struct, frozen=True):
    """What all nodes below with a label are to have, under what is set for each of them; ``nodes`` are those of now."""

    label: str
    document: dict[str, Any]
    nodes: tuple[str, ...] = ()


class NodeState(msgspec.Struct, frozen=True):
    """What a node made of its document.

    Attributes:
        node: Its name.
        settled: Whether all is as wanted, by the node's own word.
        differences: What is not, in sentences.
        reported: What it said last; null when it never did.
        heard_ns: When that came, nanoseconds since the Unix epoch; 0 for never.
    """

    node: str
    settled: bool
    differences: tuple[str, ...]
    reported: Report | None
    heard_ns: int


@get("/v1/nodes/{name:str}/desired", tags=_TAGS)
@blocking
def read_desired(name: FromPath[str], context: Injected) -> DesiredDocument:
    """What a node below this one is to have."""
    wishes = _wishes(context)
    return _shown(wishes.desired(name), wishes.own(name))


@put("/v1/nodes/{name:str}/desired", tags=_TAGS)
@blocking
def set_desired(
    name: FromPath[str], data: JSONBody[dict[str, Any]], context: Injected, request: Request[Any, Any, Any]
) -> DesiredDocument:
    """Sets what a node below this one is to have: any of `pipelines`, `rules`, `models` and `parent`, each whole, as in
    a settings file. `{}` takes it back. The node makes it so within a second for each hop, or when it comes back.
    """
    wishes = _wishes(context)
    document = check(data)
    desired = wishes.set_node(name, document)
    note(request, node=name, revision=desired.revision, digest=desired.digest, sections=sorted(document))
    return _shown(desired, wishes.own(name))


@get("/v1/nodes/{name:str}/state", tags=_TAGS)
@blocking
def read_state(name: FromPath[str], context: Injected) -> NodeState:
    """What a node below this one made of what it is to have."""
    wishes = _wishes(context)
    state = wishes.state(name)
    found = differences(wishes.desired(name), state.report if state else None)
    return NodeState(name, not found, found, state.report if state else None, state.heard_ns if state else 0)


@get("/v1/labels/{label:str}/desired", tags=_TAGS)
@blocking
def read_label(label: FromPath[str], context: Injected) -> LabelDocument:
    """What all nodes below with a label (`KEY=VALUE`) are to have."""
    wishes = _wishes(context)
    return LabelDocument(label, read(wishes.of_label(label)), wishes.labelled(label))


@put("/v1/labels/{label:str}/desired", tags=_TAGS)
@blocking
def set_label(
    label: FromPath[str], data: JSONBody[dict[str, Any]], context: Injected, request: Request[Any, Any, Any]
) -> LabelDocument:
    """Sets what all nodes below with a label are to have, also those that get it later. `{}` takes it back."""
    document = check(data)
    nodes = _wishes(context).set_label(label, document)
    note(request, label=label, digest=digest_of(write(document)), sections=sorted(document))
    return LabelDocument(label, document, nodes)


def _wishes(context: Context) -> WishStore:
    if context.node.parenting is None:
        raise NotFoundError(
            "This node takes no children", hint="Add to its edgewise.yaml: https: {port: 8471}", kind="node"
        )
    return context.node.parenting.handing.wishes


def _shown(desired: Desired, own: str) -> DesiredDocument:
    return DesiredDocument(desired.node, desired.by, desired.revision, desired.digest, desired.sections, read(own))


HANDLERS = (read_desired, set_desired, read_state, read_label, set_label)
