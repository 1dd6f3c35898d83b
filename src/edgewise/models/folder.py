"""A model package on disk: reading its manifest, writing and sealing it.

Everything is checked before it is used: the fields against the structs of ``manifest``, the references between them
(tensors, axes, decoder, operations), and paths, which must stay inside the folder. Errors name file, line, field, what
was expected and the nearest valid name. Nothing of a model is run here; ``check`` does that.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from edgewise._lib.documents import decode_yaml, line_of, nearest
from edgewise._lib.files import file_sha256, write_atomic
from edgewise.errors import CorruptError, NotFoundError, PackageError
from edgewise.models import tasks
from edgewise.models.manifest import Manifest, Variant
from edgewise.models.preprocess import Preprocessor
from edgewise.models.tasks.base import Decoder, Head, TaskOptions, fault

MANIFEST = "model.yaml"
MAX_MANIFEST_BYTES = 1024 * 1024
MAX_SMALL_FILE_BYTES = 32 * 1024 * 1024
"""Bound on labels, priors and the like; artifacts are the engine's to read."""


def load_manifest(folder: Path) -> Manifest:
    """Reads ``model.yaml`` and checks it, references included.

    Raises:
        NotFoundError: The folder holds no manifest.
        PackageError: The manifest is wrong. Facts: ``file``, ``field``, and ``line`` where it is known.
    """
    return parse_manifest(_manifest_text(folder))


def parse_manifest(text: str) -> Manifest:
    """The manifest in a YAML document; see ``load_manifest``."""
    manifest = decode_yaml(text, Manifest, file=MANIFEST, error=PackageError)
    try:
        _check_references(manifest, text)
    except PackageError as error:
        raise _with_line(error, text) from error
    return manifest


def task_options(manifest: Manifest, *, text: str = "") -> TaskOptions:
    """The typed options of the manifest's task.

    Args:
        manifest: The manifest.
        text: Its YAML, so that an error can name the line.

    Raises:
        PackageError: The kind is unknown, or an option is wrong.
        MissingExtraError: The kind comes from a package that does not load.
    """
    options = decoder_of(manifest).Options
    try:
        return msgspec.convert(manifest.task, options)
    except msgspec.ValidationError as error:
        _explain_task(text or dump_manifest(manifest), options)
        raise fault("task", str(error)) from error


def decoder_of(manifest: Manifest) -> type[Decoder]:
    """The decoder class that the manifest's task names."""
    kind = manifest.task.get("kind")
    if not isinstance(kind, str):
        raise fault("task.kind", "must name a task", f"Known: {', '.join(tasks.kinds())}.")
    try:
        return tasks.decoder_class(kind)
    except NotFoundError as error:
        raise fault("task.kind", f"{kind!r} is no task", error.hint) from error


def head_of(manifest: Manifest, folder: Path) -> Head:
    """What a decoder may know of a model."""
    return Head(manifest, functools.partial(read_file, folder))


def read_file(folder: Path, path: str) -> bytes:
    """A small file of a package.

    Raises:
        PackageError: It is missing, not inside the package, or too large.
    """
    place = inside(folder, path)
    if not place.is_file():
        raise PackageError(f"{path} is missing from the package", file=path, hint=nearest(path, names(folder)))
    with open(place, "rb") as file:
        data = file.read(MAX_SMALL_FILE_BYTES + 1)
    if len(data) > MAX_SMALL_FILE_BYTES:
        raise PackageError(f"{path} is larger than {MAX_SMALL_FILE_BYTES} bytes", file=path, limit=MAX_SMALL_FILE_BYTES)
    return data


def inside(folder: Path, path: str) -> Path:
    """The place of a package's file, made sure to lie in the package after links are followed.

    Raises:
        PackageError: It does not.
    """
    check_path(path)
    place = folder / path
    if not place.resolve().is_relative_to(folder.resolve()):
        raise PackageError(f"{path} points out of the package", file=path)
    return place


def check_path(path: str) -> None:
    """Refuses what is not a plain relative path; see ``is_plain``.

    Raises:
        PackageError: It is not.
    """
    if not is_plain(path):
        raise PackageError(f"{path[:255]!r} is not a plain relative path", hint=_PLAIN, file=path[:255])


def is_plain(path: str) -> bool:
    """Whether a path is relative, stays inside its folder and means the same on every system.

    Not so: absolute ones, ``..``, backslashes, drives, control characters, names reserved on some system.
    """
    parts = path.split("/")
    return (
        0 < len(path.encode(errors="replace")) <= 255
        and all(part not in {"", ".", ".."} and part == part.strip(" ") and not part.endswith(".") for part in parts)
        and not _FORBIDDEN.search(path)
        and unicodedata.is_normalized("NFC", path)
        and all(part.split(".")[0].upper() not in _RESERVED for part in parts)
    )


def verify(folder: Path, manifest: Manifest, paths: Iterable[str] | None = None) -> None:
    """Compares files with the digests in the manifest; files without a digest are left alone.

    Args:
        folder: The package.
        manifest: Its manifest.
        paths: Which files; all that have a digest when None.

    Raises:
        PackageError: One is missing.
        CorruptError: One has another content.
    """
    for path in manifest.files if paths is None else paths:
        expected = manifest.files.get(path)
        place = inside(folder, path)
        if not place.is_file():
            raise PackageError(f"{path} is missing from the package", file=path, field=f"files.{path}")
        if expected and (actual := file_sha256(place)) != expected:
            raise CorruptError(
                f"{path}: sha256 is {actual}, the manifest says {expected}",
                hint="Fetch or build the package again; after a change on purpose: edgewise model pack.",
                file=path,
                expected=expected,
                actual=actual,
            )


def files_in_use(manifest: Manifest, variant: Variant) -> list[str]:
    """What a variant's answers depend on: its artifact, the files an engine reads beside it (those of the same name
    with another ending), and the files that the task's options name, such as the labels.
    """
    stem = str(PurePosixPath(variant.artifact).with_suffix(""))
    beside = [path for path in manifest.files if path.startswith(f"{stem}.") and path != variant.artifact]
    named = [value for value in manifest.task.values() if isinstance(value, str) and value in manifest.files]
    return [variant.artifact, *beside, *named]


def seal(folder: Path) -> Manifest:
    """Writes the sha256 of every file into ``files`` of the manifest; all else in it stays as it is written.

    Returns:
        The manifest as it is now.

    Raises:
        PackageError: The manifest is wrong, or a file of the package may not be in one.
    """
    text = _manifest_text(folder)
    parse_manifest(text)
    digests = {name: file_sha256(folder / name) for name in names(folder) if name != MANIFEST}
    block = _to_yaml({"files": digests}, flow=False) if digests else ""
    sealed = _FILES_BLOCK.sub("", text).rstrip("\n") + "\n" + block
    manifest = parse_manifest(sealed)
    write_atomic(folder / MANIFEST, sealed.encode())
    return manifest


def save(folder: Path, manifest: Manifest) -> Manifest:
    """Writes a manifest into a folder that holds the other files already, and seals it."""
    write_atomic(folder / MANIFEST, dump_manifest(manifest).encode())
    return seal(folder)


def dump_manifest(manifest: Manifest) -> str:
    """The manifest as YAML."""
    return _to_yaml(msgspec.to_builtins(manifest))


def _to_yaml(value: object, *, flow: bool | None = None) -> str:
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120, default_flow_style=flow)
    return text


def _manifest_text(folder: Path) -> str:
    place = folder / MANIFEST
    try:
        with open(place, "rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(
            f"{folder} is no model package: it has no {MANIFEST}",
            hint="Make one: edgewise model new FOLDER ARTIFACT",
            kind="model",
            name=str(folder),
        ) from error
    if len(data) > MAX_MANIFEST_BYTES:
        raise PackageError(f"{MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes", file=MANIFEST)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PackageError(f"{MANIFEST} is not UTF-8 text", file=MANIFEST) from error


def names(folder: Path) -> list[str]:
    """Every file of a package, sorted; hidden ones at the top (``.git``) are no part of it."""
    found = []
    for place in sorted(folder.rglob("*")):
        name = place.relative_to(folder).as_posix()
        if name.startswith(".") or "/.tmp-" in name or place.is_dir():
            continue
        if place.is_symlink() or not place.is_file():
            raise PackageError(f"{name} is a link or no plain file", file=name)
        check_path(name)
        found.append(name)
    return found


def _explain_task(text: str, options: type[TaskOptions]) -> None:
    """Decodes once more with the options typed, for an error with line, field and nearest name."""
    typed = msgspec.defstruct(
        "Manifest", [("task", options)], bases=(Manifest,), frozen=True, kw_only=True, forbid_unknown_fields=True
    )
    decode_yaml(text, typed, file=MANIFEST, error=PackageError)


def _check_references(manifest: Manifest, text: str) -> None:
    task_options(manifest, text=text)
    _check_variants(manifest)
    _check_unique("inputs", [tensor.name for tensor in manifest.inputs])
    _check_unique("outputs", [tensor.name for tensor in manifest.outputs])
    _check_state(manifest)
    for field, path in paths(manifest):
        if not is_plain(path):
            raise fault(field, f"{path!r} is not a plain relative path", _PLAIN)
    _check_files(manifest)
    for index, spec in enumerate(manifest.inputs):
        Preprocessor(spec, field=f"inputs[{index}]")


def _with_line(error: PackageError, text: str) -> PackageError:
    """The same error with the line of its field, where it has none yet."""
    field = str(error.facts.get("field", ""))
    if not field or "line" in error.facts:
        return error
    line = line_of(text, field)
    message = error.message.removeprefix(f"{MANIFEST}, ")
    return PackageError(f"{MANIFEST}, line {line}, {message}", hint=error.hint, **{**error.facts, "line": line})


def _check_variants(manifest: Manifest) -> None:
    _check_unique("variants", [variant.name for variant in manifest.variants])
    ranks = {tensor.name: len(tensor.shape) for tensor in manifest.inputs}
    ranks |= {tensor.name: len(tensor.shape) for tensor in manifest.outputs}
    for index, variant in enumerate(manifest.variants):
        where = f"variants[{index}]"
        for name in variant.tensors:
            if name not in ranks:
                raise fault(f"{where}.tensors", f"no tensor is named {name!r}", nearest(name, ranks))
        for name, order in variant.axes.items():
            if name not in ranks:
                raise fault(f"{where}.axes", f"no tensor is named {name!r}", nearest(name, ranks))
            if sorted(order) != list(range(ranks[name])):
                raise fault(f"{where}.axes.{name}", f"is {list(order)}, expected an order of the {ranks[name]} axes")


def _check_state(manifest: Manifest) -> None:
    """What a model remembers is a pair of equal tensors; all else it takes is one stream of sound."""
    inputs = {spec.name: spec for spec in manifest.inputs}
    outputs = {spec.name: spec for spec in manifest.outputs}
    for index, state in enumerate(manifest.state):
        where = f"state[{index}]"
        for field, name, known in (("input", state.input, inputs), ("output", state.output, outputs)):
            if name not in known:
                raise fault(f"{where}.{field}", f"no {field} is named {name!r}", nearest(name, list(known)))
        taken, given = inputs[state.input], outputs[state.output]
        if taken.kind != "tensor" or (taken.datatype, taken.shape) != (given.datatype, given.shape):
            raise fault(where, f"{state.input!r} and {state.output!r} must be tensors of one datatype and shape")
        if any(size < 1 for size in taken.shape):
            raise fault(where, f"{state.input!r} must be of fixed size")
    _check_unique("state", [state.input for state in manifest.state])
    others = inputs.keys() - {state.input for state in manifest.state}
    if manifest.state and [bool(inputs[name].step) for name in others] != [True]:
        raise fault("state", "a model that remembers takes one other input, of kind 'audio' with a 'step'")


def _check_unique(field: str, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise fault(f"{field}[{index}].name", f"{name!r} is taken already")


def paths(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Field and path of every file that the manifest names, digests aside."""
    for index, variant in enumerate(manifest.variants):
        yield f"variants[{index}].artifact", variant.artifact
    for index, case in enumerate(manifest.golden):
        yield f"golden[{index}].tensors", case.tensors
        if case.source:
            yield f"golden[{index}].source", case.source


def _check_files(manifest: Manifest) -> None:
    folded: dict[str, str] = {}
    for path in manifest.files:
        if not is_plain(path):
            raise fault("files", f"{path!r} is not a plain relative path", _PLAIN)
        other = folded.setdefault(path.casefold(), path)
        if other != path:
            raise fault("files", f"{other!r} and {path!r} are one file where case does not count")


_PLAIN = "Write it like 'golden/case.npz': forward slashes, inside the package."
_FILES_BLOCK = re.compile(r"^files:.*\n?(?:(?:[ \t#].*)?\n|[ \t].*\Z)*", re.MULTILINE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{name}{digit}" for name in ("COM", "LPT") for digit in range(1, 10))}
