"""The people store: kept, found, forgotten, and the same for every process that looks."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise._lib.clock import ManualClock
from edgewise.errors import ClosedError, InputError, NotFoundError, StorageFullError, TensorError, TooLargeError
from edgewise.people.store import DEFAULT_THRESHOLD, MAX_PHOTOS, PeopleStore, check_name

MODEL = "faces@1"
SIZE = 32


def vector(*parts: float) -> Any:
    values = np.zeros(SIZE, np.float32)
    values[: len(parts)] = parts
    return values / np.linalg.norm(values)


ADA, BOB = vector(1, 0, 0), vector(0, 1, 0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Any:
    store = PeopleStore(tmp_path / "people", clock=clock)
    yield store
    store.close()


def test_a_person_is_kept_with_preferences_and_photo(store: PeopleStore, clock: ManualClock, tmp_path: Path) -> None:
    preferences = {"brightness": 60, "temperature_c": 21.5, "music": "Bach", "blinds": True}
    store.add("Zoë 王芳", [ADA, vector(1, 0.1)], model=MODEL, preferences=preferences, photo=b"jpeg")
    store.close()
    again = PeopleStore(tmp_path / "people", clock=clock)
    (person,) = again.list()
    assert (person.name, person.preferences, person.photos) == ("Zoë 王芳", preferences, 2)
    assert again.photo("Zoë 王芳") == b"jpeg"
    again.close()


def test_the_best_of_a_persons_photos_decides(store: PeopleStore) -> None:
    store.add("Ada", [vector(1, 0, 1), ADA], model=MODEL)
    store.add("Bob", [BOB], model=MODEL)
    match = store.match(vector(1, 0.2), model=MODEL)
    assert match is not None
    assert (match.name, match.similarity) == ("Ada", pytest.approx(0.9806, abs=1e-4))


def test_nobody_below_the_threshold_and_the_threshold_is_kept(
    store: PeopleStore, tmp_path: Path, clock: ManualClock
) -> None:
    store.add("Ada", [ADA], model=MODEL)
    stranger = vector(0.5, 0, np.sqrt(0.75))
    assert store.threshold == DEFAULT_THRESHOLD
    store.threshold = 0.49
    assert store.match(stranger, model=MODEL) is not None
    store.threshold = 0.51
    assert store.match(stranger, model=MODEL) is None
    other = PeopleStore(tmp_path / "people", clock=clock)
    assert other.threshold == 0.51
    other.close()
    with pytest.raises(InputError):
        store.threshold = 1.5


def test_faces_of_another_model_are_never_compared(store: PeopleStore) -> None:
    store.add("Ada", [ADA], model=MODEL)
    assert store.match(ADA, model="faces@2") is None
    store.add("Ada", [np.ones(8, np.float32) / np.sqrt(8)], model="faces@2")
    assert store.match(ADA, model=MODEL) is not None
    with pytest.raises(TensorError):
        store.match(ADA, model="faces@2")


def test_what_another_process_changes_is_seen_at_the_next_match(
    store: PeopleStore, tmp_path: Path, clock: ManualClock
) -> None:
    assert store.match(ADA, model=MODEL) is None
    command = PeopleStore(tmp_path / "people", clock=clock)
    command.add("Ada", [ADA], model=MODEL)
    assert store.match(ADA, model=MODEL) is not None
    command.remove("Ada")
    assert store.match(ADA, model=MODEL) is None
    command.close()


def test_more_photos_of_a_known_name_are_added_and_preferences_laid_on_top(
    store: PeopleStore, clock: ManualClock
) -> None:
    first = store.add("Ada", [ADA], model=MODEL, preferences={"brightness": 60, "music": "Bach"}, photo=b"first")
    clock.advance(5)
    second = store.add("Ada", [BOB], model=MODEL, preferences={"brightness": 40}, photo=b"second")
    assert (second.photos, second.preferences) == (2, {"brightness": 40, "music": "Bach"})
    assert second.created_ns == first.created_ns < second.updated_ns
    assert store.photo("Ada") == b"first"


def test_preferences_change_and_one_set_to_none_goes_away(store: PeopleStore) -> None:
    store.add("Ada", [ADA], model=MODEL, preferences={"brightness": 60, "music": "Bach"})
    assert store.set_preferences("Ada", {"music": None, "brightness": 50}).preferences == {"brightness": 50}


@pytest.mark.parametrize("value", [float("nan"), [1], {"a": 1}, b"x"])
def test_a_preference_that_is_no_plain_value_is_refused_and_nothing_changes(store: PeopleStore, value: object) -> None:
    store.add("Ada", [ADA], model=MODEL)
    with pytest.raises(InputError):
        store.set_preferences("Ada", {"good": 1, "bad": value})
    assert store.get("Ada").preferences == {}


def test_a_forgotten_person_leaves_nothing_on_the_disk(store: PeopleStore, tmp_path: Path) -> None:
    photo = b"jpeg of Ada's face" * 100
    store.add("Adaline", [ADA], model=MODEL, photo=photo)
    store.remove("Adaline")
    assert store.list() == []
    assert store.match(ADA, model=MODEL) is None
    on_disk = b"".join(path.read_bytes() for path in (tmp_path / "people").iterdir())
    assert b"Adaline" not in on_disk
    assert ADA.tobytes() not in on_disk
    assert photo[:200] not in on_disk


def test_the_files_are_the_owners_alone(store: PeopleStore, tmp_path: Path) -> None:
    store.add("Ada", [ADA], model=MODEL)
    for path in (tmp_path / "people").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    assert (tmp_path / "people").stat().st_mode & 0o077 == 0


def test_whoever_is_not_there_is_told_with_the_nearest_name(store: PeopleStore) -> None:
    store.add("Ada", [ADA], model=MODEL)
    for ask in (store.get, store.photo, store.remove, lambda name: store.set_preferences(name, {})):
        with pytest.raises(NotFoundError) as caught:
            ask("Adda")
        assert caught.value.hint == "Did you mean 'Ada'?"
    with pytest.raises(NotFoundError, match="no photo of 'Ada'"):
        store.photo("Ada")


def test_a_name_is_the_same_however_it_was_typed(store: PeopleStore) -> None:
    store.add(" Zoe\u0308 ", [ADA], model=MODEL)
    assert store.get("Zo\u00eb").name == "Zo\u00eb"


@pytest.mark.parametrize("name", ["", "   ", "a" * 81, "a\nb", "a/b", "..", "a\x00", "\ud800"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        check_name(name)


@given(st.text(st.characters(categories=("L", "N")), min_size=1, max_size=40))
def test_letters_of_any_script_make_a_name(name: str) -> None:
    assert check_name(check_name(name)) == check_name(name)


@pytest.mark.parametrize("wrong", [np.ones(SIZE, np.float32), np.full(SIZE, np.nan), np.eye(4, dtype=np.float32)])
def test_a_vector_that_is_no_embedding_is_refused_and_nothing_is_half_written(store: PeopleStore, wrong: Any) -> None:
    with pytest.raises(TensorError):
        store.add("Ada", [ADA, wrong], model=MODEL)
    assert store.list() == []


def test_photos_are_bounded_and_what_is_too_much_changes_nothing(store: PeopleStore) -> None:
    store.add("Ada", [ADA] * MAX_PHOTOS, model=MODEL)
    with pytest.raises(TooLargeError):
        store.add("Ada", [ADA], model=MODEL, preferences={"brightness": 1})
    assert (store.get("Ada").photos, store.get("Ada").preferences) == (MAX_PHOTOS, {})


def test_a_full_disk_changes_nothing_and_once_there_is_room_again_it_works(store: PeopleStore) -> None:
    store.add("Ada", [ADA], model=MODEL)
    assert store._database is not None
    (pages,) = store._database.execute("PRAGMA page_count").fetchone()
    store._database.execute(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(StorageFullError):
        store.add("Bob", [BOB], model=MODEL, photo=bytes(100_000))
    assert [person.name for person in store.list()] == ["Ada"]
    store._database.execute("PRAGMA max_page_count=1000000")
    store.add("Bob", [BOB], model=MODEL, photo=bytes(100_000))
    assert [person.name for person in store.list()] == ["Ada", "Bob"]


def test_a_commit_that_fails_is_undone(store: PeopleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        """A connection whose next commit finds the disk full."""

        def __init__(self, connection: Any) -> None:
            self.connection = connection
            self.failed = False

        def execute(self, sql: str, *parameters: Any) -> Any:
            if sql == "COMMIT" and not self.failed:
                self.failed = True
                raise sqlite3.OperationalError("disk I/O error")
            return self.connection.execute(sql, *parameters)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.connection, name)

    monkeypatch.setattr(store, "_database", Failing(store._database))
    with pytest.raises(sqlite3.OperationalError):
        store.add("Ada", [ADA], model=MODEL)
    store.add("Bob", [BOB], model=MODEL)
    assert [person.name for person in store.list()] == ["Bob"]


def test_a_closed_store_says_so(store: PeopleStore) -> None:
    store.close()
    store.close()
    with pytest.raises(ClosedError):
        store.list()


def test_many_threads_may_match_while_people_come_and_go(store: PeopleStore) -> None:
    store.add("Ada", [ADA], model=MODEL)
    wrong: list[object] = []

    def look() -> None:
        for _ in range(200):
            match = store.match(ADA, model=MODEL)
            if match is None or match.name != "Ada":
                wrong.append(match)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for index in range(20):
        store.add(f"Guest {index}", [BOB], model=MODEL)
        store.remove(f"Guest {index}")
    for thread in threads:
        thread.join()
    assert wrong == []
