"""``/v1/people`` and the face threshold: whom the node knows, and how alike a face must be."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, patch, post, put
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from edgewise.api import forms
from edgewise.api.rest.context import Context, Injected, blocking, note
from edgewise.api.wire import decode_json
from edgewise.errors import InputError
from edgewise.media import images
from edgewise.people.store import Person

_TAGS = ["people"]


class PersonSummary(msgspec.Struct, frozen=True):
    """One person: the name, preferences, how many photos were enrolled, and whether one is kept to show."""

    name: str
    preferences: dict[str, Any]
    photos: int
    has_photo: bool


class PersonList(msgspec.Struct, frozen=True):
    """Everybody the node knows."""

    people: list[PersonSummary]


class PreferencesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Preferences to set on top of those there are; one that is null is removed."""

    preferences: dict[str, Any]


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cosine similarity from which two faces are the same person's."""

    threshold: Annotated[float, Meta(ge=0, le=1)]


@get("/v1/people", tags=_TAGS)
@blocking
def list_people(context: Injected) -> PersonList:
    """Everybody the node knows."""
    return PersonList([_summary(person) for person in context.node.people.list()])


@post("/v1/people", tags=_TAGS)
async def add_person(request: Request, context: Injected) -> PersonSummary:  # type: ignore[type-arg]
    """Enrols a person from a form: `name`, one or more `photos`, and optionally `preferences` as JSON.

    Adding photos to a name that exists adds to what is known of that person.
    """
    body = memoryview(await request.body())
    content_type = request.headers.get("content-type", "").encode("latin-1")
    person, photos = await context.jobs.run(_enrol, context, body, content_type)
    note(request, name=person.name, photos=photos)
    return _summary(person)


@get("/v1/people/{name:str}", tags=_TAGS)
@blocking
def read_person(name: FromPath[str], context: Injected) -> PersonSummary:
    """One person."""
    return _summary(context.node.people.get(name))


@patch("/v1/people/{name:str}", tags=_TAGS)
@blocking
def change_person(
    name: FromPath[str],
    data: JSONBody[PreferencesRequest],
    context: Injected,
    request: Request[Any, Any, Any],
) -> PersonSummary:
    """Sets preferences of a person on top of those there are; one that is null is removed."""
    person = context.node.people.set_preferences(name, data.preferences)
    note(request, name=person.name, preferences=data.preferences)
    return _summary(person)


@delete("/v1/people/{name:str}", tags=_TAGS, status_code=204)
@blocking
def remove_person(name: FromPath[str], context: Injected, request: Request[Any, Any, Any]) -> None:
    """Forgets a person: name, preferences, embeddings and photo."""
    context.node.people.remove(name)
    note(request, name=name)


@get("/v1/people/{name:str}/photo", tags=_TAGS, media_type="image/jpeg")
@blocking
def read_photo(name: FromPath[str], context: Injected) -> Response[bytes]:
    """The photo kept to show."""
    photo = context.node.people.photo(name)
    media_type = f"image/{images.probe(photo).format}"
    return Response(photo, media_type=media_type, headers={"cache-control": "private, no-cache"})


@get("/v1/settings/face-threshold", tags=_TAGS)
@blocking
def read_threshold(context: Injected) -> Threshold:
    """How alike a face must be."""
    return Threshold(context.node.people.threshold)


@put("/v1/settings/face-threshold", tags=_TAGS)
@blocking
def set_threshold(data: JSONBody[Threshold], context: Injected, request: Request[Any, Any, Any]) -> Threshold:
    """Sets how alike a face must be."""
    context.node.people.threshold = data.threshold
    note(request, threshold=data.threshold)
    return data


def _enrol(context: Context, body: memoryview, content_type: bytes) -> tuple[Person, int]:
    """The person, and how many photos were taken."""
    parts = forms.parse(body, content_type)
    names = [part.text().strip() for part in parts if part.name == "name"]
    photos = [part.data for part in parts if part.name == "photos"]
    if len(names) != 1 or not names[0]:
        raise InputError("The form needs one field 'name'", field="name")
    if not photos:
        raise InputError("The form needs at least one photo in 'photos'", field="photos")
    preferences = _preferences([part for part in parts if part.name == "preferences"])
    return context.node.enrol(names[0], photos, preferences=preferences), len(photos)


def _preferences(parts: list[forms.Part]) -> dict[str, Any]:
    if not parts:
        return {}
    return decode_json(parts[-1].data, dict[str, Any])


def _summary(person: Person) -> PersonSummary:
    return PersonSummary(person.name, dict(person.preferences), person.photos, person.has_photo)


HANDLERS = (
    list_people,
    add_person,
    read_person,
    change_person,
    remove_person,
    read_photo,
    read_threshold,
    set_threshold,
)
