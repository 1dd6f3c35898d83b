"""The model repository of a node: which models there are, which are loaded, and how they have been doing.

Words and states follow the Open Inference Protocol v2 and its model repository extension. Loading takes seconds: who
wants the same model waits for it, and nobody else does, least of all who asks what there is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from edgewise._lib.documents import nearest
from edgewise.errors import ClosedError, NotFoundError, UnavailableError
from edgewise.models.manifest import Manifest
from edgewise.models.model import Model
from edgewise.models.package import load_manifest
from edgewise.runtimes.base import SessionOptions


class ModelState(msgspec.Struct, frozen=True):
    """One line of the repository index; ``state`` is ``READY`` or ``UNAVAILABLE``, ``reason`` says why not ready."""

    name: str
    version: str
    state: str
    reason: str
    manifest: Manifest


class Counts(msgspec.Struct, frozen=True):
    """How often, and nanoseconds in total."""

    count: int = 0
    ns: int = 0


class Statistics:
    """Figures of one loaded model, as the statistics extension names them. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inference_count = 0
        self.last_inference_ms = 0
        self._answered = 0
        self._failed = 0
        self._failed_ns = 0
        self._queue_ns = 0
        self._input_ns = 0
        self._infer_ns = 0
        self._output_ns = 0

    @property
    def success(self) -> Counts:
        """Requests that were answered."""
        return Counts(self._answered, self._queue_ns + self._input_ns + self._infer_ns + self._output_ns)

    @property
    def fail(self) -> Counts:
        """Requests that failed."""
        return Counts(self._failed, self._failed_ns)

    @property
    def queue(self) -> Counts:
        """Waiting for a worker."""
        return Counts(self._answered, self._queue_ns)

    @property
    def compute_input(self) -> Counts:
        """Decoding and preprocessing."""
        return Counts(self._answered, self._input_ns)

    @property
    def compute_infer(self) -> Counts:
        """The engine."""
        return Counts(self._answered, self._infer_ns)

    @property
    def compute_output(self) -> Counts:
        """Decoding and encoding of what the engine gave."""
        return Counts(self._answered, self._output_ns)

    def succeeded(
        self,
        *,
        now_ns: int,
        batch: int = 1,
        queue_ns: int = 0,
        input_ns: int = 0,
        infer_ns: int = 0,
        output_ns: int = 0,
    ) -> None:
        """Counts a request that was answered."""
        with self._lock:
            self.inference_count += batch
            self.last_inference_ms = now_ns // 1_000_000
            self._answered += 1
            self._queue_ns += queue_ns
            self._input_ns += input_ns
            self._infer_ns += infer_ns
            self._output_ns += output_ns

    def failed(self, ns: int) -> None:
        """Counts a request that failed."""
        with self._lock:
            self._failed += 1
            self._failed_ns += ns


class LoadedModel:
    """A model in use, with its statistics."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.statistics = Statistics()


class ModelRepository:
    """Models by name and version, loaded when first asked for. Safe for threads.

    Args:
        packages: Folders of model packages; of two with the same name and version the first wins, and the first
            version of a name is its default.
        options: How a package's session runs.
    """

    def __init__(
        self, packages: Iterable[Path], *, options: Callable[[Path], SessionOptions] = lambda _: SessionOptions()
    ) -> None:
        self._options = options
        self._lock = threading.Lock()  # held for looks at the dictionaries only
        self._turns: dict[Path, threading.Lock] = {}  # held while a package is loaded
        self._closed = False
        self._folders: dict[str, dict[str, Path]] = {}
        self._manifests: dict[Path, Manifest] = {}
        self._loaded: dict[Path, LoadedModel] = {}
        self._reasons: dict[Path, str] = {}
        for folder in packages:
            self.add(folder)

    def add(self, folder: Path) -> Manifest:
        """Makes a package known without loading it.

        Raises:
            PackageError: Its manifest is wrong.
        """
        manifest = load_manifest(folder)
        with self._lock:
            if manifest.version not in self._folders.setdefault(manifest.name, {}):
                self._folders[manifest.name][manifest.version] = folder
                self._manifests[folder] = manifest
        return manifest

    def names(self) -> list[str]:
        """Names of all models, loaded or not."""
        with self._lock:
            return sorted(self._folders)

    def versions(self, name: str) -> list[str]:
        """Versions of a model, the default first.

        Raises:
            NotFoundError: There is no such model.
        """
        with self._lock:
            self._find(name, "")
            return list(self._folders[name])

    def index(self) -> list[ModelState]:
        """Every version of every model, with its state."""
        with self._lock:
            return [self._state(folder) for versions in self._folders.values() for folder in versions.values()]

    def state(self, name: str, version: str = "") -> ModelState:
        """One model's line of the index.

        Raises:
            NotFoundError: There is no such model or version.
        """
        with self._lock:
            return self._state(self._find(name, version))

    def get(self, name: str, version: str = "") -> LoadedModel:
        """The model, loaded if it is not yet (unless it was unloaded on request).

        Raises:
            NotFoundError: There is no such model or version.
            UnavailableError: It was unloaded.
            MissingExtraError: The runtimes of its variants are not installed.
            PackageError: Its package breaks the format.
            CorruptError: A file of it is damaged.
            ClosedError: The repository was closed.
        """
        with self._lock:
            folder = self._find(name, version)
            if folder in self._loaded:
                return self._loaded[folder]
            self._refuse_unloaded(folder)
        return self._load(folder, revive=False)

    def load(self, name: str, version: str = "") -> LoadedModel:
        """Loads a model, also one that was unloaded; raises as ``get``."""
        with self._lock:
            folder = self._find(name, version)
        return self._load(folder, revive=True)

    def unload(self, name: str) -> None:
        """Frees every loaded version of a model; it stays away until ``load``. One that is being loaded is freed as
        soon as it is.
        """
        with self._lock:
            self._find(name, "")
            folders = list(self._folders[name].values())
            closing = [loaded for folder in folders if (loaded := self._loaded.pop(folder, None))]
            self._reasons.update(dict.fromkeys(folders, UNLOADED))
        for loaded in closing:
            loaded.model.close()

    def loaded(self) -> list[LoadedModel]:
        """All models in use."""
        with self._lock:
            return list(self._loaded.values())

    def close(self) -> None:
        """Frees all models, those that are being loaded as soon as they are."""
        with self._lock:
            self._closed = True
            closing = list(self._loaded.values())
            self._loaded.clear()
        for loaded in closing:
            loaded.model.close()

    def _find(self, name: str, version: str) -> Path:
        versions = self._folders.get(name)
        if not versions:
            raise NotFoundError(
                f"No model is named {name!r}", hint=nearest(name, list(self._folders)), kind="model", name=name
            )
        if not version:
            return next(iter(versions.values()))
        if version not in versions:
            raise NotFoundError(
                f"Model {name!r} has no version {version!r}",
                hint=f"Versions: {', '.join(versions)}.",
                kind="model_version",
                name=version,
            )
        return versions[version]

    def _load(self, folder: Path, *, revive: bool) -> LoadedModel:
        """Loads a package, once however many want it; ``revive`` also if it was unloaded."""
        with self._lock:
            turn = self._turns.setdefault(folder, threading.Lock())
        with turn:
            with self._lock:
                if folder in self._loaded:
                    return self._loaded[folder]
                self._refuse_closed()
                if not revive:
                    self._refuse_unloaded(folder)
                self._reasons[folder] = LOADING
            try:
                model = Model.open(folder, options=self._options(folder))
            except BaseException as error:
                with self._lock:
                    if self._reasons.get(folder) == LOADING:
                        self._reasons[folder] = str(error)
                raise
            return self._keep(folder, model)

    def _keep(self, folder: Path, model: Model) -> LoadedModel:
        """Takes a model that was just loaded, unless it was unloaded meanwhile."""
        try:
            with self._lock:
                self._refuse_closed()
                self._refuse_unloaded(folder)
                self._reasons.pop(folder, None)
                return self._loaded.setdefault(folder, LoadedModel(model))
        except (ClosedError, UnavailableError):
            model.close()
            raise

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClosedError("The model repository was closed")

    def _refuse_unloaded(self, folder: Path) -> None:
        if self._reasons.get(folder) == UNLOADED:
            name = self._manifests[folder].name
            raise UnavailableError(
                f"Model {name!r} was unloaded",
                hint=f"Load it: POST /v2/repository/models/{name}/load",
                model=name,
            )

    def _state(self, folder: Path) -> ModelState:
        manifest = self._manifests[folder]
        ready = folder in self._loaded
        return ModelState(
            name=manifest.name,
            version=manifest.version,
            state="READY" if ready else "UNAVAILABLE",
            reason="" if ready else self._reasons.get(folder, NOT_YET),
            manifest=manifest,
        )


# Reasons for not being ready that are nobody's fault.
NOT_YET = "loaded when first used"
LOADING = "loading"
UNLOADED = "unloaded"
