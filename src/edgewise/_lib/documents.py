"""YAML documents into typed structs, with errors a person can act on: file, line, field, expectation, nearest name.

The dialect is YAML 1.2's core schema, so a key ``on`` stays a word, ``22:30`` is no number and ``1e-3`` is one; but a
number with a leading zero stays text. Anchors, aliases, and keys that are no scalars are errors, as are unknown and
repeated keys.
"""

from __future__ import annotations

import difflib
import functools
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import inspect

from edgewise.errors import EdgewiseError

T = TypeVar("T")
Path = tuple[str | int, ...]

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml where it is there
    pass


_CORE_SCHEMA = (
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("bool", r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", tuple("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        tuple("-+.0123456789"),
    ),
)
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _CORE_SCHEMA:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


class _FaultError(Exception):
    """What is wrong, where; becomes the caller's error class once the file and line are known."""

    def __init__(self, message: str, path: Path, hint: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.hint = hint


class Override(msgspec.Struct, frozen=True):
    """A value that takes the place of one in the document.

    Attributes:
        path: Keys from the top, such as ``("http", "port")``.
        value: A plain value.
        source: Where it came from, for error messages: ``EDGEWISE_HTTP__PORT`` or ``--port``.
    """

    path: tuple[str, ...]
    value: Any
    source: str


def decode_yaml(
    text: str, into: type[T], *, file: str, error: type[EdgewiseError], overrides: Sequence[Override] = ()
) -> T:
    """Decodes a YAML document into a msgspec type.

    Args:
        text: The document, at most 1 MiB, nested at most 32 deep.
        into: A msgspec struct type with ``forbid_unknown_fields``.
        file: Name for error messages.
        error: Class to raise; its facts are ``file``, ``line`` (from 1) and ``field`` (such as ``rules[2].when``).
        overrides: Values put in before decoding, the last wins.

    Raises:
        EdgewiseError: Of class ``error``, for every kind of fault in the document or the overrides.
    """
    if len(text) > MAX_BYTES:
        raise error(f"{file}: larger than {MAX_BYTES} bytes", file=file, limit=MAX_BYTES)
    try:
        value, lines = _parse(text)
    except (yaml.YAMLError, ValueError) as fault:
        mark = getattr(fault, "problem_mark", None)
        line = min(mark.line + 1, text.count("\n") + 1) if mark else 1  # libyaml's end is past the last line
        problem = getattr(fault, "problem", None) or str(fault)
        raise error(f"{file}, line {line}: {problem}", file=file, line=line, field="") from fault
    try:
        for override in overrides:
            _put(value, override)
        return convert(value, into)
    except _FaultError as fault:
        field = format_path(fault.path)
        source = next((o.source for o in reversed(overrides) if fault.path[: len(o.path)] == o.path), "")
        line = next((lines[fault.path[:n]] for n in range(len(fault.path), -1, -1) if fault.path[:n] in lines), 1)
        where = source or f"{file}, line {line}" + (f", {field}" if field else "")
        raise error(f"{where}: {fault}", hint=fault.hint, file=file, line=line, field=field) from fault


def parse_value(text: str) -> Any:
    """A value as YAML reads it (``"8470"`` is a number, ``"[a, b]"`` a list); text that is no YAML stays text."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with fewer words
    except yaml.YAMLError:
        return text


def convert(value: Any, into: type[T]) -> T:
    """Converts plain values into a msgspec type; after a fault, checks from the leaves up to find its exact path."""
    try:
        return msgspec.convert(value, into)
    except msgspec.ValidationError:
        _check(value, into, ())
        raise


def line_of(text: str, field: str) -> int:
    """The line of a field, such as ``rules[2].when``, or of the nearest one around it that is written out.

    Args:
        text: A document that ``decode_yaml`` accepted.
        field: The field, as in an error's facts.
    """
    root = _compose(text)
    lines = {format_path(path): line for path, line in _lines(root, ())} if root else {}
    while field and field not in lines:
        field = field[: max(field.rfind("."), field.rfind("["), 0)]
    return lines.get(field, 1)


def nearest(name: str, known: Mapping[str, Any] | list[str] | tuple[str, ...]) -> str:
    """A hint that names the nearest known word, or all of them when none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    if matches:
        return f"Did you mean {matches[0]!r}?"
    return f"Known: {', '.join(sorted(known))}." if known else ""


def format_path(path: Path) -> str:
    """``("rules", 2, "when")`` as ``rules[2].when``."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


def _parse(text: str) -> tuple[Any, dict[Path, int]]:
    root = _compose(text)
    if root is None:
        return {}, {}
    lines = dict(_lines(root, ()))
    return _Loader("").construct_document(root), lines


def _put(value: Any, override: Override) -> None:
    if not isinstance(value, dict):
        return  # it is refused as a whole
    *parents, last = override.path
    for depth, key in enumerate(parents, start=1):
        inner = value.setdefault(key, {})
        if not isinstance(inner, dict):
            raise _FaultError(f"{format_path(override.path[:depth])} is no section with fields", override.path)
        value = inner
    value[last] = override.value


def _compose(text: str) -> yaml.Node | None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _marked("anchors and aliases are not allowed", event)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _marked(f"nested deeper than {MAX_DEPTH}", event)
    root: yaml.Node | None = _Loader(text).get_single_node()
    return root


def _marked(problem: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


def _lines(node: yaml.Node, path: Path) -> Iterator[tuple[Path, int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _marked("a key must be a plain word", key)
            if key.value in seen:
                raise _marked(f"{key.value!r} is given twice", key)
            seen.add(key.value)
            yield from _lines(value, (*path, key.value))
            yield (*path, key.value), key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, index))


def _check(value: Any, annotation: Any, path: Path) -> None:
    info = inspect.type_info(annotation)
    match info:
        case inspect.StructType() if isinstance(value, dict):
            _check_struct(value, info, path)
        case inspect.DictType() if isinstance(value, dict):
            for key, item in value.items():
                _check(item, _arguments(annotation)[1], (*path, str(key)))
        case inspect.ListType() | inspect.VarTupleType() if isinstance(value, list):
            for index, item in enumerate(value):
                _check(item, _arguments(annotation)[0], (*path, index))
        case inspect.UnionType() if isinstance(value, dict):
            _check_union(value, info, path)
        case inspect.LiteralType() if value not in info.values:
            _reject_choice(value, [str(choice) for choice in info.values], path)
        case inspect.EnumType() if value not in {choice.value for choice in info.cls}:
            _reject_choice(value, [str(choice.value) for choice in info.cls], path)
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError as fault:
        message = str(fault).split(" - at `")[0]
        raise _FaultError(message[0].lower() + message[1:], path) from fault


def _check_struct(value: dict[str, Any], info: inspect.StructType, path: Path) -> None:
    fields = {field.encode_name: field for field in info.fields}
    for key, item in value.items():
        if key in fields:
            _check(item, _hints(info.cls)[fields[key].name], (*path, key))
        elif key != info.tag_field:
            raise _FaultError(f"unknown field {str(key)!r}", (*path, str(key)), nearest(str(key), fields))
    for name, field in fields.items():
        if field.required and name not in value:
            raise _FaultError(f"field {name!r} is missing", path)


def _check_union(value: dict[str, Any], info: inspect.UnionType, path: Path) -> None:
    structs = {str(option.tag): option for option in info.types if isinstance(option, inspect.StructType)}
    tag_field = next((option.tag_field for option in structs.values()), None)
    if tag_field is None:
        for option in structs.values():
            _check(value, option.cls, path)
        return
    if tag_field not in value:
        raise _FaultError(f"field {tag_field!r} is missing", path, f"One of: {', '.join(structs)}.")
    tag = str(value[tag_field])
    if tag not in structs:
        raise _FaultError(f"{tag_field} {tag!r} is not known", (*path, tag_field), nearest(tag, structs))
    _check(value, structs[tag].cls, path)


def _reject_choice(value: Any, choices: list[str], path: Path) -> None:
    raise _FaultError(f"{value!r} is none of {', '.join(choices)}", path, nearest(str(value), choices))


def _arguments(annotation: Any) -> tuple[Any, ...]:
    bare = typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation
    return typing.get_args(bare)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)
