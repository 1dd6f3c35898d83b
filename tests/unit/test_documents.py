"""Settings and manifests are YAML; whoever mistypes a line is told which line and what was meant."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise._lib import documents
from edgewise._lib.documents import Override, decode_yaml, parse_value
from edgewise.errors import EdgewiseError, SettingsError


class Wheel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="wheel"):
    size_mm: int


class Track(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="track"):
    length_mm: int = 1


class Robot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    on: str = ""
    drives: tuple[Wheel | Track, ...] = ()
    labels: dict[str, float] = {}


def decode(text: str) -> Robot:
    return decode_yaml(text, Robot, file="robot.yaml", error=SettingsError)


def test_a_right_document_becomes_the_struct_and_on_stays_a_word() -> None:
    robot = decode("name: r2\non: yes\ndrives: [{kind: wheel, size_mm: 3}, {kind: track}]\nlabels: {a: 1.5}")
    assert robot == Robot("r2", "yes", (Wheel(3), Track()), {"a": 1.5})


@pytest.mark.parametrize(
    ("text", "line", "field", "said", "hint"),
    [
        ("name: r\ndrivs: []", 2, "drivs", "unknown field", "'drives'"),
        ("name: r\ndrives:\n  - kind: whel", 3, "drives[0].kind", "'whel' is not known", "'wheel'"),
        ("name: r\ndrives:\n  - {kind: wheel,\n     size_mm: big}", 4, "drives[0].size_mm", "expected `int`", ""),
        ("name: r\nlabels:\n  a: 1\n  b: x", 4, "labels.b", "expected `float`", ""),
        ("on: a", 1, "", "field 'name' is missing", ""),
        ("name: r\nname: s", 2, "", "given twice", ""),
        ("name: &a r\non: *a", 1, "", "anchors and aliases", ""),
        ("name: [", 1, "", "", ""),
        ("", 1, "", "field 'name' is missing", ""),
        ("[" * 50 + "]" * 50, 1, "", "nested deeper", ""),
    ],
)
def test_a_wrong_document_is_refused_with_file_line_field_and_the_nearest_name(
    text: str, line: int, field: str, said: str, hint: str
) -> None:
    with pytest.raises(SettingsError, match=r"robot\.yaml") as caught:
        decode(text)
    assert said in caught.value.message
    assert hint in caught.value.hint
    assert (caught.value.facts["line"], caught.value.facts["field"]) == (line, field)


@given(st.text(max_size=200))
def test_no_text_gets_past_as_anything_but_a_robot_or_a_settings_error(text: str) -> None:
    try:
        assert isinstance(decode(text), Robot)
    except EdgewiseError as error:
        assert error.code == "settings_invalid"


def test_an_override_takes_the_place_of_a_value_and_is_named_when_it_is_wrong() -> None:
    right = Override(("labels", "a"), 2.0, "ROBOT_LABELS__A")
    assert decode_yaml("name: r", Robot, file="f", error=SettingsError, overrides=[right]).labels == {"a": 2.0}
    with pytest.raises(SettingsError, match=r"^ROBOT_NAME__A: name is no section"):
        decode_yaml(
            "name: r", Robot, file="f", error=SettingsError, overrides=[Override(("name", "a"), 1, "ROBOT_NAME__A")]
        )
    with pytest.raises(SettingsError, match="expected `object`"):
        decode_yaml("[]", Robot, file="f", error=SettingsError, overrides=[Override(("name",), "r", "ROBOT_NAME")])
    wrong = Override(("labels", "a"), "x", "ROBOT_LABELS__A")
    with pytest.raises(SettingsError, match=r"^ROBOT_LABELS__A: expected `float`"):
        decode_yaml("name: r", Robot, file="f", error=SettingsError, overrides=[wrong])


@pytest.mark.parametrize(
    ("text", "value"),
    [("8470", 8470), ("0.5", 0.5), ("true", True), ("on", "on"), ("", None), ("[a, b]", ["a", "b"]), ("[", "[")],
)
def test_a_word_from_the_environment_is_read_as_yaml_reads_it(text: str, value: object) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize("text", ["? [a]\n: b", "? {a: b}\n: c"])
def test_keys_that_are_no_words_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="key must be a plain word"):
        decode(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:30", "22:30"),
        ("1e-3", 1e-3),
        ("-.5", -0.5),
        ("017", "017"),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("yes", "yes"),
        ("", None),
    ],
)
def test_scalars_are_those_of_the_core_schema(text: str, value: object) -> None:
    assert documents.parse_value(text) == value
