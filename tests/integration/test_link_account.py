"""Whatever calls the parent is on one account, and stays within its part of the day: over real TLS, at a real node."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from edgewise._lib.clock import SystemClock
from edgewise.errors import UnavailableError
from edgewise.link.base import encode
from edgewise.link.budget import BudgetSettings, Priority
from edgewise.link.consult import Consulting
from edgewise.link.desired import Fetching, Handed, Report, Reporting
from edgewise.link.fetching import BlobFetch
from edgewise.link.membership import LinkFolder
from edgewise.link.relay import Answering, Piece, Relay
from edgewise.link.way import Way
from edgewise.link.work import POLL_S, Asked, Poll
from edgewise.media.images import encode_jpeg
from edgewise.testing.tree import Member, until
from edgewise.trust.joining import JoinToken

MODEL = "cifar10-resnet"
CLOCK = SystemClock()
OPEN = BudgetSettings()


@pytest.fixture(scope="module")
def center(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    center = Member(tmp_path_factory.mktemp("tree") / "center", "center")
    with center.node:
        yield center


class Door:
    """A child without a node around it: its way to the center, and the figure that a person sees."""

    def __init__(self, folder: Path, center: Member, name: str, budget: BudgetSettings) -> None:
        link = LinkFolder(folder)
        token = JoinToken.parse(center.command("token", "create"))
        link.join(f"https://127.0.0.1:{center.https}", token, node=name, journal=secrets.token_hex(16))
        assert link.membership
        self.link = link
        self.name = name
        self.center = center
        self.way = Way(link, link.membership, budget=budget, clock=CLOCK)

    @property
    def used(self) -> int:
        return self.way.spending.used_today

    @property
    def url(self) -> str:
        return f"{self.center.node.address}/v1/nodes/{self.name}/v1/events"

    def ask(self) -> httpx.Response:
        return httpx.get(self.url, timeout=60)

    def answered(self) -> bytes:
        """An answer, once the center knows that the child is there."""
        return until(lambda: (answer := self.ask()).status_code == 200 and answer.content, patience_s=30) or b""

    @contextlib.contextmanager
    def answering(self, make: Callable[[Asked], Answering]) -> Iterator[Relay]:
        relay = Relay(
            connect=self.way.connect,
            spending=self.way.spending,
            perform=make,
            most=2,
            workers=1,
            brings=None,
            clock=CLOCK,
            random=lambda: 0.0,
        )
        relay.start()
        try:
            until(lambda: self.used, patience_s=30)
            yield relay
        finally:
            relay.stop()

    def consulting(self) -> Consulting:
        way = self.way
        return Consulting(connect=way.connect, spending=way.spending, clock=CLOCK, random=lambda: 0.0)

    def fetching(self, take: Callable[[Handed], None]) -> Fetching:
        way = self.way
        return Fetching(
            connect=way.connect,
            spending=way.spending,
            position=lambda: "",
            take=take,
            clock=CLOCK,
            random=lambda: 0.0,
        )


@pytest.fixture
def join(center: Member, tmp_path: Path) -> Callable[..., Door]:
    def begin(name: str, **bounds: int | bool) -> Door:
        return Door(tmp_path / name, center, name, BudgetSettings(**bounds))  # type: ignore[arg-type]

    return begin


class Film:
    """An answer of so many pieces."""

    def __init__(self, *, pieces: int, size: int = 100_000) -> None:
        self.left = pieces
        self.size = size
        self.dropped = False

    def next(self) -> Piece:
        self.left -= 1
        return Piece(secrets.token_bytes(self.size), last=not self.left)

    def drop(self) -> None:
        self.dropped = True


def test_all_that_calls_the_parent_is_on_one_account_and_shows_one_token(join: Callable[..., Door]) -> None:
    door = join("one")
    taken: list[Handed] = []
    fetching = door.fetching(taken.append)
    fetching.start()
    until(lambda: taken, patience_s=30)
    fetching.stop()
    used = [door.used]

    reporting = Reporting(connect=door.way.connect, clock=CLOCK, random=lambda: 0.0)
    reporting.start()
    reporting.tell({"one": Report("one", "center", 1, "", True, 1)})
    until(lambda: door.used > used[-1], patience_s=30)
    reporting.stop()
    used.append(door.used)

    consulting = door.consulting()
    picture = encode_jpeg(np.random.default_rng(1).integers(0, 255, (200, 200, 3)).astype(np.uint8))
    assert until(lambda: consulting.ask(MODEL, picture, within_s=5), patience_s=60)
    consulting.stop()
    used.append(door.used)

    with door.answering(lambda _: Film(pieces=3)):
        assert len(door.answered()) == 300_000
    used.append(door.used)

    fetch = BlobFetch(CLOCK)
    fetch.attach(door.way.connect, door.way.spending)
    assert fetch("0" * 64) is None
    used.append(door.used)

    costs = [after - before for before, after in zip([0, *used], used, strict=False)]
    assert min(costs) > 300
    assert len(picture) < costs[2] < len(picture) * 2
    assert 300_000 < costs[3] < 320_000
    door.way.spending.keep()
    assert door.link.budget().used == door.used
    shared = [door.way.connect()._credentials for _ in range(3)]
    tokens = {each.token(each.prover, lambda _: "another") for each in shared}
    assert len(tokens) == 1
    assert "another" not in tokens


def test_who_watches_from_above_is_cut_off_and_told_when_the_bytes_are_used_up_and_alarms_have_theirs(
    join: Callable[..., Door],
) -> None:
    door = join("two", bytes_per_day=1_000_000)
    asked: list[Film] = []

    def perform(_: Asked) -> Film:
        asked.append(Film(pieces=10 if asked else 1000, size=3000))
        return asked[-1]

    seen = []
    with door.answering(perform):
        with (
            httpx.stream("GET", door.url, timeout=60) as live,
            pytest.raises(httpx.RemoteProtocolError),
        ):
            seen.extend(len(piece) for piece in live.iter_raw())
        assert 600_000 < sum(seen) < 900_000
        until(lambda: asked[0].dropped, patience_s=30)
        for _ in range(3):
            refused = door.ask()
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
            assert "bytes of two are used up" in refused.json()["error"]["message"]
            assert int(refused.headers["retry-after"]) > 0
        assert len(asked) == 1  # nothing was done of what was refused
        assert door.used < 910_000
        spending = door.way.spending
        assert (spending.left(Priority.ALARM) or 0) > (spending.left(Priority.EVENT) or 0) > 40_000
        assert not door.consulting().may_answer
        spending.bound(OPEN)
        assert len(door.answered()) == 30_000


def test_a_connection_that_is_ended_wakes_who_waits_and_is_not_made_anew(join: Callable[..., Door]) -> None:
    client = join("three").way.connect()
    client.call("GET", "/key")
    before = client.sent
    failed: list[UnavailableError] = []

    def wait() -> None:
        with pytest.raises(UnavailableError) as refusal:
            client.call("POST", "/work", encode(Poll(1)), wait_s=POLL_S)
        failed.append(refusal.value)

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: client.sent > before, patience_s=30)
    client.end()
    waiting.join(10)
    assert len(failed) == 1
    with pytest.raises(UnavailableError, match="ended"):
        client.call("GET", "/key")
    client.close()
