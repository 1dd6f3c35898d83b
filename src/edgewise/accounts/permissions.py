"""What each caller may do: pure, and all of it on this page.

``ROUTES`` is the whole of it: a request whose method and path stand in no row is refused. A row of kind ``changes`` is
written into the audit log under that name, whatever came of it. A row of kind ``asks`` changes nothing, and is written
into the stream of queries: it reaches all that was ever recorded of anybody, so who asked what has to be told.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import msgspec


class Permission(enum.StrEnum):
    """What can be allowed, to a role or to a token.

    ``predict``: run models. ``read``: see everything but the accounts and the audit log. ``operate``: command devices,
    feed sources, load models, try rules. ``admin``: say who is known, who may use the node, and read the audit log.
    """

    PREDICT = "predict"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


class Role(enum.StrEnum):
    """What an account is for; each role may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


_P = Permission
ALLOWED: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({_P.PREDICT, _P.READ}),
    Role.OPERATOR: frozenset({_P.PREDICT, _P.READ, _P.OPERATE}),
    Role.ADMIN: frozenset(_P),
}


class Via(enum.StrEnum):
    """How a caller showed who they are."""

    SESSION = "session"
    API_TOKEN = "api_token"  # noqa: S105, the name of a way, no secret
    TOKEN_FILE = "token_file"  # noqa: S105, the same
    LOOPBACK = "loopback"
    PARENT = "parent"


class Principal(msgspec.Struct, frozen=True):
    """Who calls.

    Attributes:
        name: Of the account; of who has none, ``via`` says enough.
        role: Of the account.
        via: How they showed it.
        scopes: What the token is limited to; None for no token, which is limited by the role alone.
        disabled: The account may do nothing.
        expires_ns: When this way in ends, nanoseconds since the Unix epoch; 0 for never.
        credential: Which session or token it is: its digest, not itself.
    """

    name: str
    role: Role
    via: Via
    scopes: frozenset[Permission] | None = None
    disabled: bool = False
    expires_ns: int = 0
    credential: str = ""

    def permissions(self, *, now_ns: int) -> frozenset[Permission]:
        """All they may do now."""
        if self.disabled or 0 < self.expires_ns <= now_ns:
            return frozenset()
        allowed = ALLOWED[self.role]
        return allowed if self.scopes is None else allowed & self.scopes


def may(principal: Principal | None, permission: Permission | None, *, now_ns: int) -> bool:
    """Whether somebody may do something now. Nobody may do anything but what needs no permission (None)."""
    if permission is None:
        return True
    return principal is not None and permission in principal.permissions(now_ns=now_ns)


class Route(NamedTuple):
    """One row: ``permission`` None is for everybody, also without signing in; ``changes`` and ``asks`` name what is
    recorded.
    """

    method: str
    path: str
    permission: Permission | None
    changes: str = ""
    asks: str = ""


_READ, _OPERATE, _ADMIN, _PREDICT = _P.READ, _P.OPERATE, _P.ADMIN, _P.PREDICT
ROUTES: tuple[Route, ...] = (
    # Probes, and signing in, come before anybody is known.
    Route("GET", "/v1/health", None),
    Route("GET", "/v2/health/live", None),
    Route("GET", "/v2/health/ready", None),
    Route("GET", "/v1/session", None),
    Route("POST", "/v1/session", None, "session.began"),
    Route("DELETE", "/v1/session", None, "session.ended"),
    Route("PUT", "/v1/session/password", _READ, "session.password"),
    # Models and inference.
    Route("GET", "/v2", _PREDICT),
    Route("GET", "/v2/models/stats", _PREDICT),
    Route("POST", "/v2/repository/index", _PREDICT),
    Route("POST", "/v2/repository/models/{name}/load", _OPERATE, "models.loaded"),
    Route("POST", "/v2/repository/models/{name}/unload", _OPERATE, "models.unloaded"),
    Route("GET", "/v2/models/{name}", _PREDICT),
    Route("GET", "/v2/models/{name}/ready", _PREDICT),
    Route("GET", "/v2/models/{name}/config", _PREDICT),
    Route("GET", "/v2/models/{name}/stats", _PREDICT),
    Route("POST", "/v2/models/{name}/infer", _PREDICT),
    Route("GET", "/v2/models/{name}/versions/{version}", _PREDICT),
    Route("GET", "/v2/models/{name}/versions/{version}/ready", _PREDICT),
    Route("GET", "/v2/models/{name}/versions/{version}/config", _PREDICT),
    Route("GET", "/v2/models/{name}/versions/{version}/stats", _PREDICT),
    Route("POST", "/v2/models/{name}/versions/{version}/infer", _PREDICT),
    Route("POST", "/v1/models/{name}/predict", _PREDICT),
    Route("POST", "/v1/spread/v1/models/{name}/predict", _PREDICT),
    Route("POST", "/v1/spread/v2/models/{name}/infer", _PREDICT),
    Route("POST", "/v1/spread/v2/models/{name}/versions/{version}/infer", _PREDICT),
    Route("GET", "/v1/models", _READ),
    Route("GET", "/v1/models/{name}", _READ),
    # What is seen and what happened. The stream of audit records needs more; its handlers say so.
    Route("GET", "/v1/cameras", _READ),
    Route("GET", "/v1/cameras/{name}", _READ),
    Route("GET", "/v1/cameras/{name}/snapshot", _READ),
    Route("GET", "/v1/cameras/{name}/live", _READ),
    Route("POST", "/v1/cameras/{name}/webrtc", _READ),
    Route("DELETE", "/v1/cameras/{name}/webrtc/{call_name}", _READ),
    Route("GET", "/v1/observations/stream", _READ),
    Route("GET", "/v1/events", _READ),
    Route("GET", "/v1/events/stream", _READ),
    Route("GET", "/v1/events/{sequence}/why", _READ),
    Route("GET", "/v1/decisions/audit", _READ),
    Route("GET", "/v1/journal/audit", _READ),
    Route("GET", "/v1/snapshots/{digest}", _READ),
    Route("GET", "/v1/blobs/{digest}", _READ),
    Route("GET", "/v1/clips", _READ),
    Route("GET", "/v1/clips/{name}", _READ),
    Route("GET", "/v1/clips/{name}/video", _READ),
    Route("GET", "/v1/devices", _READ),
    Route("GET", "/v1/devices/{name}", _READ),
    Route("GET", "/v1/rules", _READ),
    Route("GET", "/v1/people", _READ),
    Route("GET", "/v1/people/{name}", _READ),
    Route("GET", "/v1/people/{name}/photo", _READ),
    Route("GET", "/v1/settings/face-threshold", _READ),
    Route("GET", "/v1/system", _READ),
    Route("GET", "/v1/nodes/{name}/desired", _READ),
    Route("GET", "/v1/nodes/{name}/state", _READ),
    Route("GET", "/v1/labels/{label}/desired", _READ),
    Route("GET", "/metrics", _READ),
    Route("GET", "/schema", _READ),
    Route("GET", "/schema/openapi.json", _READ),
    # SQL over all of that: whoever may see each part of it may ask for it at once, but for what only admins see, which
    # their queries alone do.
    Route("GET", "/v1/tables", _READ),
    Route("POST", "/v1/query", _READ, asks="lake.queried"),
    Route("POST", "/v1/query/export", _READ, asks="lake.exported"),
    # What acts. Pictures and readings are data, which the journal holds as such; they are no change of the node.
    Route("POST", "/v1/devices/{name}/commands", _OPERATE, "devices.commanded"),
    Route("DELETE", "/v1/devices/{name}/hold", _OPERATE, "devices.released"),
    Route("POST", "/v1/cameras/{name}/frames", _OPERATE),
    Route("POST", "/v1/sources/{name}/readings", _OPERATE),
    Route("POST", "/v1/rules/test", _OPERATE),
    # Whom the node knows opens doors, so who says it is an admin.
    Route("POST", "/v1/people", _ADMIN, "people.enrolled"),
    Route("PATCH", "/v1/people/{name}", _ADMIN, "people.changed"),
    Route("DELETE", "/v1/people/{name}", _ADMIN, "people.removed"),
    Route("PUT", "/v1/settings/face-threshold", _ADMIN, "settings.face_threshold"),
    # Who says what a node looks at and what it does about it opens doors too.
    Route("PUT", "/v1/nodes/{name}/desired", _ADMIN, "nodes.desired"),
    Route("PUT", "/v1/labels/{label}/desired", _ADMIN, "labels.desired"),
    Route("GET", "/v1/accounts", _ADMIN),
    Route("POST", "/v1/accounts", _ADMIN, "accounts.added"),
    Route("PATCH", "/v1/accounts/{name}", _ADMIN, "accounts.changed"),
    Route("DELETE", "/v1/accounts/{name}", _ADMIN, "accounts.removed"),
    Route("DELETE", "/v1/accounts/{name}/sessions", _ADMIN, "accounts.signed_out"),
    Route("GET", "/v1/tokens", _ADMIN),
    Route("POST", "/v1/tokens", _ADMIN, "tokens.created"),
    Route("DELETE", "/v1/tokens/{token_id}", _ADMIN, "tokens.revoked"),
    Route("GET", "/v1/audit", _ADMIN),
    # The nodes below this one: who they are is an admin's to say.
    Route("GET", "/v1/nodes", _READ),
    Route("GET", "/v1/nodes/{name}", _READ),
    Route("PATCH", "/v1/nodes/{name}", _ADMIN, "nodes.changed"),
    Route("DELETE", "/v1/nodes/{name}", _ADMIN, "nodes.removed"),
    Route("GET", "/v1/join-tokens", _ADMIN),
    Route("POST", "/v1/join-tokens", _ADMIN, "join_tokens.created"),
    Route("DELETE", "/v1/join-tokens/{token_id}", _ADMIN, "join_tokens.revoked"),
    Route("GET", "/v1/authority", _READ),
    Route("POST", "/v1/authority/successor", _ADMIN, "authority.rotated"),
    Route("GET", "/v1/journal/audit/tree", _READ),
)


_BELOW = "/v1/nodes/"
_MOST_HOPS = 8
_SIGNING_IN = "/v1/session"


def below(path: str) -> tuple[str, str] | None:
    """Of a path that another node is to answer (``/v1/nodes/door/v1/events``): its name, and the path there
    (``/v1/events``); None when it is another path.
    """
    if not path.startswith(_BELOW):
        return None
    name, _, rest = path[len(_BELOW) :].partition("/")
    return (name, f"/{rest}") if name and (rest == "v2" or rest.startswith(("v1/", "v2/"))) else None


@cache
def _by_length() -> dict[int, list[tuple[tuple[str, ...], Route]]]:
    rows: dict[int, list[tuple[tuple[str, ...], Route]]] = {}
    for route in ROUTES:
        parts = tuple(route.path.split("/"))
        rows.setdefault(len(parts), []).append((parts, route))
    for listed in rows.values():  # a word binds more than a name in its place
        listed.sort(key=lambda row: [part.startswith("{") for part in row[0]])
    return rows


def routes_of(path: str) -> list[Route]:
    """The rows of a path, the most exact first; those of the first one's path are the ones that count."""
    if (inner := _innermost(path)) is not None:
        return [] if inner.startswith(_SIGNING_IN) else [_for_some(route) for route in routes_of(inner)]
    parts = (path.rstrip("/") or "/").split("/")
    found = [route for pattern, route in _by_length().get(len(parts), ()) if _fits(pattern, parts)]
    return [route for route in found if route.path == found[0].path]


def find_route(method: str, path: str) -> Route | None:
    """The row of a request; None when there is none, and so nobody may. HEAD is GET without a body.

    What another node is to answer needs the permission that it needs there, and at least ``read``:
    strangers do not learn what is below a node. Nobody signs in at another node.
    """
    wanted = "GET" if method == "HEAD" else method
    return next((route for route in routes_of(path) if route.method == wanted), None)


def _innermost(path: str) -> str | None:
    """The path at the node that answers in the end; None when this one does. Past ``_MOST_HOPS`` it is no path."""
    inner = None
    for _ in range(_MOST_HOPS):
        if (found := below(path)) is None:
            return inner
        inner = path = found[1]
    return "/"


def _for_some(route: Route) -> Route:
    return route if route.permission is not None else route._replace(permission=Permission.READ)


def _fits(pattern: Iterable[str], parts: Iterable[str]) -> bool:
    return all(one == other or (one.startswith("{") and other) for one, other in zip(pattern, parts, strict=True))
