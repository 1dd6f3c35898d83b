"""Who may do what: roles only add, tokens only take away, and what has ended is worth nothing."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edgewise.accounts.permissions import ALLOWED, ROUTES, Permission, Principal, Role, Via, find_route, may, routes_of

ROLES = list(Role)
scopes = st.frozensets(st.sampled_from(Permission))
permissions = st.sampled_from(Permission)
moments = st.integers(0, 2**62)
principals = st.builds(
    Principal,
    name=st.just("ada"),
    role=st.sampled_from(Role),
    via=st.sampled_from(Via),
    scopes=st.none() | scopes,
    disabled=st.booleans(),
    expires_ns=moments,
)


in_force = st.builds(
    Principal, name=st.just("ada"), role=st.sampled_from(Role), via=st.sampled_from(Via), scopes=st.none() | scopes
)


def with_role(principal: Principal, role: Role) -> Principal:
    return Principal(
        principal.name, role, principal.via, principal.scopes, principal.disabled, principal.expires_ns, "x"
    )


@given(in_force | principals, permissions, moments)
def test_a_higher_role_may_all_that_a_lower_one_may(principal: Principal, permission: Permission, now_ns: int) -> None:
    answers = [may(with_role(principal, role), permission, now_ns=now_ns) for role in ROLES]
    assert answers == sorted(answers)


@given(in_force | principals, permissions, moments)
def test_a_token_never_exceeds_its_account_nor_its_scopes(
    principal: Principal, permission: Permission, now_ns: int
) -> None:
    if may(principal, permission, now_ns=now_ns):
        assert permission in ALLOWED[principal.role]
        assert principal.scopes is None or permission in principal.scopes


@given(principals, permissions, moments)
def test_what_is_disabled_or_has_expired_may_nothing(principal: Principal, permission: Permission, now_ns: int) -> None:
    if principal.disabled or 0 < principal.expires_ns <= now_ns:
        assert not may(principal, permission, now_ns=now_ns)


@given(permissions, moments)
def test_nobody_may_nothing_but_what_is_for_everybody(permission: Permission, now_ns: int) -> None:
    assert not may(None, permission, now_ns=now_ns)
    assert may(None, None, now_ns=now_ns)


def test_the_roles_are_what_the_page_on_accounts_says() -> None:
    assert {role: sorted(ALLOWED[role]) for role in Role} == {
        Role.VIEWER: ["predict", "read"],
        Role.OPERATOR: ["operate", "predict", "read"],
        Role.ADMIN: ["admin", "operate", "predict", "read"],
    }


def test_each_route_stands_in_the_table_once_and_is_found() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    for route in ROUTES:
        path = route.path.replace("{name}", "door").replace("{version}", "1.0.0").replace("{sequence}", "7")
        path = path.replace("{digest}", "ab").replace("{call_name}", "c").replace("{token_id}", "t")
        assert find_route(route.method, path) == route, route
        assert find_route(route.method, f"{path}/") == route
        assert find_route("HEAD", path) == (route if route.method == "GET" else find_route("GET", path))


def test_what_stands_nowhere_is_for_nobody() -> None:
    for method, path in (
        ("GET", "/v1/nothing"),
        ("POST", "/v1/health"),
        ("GET", "/v1/people//photo"),
        ("GET", "/v1//people"),
        ("OPTIONS", "/v1/people"),
        ("GET", "/"),
        ("GET", "/v1/people/a/b/c/d"),
    ):
        assert find_route(method, path) is None, path
    assert {route.method for route in routes_of("/v1/people/ada")} == {"GET", "PATCH", "DELETE"}
    assert [route.path for route in routes_of("/v2/models/stats")] == ["/v2/models/stats"]


def test_whatever_changes_something_is_recorded_but_data_and_calls() -> None:
    quiet = {route.path for route in ROUTES if route.method != "GET" and not (route.changes or route.asks)}
    assert quiet == {
        "/v1/cameras/{name}/webrtc",
        "/v1/cameras/{name}/webrtc/{call_name}",
        "/v1/cameras/{name}/frames",
        "/v1/sources/{name}/readings",
        "/v1/rules/test",
        "/v1/models/{name}/predict",
        "/v2/models/{name}/infer",
        "/v2/models/{name}/versions/{version}/infer",
        "/v2/repository/index",
        "/v1/spread/v1/models/{name}/predict",
        "/v1/spread/v2/models/{name}/infer",
        "/v1/spread/v2/models/{name}/versions/{version}/infer",
    }
    assert {route.path for route in ROUTES if route.asks} == {"/v1/query", "/v1/query/export"}
    named = [name for route in ROUTES for name in (route.changes, route.asks) if name]
    assert len(named) == len(set(named))
    assert all(route.permission is not Permission.READ for route in ROUTES if "accounts" in route.path)


def test_only_these_are_for_everybody() -> None:
    free = [(route.method, route.path) for route in ROUTES if route.permission is None]
    assert sorted(free) == [
        ("DELETE", "/v1/session"),
        ("GET", "/v1/health"),
        ("GET", "/v1/session"),
        ("GET", "/v2/health/live"),
        ("GET", "/v2/health/ready"),
        ("POST", "/v1/session"),
    ]
    assert all(a != b for a, b in itertools.pairwise(free))


def test_another_nodes_path_needs_what_it_needs_there() -> None:
    for route in ROUTES:
        if not route.path.startswith(("/v1/", "/v2")) or route.path.startswith("/v1/session"):
            continue
        for way in ("/v1/nodes/door", "/v1/nodes/gateway/v1/nodes/door"):
            found = find_route(route.method, way + route.path.replace("{name}", "x"))
            assert found is not None
            assert (found.permission, found.changes) == (route.permission or Permission.READ, route.changes)


def test_nobody_signs_in_at_another_node_and_no_other_path_leads_there() -> None:
    for path in ("/v1/session", "/v1/session/password", "/link/v1/hello", "/metrics", "/v1", "/v1/../v1/accounts"):
        for method in ("GET", "POST", "PUT", "DELETE"):
            assert find_route(method, f"/v1/nodes/door{path}") is None
    assert find_route("GET", "/v1/nodes//v1/events") is None
    assert find_route("GET", "/v1/nodes/door" * 9 + "/v1/events") is None
