"""A model package: what breaks the format is refused with the place and the remedy, and nothing is half-written."""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewise.errors import (
    ConflictError,
    CorruptError,
    EdgewiseError,
    NotFoundError,
    PackageError,
    StorageFullError,
    TooLargeError,
)
from edgewise.models import archive, arrays, golden, package
from edgewise.models.archive import ArchiveLimits
from edgewise.models.folder import check_path
from edgewise.models.gate import compare, decide
from edgewise.models.model import Model

MANIFEST = """\
# A model that gives back what it takes.
name: echo
version: "1"
licence: MIT
task: {kind: classification, labels: labels.txt, activation: none}
inputs:
  - name: x
    datatype: FP32
    shape: [-1, 3]
outputs:
  - {name: y, datatype: FP32, shape: [-1, 3]}
variants:
  - name: echo
    runtime: fake
    artifact: model.json
"""
ARTIFACT = """\
{"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
 "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}], "behaviour": "echo"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package with one golden case, sealed."""
    folder = tmp_path / "echo"
    (folder / "golden").mkdir(parents=True)
    (folder / "model.json").write_text(ARTIFACT)
    (folder / "labels.txt").write_text("cat\ndog\nbird\n")
    case = np.array([[0.1, 0.7, 0.2]], np.float32)
    np.savez(folder / "golden" / "case.npz", **{"input.x": case, "output.y": case})
    (folder / "model.yaml").write_text(MANIFEST + "golden: [{tensors: golden/case.npz}]\n")
    package.seal(folder)
    return folder


# The manifest


@pytest.mark.parametrize(
    ("right", "wrong", "field", "line", "message", "hint"),
    [
        ("runtime: fake", "runtim: fake", "variants[0].runtim", 14, "unknown field", "'runtime'"),
        ("datatype: FP32\n", "datatype: FP23\n", "inputs[0].datatype", 8, "'FP23'", "'FP32'"),
        ("[-1, 3]\noutputs", "[-1, three]\noutputs", "inputs[0].shape[1]", 9, "expected `int`", ""),
        ("kind: classification", "kind: clasification", "task.kind", 5, "is no task", "'classification'"),
        ("labels: labels.txt", "lables: labels.txt", "task.lables", 5, "unknown field", "'labels'"),
        ("activation: none", "activation: relu", "task.activation", 5, "'relu'", "Known"),
        ("activation: none", "top: 0", "task.top", 5, ">= 1", ""),
        ('version: "1"', "version: 1", "version", 3, "expected `str`", ""),
        ("name: echo\nversion", "name: My Echo\nversion", "name", 2, "matching regex", ""),
        ("licence: MIT\n", "", "", 2, "'licence' is missing", ""),
        ("artifact: model.json", "artifact: ../model.json", "variants[0].artifact", 15, "plain relative path", ""),
        ("artifact: model.json", "artifact: /etc/passwd", "variants[0].artifact", 15, "plain relative path", ""),
        ("runtime: fake", "runtime: fake\n    tensors: {z: a}", "variants[0].tensors", 15, "no tensor", ""),
        ("runtime: fake", "runtime: fake\n    axes: {x: [0, 0]}", "variants[0].axes.x", 15, "order of the 2", ""),
        ("outputs:", "  - {name: x, datatype: FP32, shape: [3]}\noutputs:", "inputs[1].name", 10, "taken", ""),
        ("datatype: FP32\n", "datatype: FP32\n    kind: image\n", "inputs[0].shape", 10, "preprocessing makes", ""),
    ],
)
def test_a_fault_of_the_manifest_is_named_with_its_place(
    right: str, wrong: str, field: str, line: int, message: str, hint: str
) -> None:
    assert right in MANIFEST
    with pytest.raises(PackageError) as caught:
        package.parse_manifest(MANIFEST.replace(right, wrong))
    assert message in caught.value.message
    assert hint in caught.value.hint
    facts = caught.value.facts
    assert (facts["file"], facts["field"], facts["line"]) == ("model.yaml", field, line)
    assert caught.value.message.startswith(f"model.yaml, line {line}")


@pytest.mark.parametrize(
    "text", ["", "[]", "a: b: c", "name: &x echo\nversion: *x", "[" * 100, "name: a\nname: b", "\x00", "a" * 2_000_000]
)
def test_documents_that_are_no_manifest_are_refused(text: str) -> None:
    with pytest.raises(PackageError):
        package.parse_manifest(text)


def test_a_folder_without_a_manifest_is_no_package(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotFoundError, match=r"no model\.yaml"):
            package.load_manifest(place)


def test_a_manifest_that_was_written_reads_back_the_same(folder: Path) -> None:
    manifest = package.load_manifest(folder)
    assert package.parse_manifest(package.dump_manifest(manifest)) == manifest
    assert package.save(folder, manifest) == manifest


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "a/../b",
        "/a",
        "a//b",
        "a/",
        "C:/a",
        "a\\b",
        "a\0",
        "a\nb",
        "con",
        "lpt1.txt",
        "a.",
        " a",
        "x" * 256,
        "a*b",
        "e\u0301",
    ],
)
def test_paths_that_mean_something_else_somewhere_are_refused(path: str) -> None:
    with pytest.raises(PackageError):
        check_path(path)


@pytest.mark.parametrize("path", ["model.onnx", "golden/case-1.npz", "模型/权重.bin", "a b.txt", ".hidden", "x" * 255])
def test_plain_paths_are_accepted(path: str) -> None:
    check_path(path)


# Sealing and verifying


def test_sealing_keeps_what_the_author_wrote_and_can_be_repeated(folder: Path) -> None:
    text = (folder / "model.yaml").read_text()
    assert text.startswith(MANIFEST)
    assert text.count("files:") == 1
    package.seal(folder)
    assert (folder / "model.yaml").read_text() == text
    (folder / "notes.md").write_text("new")
    assert set(package.seal(folder).files) == {"model.json", "labels.txt", "golden/case.npz", "notes.md"}


def test_a_block_of_digests_in_the_middle_is_replaced(folder: Path) -> None:
    place = folder / "model.yaml"
    place.write_text("files:\n  old.bin: " + "a" * 64 + "\n\n  other.bin: " + "b" * 64 + "\n# mine\n" + MANIFEST)
    assert set(package.seal(folder).files) == {"model.json", "labels.txt", "golden/case.npz"}
    assert "name: echo" in place.read_text()
    assert "old.bin" not in place.read_text()


def test_a_link_in_a_package_is_refused(folder: Path) -> None:
    (folder / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(PackageError, match="link"):
        package.seal(folder)


def test_a_damaged_artifact_is_not_opened(folder: Path) -> None:
    (folder / "model.json").write_text(ARTIFACT + " ")
    with pytest.raises(CorruptError, match=r"model\.json"):
        Model.open(folder)


def test_an_artifact_that_leads_out_of_the_package_is_not_opened(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text(ARTIFACT)
    (folder / "model.json").unlink()
    (folder / "model.json").symlink_to(outside)
    with pytest.raises(PackageError, match="points out of the package"):
        Model.open(folder)


# Checking


def findings(folder: Path) -> str:
    return "\n".join(f"{each.about}: {each.message} {each.hint}" for each in package.check(folder).problems)


def test_an_intact_package_passes_with_its_golden_data(folder: Path, tmp_path: Path) -> None:
    report = package.check(folder)
    assert report.passed
    assert report.verdicts["echo"].passed
    assert [line.verdict for line in report.lines] == ["passed", "passed"]
    assert package.check(package.pack(folder, tmp_path / "echo.zip")) == report


def test_what_does_not_hold_is_reported(folder: Path) -> None:
    (folder / "extra.bin").write_bytes(b"x")
    assert "extra.bin: extra.bin has no sha256" in findings(folder)
    (folder / "extra.bin").unlink()
    (folder / "labels.txt").write_text("cat\ndog\n")
    assert "labels.txt: sha256 is" in findings(folder)
    package.seal(folder)
    assert "2 labels, expected 3" in findings(folder)
    (folder / "labels.txt").unlink()
    assert "labels.txt is missing" in findings(folder)


def test_a_model_that_no_longer_gives_its_golden_outputs_is_found(folder: Path) -> None:
    case = np.array([[0.1, 0.7, 0.2]], np.float32)
    np.savez(folder / "golden" / "case.npz", **{"input.x": case, "output.y": case + 0.01})
    package.seal(folder)
    report = package.check(folder)
    assert not report.passed
    assert "output 'y' is off by 0.01, more than 0.001" in findings(folder)
    assert report.lines[-1].verdict == "failed"


def test_a_variant_whose_runtime_is_misspelt_is_found(folder: Path) -> None:
    place = folder / "model.yaml"
    place.write_text(place.read_text().replace("runtime: fake", "runtime: onnxrutime"))
    assert "No runtime is named 'onnxrutime' Did you mean 'onnxruntime'?" in findings(folder)


def test_golden_data_that_claims_to_be_huge_takes_no_memory(folder: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 20, 1 << 20)})
    with zipfile.ZipFile(folder / "golden" / "case.npz", "w") as archive:
        archive.writestr("input.x.npy", header.getvalue())
    package.seal(folder)
    assert "larger than" in findings(folder)


@pytest.mark.parametrize(
    "write",
    [
        lambda place: place.write_bytes(b"no zip"),
        lambda place: np.savez(place, **{"input.x": np.array([{"a": 1}], object)}),
        lambda place: place.write_bytes(place.read_bytes()[:-40]),
        lambda place: np.savez(place, other=np.zeros(3)),
    ],
    ids=["noise", "pickle", "truncated", "names"],
)
def test_golden_data_that_cannot_be_used_is_reported(folder: Path, write: Callable[[Path], object]) -> None:
    write(folder / "golden" / "case.npz")
    package.seal(folder)
    assert not package.check(folder).passed


@given(st.binary(max_size=300))
def test_arrays_from_strangers_are_read_or_refused(data: bytes) -> None:
    good = io.BytesIO()
    np.save(good, np.arange(6, dtype=np.int16).reshape(2, 3))
    for candidate in (data, arrays.MAGIC + data, good.getvalue()[: len(data)], good.getvalue()[:20] + data):
        try:
            arrays.read_npy(candidate, max_bytes=10_000)
        except EdgewiseError:
            continue
    assert arrays.read_npy(good.getvalue()).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_full_disk_is_told_as_such_and_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = package.pack(folder, tmp_path / "model.zip")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive, "_copy", full)
    with pytest.raises(StorageFullError, match="No space left to unpack"):
        package.unpack(packed, tmp_path / "in" / "copy")
    assert list((tmp_path / "in").iterdir()) == []


def test_a_name_too_long_for_a_file_system_is_refused(folder: Path, tmp_path: Path) -> None:
    """Names are counted in bytes there."""
    packed = package.pack(folder, tmp_path / "model.zip")
    with zipfile.ZipFile(packed, "a") as target:
        target.writestr("鸟" * 100, b"x")
    with pytest.raises(PackageError, match="not a plain"):
        package.unpack(packed, tmp_path / "copy")


# The gate


def test_the_gate_passes_only_what_is_within_its_tolerance() -> None:
    def verdict(expected: object, actual: object, tolerance: float = 0.1) -> bool:
        measurement = compare(
            np.asarray(expected), np.asarray(actual), case="c", kind="output", tensor="y", tolerance=tolerance
        )
        return decide([measurement]).passed

    assert verdict([1.0, 2.0], [1.05, 2.0])
    assert not verdict([1.0, 2.0], [1.2, 2.0])
    assert not verdict([1.0, 2.0], [[1.0, 2.0]])
    assert not verdict([1.0, 2.0], [1.0, float("nan")])
    assert not verdict([1.0, float("inf")], [1.0, float("inf")])
    assert verdict(np.array([250, 3], np.uint8), np.array([251, 2], np.uint8), 1.0)
    assert not verdict(np.array([0], np.uint8), np.array([255], np.uint8), 1.0)
    assert not decide([]).passed


# Zips


def test_a_package_survives_packing_and_unpacking(folder: Path, tmp_path: Path) -> None:
    archive = package.pack(folder, tmp_path / "echo.zip")
    copy = package.unpack(archive, tmp_path / "new" / "copy")
    assert package.load_manifest(copy) == package.load_manifest(folder)
    assert package.check(copy).passed
    assert package.pack(copy, tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    with pytest.raises(ConflictError):
        package.unpack(archive, copy)
    with pytest.raises(ConflictError, match="inside the package"):
        package.pack(folder, folder / "echo.zip")


def hostile(folder: Path, archive: Path, *entries: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    """The package as a zip with more entries than it should have."""
    package.pack(folder, archive)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as target:
        for name, content in entries:
            target.writestr(name, content)
    return archive


def link(name: str, kind: int = stat.S_IFLNK) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (kind | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    "entries",
    [
        [("../evil", b"x")],
        [("a/../../evil", b"x")],
        [("/evil", b"x")],
        [("C:evil", b"x")],
        [("a\\..\\..\\evil", b"x")],
        [("LABELS.TXT", b"x")],
        [("dir", b"x"), ("dir/file", b"x")],
        [(link("link"), b"/etc/passwd")],
        [(link("device", stat.S_IFCHR), b"")],
        [(link("pipe", stat.S_IFIFO), b"")],
        [("nul", b"x")],
    ],
    ids=[
        "dots",
        "inner-dots",
        "absolute",
        "drive",
        "backslash",
        "case",
        "file-and-folder",
        "link",
        "device",
        "pipe",
        "nul",
    ],
)
def test_hostile_entries_are_refused_and_nothing_is_left(
    folder: Path, tmp_path: Path, entries: list[tuple[zipfile.ZipInfo | str, bytes]]
) -> None:
    place = tmp_path / "in" / "copy"
    with pytest.raises(PackageError):
        package.unpack(hostile(folder, tmp_path / "evil.zip", *entries), place)
    assert list(place.parent.iterdir()) == []
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path.parent / "evil").exists()


def test_a_bomb_is_refused_by_its_ratio(folder: Path, tmp_path: Path) -> None:
    archive = hostile(folder, tmp_path / "bomb.zip", ("zeros", bytes(64 * 1024 * 1024)))
    with pytest.raises(TooLargeError, match="bomb"):
        package.unpack(archive, tmp_path / "in" / "copy")
    assert list((tmp_path / "in").iterdir()) == []


def test_sizes_and_counts_are_bounded(folder: Path, tmp_path: Path) -> None:
    archive = package.pack(folder, tmp_path / "echo.zip")
    for limits in (ArchiveLimits(max_bytes=1000), ArchiveLimits(max_entries=3)):
        with pytest.raises(TooLargeError):
            package.unpack(archive, tmp_path / "copy", limits=limits)


def test_a_file_that_is_larger_than_the_archive_says_is_refused(folder: Path, tmp_path: Path) -> None:
    """The declared size is what passes the bound, so more than that must never be written."""
    archive = hostile(folder, tmp_path / "liar.zip", ("large.bin", os.urandom(100_000)))
    data = bytearray(archive.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    assert data[central + 46 :].startswith(b"large.bin")
    data[central + 24 : central + 28] = struct.pack("<I", 10)
    archive.write_bytes(data)
    with pytest.raises((TooLargeError, PackageError)):
        package.unpack(archive, tmp_path / "in" / "copy")
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_archive_is_refused(folder: Path, tmp_path: Path, share: float) -> None:
    data = package.pack(folder, tmp_path / "echo.zip").read_bytes()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(PackageError):
        package.unpack(cut, tmp_path / "in" / "copy")
    assert list((tmp_path / "in").iterdir()) == []


def test_content_that_does_not_have_its_digest_is_refused(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "changed.zip"
    package.pack(folder, tmp_path / "echo.zip")
    with zipfile.ZipFile(tmp_path / "echo.zip") as source, zipfile.ZipFile(archive, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content.replace(b"echo", b"fail") if name == "model.json" else content)
    with pytest.raises(CorruptError):
        package.unpack(archive, tmp_path / "in" / "copy")
    assert list((tmp_path / "in").iterdir()) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_archives_are_refused_or_intact(folder: Path, tmp_path: Path, data: st.DataObject) -> None:
    whole = package.pack(folder, tmp_path / "echo.zip").read_bytes()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    archive, place = tmp_path / "damaged.zip", tmp_path / "in" / "copy"
    archive.write_bytes(damaged)
    try:
        package.unpack(archive, place)
    except EdgewiseError:
        assert not place.exists()
        return
    assert package.load_manifest(place) == package.load_manifest(folder)
    __import__("shutil").rmtree(place)


# New packages


def test_a_new_package_is_filled_from_its_artifact(tmp_path: Path) -> None:
    artifact = tmp_path / "mine.json"
    tensors = {
        "inputs": [{"name": "picture", "datatype": "FP32", "shape": [1, 3, 32, 48]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [1, 2]}],
        "behaviour": "constant",
    }
    artifact.write_bytes(msgspec.json.encode(tensors))
    labels = tmp_path / "names.txt"
    labels.write_text("cat\ndog\n")
    manifest = package.new(tmp_path / "My Model", artifact=artifact, labels=labels, licence="MIT")
    assert manifest.name == "my-model"
    assert package.check(tmp_path / "My Model").passed
    with Model.open(tmp_path / "My Model") as model:
        prediction = model.predict(np.zeros((5, 9, 3), np.uint8))
    assert [label.name for label in prediction.result.labels] == ["cat", "dog"]  # type: ignore[union-attr]
    with pytest.raises(ConflictError):
        package.new(tmp_path / "My Model", artifact=artifact)


def test_a_new_package_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    artifact = tmp_path / "broken.json"
    artifact.write_text("{}")
    with pytest.raises(PackageError):
        package.new(tmp_path / "in" / "mine", artifact=artifact)
    assert list((tmp_path / "in").iterdir()) == []
    with pytest.raises(PackageError, match="No runtime opens"):
        package.new(tmp_path / "mine", artifact=Path(__file__))
    with pytest.raises(NotFoundError):
        package.new(tmp_path / "mine", artifact=tmp_path / "nowhere.onnx")


def test_golden_data_is_recorded_from_a_source(folder: Path) -> None:
    (folder / "golden" / "one.csv").write_text("a,b,c\n0.1,0.2,0.7\n")
    place = folder / "model.yaml"
    place.write_text(place.read_text().replace("shape: [-1, 3]\noutputs", "shape: [-1, 3]\n    kind: series\noutputs"))
    package.seal(folder)
    with Model.open(folder) as model:
        case = golden.record(model, folder / "golden" / "one.csv", "golden/one.npz")
    package.save(folder, msgspec.structs.replace(package.load_manifest(folder), golden=(case,)))
    assert package.check(folder).passed
    (folder / "golden" / "one.csv").write_text("a,b,c\n0.1,0.2,0.9\n")
    package.seal(folder)
    assert "input 'x' is off by" in findings(folder)
