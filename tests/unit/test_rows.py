"""Imports point one way: a package imports only from rows above its own, never from its own row."""

import ast
from pathlib import Path

import pytest

import edgewise

ROOT = Path(edgewise.__file__).parent

ROWS = [
    {"errors", "types"},
    {"_lib", "telemetry"},
    {"runtimes", "media", "journal", "trust", "series"},
    {"models", "link"},
    {"convert"},
    {"zoo", "pipeline", "people", "accounts", "registry", "rollout", "compress", "learn", "privacy", "lake", "fleet"},
    {"node"},
    {"api", "console", "testing"},
    {"cli"},
    {"__main__"},
]
ROW = {package: number for number, row in enumerate(ROWS) for package in row}


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(source: str, *, inside: tuple[str, ...]) -> set[str]:
    """Top packages of edgewise that a module imports; ``inside`` is its own package path, for relative imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(inside[: len(inside) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names = [f"{module}.{alias.name}" for alias in node.names] + [module]
        for name in names:
            parts = name.split(".")
            if parts[0] == "edgewise" and len(parts) > 1 and parts[1] in ROW:
                found.add(parts[1])
    return found


def violations(package: str, source: str, *, inside: tuple[str, ...]) -> list[str]:
    if package not in ROW:
        return [f"{package} is on no row"]
    return [
        f"{package} imports {other}"
        for other in imported(source, inside=inside)
        if other != package and ROW[other] >= ROW[package]
    ]


FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_rows_above_its_own(path: Path) -> None:
    inside = ("edgewise", *path.relative_to(ROOT).parts[:-1])
    assert violations(package_of(path), path.read_text(), inside=inside) == []


def test_the_check_itself_sees_an_import_that_points_the_wrong_way() -> None:
    inside = ("edgewise", "journal")
    assert violations("journal", "from edgewise.node import settings", inside=inside) == ["journal imports node"]
    assert violations("journal", "from ..media import x", inside=inside) == ["journal imports media"]
    assert violations("shelf", "", inside=inside) == ["shelf is on no row"]
    assert violations("journal", "from edgewise._lib.clock import Clock", inside=inside) == []
