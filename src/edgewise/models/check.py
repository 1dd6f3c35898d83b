"""Checking a whole package: manifest, files, labels, artifacts, and the golden data on every variant that can run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from edgewise import runtimes
from edgewise._lib.documents import nearest
from edgewise.errors import EdgewiseError, MissingExtraError, PackageError
from edgewise.models import folder as packages
from edgewise.models import gate, golden
from edgewise.models.archive import unpack
from edgewise.models.manifest import Manifest, Variant
from edgewise.models.model import Model


class Finding(msgspec.Struct, frozen=True):
    """One thing that was found.

    Attributes:
        severity: ``problem`` makes the package unfit; ``note`` is worth knowing.
        message: For a person.
        hint: What to do about it; may be empty.
        file: The file it is about; may be empty.
        field: The field of the manifest; may be empty.
        variant: The variant; empty when it is about all.
    """

    severity: Literal["problem", "note"]
    message: str
    hint: str = ""
    file: str = ""
    field: str = ""
    variant: str = ""

    @property
    def about(self) -> str:
        """The variant, file or field, whichever says most."""
        return self.variant or self.file or self.field or "package"


class Line(msgspec.Struct, frozen=True):
    """One line of a report: the verdict on one thing, and what there is to say."""

    verdict: Literal["passed", "failed", "skipped"]
    what: str
    detail: str


_VERDICTS: dict[str, Literal["failed", "skipped"]] = {"problem": "failed", "note": "skipped"}


class Report(msgspec.Struct, frozen=True):
    """Everything found in a package.

    Attributes:
        name: The model's name; empty when the manifest cannot be read.
        version: Its version.
        findings: Problems and notes.
        verdicts: The gate's verdict per variant that ran.
    """

    name: str
    version: str
    findings: tuple[Finding, ...]
    verdicts: dict[str, gate.Verdict] = {}

    @property
    def passed(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    @property
    def lines(self) -> tuple[Line, ...]:
        """The report as a list for a person: what passed first, then what failed, then what was not looked at."""
        passed = [Line("passed", "manifest", f"{self.name} {self.version}")] if self.name else []
        passed += [
            Line("passed", name, f"golden data, off by {verdict.worst:.2g} at most")
            for name, verdict in self.verdicts.items()
            if verdict.passed
        ]
        rest = [
            Line(_VERDICTS[each.severity], each.about, f"{each.message}  → {each.hint}" if each.hint else each.message)
            for each in self.findings
        ]
        return (*passed, *sorted(rest, key=lambda line: line.verdict))

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that make the package unfit."""
        return tuple(finding for finding in self.findings if finding.severity == "problem")


def check(place: Path, *, run: bool = True) -> Report:
    """Checks a package.

    Args:
        place: A folder, or a zip, which is unpacked into a temporary folder first.
        run: Whether to run the golden data on every variant whose runtime is installed.

    Raises:
        NotFoundError: There is nothing at that place.
    """
    if not place.is_file():
        return _check_folder(place, run=run)
    with tempfile.TemporaryDirectory(prefix="edgewise-") as temporary:
        try:
            folder = unpack(place, Path(temporary) / "package")
        except EdgewiseError as error:
            return Report("", "", (_problem(error),))
        return _check_folder(folder, run=run)


def _check_folder(folder: Path, *, run: bool) -> Report:
    try:
        manifest = packages.load_manifest(folder)
    except (PackageError, MissingExtraError) as error:
        return Report("", "", (_problem(error),))
    findings = list(_file_findings(folder, manifest))
    broken = any(finding.severity == "problem" for finding in findings)
    verdicts: dict[str, gate.Verdict] = {}
    for index, variant in enumerate(manifest.variants):
        try:
            if not run or broken:
                continue
            if found := _unrunnable(variant, index):
                findings.append(found)
            else:
                findings += _run(folder, manifest, variant, verdicts)
        except MissingExtraError as error:  # what makes its inputs is not installed
            message = f"{variant.name} was not run: {error.message}"
            findings.append(Finding("note", message, error.hint, variant=variant.name))
        except EdgewiseError as error:
            findings.append(_problem(error, variant.name))
    return Report(manifest.name, manifest.version, tuple(findings), verdicts)


def _file_findings(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    try:
        present = set(packages.names(folder)) - {packages.MANIFEST}
        packages.verify(folder, manifest)
        packages.decoder_of(manifest)(packages.task_options(manifest), packages.head_of(manifest, folder))
    except EdgewiseError as error:
        yield _problem(error)
        return
    for name in sorted(present - manifest.files.keys()):
        yield Finding("problem", f"{name} has no sha256 in the manifest", "edgewise model pack seals it.", file=name)
    for field, path in packages.paths(manifest):
        if path not in present:
            yield Finding("problem", f"{path} is missing", nearest(path, sorted(present)), file=path, field=field)
    if not manifest.golden:
        yield Finding("note", "There is no golden data, so nothing shows that the model still works", field="golden")


def _unrunnable(variant: Variant, index: int) -> Finding | None:
    known = runtimes.available()
    field = f"variants[{index}].runtime"
    if variant.runtime not in known:
        message = f"No runtime is named {variant.runtime!r}"
        return Finding("problem", message, nearest(variant.runtime, known), field=field, variant=variant.name)
    status = known[variant.runtime]
    if status.installed:
        return None
    message = f"{variant.name} was not run: {variant.runtime} is not installed"
    return Finding("note", message, status.hint, field=field, variant=variant.name)


def _run(folder: Path, manifest: Manifest, variant: Variant, verdicts: dict[str, gate.Verdict]) -> Iterator[Finding]:
    with Model.open(folder, variant=variant.name) as model:
        if not manifest.golden:
            return
        verdict = verdicts[variant.name] = gate.decide(golden.measure(model))
        for reason in verdict.reasons:
            yield Finding("problem", reason, field="golden", variant=variant.name)


def _problem(error: EdgewiseError, variant: str = "") -> Finding:
    facts = {name: str(error.facts.get(name, "")) for name in ("file", "field")}
    return Finding("problem", error.message, error.hint, variant=variant, **facts)
