"""``edgewise people``: whom the node knows by face."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from rich.markup import escape

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings

app = cyclopts.App(
    name="people",
    help="People the node knows by face. A running node sees changes at once.",
    result_action="return_value",
)


@app.command
def add(
    name: str,
    /,
    *photos: Annotated[Path, Parameter(required=True)],
    prefer: Annotated[
        list[str] | None,
        Parameter(help="A preference as KEY=VALUE, such as brightness=60 or temperature_c=21.5; may be repeated."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Enrol a person from one or several photos; each must show exactly one face.

    Photos of a known name are added to that person's.

    Parameters
    ----------
    name:
        What the person is called.
    photos:
        Photographs; three or more in different light work best.
    """
    from edgewise.node.organs import open_people

    preferences = _preferences(prefer or [])
    with open_people(load_settings(config)) as people:
        person = people.enrol(name, [photo.read_bytes() for photo in _existing(photos)], preferences=preferences)
        people.tell("people.enrolled", {"name": person.name, "photos": len(photos)})
    output.out().print(f"{person.name}: {output.counted(person.photos, 'photo')}", markup=False)


@app.command
def remove(name: str, /, *, config: ConfigFile = None) -> None:
    """Forget a person: name, embeddings, photo and preferences."""
    from edgewise.node.organs import open_people

    with open_people(load_settings(config)) as people:
        people.store.remove(name)
        people.tell("people.removed", {"name": name})
    output.out().print(f"{name} is forgotten", markup=False)


@app.command(name="list")
def list_(*, config: ConfigFile = None, json: JsonFlag = False) -> None:
    """List the people the node knows."""
    from edgewise.node.organs import open_people

    settings = load_settings(config)
    with open_people(settings) as people:
        known = people.store.list()
    if json:
        output.show_json(known)
        return
    if not known:
        output.note(
            f"Nobody is known in {escape(settings.node.data)} yet: edgewise people add NAME photo1.jpg photo2.jpg"
        )
        return
    output.show_table(
        ("name", "photos", "preferences"),
        [
            (person.name, person.photos, ", ".join(f"{key}={value}" for key, value in person.preferences.items()))
            for person in known
        ],
    )


@app.command
def threshold(value: float | None = None, /, *, config: ConfigFile = None) -> None:
    """Show or set the cosine similarity from which a face counts as a known person's.

    Parameters
    ----------
    value:
        0..1. Higher lets fewer strangers pass and turns more of the family away.
    """
    from edgewise.node.organs import open_people

    with open_people(load_settings(config)) as people:
        if value is not None:
            people.store.threshold = value
            people.tell("settings.face_threshold", {"threshold": value})
        output.out().print(f"{people.store.threshold:g}")


def _preferences(words: list[str]) -> dict[str, object]:
    from edgewise._lib.documents import parse_value
    from edgewise.errors import InputError

    preferences = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise InputError(f"{word!r} is no preference", hint="Write KEY=VALUE: --prefer brightness=60")
        preferences[key] = parse_value(value)
    return preferences


def _existing(photos: tuple[Path, ...]) -> tuple[Path, ...]:
    from edgewise.errors import NotFoundError

    for photo in photos:
        if not photo.is_file():
            raise NotFoundError(f"{photo}: no such file", kind="file", name=str(photo))
    return photos
