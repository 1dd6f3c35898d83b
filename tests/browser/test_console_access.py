"""The console for everybody: by keyboard, on a phone, in both languages and themes, to screen readers, with a token."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

pytestmark = [pytest.mark.browser, pytest.mark.zoo]

PAGES = ["try", "live", "events", "people", "models", "nodes", "system", "accounts"]
# What is on a page once it has loaded its data.
LOADED = {
    "try": ".panel",
    "live": ".device",
    "events": ".segments",
    "people": ".threshold input",
    "models": ".model",
    "nodes": ".empty",
    "system": "table",
    "accounts": ".empty",
}


@pytest.fixture
def lived_in(visitor, node, portraits: list[Path]) -> None:  # after the visitor, who starts anew
    """A house with something to show on every page."""
    node.enrol("Ada", portraits[0])
    node.show(portraits[0])


@pytest.mark.usefixtures("lived_in")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_no_serious_fault_for_assistive_technology(visitor, page: str, dark: bool) -> None:
    visitor.screen(1280, 900, dark=dark)
    visitor.open(page)
    visitor.find(LOADED[page])
    assert visitor.serious_faults() == []


@pytest.mark.usefixtures("lived_in")
@pytest.mark.parametrize(
    ("page", "button"),
    [("people", "Add a person"), ("models", "Details of yunet"), ("events", ""), ("people", "Remove Ada")],
)
def test_a_dialog_has_none_either_and_gives_the_focus_back(visitor, page: str, button: str) -> None:
    visitor.open(page)
    opener = visitor.button(button) if button else visitor.find(".event")
    opener.send_keys(Keys.ENTER)
    visitor.find("dialog[open] h2")
    assert visitor.serious_faults() == []
    visitor.keys(Keys.ESCAPE)
    visitor.until(lambda: visitor.count("dialog") == 0, "Escape does not close the dialog")
    assert visitor.driver.switch_to.active_element == opener


@pytest.mark.usefixtures("lived_in")
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("page", PAGES)
def test_a_phone_shows_a_page_without_scrolling_sideways(visitor, page: str, language: str) -> None:
    visitor.screen(390, 844)
    visitor.speaks(language)
    visitor.open(page)
    visitor.find(LOADED[page])
    assert visitor.driver.execute_script("return document.documentElement.scrollWidth") <= 390
    assert visitor.find("nav a[aria-current]").rect["y"] > 700


def test_everything_is_reached_by_keyboard_alone(visitor) -> None:
    visitor.open("try")
    visitor.keys(Keys.TAB)
    assert visitor.focus_name() == "Skip to the content"
    visitor.keys(Keys.ENTER)
    assert visitor.driver.switch_to.active_element.get_attribute("id") == "main"
    visitor.open("try")
    visitor.tab_to("Live")
    visitor.keys(Keys.ENTER)
    visitor.sees("Devices", inside="main")
    assert visitor.focus_name() == "Live"
    visitor.tab_to("Unlock")
    visitor.keys(Keys.SPACE)
    visitor.sees("Unlocked", inside=".device[data-kind=lock]")


def test_filters_of_events_move_by_arrow_keys(visitor) -> None:
    visitor.open("events")
    visitor.tab_to("All")
    visitor.keys(Keys.ARROW_RIGHT)
    chosen = "return document.querySelector('.segment input:checked').value"
    visitor.until(lambda: visitor.driver.execute_script(chosen) == "known", "the arrow does not move the choice")


def test_the_focus_stays_inside_an_open_dialog(visitor) -> None:
    visitor.open("people")
    visitor.opens("Add a person", inside=".page-actions")
    for _ in range(15):
        visitor.keys(Keys.TAB)
        inside = visitor.driver.execute_script(
            "return document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        )
        assert inside


def test_the_language_is_the_browsers_until_one_is_chosen_and_the_choice_is_kept(visitor) -> None:
    visitor.speaks("zh-CN")
    visitor.open("try")
    visitor.sees("试用", inside="h1")
    visitor.press("English")
    visitor.sees("Try", inside="h1")
    visitor.open("events")
    visitor.sees("Events", inside="h1")
    assert visitor.driver.execute_script("return document.documentElement.lang") == "en-GB"


def test_switching_the_language_keeps_the_picture_and_its_answer(visitor, cat: Path) -> None:
    visitor.open("try")
    visitor.find("select").send_keys("cifar10-resnet")
    visitor.choose(".tools input[type=file]", cat)
    visitor.sees("Most likely")
    visitor.press("中文")
    visitor.sees("最可能是")
    visitor.sees("cat", inside=".bar[data-best=true]")


def test_the_theme_follows_the_system_until_one_is_chosen_and_the_choice_is_kept(visitor) -> None:
    def paper() -> str:
        return visitor.driver.execute_script("return getComputedStyle(document.body).backgroundColor")

    visitor.screen(1280, 900, dark=True)
    visitor.open("try")
    dark = paper()
    visitor.press("Colours: as the system")
    visitor.until(lambda: paper() != dark, "the theme does not change")
    light = paper()
    visitor.open("try")
    assert paper() == light
    visitor.press("Colours: light")
    visitor.until(lambda: paper() == dark, "the theme does not change back")


def test_motion_is_left_out_for_those_who_ask(visitor) -> None:
    moving = "return getComputedStyle(document.querySelector('.button')).transitionProperty"
    visitor.screen(1280, 900, reduced_motion=False)
    visitor.open("try")
    assert visitor.driver.execute_script(moving) != "none"
    visitor.screen(1280, 900, reduced_motion=True)
    assert visitor.driver.execute_script(moving) == "none"


@pytest.fixture(scope="session")
def guarded(start_node, tmp_path_factory: pytest.TempPathFactory):
    """A node that wants a token."""
    token = tmp_path_factory.mktemp("secrets") / "token"
    token.write_text("open-sesame\n")
    token.chmod(0o600)
    return start_node(f"http: {{port: 0, token_file: {token}}}\n")


def test_a_node_with_a_token_asks_for_it_and_remembers_the_browser(visit, guarded) -> None:
    visitor = visit(guarded)
    visitor.expects_errors = True
    visitor.open()
    visitor.sees("Log in", inside="h1")
    assert visitor.serious_faults() == []
    visitor.find("input[type=password]").send_keys("open-barley", Keys.ENTER)
    visitor.sees("access_denied", inside=".notice-error")
    visitor.find("input[type=password]").clear()
    visitor.find("input[type=password]").send_keys("open-sesame", Keys.ENTER)
    visitor.sees("Try", inside="h1")
    visitor.open("models")
    visitor.sees("Models", inside="h1")
    visitor.find(".model")
    assert "open-sesame" not in visitor.driver.execute_script("return document.cookie + JSON.stringify(localStorage)")


def test_a_node_that_went_away_is_reported_and_found_again(visit, start_node) -> None:
    visitor = visit(start_node("http: {port: 0}\n"))
    visitor.expects_errors = True
    visitor.open("models")
    visitor.find(".model")
    visitor.driver.set_network_conditions(offline=True, latency=0, throughput=0)
    visitor.sees("The node does not answer.", inside="main")
    visitor.driver.delete_network_conditions()
    visitor.press("Try again", inside="main")
    visitor.until(lambda: visitor.count(".notice-error") == 0, "the error stays")
