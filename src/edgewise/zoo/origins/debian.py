"""Packages from the Debian archive that apt is set up for; apt checks the archive's signatures."""

from pathlib import Path

from edgewise.zoo.origins.base import Origin, Report
from edgewise.zoo.origins.command import TIMEOUT_S, download, require


class DebianFetcher:
    """Runs ``apt-get download``, which installs nothing and needs no rights."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s

    def fetch(self, origin: Origin, folder: Path, report: Report) -> Path:  # noqa: ARG002  apt tells no progress
        """See ``Fetcher.fetch``."""
        apt = require("apt-get", hint="This origin can be used on Debian and its derivatives only.")
        require("dpkg-deb", hint="Install dpkg.")
        # As root, apt would drop to a user that may not write here.
        arguments = [apt, "download", "-q", "-o", "APT::Sandbox::User=root", origin.package]
        return download(origin, arguments, folder=folder, pattern="*.deb", timeout_s=self._timeout_s)
