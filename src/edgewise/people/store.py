"""The people a node knows: names, preferences, embeddings of their faces, and matching against them.

Durable in SQLite. Matching works on a matrix in memory that follows the database, also when another process changed it
(``edgewise people add`` while the node runs). Faces are personal data: the files are the owner's alone, and what is
removed is overwritten.
"""

from __future__ import annotations

import sqlite3
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise._lib.clock import Clock
from edgewise._lib.documents import nearest
from edgewise._lib.sqlite import open_database, read_statements, transaction, translate
from edgewise.errors import ClosedError, InputError, NotFoundError, TensorError, TooLargeError

if TYPE_CHECKING:
    from edgewise.types import Array

# Cosine similarity from which two faces count as one person's, until the owner sets another. On the ORL faces, with a
# hundred photographs enrolled (benchmarks/faces.py), it recognises everybody and lets in 0.25 % of the photographs of
# strangers. At 0.5, where single pairs separate best, it would be 7 %: a visitor is compared with everybody enrolled.
DEFAULT_THRESHOLD = 0.65
MAX_PEOPLE = 10_000
MAX_PHOTOS = 50
MAX_NAME = 80
MAX_PREFERENCES_BYTES = 4096

_HERE = Path(__file__).parent
_MIGRATIONS = [path.read_text(encoding="utf-8") for path in sorted((_HERE / "migrations").glob("*.sql"))]
_SQL = read_statements(_HERE / "queries.sql")
_THRESHOLD = "threshold"


class Person(msgspec.Struct, frozen=True):
    """One person.

    Attributes:
        name: Unique, in Unicode's composed form (NFC).
        preferences: JSON-compatible values by name, such as ``{"brightness": 60, "temperature_c": 21.5}``.
        photos: How many photos were enrolled.
        has_photo: Whether there is a picture to show.
        created_ns: When first enrolled, nanoseconds since the Unix epoch.
        updated_ns: When last changed.
    """

    name: str
    preferences: dict[str, Any]
    photos: int
    has_photo: bool
    created_ns: int
    updated_ns: int


class Match(msgspec.Struct, frozen=True):
    """Whom a face belongs to, and the cosine similarity to that person's most similar photo."""

    name: str
    similarity: float


class _Gallery(msgspec.Struct, frozen=True):
    """All faces of one state of the database: by model the name of each row, and the rows."""

    state: tuple[int, int]
    threshold: float
    faces: dict[str, tuple[tuple[str, ...], Any]]


class PeopleStore:
    """People in a database. Safe for threads and for several processes.

    Args:
        folder: Where the database lies; None keeps it in memory.
        clock: For the times of changes.

    Raises:
        CorruptError: The database is damaged.
    """

    def __init__(self, folder: Path | None, *, clock: Clock) -> None:
        self._path = None if folder is None else folder / "people.db"
        if self._path is not None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
        self._clock = clock
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = open_database(self._path, _MIGRATIONS)
        self._database.execute("PRAGMA secure_delete=ON")
        self._changes = 0
        self._gallery: _Gallery | None = None

    def add(
        self,
        name: str,
        vectors: Sequence[Array],
        *,
        model: str,
        preferences: Mapping[str, Any] | None = None,
        photo: bytes | None = None,
    ) -> Person:
        """Adds a person, or more faces to the person known by that name; all or nothing.

        Args:
            name: 1 to 80 characters.
            vectors: One embedding (unit length) per photo, at least one.
            model: Which model made them.
            preferences: Set on top of those there are.
            photo: A small picture to show (JPEG); the first one given is kept.

        Raises:
            InputError: The name, a preference or a vector cannot be used.
            TooLargeError: Past the bound of people, photos or preferences.
        """
        name = check_name(name)
        blobs = [_pack(vector) for vector in vectors]
        if not blobs:
            raise InputError("A person needs at least one photo", name=name)
        with self._transaction() as database:
            person = self._upsert(database, name, preferences or {}, photo)
            there = int(database.execute(_SQL["count_embeddings"], (person,)).fetchone()[0])
            if there + len(blobs) > MAX_PHOTOS:
                raise TooLargeError(f"A person has {MAX_PHOTOS} photos at most", limit=MAX_PHOTOS)
            database.executemany(_SQL["insert_embedding"], [(person, model, blob) for blob in blobs])
        return self.get(name)

    def list(self) -> list[Person]:
        """Everybody, in the order they were enrolled."""
        with self._reading() as database:
            rows = database.execute(_SQL["select_people"], {"name": None}).fetchall()
        return [_person(row) for row in rows]

    def get(self, name: str) -> Person:
        """One person.

        Raises:
            NotFoundError: Nobody has that name.
        """
        with self._reading() as database:
            row = database.execute(_SQL["select_people"], {"name": _composed(name)}).fetchone()
            if row is None:
                raise self._nobody(database, name)
        return _person(row)

    def photo(self, name: str) -> bytes:
        """The picture to show (JPEG).

        Raises:
            NotFoundError: Nobody has that name, or there is no picture.
        """
        with self._reading() as database:
            row = database.execute(_SQL["select_photo"], (_composed(name),)).fetchone()
            if row is None:
                raise self._nobody(database, name)
        if row[0] is None:
            raise NotFoundError(f"There is no photo of {name!r}", kind="photo", name=name)
        return bytes(row[0])

    def remove(self, name: str) -> None:
        """Forgets a person; what is on disk of them is overwritten.

        Raises:
            NotFoundError: Nobody has that name.
        """
        with self._transaction() as database:
            if not database.execute(_SQL["delete_person"], (_composed(name),)).rowcount:
                raise self._nobody(database, name)
        with self._reading() as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def set_preferences(self, name: str, preferences: Mapping[str, Any]) -> Person:
        """Sets preferences on top of those there are; one that is None is removed.

        Raises:
            NotFoundError: Nobody has that name.
            InputError: A preference cannot be used.
        """
        with self._transaction() as database:
            row = database.execute(_SQL["select_person"], (_composed(name),)).fetchone()
            if row is None:
                raise self._nobody(database, name)
            merged = _merge(row[1], preferences)
            database.execute(_SQL["update_person"], (merged, None, self._clock.time_ns(), row[0]))
        return self.get(name)

    @property
    def threshold(self) -> float:
        """Cosine similarity from which a face counts as a known person's."""
        return self._current().threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        if not 0.0 <= value <= 1.0:
            raise InputError(f"The threshold lies between 0 and 1, not at {value}", limit=[0, 1], actual=value)
        with self._transaction() as database:
            database.execute(_SQL["upsert_setting"], (_THRESHOLD, float(value)))

    def match(self, vector: Array, *, model: str) -> Match | None:
        """The person with the face most like this one; None when nobody is like it enough.

        Args:
            vector: Embedding of unit length.
            model: Which model made it; those of another are never compared.

        Raises:
            TensorError: It is not as long as that model's others.
        """
        gallery = self._current()
        names, matrix = gallery.faces.get(model, ((), None))
        if not names:
            return None
        if vector.shape != matrix.shape[1:]:
            raise TensorError(f"An embedding of {model} has {matrix.shape[1]} values, not {vector.shape}")
        similarities = matrix @ vector
        best = int(similarities.argmax())
        similarity = float(similarities[best])
        return Match(names[best], similarity) if similarity >= gallery.threshold else None

    def close(self) -> None:
        """Closes the database. May be called twice."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _upsert(
        self, database: sqlite3.Connection, name: str, preferences: Mapping[str, Any], photo: bytes | None
    ) -> int:
        now = self._clock.time_ns()
        row = database.execute(_SQL["select_person"], (name,)).fetchone()
        if row is not None:
            database.execute(_SQL["update_person"], (_merge(row[1], preferences), photo, now, row[0]))
            return int(row[0])
        if int(database.execute(_SQL["count_people"]).fetchone()[0]) >= MAX_PEOPLE:
            raise TooLargeError(f"A node knows {MAX_PEOPLE} people at most", limit=MAX_PEOPLE)
        merged = _merge("{}", preferences)
        return int(database.execute(_SQL["insert_person"], (name, merged, photo, now, now)).lastrowid or 0)

    def _current(self) -> _Gallery:
        """The gallery of the database as it is now."""
        with self._reading() as database:
            # Our own commits do not change data_version, those of others do.
            state = (int(database.execute("PRAGMA data_version").fetchone()[0]), self._changes)
            if self._gallery is None or self._gallery.state != state:
                self._gallery = _load(database, state)
            return self._gallery

    def _nobody(self, database: sqlite3.Connection, name: str) -> NotFoundError:
        known = [row[0] for row in database.execute(_SQL["select_names"])]
        return NotFoundError(f"Nobody is named {name!r}", hint=nearest(name, known), kind="person", name=name)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._database is None:
                raise ClosedError("The people store was closed")
            try:
                yield self._database
            except sqlite3.Error as error:
                raise translate(error, self._path) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as database:
            with transaction(database):
                yield database
            self._changes += 1


def check_name(name: str) -> str:
    """A person's name in composed form, without space around it.

    Raises:
        InputError: It is empty, too long, or has characters that no name has.
    """
    composed = _composed(name)
    if not 1 <= len(composed) <= MAX_NAME:
        raise InputError(f"A name has 1 to {MAX_NAME} characters, not {len(composed)}", limit=MAX_NAME, field="name")
    wrong = [character for character in composed if unicodedata.category(character) in _NO_NAME or character in "/\\"]
    if wrong or not composed.strip("."):
        raise InputError(f"{name!r} cannot be a name", hint="Leave out control characters and slashes.", field="name")
    return composed


# Control characters, surrogates, private use, unassigned, line and paragraph separators.
_NO_NAME = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp"})


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _merge(there: str, given: Mapping[str, Any]) -> str:
    merged = {**msgspec.json.decode(there), **given}
    kept = {key: value for key, value in merged.items() if value is not None}
    for key, value in kept.items():
        if not isinstance(key, str) or not isinstance(value, str | int | float | bool) or value != value:
            raise InputError(
                f"Preference {key!r} is {value!r}", hint="A preference is a text, a number, true or false.", field=key
            )
    encoded = msgspec.json.encode(kept)
    if len(encoded) > MAX_PREFERENCES_BYTES:
        raise TooLargeError(
            f"Preferences take {MAX_PREFERENCES_BYTES} bytes at most",
            limit=MAX_PREFERENCES_BYTES,
            actual=len(encoded),
        )
    return encoded.decode()


def _pack(vector: Array) -> bytes:
    import numpy as np

    values = np.asarray(vector, "<f4")
    if values.ndim != 1 or not np.isfinite(values).all() or abs(float(np.linalg.norm(values)) - 1) > 1e-3:
        raise TensorError("An embedding is a vector of finite numbers and of unit length")
    return values.tobytes()


def _load(database: sqlite3.Connection, state: tuple[int, int]) -> _Gallery:
    import numpy as np

    names: dict[str, list[str]] = {}
    vectors: dict[str, list[bytes]] = {}
    for name, model, vector in database.execute(_SQL["select_embeddings"]):
        names.setdefault(model, []).append(name)
        vectors.setdefault(model, []).append(vector)
    faces = {
        model: (tuple(names[model]), np.frombuffer(b"".join(vectors[model]), "<f4").reshape(len(names[model]), -1))
        for model in names
    }
    row = database.execute(_SQL["select_setting"], (_THRESHOLD,)).fetchone()
    return _Gallery(state, DEFAULT_THRESHOLD if row is None else float(row[0]), faces)


def _person(row: tuple[Any, ...]) -> Person:
    name, preferences, has_photo, created_ns, updated_ns, photos = row
    return Person(
        name, msgspec.json.decode(preferences), int(photos), bool(has_photo), int(created_ns), int(updated_ns)
    )
