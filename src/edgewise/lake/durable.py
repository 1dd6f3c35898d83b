"""What a power loss must not take: commits of a table in a folder, on disk before they count.

The vendor renames its files into place but leaves it to the system when they reach the disk. So what a commit wrote is
synced here before anybody is told of it, along with commits of others that came before. A power loss then leaves at
most a tail of commits of which nobody was told, some of them cut off; ``mend`` takes those back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from edgewise._lib.files import fsync_folder

LOG = "_delta_log"
_POINTER = "_last_checkpoint"
_MAGIC = b"PAR1"


def sync(table: Path, versions: range) -> None:
    """Brings commits to the disk: the files they added, then their own. A commit that is not there is skipped."""
    files: set[Path] = set()
    for version in versions:
        log = _log_file(table, version)
        if log.exists():  # what is gone was checkpointed, and synced before
            files |= {log, *(path for path, _ in _added(table, log)), *_checkpoint(table, version)}
    if (pointer := table / LOG / _POINTER).exists():
        files.add(pointer)
    folders = {path.parent for path in files}
    for path in files:
        if path.exists():  # else a sweep removed it, long after another commit replaced it
            _fsync(path)
    for folder in {table.parent, table, *folders}:
        fsync_folder(folder)


def mend(table: Path) -> int:
    """Takes back what a power loss cut off at the end of the log; returns how many files that were.

    Other writers may be at work: what they commit appears whole.
    """
    removed = 0
    for path in sorted((table / LOG).glob("*.checkpoint*.parquet"), reverse=True):
        if not _is_parquet(path):
            path.unlink()
            removed += 1
    pointer = table / LOG / _POINTER
    if pointer.exists() and not _points(table, pointer):
        pointer.unlink()
        removed += 1
    for log in sorted((table / LOG).glob("[0-9]*.json"), reverse=True):
        if _is_whole(table, log):
            break
        log.unlink()
        removed += 1
    if removed:
        fsync_folder(table / LOG)
    return removed


def _log_file(table: Path, version: int) -> Path:
    return table / LOG / f"{version:020}.json"


def _checkpoint(table: Path, version: int) -> Iterator[Path]:
    return (table / LOG).glob(f"{version:020}.checkpoint*.parquet")


def _added(table: Path, log: Path) -> list[tuple[Path, int]]:
    """The files that a commit added, and their sizes."""
    actions = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
    adds: list[dict[str, Any]] = [action["add"] for action in actions if "add" in action]
    return [(table / unquote(add["path"]), add["size"]) for add in adds]


def _is_whole(table: Path, log: Path) -> bool:
    try:
        if not log.stat().st_size:
            return False
        return all(path.stat().st_size == size for path, size in _added(table, log))
    except (msgspec.DecodeError, FileNotFoundError, KeyError, TypeError):
        return False


def _is_parquet(path: Path) -> bool:
    with open(path, "rb") as file:
        if file.read(4) != _MAGIC or file.seek(0, os.SEEK_END) < 12:
            return False
        file.seek(-4, os.SEEK_END)
        return file.read() == _MAGIC


def _points(table: Path, pointer: Path) -> bool:
    try:
        version = msgspec.json.decode(pointer.read_bytes())["version"]
        return any(_checkpoint(table, version))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return False


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
