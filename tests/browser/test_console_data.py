"""Asking the lake at the console: a query is typed, its rows and a chart are seen, and taken along as a file."""

from __future__ import annotations

import csv
import datetime
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from edgewise.accounts.permissions import Permission
from edgewise.node.organs import open_account_store
from edgewise.node.settings import load
from edgewise.testing.accounts import PASSWORD, PEOPLE

pytestmark = pytest.mark.browser

SETTINGS = """
http: {port: 0}
lake: {gather_s: 0}
pipelines:
  boiler:
    source: {kind: readings}
"""
HOURS = 60
HOURLY = "SELECT time, channel, value FROM readings ORDER BY time"


@pytest.fixture(scope="module")
def center(start_node):
    """A node whose boiler told its temperature for sixty hours, all of it in the lake."""
    node = start_node(SETTINGS)
    start = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)
    readings = [
        {
            "time": (start + datetime.timedelta(hours=n)).isoformat(),
            "values": {"temperature": 60 + n % 24, "on": n % 3 > 0},
        }
        for n in range(HOURS)
    ]
    node.http.post("/v1/sources/boiler/readings", json=readings).raise_for_status()
    return node


@pytest.fixture
def visitor(visit, center):
    """Somebody new at its console, once everything has landed."""

    def landed() -> bool:
        tables = center.http.get("/v1/tables").json()["tables"]
        return any(table["name"] == "readings" and table["rows"] == 2 * HOURS for table in tables)

    visitor = visit(center)
    visitor.until(landed, "the readings do not land")
    return visitor


def write(visitor, sql: str) -> None:
    """Puts a query into the editor, in place of what stands there."""
    area = visitor.find("textarea")
    area.send_keys(Keys.CONTROL, "a")
    area.send_keys(Keys.NULL, sql)


def test_a_query_is_typed_its_rows_and_chart_are_seen_and_taken_along(visitor, tmp_path: Path) -> None:
    visitor.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    visitor.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Shanghai"})
    visitor.open("data")
    visitor.sees("readings", inside=".tables")
    write(visitor, HOURLY)
    visitor.keys(Keys.CONTROL, Keys.ENTER)
    visitor.sees("120 rows", inside=".result-head")
    assert visitor.count(".result tbody tr") == 50
    moment = visitor.find(".result tbody time")
    assert moment.text == "28 Nov 2026, 08:00:00"
    assert moment.get_attribute("title") == "2026-11-28 00:00:00 UTC"
    assert visitor.find(".result tbody td.number").value_of_css_property("text-align") == "right"
    visitor.sees("temperature", inside=".query-chart figcaption")
    visitor.sees("on", inside=".query-chart figcaption")
    assert visitor.find(".query-chart canvas").size["width"] > 300
    visitor.press("Rows after")
    visitor.sees("Rows 51 to 100 of 120", inside=".result-foot")
    visitor.press("CSV", inside=".result-export")
    visitor.sees("is saved", inside=".toasts")
    [file] = visitor.until(lambda: list(tmp_path.glob("query-*.csv")), "no file was saved")
    with open(file, newline="") as rows:
        assert [row[1] for row in csv.reader(rows)].count("temperature") == HOURS
    visitor.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


def test_a_text_and_a_number_are_bars_and_what_was_run_is_kept(visitor) -> None:
    visitor.open("data")
    write(visitor, "SELECT channel, count(*) AS n FROM readings GROUP BY channel")
    visitor.press("Run")
    visitor.until(lambda: visitor.count(".query-bars li") == 2, "there are no bars")
    visitor.open("data")
    assert "GROUP BY channel" in visitor.find("textarea").get_attribute("value")
    visitor.find(".editor summary").click()
    visitor.sees("SELECT channel", inside=".recent")
    visitor.press("Forget them")
    visitor.until(lambda: visitor.count(".recent") == 0, "they are still there")


def test_a_wrong_query_is_explained_and_a_long_one_can_be_stopped(visitor, center) -> None:
    visitor.expects_errors = True
    visitor.open("data")
    write(visitor, "SELECT nothing FROM readings")
    visitor.press("Run")
    visitor.sees('"nothing" not found', inside=".notice-error")
    visitor.sees("^^^^^^^", inside=".notice-error pre")
    write(visitor, "SELECT count(*) FROM range(100000000000) t(i) WHERE hash(i) = 1")
    visitor.press("Run")
    visitor.press("Stop")
    visitor.button("Run")
    asked = {"stream": "queries", "limit": 1}

    def was_ended() -> bool:
        newest = center.http.get("/v1/events", params=asked).json()["events"][0]["body"]
        return newest["what"]["sql"].startswith("SELECT count(*) FROM range") and newest["outcome"] == "failed"

    visitor.until(was_ended, "the node goes on with it")


def test_a_column_is_put_where_the_cursor_is(visitor) -> None:
    visitor.open("data")
    write(visitor, "SELECT max( ) FROM readings")
    visitor.keys(*[Keys.LEFT] * len(" ) FROM readings"))
    visitor.find(".table-of summary").click()
    visitor.press("value double", inside=".columns")
    assert visitor.find("textarea").get_attribute("value") == "SELECT max(value ) FROM readings"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_page_reads_well_for_everybody(visitor, width: int, dark: bool) -> None:
    visitor.screen(width, 844, dark=dark)
    visitor.speaks("zh-CN")
    visitor.open("data")
    visitor.sees("数据")
    visitor.press("最新读数")
    visitor.until(lambda: visitor.count(".result tbody tr") == 50, "no rows")
    assert visitor.serious_faults() == []
    wide = "return document.documentElement.scrollWidth <= innerWidth"
    assert visitor.driver.execute_script(wide)


def test_without_a_lake_the_page_says_how_to_get_one(visit, start_node) -> None:
    visitor = visit(start_node("http: {port: 0}"))
    visitor.expects_errors = True
    visitor.open("data")
    visitor.sees("lake: {}", inside=".empty")


@pytest.mark.parametrize(("scope", "is_offered"), [(Permission.READ, True), (Permission.PREDICT, False)])
def test_who_may_not_read_is_not_offered_the_page(visit, start_node, scope: Permission, is_offered: bool) -> None:
    node = start_node("http: {port: 0}\nlake: {}")
    store = open_account_store(load(node.settings, environment={}))
    store.add("ada", PASSWORD, role=PEOPLE["ada"])
    _, secret = store.add_token("ada", "tests", [scope])
    store.close()
    visitor = visit(node)
    visitor.expects_errors = True
    visitor.until(lambda: node.http.get("/v1/session").json()["accounts"], "the node does not see its accounts")
    shown = {"headers": {"Authorization": f"Bearer {secret}"}}
    visitor.driver.execute_cdp_cmd("Network.enable", {})
    visitor.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", shown)
    try:
        visitor.open()
        visitor.find("nav a")
        assert visitor.count("nav a[href='#/data']") == is_offered
    finally:
        visitor.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {}})
        visitor.driver.execute_cdp_cmd("Network.disable", {})
