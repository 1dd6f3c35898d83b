"""``edgewise predict``: run a model on files, without a node."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators
from rich.markup import escape

from edgewise._lib.files import write_atomic
from edgewise.cli import output
from edgewise.cli.options import JsonFlag
from edgewise.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from edgewise.models.model import Model
    from edgewise.models.prediction import Prediction

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".pgm", ".ppm", ".pnm"}
SOUNDS = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff"}
SERIES = {".npy", ".csv"}
BATCH = 16


def predict(
    model: str,
    /,
    *inputs: Annotated[str, Parameter(required=True)],
    top: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 3,
    variant: str = "auto",
    save: Annotated[Path | None, Parameter(help="Folder for pictures with the result drawn on them.")] = None,
    json: JsonFlag = False,
) -> int:
    """Run a model on pictures, sounds or series and print what it says.

    Ends with exit code 1 when a file could not be used; the others are done all the same.

    Parameters
    ----------
    model:
        A name from ``edgewise pull --list`` (fetched when it is not here), or the path of a package.
    inputs:
        Files, folders or quoted globs such as ``'photos/**/*.jpg'``.
    top:
        Labels shown for a classification.
    variant:
        One of the model's variants.
    json:
        Print JSON for programs: one document a line, with ``error`` in it where a file could not be used.
    """
    from edgewise.node.library import load

    with load(model, variant=variant) as loaded:
        output.note_fallback(loaded.session)
        kinds = {"series": SERIES, "audio": SOUNDS}.get(loaded.manifest.inputs[0].kind, PICTURES)
        files = list(find_files(inputs, kinds))
        places = drawing_places(files)
        if save:
            _refuse_undrawable(loaded)
            save.mkdir(parents=True, exist_ok=True)
        failed = 0
        for file, outcome in _track(_predict_all(loaded, files), total=len(files)):
            if isinstance(outcome, InputError):
                failed += 1
                _show_fault(file, outcome, json=json)
                continue
            _show(file, outcome, top=top, json=json)
            if save:
                (save / places[file]).parent.mkdir(parents=True, exist_ok=True)
                write_atomic(save / places[file], outcome.draw_png())
    return 1 if failed else 0


def drawing_places(files: Sequence[Path]) -> dict[Path, Path]:
    """Where the drawing of each file goes, inside the folder for them: laid out as the files are, each its own."""
    if not files:
        return {}
    root = os.path.commonpath([file.absolute().parent for file in files])
    places = {file: file.absolute().relative_to(root) for file in files}
    shared = Counter(place.with_suffix("") for place in places.values())
    return {
        file: place.with_suffix(".png" if shared[place.with_suffix("")] == 1 else f"{place.suffix}.png")
        for file, place in places.items()
    }


def _refuse_undrawable(model: Model) -> None:
    if model.manifest.inputs[0].kind != "image" or model.manifest.task["kind"] in {"embedding", "regression"}:
        raise InputError(f"What {model.manifest.name} gives cannot be drawn", hint="Leave --save out, or use --json.")


def find_files(inputs: Sequence[str], kinds: set[str]) -> Iterator[Path]:
    """Files behind names, folders and globs, in order, of the kinds wanted; a file named outright is always taken.

    Raises:
        NotFoundError: A name leads to nothing.
    """
    for name in inputs:
        path = Path(name)
        if path.is_file():
            yield path
            continue
        if path.is_dir():
            found = sorted(child for child in path.rglob("*") if child.suffix.lower() in kinds)
        else:
            # Path.glob refuses absolute patterns, and some that shells take.
            places = map(Path, glob.glob(name, recursive=True))  # noqa: PTH207
            found = sorted(place for place in places if place.is_file())
        if not found:
            looked = f"Looked in that folder for {', '.join(sorted(kinds))}." if path.is_dir() else ""
            raise NotFoundError(f"{name}: no file there", hint=looked, kind="file", name=name)
        yield from found


def _predict_all(model: Model, files: Sequence[Path]) -> Iterator[tuple[Path, Prediction | InputError]]:
    """Whole batches where all files are good; one by one where one of them is not."""
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        try:
            yield from zip(batch, model.predict_batch(batch), strict=True)
        except InputError:
            for file in batch:
                yield file, _predict_one(model, file)


def _predict_one(model: Model, file: Path) -> Prediction | InputError:
    try:
        return model.predict(file)
    except InputError as error:
        return error


def _track(
    pairs: Iterator[tuple[Path, Prediction | InputError]], *, total: int
) -> Iterator[tuple[Path, Prediction | InputError]]:
    if total < 2 or not output.err().is_terminal:
        yield from pairs
        return
    from rich.progress import track

    yield from track(pairs, total=total, console=output.err(), description="Predicting", transient=True)


def _show_fault(file: Path, error: InputError, *, json: bool) -> None:
    if json:
        told = {"code": error.code, "message": error.message, "hint": error.hint, "facts": error.facts}
        output.show_json({"file": str(file), "error": told})
        return
    output.err().print(f"[red]{escape(str(file))}[/]: {escape(error.message)} [dim]({error.code})[/]")


def _show(file: Path, prediction: Prediction, *, top: int, json: bool) -> None:
    if json:
        output.show_json({"file": str(file), **prediction.to_dict()})
        return
    milliseconds = prediction.timing.preprocess_ms + prediction.timing.infer_ms + prediction.timing.decode_ms
    output.out().print(f"[bold]{escape(str(file))}[/]  [dim]{milliseconds:.1f} ms[/]")
    for line in prediction.lines(top=top):
        output.out().print(f"  {line}", markup=False)
