"""What people do at the console, on a real node with real models."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.zoo]

LOCK = ".device[data-kind=lock]"
ALARM = ".device[data-kind=alarm]"


def test_a_picture_is_uploaded_and_its_label_read(visitor, cat: Path) -> None:
    visitor.open("try")
    visitor.find("select").send_keys("cifar10-resnet")
    visitor.choose(".tools input[type=file]", cat)
    visitor.sees("cat", inside=".bar[data-best=true]")
    visitor.sees("Infer", inside=".timing")


def test_somebody_without_a_picture_tries_a_sample(visitor) -> None:
    visitor.open("try")
    visitor.find("select").send_keys("yunet")
    visitor.press("An astronaut")
    visitor.sees("1 found", inside=".panel")


def test_faces_are_boxed_and_a_line_of_the_list_brings_its_box_forward(visitor, portraits: list[Path]) -> None:
    visitor.open("try")
    visitor.find("select").send_keys("yunet")
    visitor.choose(".tools input[type=file]", portraits[0])
    visitor.sees("1 found", inside=".panel")
    assert visitor.count(".box rect") == 1
    assert visitor.count(".box circle") == 5
    visitor.driver.execute_script("document.querySelector('.bar-button').focus()")
    visitor.find(".tag[data-active=true]")


def test_bytes_that_are_no_picture_are_explained(visitor, tmp_path: Path) -> None:
    visitor.expects_errors = True
    impostor = tmp_path / "impostor.jpg"
    impostor.write_bytes(b"\xff\xd8\xff\xe0 and then nothing of a picture")
    visitor.open("try")
    visitor.choose(".tools input[type=file]", impostor)
    visitor.sees("undecodable", inside=".notice-error")
    visitor.button("Try again")


def test_a_known_face_opens_the_door_before_the_visitors_eyes(visitor, node, portraits: list[Path]) -> None:
    node.enrol("Eileen", portraits[0])
    visitor.open("live")
    visitor.sees("Locked", inside=LOCK)
    visitor.choose(".camera-send input", portraits[1])
    visitor.sees("Unlocked", inside=LOCK)
    visitor.sees("22.5 °C", inside=".device[data-kind=thermostat]")
    visitor.sees("Eileen", inside=".camera-found")
    visitor.until(
        lambda: visitor.driver.execute_script(
            "return (document.querySelector('.camera-view canvas')?.width ?? 0) > 300"
        ),
        "the live picture has not arrived",
    )


def test_a_stranger_raises_the_alarm_and_a_click_clears_it(visitor, node, portraits: list[Path]) -> None:
    visitor.open("live")
    visitor.sees("Quiet", inside=ALARM)
    node.show(portraits[2])
    visitor.sees("Alarm", inside=ALARM)
    visitor.sees("a stranger is at the door", inside=ALARM)
    visitor.press("Clear", inside=ALARM)
    visitor.sees("Quiet", inside=ALARM)


def test_an_event_appears_without_a_reload_and_shows_its_snapshot(visitor, node, portraits: list[Path]) -> None:
    node.enrol("Eileen", portraits[0])
    visitor.open("events")
    visitor.sees("Live", inside=".page-actions")
    before = visitor.count(".event")
    node.show(portraits[0])
    visitor.until(lambda: visitor.count(".event") == before + 1, "no new event came")
    visitor.sees("Eileen was recognised", inside="li:first-child .event")
    visitor.find("li:first-child .event").click()
    visitor.sees("face.known", inside="dialog")
    visitor.until(
        lambda: visitor.driver.execute_script("return document.querySelector('dialog .snapshot').naturalWidth > 0"),
        "the snapshot has not arrived",
    )


def test_what_was_done_stands_among_the_events(visitor, node) -> None:
    visitor.open("live")
    visitor.press("Unlock", inside=LOCK)
    visitor.sees("Unlocked", inside=LOCK)
    visitor.open("events")
    visitor.find(".segment:has(input[value=actions])").click()
    visitor.sees("front-door unlocked", inside="li:first-child .event")
    visitor.sees("by hand", inside="li:first-child .event")


def test_devices_are_set_by_hand(visitor) -> None:
    visitor.open("live")
    light = ".device[data-kind=light]"
    visitor.find(f"{light} .switch").click()
    visitor.sees("On", inside=light)
    visitor.find(f"{light} .switch").click()
    visitor.sees("Off", inside=light)
    thermostat = ".device[data-kind=thermostat] .device-state"
    before = float(visitor.find(thermostat).text.split()[0])
    visitor.press("Warmer")
    visitor.sees(f"{before + 0.5:.1f} °C", inside=thermostat)


def test_a_person_is_enrolled_edited_and_removed(visitor, portraits: list[Path]) -> None:
    visitor.open("people")
    visitor.opens("Add a person", inside=".page-actions")
    visitor.keys("Eileen Collins")
    visitor.choose("dialog input[type=file]", *portraits[:2])
    visitor.press("Add", inside="dialog")
    visitor.sees("Eileen Collins", inside=".people")
    visitor.sees("2 photos", inside=".people")
    visitor.opens("Preferences of Eileen Collins")
    visitor.driver.execute_script(
        "const slider = document.querySelector('dialog input[type=range]');"
        "slider.value = 35; slider.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    visitor.press("Save", inside="dialog")
    visitor.sees("Light 35 %", inside=".people")
    visitor.opens("Remove Eileen Collins")
    visitor.press("Remove", inside="dialog")
    visitor.sees("Nobody is known yet")


def test_a_photo_without_a_face_is_refused_with_a_reason(visitor, cat: Path) -> None:
    visitor.expects_errors = True
    visitor.open("people")
    visitor.opens("Add a person", inside=".page-actions")
    visitor.keys("Tom")
    visitor.choose("dialog input[type=file]", cat)
    visitor.press("Add", inside="dialog")
    visitor.sees("face", inside="dialog .notice-error")
    assert visitor.find("dialog input").get_attribute("value") == "Tom"


def test_the_threshold_is_moved_and_kept(visitor, node) -> None:
    before = node.http.get("/v1/settings/face-threshold").json()["threshold"]
    visitor.open("people")
    visitor.find(".threshold input").send_keys("\ue014")  # arrow right
    visitor.sees(f"Threshold is {before + 0.01:.2f} now")
    assert node.http.get("/v1/settings/face-threshold").json()["threshold"] == pytest.approx(before + 0.01)
    node.http.put("/v1/settings/face-threshold", json={"threshold": before}).raise_for_status()


def test_a_model_is_looked_at_unloaded_and_loaded(visitor) -> None:
    visitor.open("models")
    row = "article[aria-label=cifar10-resnet]"
    visitor.press("Details of cifar10-resnet")
    visitor.sees("onnxruntime", inside="dialog")
    visitor.sees("Apache-2.0", inside="dialog")
    visitor.press("Close", inside="dialog")
    if visitor.count(f"{row} [data-state=ready]") == 0:
        visitor.press("Load cifar10-resnet")
    visitor.sees("Ready", inside=row)
    visitor.press("Unload cifar10-resnet")
    visitor.sees("Not loaded", inside=row)
    visitor.press("Load cifar10-resnet")
    visitor.sees("Ready", inside=row)


def test_the_system_page_draws_charts_and_the_journal_balances(visitor) -> None:
    visitor.open("system")
    visitor.sees("All is well")
    visitor.until(lambda: visitor.count(".chart canvas") >= 2, "no charts")
    visitor.sees("Balanced", inside="table")
    assert visitor.count("table .badge[data-state=failed]") == 0


def test_coming_back_often_leaves_no_connection_behind(visitor, node, portraits: list[Path]) -> None:
    """A browser opens six connections to one server, and each visit to Live holds two."""
    node.show(portraits[0])
    for _ in range(4):
        visitor.open("live")
        visitor.find(".camera-view canvas")
        assert visitor.is_answered_within(seconds=5)
    for page in ["events", "live"] * 4:
        visitor.find(f"nav a[href='#/{page}']").click()
        visitor.find(".camera-view canvas" if page == "live" else ".segments")
        assert visitor.is_answered_within(seconds=5)
