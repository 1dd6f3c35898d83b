"""Files at addresses: whole, cut off, changed, too large, gone. The server is real, the faults are scripted."""

from __future__ import annotations

import http.server
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import NotFoundError, TooLargeError, UnavailableError
from edgewise.zoo.origins.base import Origin
from edgewise.zoo.origins.url import UrlFetcher

CONTENT = random.Random(7).randbytes(1_500_000)


class Site:
    """What the server does: its file, its validator, and per request where to cut the line."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag = '"v1"'
        self.cuts: list[int] = []
        self.status = 0
        self.honours_range = True
        self.states_length = True
        self.shift = 0
        self.location = ""
        self.requests: list[dict[str, str]] = []


class Handler(http.server.BaseHTTPRequestHandler):
    site: ClassVar[Site]

    def do_GET(self) -> None:
        site = self.site
        self.requests_seen(site)
        if site.status:
            self.send_error(site.status)
            return
        if site.location:
            self.send_response(302)
            self.send_header("Location", site.location)
            self.end_headers()
            return
        body, status = site.content, 200
        span = self.headers.get("Range", "")
        if span and site.honours_range and self.headers.get("If-Range") == site.etag:
            start = int(span.removeprefix("bytes=").removesuffix("-"))
            body, status = body[start:], 206
        self.send_response(status)
        if site.etag:
            self.send_header("ETag", site.etag)
        if status == 206:
            total = len(site.content)
            first = total - len(body) + site.shift
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        if site.states_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if site.cuts:
            body = body[: site.cuts.pop(0)]
        self.wfile.write(body)

    def requests_seen(self, site: Site) -> None:
        site.requests.append(dict(self.headers.items()))

    def log_message(self, *_: object) -> None:
        """Stays quiet."""


@pytest.fixture
def site() -> Iterator[tuple[Site, str]]:
    site = Site()
    handler = type("SiteHandler", (Handler,), {"site": site})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  a client that leaves early is meant
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield site, f"http://127.0.0.1:{server.server_port}/model.onnx"
    server.shutdown()
    server.server_close()
    thread.join()


def fetcher(**settings: object) -> tuple[UrlFetcher, list[float]]:
    waits: list[float] = []
    return UrlFetcher(sleep=waits.append, jitter=lambda: 1.0, **settings), waits  # type: ignore[arg-type]


def fetch(address: str, folder: Path, *, max_bytes: int = 2_000_000, **settings: object) -> bytes:
    origin = Origin("url", address, max_bytes=max_bytes)
    return fetcher(**settings)[0].fetch(origin, folder, lambda *_: None).read_bytes()


def test_a_file_arrives_whole_and_progress_is_told(site: tuple[Site, str], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = UrlFetcher().fetch(Origin("url", site[1]), tmp_path, lambda done, total: told.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("seed", range(5))
def test_a_line_cut_at_random_bytes_is_taken_up_where_it_broke(
    site: tuple[Site, str], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    site[0].cuts = [chance.randrange(1, 200_000) for _ in range(6)]
    cuts = list(site[0].cuts)
    assert fetch(site[1], tmp_path) == CONTENT
    offsets = [request.get("Range") for request in site[0].requests]
    assert offsets == [None, *(f"bytes={sum(cuts[: n + 1])}-" for n in range(6))]


def test_a_second_fetch_takes_up_what_a_killed_one_left(site: tuple[Site, str], tmp_path: Path) -> None:
    site[0].cuts = [400_000]
    with pytest.raises(UnavailableError, match="broke off at 400000 of 1500000"):
        fetch(site[1], tmp_path, attempts=1)
    assert fetch(site[1], tmp_path) == CONTENT
    assert site[0].requests[-1]["Range"] == "bytes=400000-"


def test_a_file_that_changed_meanwhile_starts_anew(site: tuple[Site, str], tmp_path: Path) -> None:
    site[0].cuts = [400_000]
    with pytest.raises(UnavailableError):
        fetch(site[1], tmp_path, attempts=1)
    site[0].content, site[0].etag = CONTENT[::-1], '"v2"'
    assert fetch(site[1], tmp_path) == CONTENT[::-1]


@pytest.mark.parametrize("unhelpful", ["no ranges", "weak validator", "no validator"])
def test_without_ranges_or_validator_every_attempt_starts_anew(
    site: tuple[Site, str], tmp_path: Path, unhelpful: str
) -> None:
    site[0].cuts = [300_000]
    if unhelpful == "no ranges":
        site[0].honours_range = False
    else:
        site[0].etag = 'W/"v1"' if unhelpful == "weak validator" else ""
    assert fetch(site[1], tmp_path) == CONTENT
    assert len(site[0].requests) == 2
    assert ("Range" in site[0].requests[1]) == (unhelpful == "no ranges")


def test_a_server_that_sends_another_range_is_not_believed(site: tuple[Site, str], tmp_path: Path) -> None:
    site[0].cuts = [300_000]
    site[0].shift = 5
    assert fetch(site[1], tmp_path) == CONTENT
    assert [request.get("Range") for request in site[0].requests] == [None, "bytes=300000-", None]


@pytest.mark.parametrize("stated", [True, False])
def test_a_file_past_the_bound_is_not_taken_and_not_kept(site: tuple[Site, str], tmp_path: Path, stated: bool) -> None:
    site[0].states_length = stated
    with pytest.raises(TooLargeError):
        fetch(site[1], tmp_path, max_bytes=1_000_000)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_not_asked_for_twice(site: tuple[Site, str], tmp_path: Path) -> None:
    site[0].status = 404
    with pytest.raises(NotFoundError, match="HTTP 404"):
        fetch(site[1], tmp_path)
    assert len(site[0].requests) == 1


def test_a_refusal_is_not_asked_for_twice(site: tuple[Site, str], tmp_path: Path) -> None:
    site[0].status = 403
    with pytest.raises(UnavailableError, match="HTTP 403"):
        fetch(site[1], tmp_path)
    assert len(site[0].requests) == 1


def test_a_busy_server_is_asked_again_after_longer_and_longer_waits(site: tuple[Site, str], tmp_path: Path) -> None:
    site[0].status = 503
    url, waits = fetcher(attempts=4)
    with pytest.raises(UnavailableError, match="HTTP 503"):
        url.fetch(Origin("url", site[1]), tmp_path, lambda *_: None)
    assert waits == [1.0, 2.0, 4.0]


def test_a_part_longer_than_the_file_is_thrown_away(site: tuple[Site, str], tmp_path: Path) -> None:
    site[0].cuts = [300_000]
    with pytest.raises(UnavailableError):
        fetch(site[1], tmp_path, attempts=1)
    site[0].status = 416
    url, _ = fetcher(attempts=2)

    def recovers(_: float) -> None:
        site[0].status = 0

    url._sleep = recovers
    assert url.fetch(Origin("url", site[1]), tmp_path, lambda *_: None).read_bytes() == CONTENT
    assert "Range" not in site[0].requests[-1]


def test_a_trickle_ends_at_the_deadline(site: tuple[Site, str], tmp_path: Path) -> None:
    clock = ManualClock()
    url, _ = fetcher(clock=clock, deadline_s=60.0)
    with pytest.raises(UnavailableError, match="not done after 60 s"):
        url.fetch(Origin("url", site[1]), tmp_path, lambda *_: clock.advance(50))


def test_a_name_that_does_not_resolve_is_not_tried_again(tmp_path: Path) -> None:
    url, waits = fetcher()
    with pytest.raises(UnavailableError, match=r"nowhere\.invalid"):
        url.fetch(Origin("url", "http://nowhere.invalid/x"), tmp_path, lambda *_: None)
    assert waits == []


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://127.0.0.1/x", "/etc/hostname"])
def test_only_the_web_is_fetched_from(address: str, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no address of the web"):
        fetch(address, tmp_path)


def test_a_redirect_does_not_lead_out_of_the_web(site: tuple[Site, str], tmp_path: Path) -> None:
    site[0].location = "file:///etc/hostname"
    with pytest.raises(UnavailableError):
        fetch(site[1], tmp_path)
