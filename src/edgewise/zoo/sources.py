"""Getting the files of a recipe: each from the first of its origins that delivers it intact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edgewise._lib.files import file_sha256
from edgewise.errors import CorruptError, EdgewiseError, NotFoundError, TooLargeError, UnavailableError
from edgewise.zoo.archives import extract_member
from edgewise.zoo.catalog import File
from edgewise.zoo.origins.base import Fetcher, Kind, Origin, Report
from edgewise.zoo.origins.catalog import fetcher


class Sources:
    """Fetches into one folder, by digest; what lies there intact already is not fetched again.

    Args:
        folder: Exists, and is used by nobody else meanwhile.
        fetchers: By kind; those of the catalogue when None.
        report: Told which source is asked, and its progress: source, bytes so far, bytes expected (0: not known).
    """

    def __init__(
        self,
        folder: Path,
        *,
        fetchers: Mapping[Kind, Fetcher] | None = None,
        report: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        self._folder = folder
        self._fetchers = fetchers
        self._report = report

    def obtain(self, file: File) -> Path:
        """The path of a file with exactly the content that the recipe states.

        Raises:
            UnavailableError: No origin delivered it. Facts: ``origins``, each with the reason.
        """
        target = self._folder / file.sha256
        if _has_digest(target, file.sha256):
            return target
        reasons: dict[str, EdgewiseError] = {}
        for origin in file.origins:
            try:
                self._take(origin, file, target)
                return target
            except (UnavailableError, NotFoundError, TooLargeError, CorruptError) as error:
                reasons[origin.source] = error
        raise _undelivered(file, reasons)

    def _take(self, origin: Origin, file: File, target: Path) -> None:
        """Brings the file from one origin to ``target``. What arrived and is wrong does not stay."""
        arrived = self._folder / origin.key
        try:
            if not _has_digest(arrived, origin.sha256):
                self._report(origin.source, 0, 0)
                self._fetcher(origin.kind).fetch(origin, self._folder, self._progress(origin))
            _check_digest(arrived, origin.sha256, origin.source)
            if origin.member:
                extract_member(arrived, origin.member, target, max_bytes=file.max_bytes)
            else:
                arrived.replace(target)
            _check_digest(target, file.sha256, f"{file.name} from {origin.source}")
        except (CorruptError, NotFoundError, TooLargeError):
            arrived.unlink(missing_ok=True)
            target.unlink(missing_ok=True)
            raise

    def _fetcher(self, kind: Kind) -> Fetcher:
        return fetcher(kind) if self._fetchers is None else self._fetchers[kind]

    def _progress(self, origin: Origin) -> Report:
        return lambda done, total: self._report(origin.source, done, total)


def _has_digest(path: Path, sha256: str) -> bool:
    """Whether a file has a digest; an empty one asks for nothing."""
    return path.is_file() and (not sha256 or file_sha256(path) == sha256)


def _check_digest(path: Path, sha256: str, what: str) -> None:
    if sha256 and (actual := file_sha256(path)) != sha256:
        raise CorruptError(f"{what}: sha256 is {actual}, expected {sha256}", expected=sha256, actual=actual)


def _undelivered(file: File, reasons: Mapping[str, EdgewiseError]) -> UnavailableError:
    told = "; ".join(error.message for error in reasons.values())
    hint = next((error.hint for error in reasons.values() if error.hint), "Check the network, then retry.")
    facts = [{"source": source, "code": error.code, "reason": error.message} for source, error in reasons.items()]
    return UnavailableError(f"{file.name} could not be fetched: {told}", hint=hint, file=file.name, origins=facts)
