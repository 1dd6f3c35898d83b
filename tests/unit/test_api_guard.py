"""Who may call and what: tokens, sessions and roles, name of the host, and other sites' pages."""

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.accounts.directory import Directory
from edgewise.accounts.permissions import Permission, Via
from edgewise.api.errors import CrossSiteError, HeadersError, MethodError
from edgewise.api.guard import COOKIE, MAX_HEADER_BYTES, Guard, session_of
from edgewise.api.wire import Request
from edgewise.errors import AccessError, ForbiddenError, NotFoundError, UnavailableError
from edgewise.testing.accounts import PASSWORD, PEOPLE, add_people, open_accounts

TOKEN = "correct horse"


async def _unused(*_: object) -> None:
    raise AssertionError


def request(method: str = "GET", path: str = "/v1/models", **headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"method": method, "path": path, "headers": pairs}, _unused, _unused)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8470", "[::1]:8470", "LOCALHOST:1", "porch.lan", ""])
def test_own_names_are_answered(host: str) -> None:
    Guard(hosts=["porch.lan"]).check(request(host=host))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8470", "127.0.0.1.evil.example", "localhost.evil"])
def test_a_name_that_another_site_points_here_is_refused(host: str) -> None:
    with pytest.raises(CrossSiteError):
        Guard().check(request(host=host))


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_another_sites_page_changes_nothing(headers: dict[str, str]) -> None:
    with pytest.raises(CrossSiteError):
        Guard().check(request("POST", host="localhost:8470", **headers))


def test_the_consoles_own_page_and_programs_may_change_things() -> None:
    guard = Guard()
    own = {"origin": "http://localhost:8470", "sec_fetch_site": "same-origin"}
    guard.check(request("POST", "/v1/rules/test", host="localhost:8470", **own))
    guard.check(request("POST", "/v1/rules/test", host="localhost:8470"))


def test_another_sites_page_cannot_show_pictures_but_may_link_here() -> None:
    guard = Guard()
    with pytest.raises(CrossSiteError):
        guard.check(request(sec_fetch_site="cross-site", sec_fetch_mode="no-cors"))
    guard.check(request(sec_fetch_site="cross-site", sec_fetch_mode="navigate"))


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer {TOKEN}"},
        {"cookie": f"{COOKIE}={session_of(TOKEN)}"},
    ],
)
def test_the_token_opens_by_header_and_by_cookie(headers: dict[str, str]) -> None:
    Guard(token=TOKEN).check(request(**headers))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer ñ"},
        {"cookie": f"{COOKIE}={TOKEN}"},
        {"cookie": f"{COOKIE}="},
        {"cookie": "=;;edgewise_session"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/events/stream", "/v1/cameras/door/live", "/metrics", "/v2/models/m/infer"])
def test_without_the_token_nothing_is_given(path: str, headers: dict[str, str]) -> None:
    with pytest.raises(AccessError):
        Guard(token=TOKEN).check(request(path=path, **headers))


@pytest.mark.parametrize("path", ["/v1/health", "/v2/health/live", "/v2/health/ready", "/v1/session", "/", "/app.js"])
def test_probes_and_the_consoles_files_work_without_it(path: str) -> None:
    Guard(token=TOKEN).check(request(path=path))


def test_huge_headers_are_refused() -> None:
    with pytest.raises(HeadersError):
        Guard().check(request(x_filler="x" * MAX_HEADER_BYTES))


class House:
    """A guard with accounts for an admin, an operator and a viewer."""

    def __init__(self, **options: object) -> None:
        self.clock = ManualClock()
        self.accounts: Directory = open_accounts(clock=self.clock)
        self.guard = Guard(directory=self.accounts, clock=self.clock, **options)

    def cookie(self, name: str) -> dict[str, str]:
        """The cookie of somebody who signs in."""
        return {"cookie": f"{COOKIE}={self.accounts.sign_in(name, PASSWORD, address='127.0.0.1')[1]}"}


@pytest.fixture
def house() -> House:
    house = House()
    add_people(house.accounts)
    return house


def test_on_the_loopback_everybody_is_the_admin_until_there_is_an_account() -> None:
    house = House()
    passed = house.guard.check(request("GET", "/v1/accounts", host="localhost"))
    assert passed.principal
    assert passed.principal.via is Via.LOOPBACK
    add_people(house.accounts)
    assert not house.guard.holds(passed)
    with pytest.raises(AccessError):
        house.guard.check(request("GET", "/v1/accounts", host="localhost"))


def test_a_node_that_others_reach_trusts_nobody_even_without_accounts() -> None:
    house = House(trusts_loopback=False)
    with pytest.raises(AccessError):
        house.guard.check(request("GET", "/v1/models", host="porch.lan"))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/devices", {"vera", "olga", "ada"}),
        ("POST", "/v2/models/echo/infer", {"vera", "olga", "ada"}),
        ("POST", "/v1/devices/front/commands", {"olga", "ada"}),
        ("DELETE", "/v1/people/ada", {"ada"}),
        ("GET", "/v1/audit", {"ada"}),
        ("PATCH", "/v1/accounts/vera", {"ada"}),
    ],
)
def test_a_role_may_what_it_is_for(house: House, method: str, path: str, allowed: set[str]) -> None:
    for name in PEOPLE:
        made = request(method, path, **house.cookie(name))
        if name in allowed:
            house.guard.check(made)
        else:
            with pytest.raises(ForbiddenError):
                house.guard.check(made)


def test_the_token_of_the_file_goes_on_beside_accounts() -> None:
    house = House(token=TOKEN)
    add_people(house.accounts)
    for headers in ({"authorization": f"Bearer {TOKEN}"}, {"cookie": f"{COOKIE}={session_of(TOKEN)}"}):
        passed = house.guard.check(request("GET", "/v1/accounts", **headers))
        assert passed.principal
        assert passed.principal.via is Via.TOKEN_FILE
    with pytest.raises(AccessError):
        house.guard.check(request("GET", "/v1/accounts", authorization=f"Bearer {TOKEN}x"))


def test_an_api_token_passes_until_it_is_revoked_or_its_account_disabled(house: House) -> None:
    def shown(secret: str) -> Request:
        return request("GET", "/v1/devices", authorization=f"Bearer {secret}")

    token, secret = house.accounts.change(lambda store: store.add_token("olga", "a", [Permission.READ]))
    _, other = house.accounts.change(lambda store: store.add_token("olga", "b", [Permission.PREDICT]))
    passed = house.guard.check(shown(secret))
    assert house.guard.holds(passed)
    with pytest.raises(ForbiddenError):
        house.guard.check(shown(other))
    house.accounts.change(lambda store: store.revoke_token(token.id))
    assert not house.guard.holds(passed)
    with pytest.raises(AccessError):
        house.guard.check(shown(secret))
    house.accounts.change(lambda store: store.set_disabled("olga", disabled=True))
    with pytest.raises(AccessError):
        house.guard.check(shown(other))


def test_what_was_found_out_holds_for_a_minute_and_never_past_its_end(house: House) -> None:
    passed = house.guard.check(request(**house.cookie("vera")))
    house.clock.advance(59)
    assert house.guard.holds(passed)
    house.clock.advance(1)
    assert not house.guard.holds(passed)
    _, secret = house.accounts.change(lambda store: store.add_token("vera", "a", [Permission.READ], valid_s=10))
    passed = house.guard.check(request(authorization=f"Bearer {secret}"))
    house.clock.advance(10)
    assert not house.guard.holds(passed)


def test_a_path_that_is_in_no_table_is_nobodys_and_strangers_do_not_learn_which_are(house: House) -> None:
    for method, path, error in (("GET", "/v1/nothing", NotFoundError), ("PUT", "/v1/devices", MethodError)):
        with pytest.raises(AccessError):
            house.guard.check(request(method, path))
        with pytest.raises(error):
            house.guard.check(request(method, path, **house.cookie("ada")))


def test_when_accounts_cannot_be_asked_probes_are_answered_and_nobody_is_known(house: House) -> None:
    cookie = house.cookie("ada")
    house.clock.advance(61)
    assert house.guard.check(request("GET", "/v1/health", **cookie)).principal is None
    with pytest.raises(UnavailableError):
        house.guard.check(request("GET", "/v1/devices", **cookie))
