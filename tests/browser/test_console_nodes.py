"""The tree of nodes at the console: how each is, what it runs, letting one in and taking one out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from edgewise.testing.tree import Member

pytestmark = pytest.mark.browser

CENTER = "node: {name: center, data: ./data}\nhttp: {port: 0}\nhttps: {host: 127.0.0.1, port: 0}\n"
CHILD = "node: {name: boiler-room, data: ./data}\nhttp: {port: 0}\npipelines:\n  boiler: {source: {kind: readings}}\n"


@pytest.fixture(scope="module")
def center(start_node):
    """A center that nobody has joined yet."""
    return start_node(CENTER)


@pytest.fixture
def visitor(visit, center):
    return visit(center)


def test_a_node_is_invited_joins_is_looked_at_and_removed(visitor, center, start_node) -> None:
    visitor.open("nodes")
    visitor.sees("No node has joined yet")
    assert visitor.serious_faults() == []
    visitor.opens("Invite a node")
    visitor.keys(Keys.TAB)
    visitor.find("dialog input").send_keys("boiler-room", Keys.TAB, "site=cellar")
    assert visitor.serious_faults() == []
    visitor.press("Make the token", inside="dialog")
    command = str(visitor.find("dialog pre").text).split()
    visitor.press("Close", inside=".dialog-actions")

    child = start_node(CHILD)
    joined = [sys.executable, "-m", *command, "--config", str(child.settings)]
    subprocess.run(joined, check=True, capture_output=True)
    row = ".node-row[data-status=ok]"
    visitor.sees("boiler-room", inside=row)
    visitor.sees("site=cellar", inside=row)
    assert visitor.serious_faults() == []

    visitor.tab_to("boiler-room")
    visitor.keys(Keys.ENTER)
    visitor.sees("center", inside="dialog .facts")
    visitor.sees("boiler", inside="dialog .node-pipelines")
    assert visitor.serious_faults() == []
    visitor.keys(Keys.ESCAPE)

    field = visitor.find(".where input")
    field.send_keys("site!=cellar", Keys.ENTER)
    visitor.sees("No node has these labels.")
    field.clear()
    field.send_keys("site=cellar", Keys.ENTER)
    visitor.find(row).click()
    visitor.press("Remove", inside="dialog")
    visitor.sees("Remove boiler-room?", inside="dialog")
    visitor.press("Remove", inside="dialog .dialog-actions")
    visitor.sees("boiler-room is removed")
    visitor.until(lambda: visitor.count(".node-row") == 0, "the node is still listed")
    assert center.http.get("/v1/nodes").json()["nodes"] == []


def test_a_node_further_down_is_labelled_and_unlabelled(visit, tmp_path: Path) -> None:
    center, gateway, device = (Member(tmp_path / name, name) for name in ("center", "gateway", "device"))
    try:
        for member in (center, gateway, device):
            member.node.start()
        gateway.join(center)
        device.join(gateway, "role=camera", "floor=2")
        visitor = visit(center.node)
        visitor.open("nodes")
        visitor.sees("role=camera", inside=".node-depth-1")
        visitor.find(".node-depth-1 .node-row").click()
        visitor.sees("gateway", inside="dialog .facts")
        visitor.press("Change labels", inside="dialog")
        field = visitor.find("dialog input")
        visitor.until(lambda: field.get_attribute("value") == "floor=2, role=camera", "its labels are not in the field")
        assert visitor.serious_faults() == []
        visitor.expects_errors = True  # a refusal is reported in the browser's console too
        field.send_keys(", Wrong")
        visitor.press("Save", inside="dialog")
        visitor.sees("Wrong= cannot be a label", inside="dialog .notice")
        field.clear()
        field.send_keys("role=bell, site=hall", Keys.ENTER)
        visitor.until(lambda: visitor.count("dialog") == 0, "the dialog stays")
        visitor.sees("site=hall", inside=".node-depth-1")
        above, below = (
            httpx.get(f"{at.node.address}/v1/nodes/device").json()["node"]["labels"] for at in (center, gateway)
        )
        assert above == {"role": "bell", "site": "hall"}
        assert below == {"role": "camera", "floor": "2"}
    finally:
        for member in (device, gateway, center):
            member.node.kill()


def test_it_fits_a_phone_in_the_dark_in_chinese(visitor) -> None:
    visitor.screen(390, 800, dark=True)
    visitor.speaks("zh-CN")
    visitor.open("nodes")
    visitor.sees("还没有节点加入")
    wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not visitor.driver.execute_script(wide)
    assert visitor.serious_faults() == []
