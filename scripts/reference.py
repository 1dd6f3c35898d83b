"""Writes docs/reference/ from the code: command line, settings, errors. ``--check`` only compares."""

from __future__ import annotations

import inspect as python_inspect
import re
import sys
import types
import typing
from pathlib import Path

import msgspec

from edgewise import cli, errors
from edgewise.api.errors import STATUS
from edgewise.link.base import SECTIONS, UplinkSettings
from edgewise.node.settings import Settings

FOLDER = Path(__file__).parent.parent / "docs" / "reference"


def main() -> int:
    pages = {"cli.md": cli_page(), "settings.md": settings_page(), "errors.md": errors_page()}
    stale = [
        name for name, text in pages.items() if not (FOLDER / name).exists() or (FOLDER / name).read_text() != text
    ]
    if "--check" in sys.argv:
        if stale:
            print(f"stale: {', '.join(stale)}; run python scripts/reference.py")
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (FOLDER / name).write_text(text)
    return 0


def cli_page() -> str:
    body = cli.app.generate_docs(output_format="markdown", heading_level=1, recursive=True)
    body = "\n".join(line.rstrip() for line in body.splitlines())
    table = ["| exit code | error class | code |", "|---|---|---|", "| 0 | | it worked |", "| 1 | | the answer is no |"]
    table += ["| 2 | | the command line is wrong |"]
    table += [
        f"| {code} | `{kind.__name__}` | `{kind.code}` |"
        for kind, code in sorted(cli.EXIT_CODES, key=lambda row: row[1])
    ]
    table += ["| 130 | | interrupted |"]
    return f"{body.strip()}\n\n## Exit codes\n\n" + "\n".join(table) + "\n"


def errors_page() -> str:
    lines = [
        "# Errors",
        "",
        "Every error has a stable `code`, a message for a person, a hint that names what to do next, and facts for",
        'programs. Over HTTP: `{"error": {"code": …, "message": …, "hint": …, "facts": {…}}}`; under `/v2` as the Open',
        'Inference Protocol says: `{"error": "message"}`.',
        "",
        "| code | HTTP | exit code | meaning |",
        "|---|---|---|---|",
    ]
    for kind in _tree(errors.EdgewiseError):
        status = next(status for ancestor in kind.__mro__ if (status := STATUS.get(ancestor)))
        exit_code = next(code for ancestor, code in cli.EXIT_CODES if issubclass(kind, ancestor))
        summary = (kind.__doc__ or "").strip().splitlines()[0]
        lines.append(f"| `{kind.code}` | {status} | {exit_code} | {summary} |")
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    lines = [
        "# Settings",
        "",
        "One file, `edgewise.yaml`: `edgewise config check` checks it, `edgewise config show` prints what is in force.",
        "Assembled defaults < file < environment (`EDGEWISE_HTTP__PORT=8080`) < flags. Relative paths count from the",
        "folder of the file. Unknown keys are errors. What is marked ◆ a parent may set from afar, as far as",
        "`parent.may_change` allows (docs/fleet.md).",
    ]
    done: set[type] = set()
    queue: list[tuple[str, type]] = [("edgewise.yaml", Settings)]
    while queue:
        where, struct = queue.pop(0)
        if struct in done:
            continue
        done.add(struct)
        lines += ["", f"## {where}", "", *_struct_lines(struct)]
        hints = typing.get_type_hints(struct)
        for field in msgspec.structs.fields(struct):
            for child in _structs_in(hints[field.name]):
                tag = child.__struct_config__.tag
                name = f"{field.encode_name}: {{kind: {tag}}}" if tag else field.encode_name
                queue.append((name if where == "edgewise.yaml" else f"{where} · {name}", child))
    return "\n".join(lines) + "\n"


def _struct_lines(struct: type) -> list[str]:
    summary, attributes = _docstring(struct)
    lines = [summary, "", "| key | type | default | meaning |", "|---|---|---|---|"]
    hints = typing.get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        default = "required" if field.required else f"`{_plain(field)}`"
        meaning = attributes.get(field.name, "").replace("|", "\\|")
        if (struct is Settings and field.name in SECTIONS) or (struct is UplinkSettings and field.name != "may_change"):
            meaning = f"◆ {meaning}".strip()
        lines.append(f"| `{field.encode_name}` | {_type_name(hints[field.name])} | {default} | {meaning} |")
    return lines


def _plain(field: msgspec.structs.FieldInfo) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(value, msgspec.Struct):
        return "see below"
    return msgspec.json.encode(value).decode()


def _docstring(struct: type) -> tuple[str, dict[str, str]]:
    attributes: dict[str, str] = {}
    summaries = []
    for ancestor in reversed(struct.__mro__):
        if not issubclass(ancestor, msgspec.Struct) or ancestor is msgspec.Struct:
            continue
        text = python_inspect.cleandoc(ancestor.__doc__ or "")
        head, _, tail = text.partition("Attributes:")
        summaries.append(" ".join(head.split()))
        for match in re.finditer(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", tail, re.MULTILINE):
            attributes[match[1]] = " ".join(match[2].split())
    return summaries[-1].replace("``", "`"), {key: text.replace("``", "`") for key, text in attributes.items()}


def _structs_in(hint: object) -> list[type]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [struct for argument in typing.get_args(hint) for struct in _structs_in(argument)]


def _type_name(hint: object) -> str:
    if structs := _structs_in(hint):
        words = "mapping of name to " if typing.get_origin(hint) is dict else ""
        words = words or ("list of " if typing.get_origin(hint) is tuple else "")
        return words + " or ".join(
            str(struct.__struct_config__.tag or struct.__name__.removesuffix("Settings").lower()) for struct in structs
        )
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(hint))
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return " or ".join(_type_name(argument) for argument in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"list of {_type_name(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is dict:
        return "mapping"
    if isinstance(hint, type) and hasattr(hint, "__members__"):
        return " or ".join(f"`{member.value}`" for member in hint)
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "NoneType": "null"}
    name = getattr(hint, "__name__", str(hint))
    return names.get(name, name)


def _tree(kind: type[errors.EdgewiseError]) -> list[type[errors.EdgewiseError]]:
    return [kind, *[found for child in kind.__subclasses__() for found in _tree(child)]]


if __name__ == "__main__":
    sys.exit(main())
