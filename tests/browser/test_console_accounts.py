"""People with accounts at the console: each sees and may what their role is for, and an admin says who has which."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.keys import Keys

from edgewise.node.organs import open_account_store
from edgewise.node.settings import load
from edgewise.testing.accounts import PASSWORD, PEOPLE

pytestmark = pytest.mark.browser

LOCK = ".device[data-kind=lock]"
SETTINGS = """
http: {port: 0}
devices:
  front-door: {kind: lock, relock_s: 0}
pipelines:
  door:
    source: {kind: upload}
"""


@pytest.fixture(scope="module")
def shared(start_node):
    """A node with an admin, an operator and two viewers, made beside it as it runs."""
    node = start_node(SETTINGS)
    store = open_account_store(load(node.settings, environment={}))
    for name, role in {**PEOPLE, "pia": PEOPLE["vera"]}.items():
        store.add(name, PASSWORD, role=role)
    store.close()
    return node


@pytest.fixture
def visitor(visit, shared):
    """Somebody new at its console."""
    visitor = visit(shared)
    visitor.expects_errors = True  # what strangers and viewers are refused
    visitor.until(lambda: shared.http.get("/v1/session").json()["accounts"], "the node does not see its accounts")
    return visitor


def sign_in(visitor, name: str, password: str = PASSWORD) -> None:
    """Types a name and a password and presses Enter, as a person does."""
    visitor.find("input[autocomplete=username]").send_keys(name, Keys.TAB)
    visitor.keys(password, Keys.ENTER)


def pages(visitor) -> list[str]:
    """What the navigation offers."""
    visitor.find("nav a")
    return visitor.driver.execute_script(
        "return [...document.querySelectorAll('nav a')].map((link) => link.getAttribute('href').slice(2))"
    )


def test_a_viewer_cannot_open_the_lock_and_an_operator_can(visitor) -> None:
    visitor.open("live")
    visitor.sees("Log in", inside="h1")
    assert visitor.serious_faults() == []
    sign_in(visitor, "vera", "a wrong password")
    visitor.sees("access_denied", inside=".notice-error")
    visitor.find("input[type=password]").clear()
    visitor.find("input[type=password]").send_keys(PASSWORD, Keys.ENTER)
    visitor.sees("Locked", inside=LOCK)
    assert visitor.count(f"{LOCK} button") == 0
    assert visitor.count("article.camera button") == 0
    assert pages(visitor) == ["try", "live", "events", "people", "models", "data", "nodes", "system"]
    # And were the button there, the node would refuse.
    command = "return fetch('/v1/devices/front-door/commands', {method: 'POST', body: '{\"command\": \"unlock\"}',"
    command += " headers: {'Content-Type': 'application/json'}}).then(({status}) => status)"
    assert visitor.driver.execute_script(command) == 403
    visitor.press("Signed in: vera")
    visitor.press("Sign out")
    visitor.sees("Log in", inside="h1")
    sign_in(visitor, "Olga")
    visitor.sees("Locked", inside=LOCK)
    visitor.press("Unlock", inside=LOCK)
    visitor.sees("Unlocked", inside=LOCK)
    visitor.press("Lock", inside=LOCK)
    visitor.sees("Locked", inside=LOCK)
    assert "edgewise" not in visitor.driver.execute_script("return document.cookie")


def test_an_admin_adds_somebody_who_signs_in_and_is_shut_out_again(visitor) -> None:
    visitor.open("accounts")
    sign_in(visitor, "ada")
    visitor.sees("Accounts", inside="h1")
    visitor.find(".account")
    assert visitor.serious_faults() == []
    visitor.opens("Add an account", inside=".page-actions")
    assert visitor.serious_faults() == []
    visitor.keys("Bo")
    visitor.find("dialog input[type=password]").send_keys(PASSWORD)
    visitor.press("Add", inside="dialog")
    visitor.sees("bo has an account now")
    visitor.opens("Change bo")
    visitor.find("dialog input[type=checkbox]").click()
    visitor.press("Save", inside="dialog")
    visitor.sees("Shut out", inside="article[aria-label=bo]")
    visitor.opens("Remove bo")
    visitor.press("Remove", inside="dialog")
    visitor.sees("The account of bo was removed")


def test_a_token_is_shown_once_and_revoked(visitor) -> None:
    visitor.open("accounts")
    sign_in(visitor, "ada")
    visitor.opens("Make a token")
    visitor.keys("door camera")
    assert visitor.serious_faults() == []
    visitor.press("Add", inside="dialog")
    visitor.sees("edgewise_", inside="dialog pre")
    visitor.press("Close", inside=".dialog-actions")
    visitor.sees("never used", inside=".token")
    visitor.sees("door camera", inside=".token")
    assert visitor.count("pre") == 0
    visitor.opens("Revoke door camera")
    visitor.press("Revoke", inside="dialog")
    visitor.until(lambda: visitor.count(".token") == 0, "the token stays")


def test_ones_own_password_is_changed_at_the_console(visitor) -> None:
    other = "other words in a row"
    visitor.open("live")
    sign_in(visitor, "pia")
    visitor.opens("Signed in: pia")
    visitor.find("dialog summary").click()
    visitor.find("dialog input[autocomplete=current-password]").send_keys(PASSWORD)
    visitor.find("dialog input[autocomplete=new-password]").send_keys(other, Keys.ENTER)
    visitor.sees("The password is changed")
    visitor.open("live")
    visitor.sees("Locked", inside=LOCK)
    visitor.opens("Signed in: pia")
    visitor.press("Sign out everywhere")
    visitor.sees("Log in", inside="h1")
    sign_in(visitor, "pia", other)
    visitor.sees("Locked", inside=LOCK)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_phone_shows_login_and_accounts_without_scrolling_sideways(visitor, language: str) -> None:
    wide = "return document.documentElement.scrollWidth"
    visitor.screen(390, 844)
    visitor.speaks(language)
    visitor.open("accounts")
    visitor.find("input[autocomplete=username]")
    assert visitor.driver.execute_script(wide) <= 390
    sign_in(visitor, "ada")
    visitor.find(".account")
    assert visitor.driver.execute_script(wide) <= 390
    assert visitor.find("nav a[aria-current]").rect["y"] > 700
    assert visitor.serious_faults() == []
