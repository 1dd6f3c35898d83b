"""Making a person known over HTTP, with the real models for faces and real photographs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import httpx
import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import LiveServer

pytestmark = pytest.mark.zoo

PORTRAIT = (Path(__file__).parents[2] / "data" / "astronaut.jpg").read_bytes()
CAT = (resources.files("edgewise.zoo") / "pictures" / "cat.png").read_bytes()
PREFERENCES = '{"brightness": 40, "temperature": 21.5}'


def changed(change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """The portrait, taken otherwise."""
    image = cv2.imdecode(np.frombuffer(PORTRAIT, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", change(image))[1].tobytes()


MIRRORED = changed(lambda image: image[:, ::-1])
TWO_PEOPLE = changed(lambda image: np.hstack([image, image[:, ::-1]]))
FAR_AWAY = changed(lambda image: np.pad(cv2.resize(image, None, fx=0.3, fy=0.3), ((80, 80), (80, 80), (0, 0))))
HUGE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00" + bytes(20)


@pytest.fixture(scope="module")
def house(start_api: Callable[..., LiveServer], zoo_cache: Path) -> Iterator[LiveServer]:
    """A node with the models for faces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEWISE_CACHE", str(zoo_cache))
        yield start_api("http: {port: 0}\nmodels: [yunet, mobilefacenet]")


@pytest.fixture
def client(house: LiveServer) -> Iterator[httpx.Client]:
    """A client of a node that knows nobody, before and after."""
    with httpx.Client(base_url=house.address, timeout=20) as client:
        yield client
        for person in client.get("/v1/people").json()["people"]:
            client.delete(f"/v1/people/{person['name']}")


def enrol(client: httpx.Client, name: str, *photos: bytes, **fields: str) -> httpx.Response:
    files = [("photos", (f"{number}.jpg", photo, "image/jpeg")) for number, photo in enumerate(photos, start=1)]
    return client.post("/v1/people", data={"name": name, **fields}, files=files)


def last_changes(client: httpx.Client, count: int) -> list[tuple[str, dict[str, Any]]]:
    """What the audit log holds of the last changes that were made, oldest first."""
    records = client.get("/v1/audit", params={"limit": 50}).json()["events"]
    made = [(record["kind"], record["body"]["what"]) for record in records if record["body"]["outcome"] == "done"]
    return made[:count][::-1]


def test_a_person_is_made_known_by_photos_changed_and_forgotten_and_each_is_noted(client: httpx.Client) -> None:
    answer = enrol(client, "Eileen", PORTRAIT, MIRRORED, preferences=PREFERENCES)
    known = {
        "name": "Eileen",
        "preferences": {"brightness": 40, "temperature": 21.5},
        "photos": 2,
        "has_photo": True,
    }
    assert (answer.status_code, answer.json()) == (201, known)
    assert client.get("/v1/people").json() == {"people": [known]}
    assert client.get("/v1/people/Eileen").json() == known
    photo = client.get("/v1/people/Eileen/photo")
    assert photo.headers["content-type"] == "image/jpeg"
    assert cv2.imdecode(np.frombuffer(photo.content, np.uint8), cv2.IMREAD_COLOR).shape == (192, 192, 3)

    patched = client.patch("/v1/people/Eileen", json={"preferences": {"brightness": 80, "temperature": None}})
    assert (patched.status_code, patched.json()) == (200, {**known, "preferences": {"brightness": 80}})
    assert client.get("/v1/people/Eileen").json()["preferences"] == {"brightness": 80}

    more = enrol(client, "Eileen", PORTRAIT, preferences='{"temperature": 19}')
    assert more.status_code == 201
    assert more.json() == {**known, "preferences": {"brightness": 80, "temperature": 19}, "photos": 3}

    removed = client.delete("/v1/people/Eileen")
    assert (removed.status_code, removed.content) == (204, b"")
    for path in ("/v1/people/Eileen", "/v1/people/Eileen/photo"):
        assert client.get(path).status_code == 404
    assert client.get("/v1/people").json() == {"people": []}
    assert last_changes(client, 4) == [
        ("people.enrolled", {"name": "Eileen", "photos": 2}),
        ("people.changed", {"name": "Eileen", "preferences": {"brightness": 80, "temperature": None}}),
        ("people.enrolled", {"name": "Eileen", "photos": 1}),
        ("people.removed", {"name": "Eileen"}),
    ]


@pytest.mark.parametrize(
    ("photo", "status", "code", "reason"),
    [
        (CAT, 400, "input_invalid", "no_face"),
        (TWO_PEOPLE, 400, "input_invalid", "several_faces"),
        (FAR_AWAY, 400, "input_invalid", "small_face"),
        (b"not a picture", 400, "undecodable", None),
        (PORTRAIT[:2000], 400, "undecodable", None),
        (HUGE, 413, "too_large", None),
    ],
    ids=["nobody", "two people", "far away", "no picture", "cut off", "huge"],
)
def test_a_photo_that_does_not_do_is_named_and_nothing_is_kept_of_any(
    client: httpx.Client, photo: bytes, status: int, code: str, reason: str | None
) -> None:
    enrol(client, "Bob", PORTRAIT).raise_for_status()
    before = last_changes(client, 1)
    answer = enrol(client, "Ann", PORTRAIT, photo, MIRRORED)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["facts"].get("reason")) == (status, code, reason)
    assert error["facts"]["photo"] == 2
    assert "hoto 2" in error["message"]
    assert client.get("/v1/people/Ann").status_code == 404
    assert [person["name"] for person in client.get("/v1/people").json()["people"]] == ["Bob"]
    assert last_changes(client, 1) == before


def test_a_name_may_be_in_any_script(client: httpx.Client) -> None:
    assert enrol(client, "李雷", PORTRAIT).status_code == 201
    assert client.get("/v1/people/李雷").json()["name"] == "李雷"
