"""``/v1/nodes``, ``/v1/join-tokens`` and ``/v1/authority``: the nodes below this one, how they are, who may join, and
by what they know this one.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import Meta

from edgewise.api.rest.context import Context, Injected, blocking, note
from edgewise.errors import NotFoundError
from edgewise.fleet.census import NodeState, ages_of, below, census, own_state, parents_of
from edgewise.fleet.health import Reason, Status
from edgewise.fleet.proof import Line, prove
from edgewise.fleet.selector import MAX_SELECTOR, parse
from edgewise.link.reports import Report
from edgewise.node.kin import authority_folder
from edgewise.node.parenting import Parenting
from edgewise.node.reporting import make_report
from edgewise.node.succession import Standing, look, rotate
from edgewise.trust.authority import MAX_OVERLAP_S, OVERLAP_S
from edgewise.trust.joining import MAX_LABELS, MAX_VALID_S, Invitation, Label

_TAGS = ["nodes"]
MAX_NODES_LIMIT = 1000
_MAX_BELOW = 1000
_MAX_LINES = 10_000
_Name = Annotated[str, Meta(max_length=64)]
_Word = Annotated[str, Meta(max_length=256)]
_Labels = Annotated[dict[Label, Label], Meta(max_length=MAX_LABELS)]


class UsageSeries(msgspec.Struct, frozen=True):
    """What a node used lately, oldest first: cores, and resident bytes; one value a report."""

    cpu: list[float]
    rss_bytes: list[int | None]


class NodeSummary(msgspec.Struct, frozen=True):
    """A node below this one.

    Attributes:
        parent: Whose child it is.
        child: Whether that is this node.
        joined_ns: When it joined this node; 0 when it is further down.
        status: ``ok``, ``late``, ``failing`` or ``gone``.
        age_s: How long nothing was heard of it; null when it never was.
        pending: Records on their way to its parent.
        dropped: Records that its journal dropped since it was made.
    """

    name: str
    parent: str
    child: bool
    labels: Mapping[str, str]
    joined_ns: int
    status: Status
    reasons: list[Reason]
    age_s: float | None
    version: str
    uptime_s: float
    pending: int
    dropped: int
    cpu: float | None
    rss_bytes: int | None
    usage: UsageSeries


class NodeList(msgspec.Struct, frozen=True):
    """Nodes by name. ``next_after`` continues the list; empty when there are no more.

    Attributes:
        node: This node, which all of them are below.
        counts: How many there are of each status, of all that were selected.
    """

    node: str
    nodes: list[NodeSummary]
    next_after: str
    counts: dict[Status, int]


class NodeDetail(msgspec.Struct, frozen=True):
    """A node with its newest report, and the nodes right below it (the first thousand)."""

    node: NodeSummary
    report: Report | None
    below: list[str]


class NodeChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Labels that a node is to have: those named are set, or removed where the value is null; others stay."""

    labels: Annotated[dict[_Word, _Word | None], Meta(max_length=2 * MAX_LABELS)]


class Removed(msgspec.Struct, frozen=True):
    """The names that are free now: the node's, and those of the nodes that it brought."""

    removed: list[str]


class JoinTokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token with which one node may join, once.

    Attributes:
        name: The name that it has to take; it may choose when there is none.
        valid_s: How long it may be used.
        labels: What is noted about it.
    """

    name: _Name = ""
    valid_s: Annotated[float, Meta(ge=1, le=MAX_VALID_S)] = 3600.0
    labels: _Labels = {}


class JoinTokenSummary(msgspec.Struct, frozen=True):
    """A join token, but for its secret.

    Attributes:
        id: What it is revoked by.
        node: Who has to use it, or who did.
        used: Whether it was used.
    """

    id: str
    node: str
    labels: Mapping[str, str]
    expires_ns: int
    used: bool


class JoinTokenList(msgspec.Struct, frozen=True):
    """Join tokens that are out, and those used not long ago; the first to end first."""

    tokens: list[JoinTokenSummary]


class NewJoinToken(msgspec.Struct, frozen=True):
    """A join token that was made. ``text`` is told this once; ``port`` is where children reach this node."""

    token: JoinTokenSummary
    text: str
    fingerprint: str
    port: int


class Succession(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another authority; children may take ``overlap_s`` to follow."""

    overlap_s: Annotated[int, Meta(ge=0, le=MAX_OVERLAP_S)] = OVERLAP_S


class TreeLine(msgspec.Struct, frozen=True):
    """One stream of one node: produced = here + pending + dropped, when ``balanced``.

    Attributes:
        produced: Records that its node had made ``age_s`` ago; as many as are known, when it was never ``counted``.
        here: Of them, those that came here.
        landed: Of those, the ones in the lake; null where there is none.
        pending: On their way, at the nodes of ``at``.
        dropped: In ledgers.
        missing: Handed over, and not where they were handed to.
        problems: What does not add up.
    """

    node: str
    stream: str
    produced: int
    here: int
    landed: int | None
    pending: int
    at: dict[str, int]
    dropped: int
    missing: int
    counted: bool
    age_s: float
    balanced: bool
    problems: list[str]


class TreeAudit(msgspec.Struct, frozen=True):
    """The audit of this node and all below it.

    Attributes:
        balanced: Whether every record that is known of is accounted for.
        lines: By node and stream; those that do not balance first. At most 10,000.
        unheard: Nodes that never counted anything, so what they hold is not known.
    """

    balanced: bool
    lines: list[TreeLine]
    unheard: list[str]


@get("/v1/journal/audit/tree", tags=_TAGS)
@blocking
def audit_tree(context: Injected) -> TreeAudit:
    """Proves over the whole tree that every record is here, on its way, or in a ledger with its reason.

    What nodes below hold is as they counted it with their newest report.
    """
    node, parenting = context.node, context.node.parenting
    counted, nodes = (parenting.reports.counted() if parenting else []), _census(context)
    root = node.settings.node.name
    proof = prove(node.journal.audit(), counted, root=root, parents=parents_of(nodes), ages=ages_of(nodes))
    lines = sorted(proof.lines, key=lambda line: line.balanced)[:_MAX_LINES]
    return TreeAudit(proof.balanced, [_tree_line(line) for line in lines], list(proof.unheard))


@get("/v1/nodes", tags=_TAGS)
@blocking
def list_nodes(
    context: Injected,
    where: Annotated[str, QueryParameter(max_length=MAX_SELECTOR)] = "",
    status: FromQuery[Status | None] = None,
    after: Annotated[str, QueryParameter(max_length=64)] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_NODES_LIMIT)] = 200,
) -> NodeList:
    """The nodes below this one and how they are; ``where`` selects by labels: ``site=hall,role!=camera``."""
    selector = parse(where)
    selected = [node for node in _census(context) if selector.matches(node.labels)]
    counts = {each: sum(node.health.status is each for node in selected) for each in Status}
    listed = [node for node in selected if node.name > after and status in {None, node.health.status}]
    name = context.node.settings.node.name
    page = [_summary(node, root=name) for node in listed[:limit]]
    return NodeList(name, page, page[-1].name if len(listed) > limit else "", counts)


@get("/v1/nodes/{name:str}", tags=_TAGS)
@blocking
def read_node(name: FromPath[str], context: Injected) -> NodeDetail:
    """A node: how it is, what it runs, and what is right below it."""
    nodes = _census(context)
    state = _state(name, nodes, context)
    root = context.node.settings.node.name
    return NodeDetail(_summary(state, root=root), state.report, [each.name for each in below(nodes, name)][:_MAX_BELOW])


@patch("/v1/nodes/{name:str}", tags=_TAGS)
@blocking
def change_node(
    name: FromPath[str], data: JSONBody[NodeChange], context: Injected, request: Request[Any, Any, Any]
) -> NodeSummary:
    """Changes the labels of a node below this one. What is said here counts over what nodes further down say of it, key
    by key; also that a key is not there.
    """
    note(request, node=name, labels=data.labels)
    _parenting(context, name).label(name, data.labels)
    return _summary(_state(name, _census(context), context), root=context.node.settings.node.name)


@delete("/v1/nodes/{name:str}", tags=_TAGS, status_code=200)
@blocking
def remove_node(name: FromPath[str], context: Injected, request: Request[Any, Any, Any]) -> Removed:
    """Removes a child: nothing is taken from it any more; what it sent stays. To come back it needs a new token.

    A node further down is forgotten, until its parent brings it again.
    """
    note(request, node=name)
    gone = _parenting(context, name).remove(name)
    note(request, removed=sorted(gone))
    return Removed(sorted(gone))


@get("/v1/join-tokens", tags=_TAGS)
@blocking
def list_join_tokens(context: Injected) -> JoinTokenList:
    """Join tokens, but for their secrets."""
    parenting = context.node.parenting
    return JoinTokenList([_token(each) for each in parenting.fleet.invitations()] if parenting else [])


@post("/v1/join-tokens", tags=_TAGS)
@blocking
def create_join_token(
    data: JSONBody[JoinTokenRequest], context: Injected, request: Request[Any, Any, Any]
) -> Response[NewJoinToken]:
    """Makes a token with which one node may join, once. Its text is told this once."""
    parenting = _parenting(context)
    fingerprint = parenting.authority.fingerprint
    token = parenting.fleet.invite(
        fingerprint, random=secrets.token_bytes, valid_s=data.valid_s, node=data.name, labels=data.labels
    )
    made = _token(parenting.fleet.invitation(token.secret))
    note(request, token=made.id, node=data.name, labels=data.labels)
    answer = NewJoinToken(made, token.text, fingerprint, parenting.port)
    return Response(answer, status_code=201, headers={"cache-control": "no-store"})


@delete("/v1/join-tokens/{token_id:str}", tags=_TAGS, status_code=204)
@blocking
def revoke_join_token(token_id: FromPath[str], context: Injected, request: Request[Any, Any, Any]) -> None:
    """Makes a join token worth nothing; who joined with it stays."""
    note(request, token=token_id)
    _parenting(context).fleet.withdraw(token_id)


@get("/v1/authority", tags=_TAGS)
@blocking
def read_authority(context: Injected) -> Standing:
    """The authority by which children know this node, and which of them have not followed it yet."""
    fleet = _parenting(context).fleet
    return look(authority_folder(context.node.settings), fleet, clock=context.node.clock)


@post("/v1/authority/successor", tags=_TAGS)
@blocking
def rotate_authority(data: JSONBody[Succession], context: Injected, request: Request[Any, Any, Any]) -> Standing:
    """Puts another authority in this one's place. Children that are connected follow within a minute, others when they
    are back; who stays away for longer than the overlap has to join again.
    """
    fleet, folder = _parenting(context).fleet, authority_folder(context.node.settings)
    standing = rotate(folder, fleet, clock=context.node.clock, overlap_s=data.overlap_s)
    note(request, fingerprint=standing.fingerprint, until_ns=standing.until_ns)
    return standing


def _census(context: Context) -> list[NodeState]:
    parenting = context.node.parenting
    if parenting is None:
        return []
    root = context.node.settings.node.name
    return census(parenting.fleet, parenting.reports.newest(), root=root, heard_s=parenting.heard_s())


def _state(name: str, nodes: list[NodeState], context: Context) -> NodeState:
    """What is known of a node; this one included.

    Raises:
        NotFoundError: There is none of that name.
    """
    if name == context.node.settings.node.name:
        return own_state(make_report(context.node))
    for node in nodes:
        if node.name == name:
            return node
    raise NotFoundError(f"No node is named {name[:64]!r}", hint="GET /v1/nodes", kind="node", name=name[:64])


def _parenting(context: Context, name: str = "") -> Parenting:
    """What this node is to its children.

    Raises:
        NotFoundError: It takes none.
    """
    if context.node.parenting:
        return context.node.parenting
    raise NotFoundError(
        "This node takes no children", hint="Add to edgewise.yaml: https: {port: 8471}", kind="node", name=name[:64]
    )


def _summary(node: NodeState, *, root: str) -> NodeSummary:
    report = node.report or Report(node.name)
    known = node.report is not None
    return NodeSummary(
        name=node.name,
        parent=node.parent,
        child=node.parent == root,
        labels=node.labels,
        joined_ns=node.joined_ns,
        status=node.health.status,
        reasons=list(node.health.reasons),
        age_s=round(node.age_s, 1) if node.age_s >= 0 else None,
        version=report.version,
        uptime_s=report.uptime_s,
        pending=report.journal.pending,
        dropped=report.journal.dropped,
        cpu=report.resources.cpu if known else None,
        rss_bytes=report.resources.rss_bytes,
        usage=UsageSeries([each.cpu for each in node.usage], [each.rss_bytes for each in node.usage]),
    )


def _tree_line(line: Line) -> TreeLine:
    return TreeLine(
        node=line.node,
        stream=line.stream,
        produced=line.produced,
        here=line.here,
        landed=line.landed,
        pending=line.pending,
        at={hop.node: hop.pending for hop in line.at},
        dropped=line.dropped,
        missing=line.missing,
        counted=line.counted,
        age_s=round(line.age_s, 1),
        balanced=line.balanced,
        problems=list(line.problems),
    )


def _token(invitation: Invitation) -> JoinTokenSummary:
    return JoinTokenSummary(
        invitation.id, invitation.node, invitation.labels, invitation.expires_ns, bool(invitation.used_by)
    )


HANDLERS = (
    audit_tree,
    list_nodes,
    read_node,
    change_node,
    remove_node,
    list_join_tokens,
    create_join_token,
    revoke_join_token,
    read_authority,
    rotate_authority,
)
