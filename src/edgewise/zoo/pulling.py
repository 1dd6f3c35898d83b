"""Names, finding and pulling: what the rest of Edgewise uses of the zoo."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from edgewise import runtimes
from edgewise._lib.documents import nearest
from edgewise.errors import EdgewiseError, MissingExtraError, NotFoundError, PackageError, StorageFullError
from edgewise.models import golden, package
from edgewise.models.check import check
from edgewise.models.manifest import Manifest
from edgewise.models.model import Model
from edgewise.zoo.builders.base import PICTURES, SOUNDS, Workshop
from edgewise.zoo.cache import Cache
from edgewise.zoo.catalog import RECIPES, Plan, Recipe
from edgewise.zoo.origins.base import Fetcher, Kind
from edgewise.zoo.sources import Sources

# About a second and a half of sound: by then what a model remembers is far from where it began.
_REMEMBERED_WINDOWS = 50

SHIPPED = Path(__file__).parent / "shipped"


class Entry(msgspec.Struct, frozen=True):
    """One model that can be had by name.

    Attributes:
        name: What ``pull`` takes.
        task: Kind of task, as in the manifest.
        summary: One line on what it does.
        licence: An SPDX identifier.
        note: What a user should know about where it comes from; may be empty.
        size_bytes: Roughly, of the package.
        shipped: Whether it came with Edgewise and needs no pull.
        extras: Extras of Edgewise of which one must be installed; none when the base install will do.
    """

    name: str
    task: str
    summary: str
    licence: str
    note: str
    size_bytes: int
    shipped: bool
    extras: tuple[str, ...]


class Progress(msgspec.Struct, frozen=True):
    """What a pull is doing.

    Attributes:
        name: Of the model.
        step: What is going on; ``licence`` comes first, ``done`` last.
        message: The same for a person.
        done_bytes: Of a download, so far.
        total_bytes: Of a download; 0 when it is not known.
    """

    name: str
    step: Literal["licence", "wait", "download", "build", "check", "note", "done"]
    message: str
    done_bytes: int = 0
    total_bytes: int = 0


Report: TypeAlias = Callable[[Progress], None]


def names() -> list[Entry]:
    """Every model that can be had by name, those that came with Edgewise first."""
    return [*(_shipped_entry(folder) for folder in _shipped()), *(_entry(recipe) for recipe in RECIPES)]


def find(name: str, cache: Path) -> Path | None:
    """The package of a model that came with Edgewise or was pulled; None when it has to be pulled first.

    Args:
        name: Of the model.
        cache: The folder that models are pulled to.
    """
    shipped = {folder.name: folder for folder in _shipped()}
    return shipped.get(name) or Cache(cache).find(name)


def pull(
    name: str,
    cache: Path,
    progress: Report | None = None,
    *,
    fetchers: Mapping[Kind, Fetcher] | None = None,
    recipes: tuple[Recipe, ...] = RECIPES,
) -> Path:
    """Makes sure that a model lies in the cache, and says where.

    A package that is there and intact is used as it is: no network, no other process. It is built anew when it is
    damaged, of an older recipe, or when an extra installed since then allows a variant that it lacks.

    Args:
        name: Of the model.
        cache: The folder that models are pulled to.
        progress: Told the licence first, then each step.
        fetchers: In place of those of the catalogue.
        recipes: In place of the catalogue.

    Returns:
        The folder of the package.

    Raises:
        NotFoundError: No model has that name; the hint names the nearest.
        MissingExtraError: This installation can neither use the published file nor convert it.
        UnavailableError: No origin delivered a file; what arrived is kept, the next pull resumes.
        PackageError: What was built does not pass its checks.
        StorageFullError: The disk is full.
    """
    shipped = {folder.name: folder for folder in _shipped()}
    if name in shipped:
        return shipped[name]
    recipe = next((recipe for recipe in recipes if recipe.name == name), None)
    if recipe is None:
        known = [*shipped, *(recipe.name for recipe in recipes)]
        raise NotFoundError(f"No model is named {name!r}", hint=nearest(name, known), kind="model", name=name)
    return _Pull(recipe, Cache(cache), progress or _silent, fetchers).run()


class _Pull:
    """One call of ``pull``."""

    def __init__(self, recipe: Recipe, cache: Cache, report: Report, fetchers: Mapping[Kind, Fetcher] | None) -> None:
        self._recipe = recipe
        self._cache = cache
        self._report = report
        self._fetchers = fetchers
        self._plans = [plan for plan in recipe.plans if _can_build(plan)]

    def run(self) -> Path:
        recipe = self._recipe
        note = f". {recipe.note}" if recipe.note else ""
        self._tell("licence", f"{recipe.name} {recipe.version}, licence {recipe.licence}{note}")
        folder = self._usable() or self._locked_pull()
        self._tell_what_is_left_out()
        self._tell("done", f"{recipe.name} is in {folder}")
        return folder

    def _locked_pull(self) -> Path:
        if not any(_can_run(plan) for plan in self._plans):
            raise _missing(self._recipe)
        with self._cache.working(
            self._recipe.name, on_wait=lambda: self._tell("wait", "Another process is pulling this model")
        ) as work:
            try:
                return self._usable() or self._build(work)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                hint = "Free disk space, then pull again; it will resume."
                raise StorageFullError(f"No space left to pull {self._recipe.name}", hint=hint) from error

    def _usable(self) -> Path | None:
        """The package in the cache, when nothing has to be done."""
        folder = self._cache.find(self._recipe.name)
        if folder is None:
            return None
        try:
            manifest = package.load_manifest(folder)
            package.verify(folder, manifest)
        except EdgewiseError as error:
            self._tell("note", f"The package in the cache is damaged and is made anew: {error.message}")
            return None
        possible = {plan.variant for plan in self._plans}
        whole = possible <= {variant.name for variant in manifest.variants}
        return folder if whole and manifest.version == self._recipe.version else None

    def _build(self, work: Path) -> Path:
        sources = Sources(work, fetchers=self._fetchers, report=self._tell_download)
        files = {file.name: sources.obtain(file) for file in self._recipe.files}
        folder = work / "package"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self._tell("build", "Making the model package")
        workshop = Workshop(self._recipe, files, folder, tuple(plan.variant for plan in self._plans))
        manifest = package.save(folder, _builder(self._recipe)(workshop))
        self._tell("check", "Recording golden data and checking every variant")
        package.save(folder, self._with_golden(folder, manifest))
        _refuse_problems(folder)
        return self._cache.publish(self._recipe.name, folder)

    def _with_golden(self, folder: Path, manifest: Manifest) -> Manifest:
        """Golden data from the published file where it runs, else from the first variant that does."""
        plans = [plan for plan in self._plans if _can_run(plan)]
        trusted = next((plan for plan in plans if not plan.modules), plans[0])
        original = self._golden_source()
        source = folder / "golden" / original.name
        source.parent.mkdir()
        shutil.copyfile(original, source)
        with Model.open(folder, variant=trusted.variant) as model:
            case = golden.record(model, source, f"golden/{original.stem}.npz", landmarks=self._recipe.landmarks)
            cases = [case]
            if manifest.state:
                cases.append(golden.record_later(model, source, "golden/later.npz", windows=_REMEMBERED_WINDOWS))
        return msgspec.structs.replace(manifest, golden=tuple(cases))

    def _golden_source(self) -> Path:
        recipe = self._recipe
        return SOUNDS / f"{recipe.sound}.flac" if recipe.sound else PICTURES / f"{recipe.picture}.png"

    def _tell(self, step: Literal["licence", "wait", "build", "check", "note", "done"], message: str) -> None:
        self._report(Progress(self._recipe.name, step, message))

    def _tell_download(self, source: str, done: int, total: int) -> None:
        self._report(Progress(self._recipe.name, "download", f"Fetching {source}", done, total))

    def _tell_what_is_left_out(self) -> None:
        for plan in self._recipe.plans:
            if plan not in self._plans:
                hint = f"to have it, pip install 'edgewise[{plan.extra}]' and pull again"
                self._tell("note", f"The variant {plan.variant} was left out; {hint}")


def _builder(recipe: Recipe) -> Callable[[Workshop], Manifest]:
    module, _, name = recipe.builder.partition(":")
    builder: Callable[[Workshop], Manifest] = getattr(importlib.import_module(module), name)
    return builder


def _refuse_problems(folder: Path) -> None:
    report = check(folder)
    if report.problems:
        told = "; ".join(problem.message for problem in report.problems)
        raise PackageError(
            f"The package of {report.name or folder.name} does not pass its checks: {told}",
            hint="This is a fault of Edgewise or of this machine's runtime; please report it.",
            problems=[problem.message for problem in report.problems],
        )


def _can_build(plan: Plan) -> bool:
    return all(importlib.util.find_spec(module) for module in plan.modules)


def _can_run(plan: Plan) -> bool:
    return runtimes.available()[plan.runtime].installed


def _missing(recipe: Recipe) -> MissingExtraError:
    extras = [plan.extra for plan in recipe.plans if plan.extra]
    return MissingExtraError(
        f"{recipe.name} needs {' or '.join(f'edgewise[{extra}]' for extra in extras)}",
        hint=f"pip install 'edgewise[{extras[0]}]'",
        extras=extras,
    )


def _entry(recipe: Recipe) -> Entry:
    extras = () if any(not plan.extra for plan in recipe.plans) else tuple(plan.extra for plan in recipe.plans)
    return Entry(
        recipe.name, recipe.task, recipe.summary, recipe.licence, recipe.note, recipe.size_bytes, False, extras
    )


def _shipped() -> list[Path]:
    return sorted(path.parent for path in SHIPPED.glob("*/model.yaml"))


def _shipped_entry(folder: Path) -> Entry:
    manifest = package.load_manifest(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    note = manifest.origin.note if manifest.origin else ""
    kind = str(manifest.task["kind"])
    return Entry(folder.name, kind, manifest.summary, manifest.licence, note, size, True, ())


def _silent(progress: Progress) -> None:
    """Tells nobody."""
