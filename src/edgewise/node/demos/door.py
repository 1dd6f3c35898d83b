"""The door: what its demonstration needs, and telling what happens there.

The photographs are of two people, taken by the White House (public domain), as the package face_recognition carries
them for its tests. One is enrolled from two photographs and comes to the door in a third; the other is a stranger.
They are fetched, never shipped. The film lets each photograph come nearer, as a visitor would.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgewise.errors import ClosedError
from edgewise.node.streams import DECISIONS, EVENTS
from edgewise.zoo.catalog import File
from edgewise.zoo.origins.base import Origin
from edgewise.zoo.sources import Sources

if TYPE_CHECKING:
    from edgewise.node.node import Node
    from edgewise.types import Image, Record

SETTINGS = Path(__file__).with_name("door.yaml")
PERSON = "Barack"
PREFERENCES = {"brightness": 60, "temperature_c": 21.5}
ARCHIVE_SHA256 = "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec"
FPS = 8


def _photo(name: str, sha256: str) -> File:
    member = f"face_recognition-1.3.0/tests/test_images/{name}"
    return File(name, sha256, (Origin("sdist", "face_recognition==1.3.0", member, ARCHIVE_SHA256),))


ENROLLED = (
    _photo("obama.jpg", "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6"),
    _photo("obama2.jpg", "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6"),
)
KNOWN = _photo("obama3.jpg", "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3")
STRANGER = _photo("biden.jpg", "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c")


def prepare(folder: Path, *, tell: Callable[[str], None]) -> Path:
    """Fetches the photographs, makes the film, and writes the settings beside it; what is there already stays.

    Args:
        folder: The demonstration's folder.
        tell: Told what is going on.

    Returns:
        The settings file.

    Raises:
        UnavailableError: The photographs cannot be fetched.
        MissingExtraError: PyAV is not installed.
    """
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    sources = Sources(photos, report=lambda source, *_: tell(f"Fetching photographs: {source}"))
    found = {file.name: sources.obtain(file) for file in (*ENROLLED, KNOWN, STRANGER)}
    film = folder / "visits.mp4"
    if not film.exists():
        tell("Making a film of two visits")
        _make_film(film, known=found[KNOWN.name], stranger=found[STRANGER.name])
    settings = folder / "edgewise.yaml"
    if not settings.exists():
        shutil.copyfile(SETTINGS, settings)
    return settings


def enrol(node: Node, folder: Path) -> None:
    """Makes the node know its person, unless it does."""
    if any(person.name == PERSON for person in node.people.list()):
        return
    sources = Sources(folder / "photos")
    node.enrol(PERSON, [sources.obtain(file).read_bytes() for file in ENROLLED], preferences=PREFERENCES)


class Narrator:
    """Tells each event and what followed, in a line each, from a thread of its own.

    Args:
        node: A node that is set up.
        tell: Called with each line.
    """

    def __init__(self, node: Node, tell: Callable[[str], None]) -> None:
        self._journal = node.journal
        self._before = {stream: _newest(node, stream) for stream in (EVENTS, DECISIONS)}
        self._tell = tell
        self._threads = [
            threading.Thread(target=self._follow, args=(stream, words), name=f"tell {stream}", daemon=True)
            for stream, words in ((EVENTS, _event_words), (DECISIONS, _decision_words))
        ]

    def start(self) -> None:
        """Begins with what happens from now on."""
        for thread in self._threads:
            thread.start()

    def _follow(self, stream: str, words: Callable[[Record], Iterator[str]]) -> None:
        seen = self._before[stream]
        try:
            while True:
                self._journal.wait(stream, after=seen, timeout_s=60)
                for record in self._journal.read(stream, after=seen):
                    seen = record.sequence
                    for line in words(record):
                        self._tell(line)
        except ClosedError:
            return


class Tally:
    """Counts what happens on a node from now on: visits it knew, strangers, doors opened, alarms raised."""

    def __init__(self, node: Node) -> None:
        self._journal = node.journal
        self._before = {stream: _newest(node, stream) for stream in (EVENTS, DECISIONS)}

    def now(self) -> dict[str, int]:
        """The counts so far, of the first thousand records."""
        events, decisions = (
            self._journal.read(stream, after=after, limit=1000) for stream, after in self._before.items()
        )
        kinds = [record.kind for record in events]
        commands = [
            action["command"]
            for record in decisions
            for action in record.body.get("actions", [])
            if action["status"] == "done"
        ]
        return {
            "known": kinds.count("face.known"),
            "unknown": kinds.count("face.unknown"),
            "unlocked": commands.count("unlock"),
            "alarms": commands.count("raise"),
        }


def _newest(node: Node, stream: str) -> int:
    """Sequence of a stream's newest record; 0 when it has none."""
    newest = node.journal.read(stream, limit=1, newest_first=True)
    return newest[0].sequence if newest else 0


def _event_words(record: Record) -> Iterator[str]:
    if record.kind == "face.known":
        yield f"● {record.body['name']} is at the {record.body['source']} (similarity {record.body['similarity']:.2f})"
    elif record.kind == "face.unknown":
        yield f"● A stranger is at the {record.body['source']}"


def _decision_words(record: Record) -> Iterator[str]:
    for action in record.body.get("actions", []):
        values = " ".join(f"{value}" for value in action["arguments"].values())
        yield f"  → {action['device']}: {action['command']} {values}".rstrip() + f"   [{action['status']}]"


def _make_film(film: Path, *, known: Path, stranger: Path) -> None:
    from edgewise.media.film import approach, pause, write_video
    from edgewise.media.images import read

    def frames() -> Iterator[Image]:
        for photo in (read(known), read(stranger)):
            yield from pause(frames=2 * FPS)
            yield from approach(photo, frames=5 * FPS, start=0.8, end=1.5)
        yield from pause(frames=2 * FPS)

    making = film.with_name(".making-" + film.name)
    write_video(making, frames(), fps=FPS)
    making.replace(film)
