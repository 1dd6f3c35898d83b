"""The page on the fleet: its commands are taken, and what it says of statuses and routes is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from edgewise.accounts.permissions import ROUTES
from edgewise.cli import app
from edgewise.fleet.health import GONE, HOT_C, LATE, LOW_DISK_BYTES, Status
from edgewise.fleet.selector import parse
from edgewise.link.budget import Budget, BudgetSettings, Priority
from edgewise.link.reports import EVERY_S, METERED_EVERY_S
from edgewise.link.spending import REST_S

PAGE = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text()
COMMANDS = re.findall(r"^\$ edgewise (.*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_is_taken(command: str) -> None:
    app.parse_args(shlex.split(command), print_error=False, exit_on_error=False)


def test_statuses_and_their_bounds_are_as_told() -> None:
    assert [line.split("`")[1] for line in PAGE.splitlines() if re.match(r"\| `(ok|late|failing|gone)`", line)] == list(
        Status
    )
    assert (LATE, GONE, HOT_C, LOW_DISK_BYTES) == (2.5, 8, 90.0, 200_000_000)
    assert (EVERY_S, METERED_EVERY_S) == (15.0, 300.0)


def test_what_may_use_which_part_of_the_bytes_is_as_told() -> None:
    table = PAGE.partition("| of `bytes_per_day` |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (\d+) % \|.*\| (.*) \|$", table, re.MULTILINE)
    day, metered = BudgetSettings(bytes_per_day=100), BudgetSettings(metered=True)
    assert [(int(part), goes == "goes") for part, goes in rows] == [
        (Budget().left(each, day, 0), Budget().left(each, metered, 0) is None) for each in reversed(Priority)
    ]
    assert REST_S == 300.0


def test_the_terms_of_the_page_are_selectors() -> None:
    table = PAGE.partition("| term |")[2].partition("\n\n")[0]
    terms = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(terms) == 4
    assert len(parse(",".join(terms)).terms) == 4


def test_the_routes_of_the_page_need_what_it_says() -> None:
    table = PAGE.partition("| route |")[2].partition("\n\n")[0]
    told = re.findall(r"^\| (`[^|]+`) \|[^|]+\| `(\w+)` \|", table, re.MULTILINE)
    assert len(told) == 10
    known = {(route.method, re.sub(r"\{\w+\}", "{}", route.path)): route.permission for route in ROUTES}
    for words, permission in told:
        path = re.search(r"/[^`?]+", words)
        assert path
        for method in re.findall(r"[A-Z]{3,}(?=[`\s])", words.replace("NAME", "")):
            assert known[method, re.sub(r"\{\w+\}", "{}", path[0])] == permission
