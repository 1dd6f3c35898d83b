"""Who may call: token, name of the host, and other sites' pages."""

import pytest

from edgewise.api.errors import CrossSiteError, HeadersError
from edgewise.api.guard import COOKIE, MAX_HEADER_BYTES, Guard, session_of
from edgewise.api.wire import Request
from edgewise.errors import AccessError

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
    guard.check(request("POST", host="localhost:8470", origin="http://localhost:8470", sec_fetch_site="same-origin"))
    guard.check(request("POST", host="localhost:8470"))


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
